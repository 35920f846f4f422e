//! Fault points: named places in the code that panic when a test or a drill has armed them.

// Decision: A fault is injected on the child's own thread.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// The fault points of a daemon, for tests and drills. With [`Faults::none`] passing a point costs one branch.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    armed: Option<Arc<Mutex<HashMap<String, u32>>>>,
}

impl Faults {
    /// No point can be armed: what a daemon runs with unless `[chaos]` is enabled.
    pub fn none() -> Self {
        Self::default()
    }

    /// Points can be [armed](Self::arm).
    pub fn armed() -> Self {
        Self {
            armed: Some(Arc::default()),
        }
    }

    /// Whether points can be armed.
    pub fn enabled(&self) -> bool {
        self.armed.is_some()
    }

    /// Makes the next `hits` passes of `point` panic. Returns false if points can't be armed.
    pub fn arm(&self, point: &str, hits: u32) -> bool {
        let Some(armed) = &self.armed else {
            return false;
        };
        armed.lock().insert(point.to_owned(), hits);
        true
    }

    /// How many more passes of `point` will panic.
    pub fn pending(&self, point: &str) -> u32 {
        let armed = self.armed.as_ref();
        armed.map_or(0, |armed| armed.lock().get(point).copied().unwrap_or(0))
    }

    /// Passes `point`.
    ///
    /// # Panics
    /// If the point is armed.
    #[inline]
    pub fn hit(&self, point: &str) {
        assert!(!self.take(point), "injected fault at {point}");
    }

    /// Passes a point that does something other than panic: returns true if it is armed.
    #[inline]
    pub fn take(&self, point: &str) -> bool {
        let Some(armed) = &self.armed else {
            return false;
        };
        let mut armed = armed.lock();
        let Some(left) = armed.get_mut(point) else {
            return false;
        };
        *left = left.saturating_sub(1);
        if *left == 0 {
            armed.remove(point);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervision::boundary::contain;

    #[test]
    fn an_armed_point_panics_as_often_as_it_was_armed_for() {
        let faults = Faults::armed();
        faults.arm("here", 2);
        assert!(contain(|| faults.hit("here")).is_err());
        assert!(contain(|| faults.hit("here")).is_err());
        faults.hit("here");
        assert!(!Faults::none().arm("here", 1));
    }
}
