//! Fault points: named places in the code that panic when a test or a drill has armed them.

// Decision: A fault is injected on the child's own thread.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

/// The fault points of a daemon, for tests and drills. While they are off, passing a point costs a branch and the read of a
/// flag that is hardly ever written.
///
/// Whatever passes a point registers its name first, so that [`Faults::points`] lists all there are.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// `None` if points can never be armed.
    points: Option<Arc<FaultPoints>>,
}

#[derive(Debug, Default)]
struct FaultPoints {
    /// Whether points can be armed.
    on: AtomicBool,
    /// The number of panics still ordered at each point.
    left: Mutex<BTreeMap<String, u32>>,
}

impl Faults {
    /// No point can be armed, ever.
    pub fn none() -> Self {
        Self::default()
    }

    /// Points can be [armed](Self::arm).
    pub fn armed() -> Self {
        let faults = Self {
            points: Some(Arc::default()),
        };
        faults.set_enabled(true);
        faults
    }

    /// Points can be armed while `[chaos]` is enabled, which [`set_enabled`](Self::set_enabled) changes.
    pub(crate) fn switched(on: bool) -> Self {
        let faults = Self::armed();
        faults.set_enabled(on);
        faults
    }

    /// Lets points be armed from now on, or disarms all of them and lets none be armed.
    pub(crate) fn set_enabled(&self, on: bool) {
        if let Some(points) = &self.points {
            let mut left = points.left.lock();
            points.on.store(on, Ordering::Relaxed);
            if !on {
                left.values_mut().for_each(|left| *left = 0);
            }
        }
    }

    /// Whether points can be armed.
    pub fn enabled(&self) -> bool {
        let points = self.points.as_ref();
        points.is_some_and(|points| points.on.load(Ordering::Relaxed))
    }

    /// Makes a point known, before it is passed or armed for the first time.
    pub fn register(&self, point: &str) {
        if let Some(points) = &self.points {
            points.left.lock().entry(point.to_owned()).or_default();
        }
    }

    /// Every point, with the panics that it still has to give.
    pub fn points(&self) -> BTreeMap<String, u32> {
        let points = self.points.as_ref();
        points.map_or_else(BTreeMap::new, |points| points.left.lock().clone())
    }

    /// Makes the next `hits` passes of `point` panic. False, and nothing happens, if there is no such point, or if none can be
    /// armed.
    pub fn arm(&self, point: &str, hits: u32) -> bool {
        let Some(points) = &self.points else {
            return false;
        };
        let mut left = points.left.lock();
        if !points.on.load(Ordering::Relaxed) {
            return false;
        }
        let known = left.get_mut(point);
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

    /// Passes a point at which whoever passes it hangs for good, if it is armed.
    ///
    /// # Panics
    /// If points can be armed and this one was never registered.
    pub(crate) async fn hang(&self, point: &str) {
        if self.take(point) {
            std::future::pending::<()>().await;
        }
    }

    /// Passes a point that does something other than panic: returns true if it is armed.
    ///
    /// # Panics
    /// If points can be armed and this one was never registered.
    #[inline]
    pub fn take(&self, point: &str) -> bool {
        let Some(points) = self.points.as_ref().filter(|_| self.enabled()) else {
            return false;
        };
        let mut points = points.left.lock();
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

    #[test]
    fn points_that_are_switched_off_are_known_disarmed_and_can_not_be_armed() {
        let faults = Faults::switched(false);
        faults.register("here");
        faults.hit("elsewhere");
        assert!(!faults.arm("here", 1), "they are off");
        faults.set_enabled(true);
        assert!(faults.arm("here", 1));
        faults.set_enabled(false);
        faults.hit("here");
        faults.set_enabled(true);
        faults.hit("here");
        assert_eq!(faults.points(), BTreeMap::from([("here".to_owned(), 0)]));
    }
}
