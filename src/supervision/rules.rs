//! What a supervisor and its children are bound to, and where a child stands.

use std::time::Duration;

use super::backoff::Backoff;
use super::intensity::Intensity;
use super::strategy::{Restart, Shutdown, Strategy};

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

/// The rules of one child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) restart: Restart,
    pub(crate) shutdown: Shutdown,
    pub(crate) start_timeout: Duration,
    /// A supervisor hears a stop while it is starting; anything else is cut off.
    pub(crate) supervisor: bool,
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
