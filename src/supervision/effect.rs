//! What a supervisor is to do: the machine says it, the actor does it.

use std::time::Duration;

use super::event::Timer;
use super::exit_reason::ExitReason;

/// What a supervisor is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    Start {
        child: usize,
        generation: u64,
    },
    Stop {
        child: usize,
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
    /// All children are up for the first time.
    Ready,
    /// All children are down; so is the supervisor.
    Exit(ExitReason),
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
