//! The life stages of the daemon, for whoever waits for one.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::supervision::ExitReason;

/// Where the daemon stands. Stages only move forward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Sockets are bound; clients wait in the kernel's backlog.
    Built,
    /// Children are starting, in order.
    Starting,
    /// All children serve.
    Ready,
    /// Children are stopping, in reverse order.
    Stopping,
    /// All children are down, for this reason.
    Stopped(ExitReason),
}

impl Phase {
    /// Whether it is on its way down, or there.
    pub fn ending(&self) -> bool {
        matches!(self, Self::Stopping | Self::Stopped(_))
    }

    fn place(&self) -> u8 {
        match self {
            Self::Built => 0,
            Self::Starting => 1,
            Self::Ready => 2,
            Self::Stopping => 3,
            Self::Stopped(_) => 4,
        }
    }
}

/// A phase that can be waited for from any thread.
#[derive(Debug, Clone)]
pub(crate) struct Phases {
    now: Arc<(Mutex<Phase>, Condvar)>,
}

impl Phases {
    pub(crate) fn new() -> Self {
        Self {
            now: Arc::new((Mutex::new(Phase::Built), Condvar::new())),
        }
    }

    /// Moves forward to `phase`; what would be a step back comes too late and is none.
    pub(crate) fn enter(&self, phase: Phase) {
        let (now, changed) = &*self.now;
        let mut now = now.lock().unwrap_or_else(PoisonError::into_inner);
        if phase.place() > now.place() {
            *now = phase;
            changed.notify_all();
        }
    }

    pub(crate) fn now(&self) -> Phase {
        self.now
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits until `wanted` picks something out of the phase.
    pub(crate) fn wait<T>(&self, wanted: impl Fn(&Phase) -> Option<T>) -> T {
        let (now, changed) = &*self.now;
        let mut phase = now.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = wanted(&phase) {
                return found;
            }
            phase = changed.wait(phase).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_during_the_start_is_not_undone_by_readiness() {
        let phases = Phases::new();
        for phase in [Phase::Starting, Phase::Stopping, Phase::Ready] {
            phases.enter(phase);
        }
        assert_eq!(phases.now(), Phase::Stopping);
        phases.enter(Phase::Stopped(ExitReason::Normal));
        assert!(phases.now().ending());
    }
}
