//! The flags of a supervisor, the rules of a child, and the states a child can be in.

use std::time::Duration;

use crate::supervision::backoff::Backoff;
use crate::supervision::intensity::Intensity;
use crate::supervision::life::SupervisorLimits;
use crate::supervision::strategy::{Restart, Shutdown, Strategy};

/// The settings of a supervisor (OTP: `sup_flags`).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Flags {
    pub(crate) strategy: Strategy,
    pub(crate) intensity: Intensity,
    pub(crate) backoff: Backoff,
    /// Whether its children start all at once for the first time, because they do not need each other.
    pub(crate) start_together: bool,
    /// The longest time that each of its children may take to become ready, instead of what their specs say.
    pub(crate) start_timeout: Option<Duration>,
    /// The longest time that each of its children that has a limit may take to stop, instead of what their specs say.
    pub(crate) stop_timeout: Option<Duration>,
}

impl Flags {
    /// These flags with other limits.
    pub(crate) fn with(&self, limits: SupervisorLimits) -> Self {
        let SupervisorLimits {
            strategy,
            intensity,
            backoff,
            start_timeout,
            stop_timeout,
        } = limits;
        Self {
            strategy,
            intensity,
            backoff,
            start_together: self.start_together,
            start_timeout,
            stop_timeout,
        }
    }
}

/// The rules by which a supervisor treats a child (OTP: the child spec, without its start function).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) restart: Restart,
    pub(crate) shutdown: Shutdown,
    /// The longest time that the child may take to become ready. Not used for a supervisor: the starts of its children are
    /// timed.
    pub(crate) start_timeout: Duration,
    /// Whether the child is a supervisor.
    pub(crate) supervisor: bool,
}

/// The next step when a child that was asked to stop has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AfterStop {
    /// It is started again, as soon as the rest of its group is down.
    Restart,
    /// It stays down, and so do the children that it shares things with, such as a socket.
    StayDown,
    /// It stays down alone: those children go on.
    StayDownAlone,
}

/// The state of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Status {
    /// Not running, and about to be started.
    #[default]
    Down,
    /// Being started, and not ready yet.
    Starting,
    /// Ready.
    Running,
    /// Asked to stop.
    Stopping,
    /// Waiting for its backoff delay to pass.
    Backoff,
    /// Not running, and not about to be started.
    Ended,
}

impl Status {
    /// The word for it in logs and views.
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

    /// Whether there is an incarnation.
    pub(crate) fn alive(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Stopping)
    }
}
