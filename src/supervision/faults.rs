//! Fault points: named places in the code that panic when a test or a drill has armed them.

// Decision: A fault is injected on the child's own thread.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// The fault points of a daemon, for tests and drills. With [`Faults::none`] passing a point costs one branch.
///
/// Whatever passes a point registers its name first, so that [`Faults::points`] lists all there are.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// The number of panics still ordered at each point.
    points: Option<Arc<Mutex<BTreeMap<String, u32>>>>,
}

impl Faults {
    /// No point can be armed: what a daemon runs with unless `[chaos]` is enabled.
    pub fn none() -> Self {
        Self::default()
    }

    /// Points can be [armed](Self::arm).
    pub fn armed() -> Self {
        Self {
            points: Some(Arc::default()),
        }
    }

    /// Whether points can be armed.
    pub fn enabled(&self) -> bool {
        self.points.is_some()
    }

    /// Makes a point known, before it is passed or armed for the first time.
    pub fn register(&self, point: &str) {
        if let Some(points) = &self.points {
            points.lock().entry(point.to_owned()).or_default();
        }
    }

    /// Every point, with the panics that it still has to give.
    pub fn points(&self) -> BTreeMap<String, u32> {
        let points = self.points.as_ref();
        points.map_or_else(BTreeMap::new, |points| points.lock().clone())
    }

    /// Makes the next `hits` passes of `point` panic. False, and nothing happens, if there is no such point.
    pub fn arm(&self, point: &str, hits: u32) -> bool {
        let Some(points) = &self.points else {
            return false;
        };
        let mut points = points.lock();
        let known = points.get_mut(point);
        known.map(|left| *left = hits).is_some()
    }

    /// Passes `point`.
    ///
    /// # Panics
    /// If the point is armed, or, where points can be armed, was never registered.
    #[inline]
    pub fn hit(&self, point: &str) {
        assert!(!self.take(point), "injected fault at {point}");
    }

    /// Passes a point that does something other than panic: returns true if it is armed.
    ///
    /// # Panics
    /// If points can be armed and this one was never registered.
    #[inline]
    pub fn take(&self, point: &str) -> bool {
        let Some(points) = &self.points else {
            return false;
        };
        let mut points = points.lock();
        let left = points.get_mut(point);
        assert!(
            left.is_some(),
            "the fault point {point} was never registered"
        );
        let Some(left) = left.filter(|left| **left > 0) else {
            return false;
        };
        *left -= 1;
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
        assert!(!faults.arm("here", 1), "it is not registered");
        faults.register("here");
        assert!(faults.arm("here", 2));
        assert!(contain(|| faults.hit("here")).is_err());
        assert!(contain(|| faults.hit("here")).is_err());
        faults.hit("here");
        assert!(contain(|| faults.hit("elsewhere")).is_err());
        assert_eq!(faults.points(), BTreeMap::from([("here".to_owned(), 0)]));
        assert!(!Faults::none().arm("here", 1));
    }
}
