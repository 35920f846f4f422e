//! The phases of the daemon's life, and a way to wait for one from any thread.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use crate::supervision::ExitReason;

/// A stage in the life of the daemon. A phase is only ever followed by a later one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Phase {
    /// Sockets are bound; clients wait in the kernel's backlog.
    #[default]
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
    /// Whether the daemon is stopping or has stopped.
    pub fn ending(&self) -> bool {
        matches!(self, Self::Stopping | Self::Stopped(_))
    }

    fn rank(&self) -> u8 {
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
#[derive(Debug, Clone, Default)]
pub(crate) struct Phases {
    now: Arc<(Mutex<Phase>, Condvar)>,
}

impl Phases {
    /// Enters `phase`, unless the present one is as late or later. Whether it was entered.
    pub(crate) fn enter(&self, phase: Phase) -> bool {
        let (now, changed) = &*self.now;
        let mut now = now.lock();
        let later = phase.rank() > now.rank();
        if later {
            *now = phase;
            changed.notify_all();
        }
        later
    }

    pub(crate) fn now(&self) -> Phase {
        self.now.0.lock().clone()
    }

    /// Blocks until the present phase is one of those that are `wanted`, and returns it.
    pub(crate) fn wait(&self, wanted: impl Fn(&Phase) -> bool) -> Phase {
        let (now, changed) = &*self.now;
        let mut phase = now.lock();
        changed.wait_while(&mut phase, |phase| !wanted(phase));
        phase.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_during_the_start_is_not_undone_by_readiness() {
        let phases = Phases::default();
        for phase in [Phase::Starting, Phase::Stopping, Phase::Ready] {
            phases.enter(phase);
        }
        assert_eq!(phases.now(), Phase::Stopping);
        phases.enter(Phase::Stopped(ExitReason::Normal));
        assert!(phases.now().ending());
    }
}
