//! Events for a supervisor, from its children, its timers and its parent.

use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use crate::supervision::exit_reason::ExitReason;
use crate::supervision::rules::AfterStop;

/// One incarnation of one child of a supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IncarnationId {
    /// The child's position in the start order.
    pub(crate) child: usize,
    pub(crate) generation: u64,
}

/// Something a supervisor has to decide about.
///
/// The channel has no limit, but few events are ever in it: an incarnation reports itself at most twice, and a timer fires
/// once.
#[derive(Debug, Clone)]
pub(crate) enum SupervisorEvent {
    /// An incarnation is ready.
    Ready(IncarnationId),
    /// A child chose not to run: its factory returned [`StartError::Ignore`](crate::supervision::StartError::Ignore).
    Ignored(IncarnationId),
    /// An incarnation has ended; its slot has been fenced.
    Exited {
        incarnation: IncarnationId,
        reason: ExitReason,
        /// Whether the incarnation handled something.
        handled: bool,
    },
    /// A timer that the supervisor set has fired.
    Fired(Timer),
    /// An incarnation hangs.
    Hung {
        incarnation: IncarnationId,
        age: Duration,
    },
    /// The supervisor is asked to stop.
    Stop(AfterStop),
    /// Somebody asks whether the supervisor is alive.
    Tick,
}

/// A timer of a supervisor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timer {
    pub(crate) kind: TimerKind,
    pub(crate) incarnation: IncarnationId,
}

/// The purpose of a timer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum TimerKind {
    /// The child should be ready by now.
    Start,
    /// The child should have stopped by now.
    Shutdown,
    /// The child may be started again.
    Backoff,
}

/// Reports what happens to one incarnation to its supervisor.
#[derive(Debug, Clone)]
pub(crate) struct Reporter {
    pub(crate) incarnation: IncarnationId,
    pub(crate) events: UnboundedSender<SupervisorEvent>,
}

impl Reporter {
    pub(crate) fn ready(&self) {
        self.send(SupervisorEvent::Ready(self.incarnation));
    }

    pub(crate) fn ignored(&self) {
        self.send(SupervisorEvent::Ignored(self.incarnation));
    }

    pub(crate) fn exited(&self, reason: ExitReason, handled: bool) {
        self.send(SupervisorEvent::Exited {
            incarnation: self.incarnation,
            reason,
            handled,
        });
    }

    fn send(&self, event: SupervisorEvent) {
        // If the supervisor is gone, nobody is left to decide anything: the tree is ending.
        drop(self.events.send(event));
    }
}
