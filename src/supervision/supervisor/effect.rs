//! What a supervisor is to do: the machine says it, the actor does it.

use std::time::Duration;

use super::order_error::Answer;
use crate::supervision::exit_reason::ExitReason;
use crate::supervision::life::Timer;
use crate::supervision::rules::Sequel;

/// An order that waits for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Ticket(pub(crate) u64);

/// What a supervisor is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    Start {
        child: usize,
        generation: u64,
    },
    Stop {
        child: usize,
        sequel: Sequel,
    },
    /// Fence it and leave it behind.
    Kill {
        child: usize,
        generation: u64,
        reason: ExitReason,
    },
    Arm {
        timer: Timer,
        after: Duration,
    },
    /// For the record: a child has ended, and this was decided.
    Died {
        child: usize,
        generation: u64,
        reason: ExitReason,
        verdict: Verdict,
    },
    /// It stays down: what waits for it is answered.
    Close {
        child: usize,
    },
    /// It is not a child any more.
    Forget {
        child: usize,
    },
    /// An order has been carried out, or can't be.
    Answer {
        ticket: Ticket,
        answer: Answer,
    },
    /// All children are up for the first time.
    Ready,
    /// All children are down; so is the supervisor.
    Exit(ExitReason),
}

impl Effect {
    pub(crate) fn answer(ticket: Ticket, answer: Answer) -> Self {
        Self::Answer { ticket, answer }
    }
}

/// What follows a death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is started again after this delay.
    Restart(Duration),
    /// It stays down, as it should.
    Stay,
    /// One death too many.
    Escalate,
}
