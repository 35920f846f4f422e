//! Events for a supervisor, from its children, its timers and its parent.

use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use crate::supervision::exit_reason::ExitReason;
use crate::supervision::rules::AfterStop;

/// Something a supervisor has to decide about. `child` is the child's position in the start order.
///
/// The channel has no limit, but few events are ever in it: an incarnation reports itself at most twice, and a timer fires
/// once.
#[derive(Debug, Clone)]
pub(crate) enum SupervisorEvent {
    /// An incarnation is ready.
    Ready { child: usize, generation: u64 },
    /// A child chose not to run: its factory returned [`StartError::Ignore`](crate::supervision::StartError::Ignore).
    Ignored { child: usize, generation: u64 },
    /// An incarnation has ended; its slot has been fenced.
    Exited {
        child: usize,
        generation: u64,
        reason: ExitReason,
        /// Whether the incarnation handled something.
        handled: bool,
    },
    /// A timer that the supervisor set has fired.
    Fired(Timer),
    /// An incarnation hangs.
    Hung {
        child: usize,
        generation: u64,
        age: Duration,
    },
    /// The supervisor is asked to stop.
    Stop(AfterStop),
    /// Somebody asks whether the supervisor is alive.
    Tick,
}

/// A timer of a supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timer {
    pub(crate) kind: TimerKind,
    pub(crate) child: usize,
    pub(crate) generation: u64,
}

/// The purpose of a timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimerKind {
    /// The child should be ready by now.
    Start,
    /// The child should have stopped by now.
    Shutdown,
    /// The child may be started again.
    Backoff,
}

/// Reports what happens to a child to its supervisor.
#[derive(Debug, Clone)]
pub(crate) struct Reporter {
    pub(crate) child: usize,
    pub(crate) events: UnboundedSender<SupervisorEvent>,
}

impl Reporter {
    pub(crate) fn ready(&self, generation: u64) {
        self.send(SupervisorEvent::Ready {
            child: self.child,
            generation,
        });
    }

    pub(crate) fn ignored(&self, generation: u64) {
        self.send(SupervisorEvent::Ignored {
            child: self.child,
            generation,
        });
    }

    pub(crate) fn exited(&self, generation: u64, reason: ExitReason, handled: bool) {
        self.send(SupervisorEvent::Exited {
            child: self.child,
            generation,
            reason,
            handled,
        });
    }

    fn send(&self, event: SupervisorEvent) {
        // If the supervisor is gone, nobody is left to decide anything: the tree is ending.
        drop(self.events.send(event));
    }
}
