//! What becomes of an order to a supervisor.

use crate::supervision::exit_reason::ExitReason;
use crate::supervision::spec_fault::SpecFaults;

/// Why a supervisor did not do as ordered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// A child of that name is there, and alive.
    #[error("a child of this name runs already")]
    AlreadyStarted,
    /// A child of that name is there, and down.
    #[error("a child of this name is there already, and down")]
    AlreadyPresent,
    /// It is alive: it has to be terminated first.
    #[error("the child runs")]
    Running,
    /// It has died, and its restart is under way.
    #[error("the child is being restarted")]
    Restarting,
    /// There is no child of that name.
    #[error("no child of this name")]
    NotFound,
    /// The spec is wrong; nothing was added.
    #[error(transparent)]
    Faulty(#[from] SpecFaults),
    /// The child could not be started. A new one was not added; an old one stays, and is down.
    #[error("the child could not be started: {0}")]
    StartFailed(ExitReason),
    /// It was terminated before it was ready.
    #[error("terminated before it was ready")]
    Terminated,
    /// The supervisor does not run, or ended before it was done.
    #[error("the supervisor does not run")]
    NotRunning,
}

/// Where a child stands after a start that was ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// This life of it serves.
    Running {
        /// Which life it is.
        generation: u64,
    },
    /// It is not wanted now (OTP: `{ok, undefined}`).
    Down,
}

/// How many children a supervisor has (OTP: `count_children`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Specs, running or not.
    pub specs: usize,
    /// Children that are alive.
    pub active: usize,
    /// Specs of supervisors.
    pub supervisors: usize,
    /// Specs of anything else.
    pub workers: usize,
}

pub(crate) type Answer = Result<Standing, AdminError>;
