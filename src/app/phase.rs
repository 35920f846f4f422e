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
    /// All children are down, for this reason.
    Stopped(ExitReason),
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

    pub(crate) fn enter(&self, phase: Phase) {
        let (now, changed) = &*self.now;
        *now.lock().unwrap_or_else(PoisonError::into_inner) = phase;
        changed.notify_all();
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
