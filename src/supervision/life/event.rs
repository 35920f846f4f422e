//! What a supervisor hears of its children.

use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use crate::supervision::exit_reason::ExitReason;
use crate::supervision::rules::Sequel;

/// Something a supervisor has to decide about. The channel is unbounded, but what is in it is not: an incarnation
/// reports itself twice at most, and a timer fires once.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// An incarnation can serve.
    Ready { child: usize, generation: u64 },
    /// A child is not wanted now.
    Ignored { child: usize, generation: u64 },
    /// An incarnation has ended; its slot is fenced.
    Exited {
        child: usize,
        generation: u64,
        reason: ExitReason,
        handled: bool,
    },
    /// A timer that the supervisor set has fired.
    Fired(Timer),
    /// The sentinel's verdict: an incarnation hangs.
    Hung {
        child: usize,
        generation: u64,
        age: Duration,
    },
    /// The supervisor is asked to stop.
    Stop(Sequel),
}

/// What comes in at a supervisor.
pub(crate) enum Input {
    Event(Event),
    /// The sentinel asks whether it is alive.
    Tick,
}

/// What a supervisor waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timer {
    pub(crate) kind: TimerKind,
    pub(crate) child: usize,
    pub(crate) generation: u64,
}

/// Which deadline a timer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimerKind {
    /// The child should be ready.
    Start,
    /// The child should have stopped.
    Shutdown,
    /// The child may be started again.
    Backoff,
}

/// The way from one incarnation to its supervisor.
#[derive(Debug, Clone)]
pub(crate) struct Reporter {
    pub(crate) child: usize,
    pub(crate) input: UnboundedSender<Input>,
}

impl Reporter {
    pub(crate) fn ready(&self, generation: u64) {
        self.send(Event::Ready {
            child: self.child,
            generation,
        });
    }

    pub(crate) fn ignored(&self, generation: u64) {
        self.send(Event::Ignored {
            child: self.child,
            generation,
        });
    }

    pub(crate) fn exited(&self, generation: u64, reason: ExitReason, handled: bool) {
        self.send(Event::Exited {
            child: self.child,
            generation,
            reason,
            handled,
        });
    }

    fn send(&self, event: Event) {
        // Without a supervisor there is nobody left to decide anything: the process is on its way out.
        drop(self.input.send(Input::Event(event)));
    }
}
