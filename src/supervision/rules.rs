//! What a supervisor and its children are bound to, and where a child stands.

use std::time::Duration;

use crate::supervision::backoff::Backoff;
use crate::supervision::intensity::Intensity;
use crate::supervision::strategy::{Restart, Shutdown, Strategy};

/// A supervisor's own flags (OTP: `sup_flags`).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Flags {
    /// What a death does to the siblings.
    pub strategy: Strategy,
    /// How many restarts before it gives up.
    pub intensity: Intensity,
    /// How long restarts that get nothing done wait.
    pub backoff: Backoff,
}

/// The rules of one child (OTP: the child spec, as it can be read back).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// When it is started again.
    pub restart: Restart,
    /// How it is stopped.
    pub shutdown: Shutdown,
    /// How long it is given to become ready; a supervisor takes the time its children take, and their starts are timed.
    pub start_timeout: Duration,
    /// Whether it is a supervisor.
    pub supervisor: bool,
}

/// How a supervisor brings its children up for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Startup {
    /// Each after the one before it is ready.
    #[default]
    InOrder,
    /// All at once: they do not need each other.
    Together,
}

/// What follows the stop of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sequel {
    /// Its next life, as soon as the others that go down with it are down.
    NextLife,
    /// Nothing, as far as its supervisor knows.
    End,
}

/// What one child is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// Not running, and about to be started.
    Down,
    /// Being made.
    Starting,
    /// Serving.
    Running,
    /// Asked to stop.
    Stopping,
    /// Waiting for its backoff to pass.
    Backoff,
    /// Down, and it stays so.
    Ended,
}

impl Status {
    /// The word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Backoff => "backoff",
            Self::Ended => "ended",
        }
    }

    pub(crate) fn alive(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Stopping)
    }
}
