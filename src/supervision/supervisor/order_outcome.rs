//! Results of orders to a supervisor.

use crate::supervision::exit_reason::ExitReason;
use crate::supervision::spec_fault::SpecFaults;

/// The error of an order that a supervisor did not carry out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// There is a child of this name, and it runs.
    #[error("a child of this name is running: terminate and delete it first")]
    AlreadyStarted,
    /// There is a child of this name, and it is down.
    #[error("there is a child of this name, and it is down: restart or delete it")]
    AlreadyPresent,
    /// The child runs.
    #[error("the child is running: terminate it first")]
    Running,
    /// The child has died and is being restarted.
    #[error("the child is being restarted: terminate it first, or wait")]
    Restarting,
    /// There is no child of this name.
    #[error("there is no child of this name")]
    NotFound,
    /// The spec has faults. The child was not added.
    #[error(transparent)]
    Faulty(#[from] SpecFaults),
    /// The child could not start. A new child was not added; an old one stays, and is down.
    #[error("the child could not start: {0}")]
    StartFailed(ExitReason),
    /// The child was terminated before it was ready.
    #[error("the child was terminated before it was ready")]
    Terminated,
    /// The supervisor is not running, or ended before it carried out the order.
    #[error("the supervisor is not running")]
    NotRunning,
}

/// The result of an order to start a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Started {
    /// The child is ready.
    Running {
        /// The number of its incarnation.
        generation: u64,
    },
    /// The child chose not to run (OTP: `{ok, undefined}`).
    Down,
}

/// The answer to an order. An order to stop or delete a child is answered with [`Started::Down`].
pub(crate) type OrderResult = Result<Started, OrderError>;
