//! What a supervisor should do: its machine decides it, its actor carries it out.

use std::time::Duration;

use super::order_outcome::OrderResult;
use crate::supervision::exit_reason::ExitReason;
use crate::supervision::life::Timer;
use crate::supervision::rules::AfterStop;

/// The number of an order that waits for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct OrderId(pub(crate) u64);

/// One thing that a supervisor should do. `child` is the child's position in the start order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    Start {
        child: usize,
        generation: u64,
    },
    Stop {
        child: usize,
        after: AfterStop,
    },
    /// Fence the incarnation and leave it behind.
    Kill {
        child: usize,
        generation: u64,
        reason: ExitReason,
    },
    Arm {
        timer: Timer,
        after: Duration,
    },
    /// Record that a child has ended, and what was decided about it.
    Record {
        child: usize,
        generation: u64,
        reason: ExitReason,
        verdict: Verdict,
    },
    /// The child stays down: answer what waits in its slot.
    Close {
        child: usize,
    },
    /// Drop the child's spec.
    Forget {
        child: usize,
    },
    /// Answer an order.
    Answer {
        order: OrderId,
        result: OrderResult,
    },
    /// All children are ready for the first time.
    Ready,
    /// All children are down: the supervisor ends.
    Exit(ExitReason),
}

impl Action {
    pub(crate) fn answer(order: OrderId, result: OrderResult) -> Self {
        Self::Answer { order, result }
    }
}

/// The decision after the end of an incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The child is restarted after this delay.
    Restart(Duration),
    /// Nothing: it was asked to stop, or its restart type wants no restart.
    Stay,
    /// It was one death too many: the supervisor gives up.
    Escalate,
}
