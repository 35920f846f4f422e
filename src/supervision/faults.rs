//! Fault switches: named points that panic when a test configuration has armed them.

// Decision: A fault is injected on the child's own thread.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Named points that can be made to panic. Without a switchboard ([`Faults::none`]) a point costs one branch.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    armed: Option<Arc<Mutex<HashMap<String, u32>>>>,
}

impl Faults {
    /// No point ever panics: what a daemon runs with.
    pub fn none() -> Self {
        Self::default()
    }

    /// Points panic once they are [armed](Self::arm): for tests and drills.
    pub fn armed() -> Self {
        Self {
            armed: Some(Arc::default()),
        }
    }

    /// Whether points can be armed.
    pub fn enabled(&self) -> bool {
        self.armed.is_some()
    }

    /// Lets the next `hits` passes of `point` panic; false where points can't be armed.
    pub fn arm(&self, point: &str, hits: u32) -> bool {
        let Some(armed) = &self.armed else {
            return false;
        };
        let mut armed = armed.lock().unwrap_or_else(PoisonError::into_inner);
        armed.insert(point.to_owned(), hits);
        true
    }

    /// How many panics `point` still has in store.
    pub fn pending(&self, point: &str) -> u32 {
        let Some(armed) = &self.armed else { return 0 };
        armed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(point)
            .copied()
            .unwrap_or(0)
    }

    /// Passes `point`.
    ///
    /// # Panics
    /// If the point is armed.
    #[inline]
    pub fn hit(&self, point: &str) {
        assert!(!self.take(point), "injected fault at {point}");
    }

    /// Passes a `point` that does something else than panic when it is armed: true then.
    #[inline]
    pub fn take(&self, point: &str) -> bool {
        let Some(armed) = &self.armed else {
            return false;
        };
        let mut armed = armed.lock().unwrap_or_else(PoisonError::into_inner);
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

    #[test]
    fn an_armed_point_panics_as_often_as_it_was_told() {
        let faults = Faults::armed();
        faults.arm("here", 2);
        assert!(crate::supervision::boundary::contain(|| faults.hit("here")).is_err());
        assert!(crate::supervision::boundary::contain(|| faults.hit("here")).is_err());
        faults.hit("here");
        assert!(!Faults::none().arm("here", 1));
    }
}
