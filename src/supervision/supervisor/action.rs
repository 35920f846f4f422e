//! The actions of a supervisor: its machine decides on them, and its actor carries them out.

use std::time::Duration;

use tokio::time::Instant;

use crate::supervision::exit_reason::ExitReason;
use crate::supervision::life::{IncarnationId, Lasting, OrderReply, OrderResult, Timer};
use crate::supervision::rules::{AfterStop, Status};

/// One thing that a supervisor should do. A `usize` is a child's position in the start order.
pub(crate) enum Action {
    /// Show the status of a child in the tree.
    Show(IncarnationId, Status),
    /// Start an incarnation.
    Start(IncarnationId),
    /// Ask a child to stop.
    Stop(usize, AfterStop),
    /// Fence an incarnation and have it end.
    Kill(IncarnationId, ExitReason),
    /// Set a timer.
    Arm(Timer, Duration),
    /// Record that an incarnation has ended, and what was decided about it.
    Record(IncarnationId, ExitReason, Verdict),
    /// The child stays down: answer what waits in its slot.
    Close(usize),
    /// A child is removed: it is none of the children of later terms.
    Expel(usize),
    /// Drop a child's spec.
    Forget(usize, Lasting),
    /// Answer an order.
    Answer(OrderReply, OrderResult),
    /// All children are ready for the first time.
    Ready,
    /// All children are down: the supervisor ends.
    Exit(ExitReason),
}

/// The decision after the end of an incarnation.
#[derive(Clone, Copy)]
pub(crate) enum Verdict {
    /// The child is restarted after this delay.
    Restart(Duration),
    /// Nothing: it was asked to stop, or its restart type wants no restart.
    Stay,
    /// It was one death too many: the supervisor gives up.
    Escalate,
}

/// One call of a machine: when it happens, a random number in 0.0..1.0 for it, and what has been decided so far.
pub(crate) struct Turn {
    pub(super) now: Instant,
    pub(super) random: f64,
    pub(super) actions: Vec<Action>,
}

impl Turn {
    pub(crate) fn new(now: Instant, random: f64) -> Self {
        Self {
            now,
            random,
            actions: Vec::new(),
        }
    }

    pub(super) fn decide(&mut self, action: Action) {
        self.actions.push(action);
    }

    pub(super) fn answer(&mut self, reply: OrderReply, result: OrderResult) {
        self.decide(Action::Answer(reply, result));
    }
}
