//! Errors before any child is started.

use crate::listener::{BindError, InheritError, UnixBindError};
use crate::supervision::SpecFaults;
use crate::telemetry::LogsError;

/// The error of a daemon that could not be built or started.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// An address could not be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A socket was not passed to this process.
    #[error(transparent)]
    Inherit(#[from] InheritError),
    /// A path could not be listened at.
    #[error(transparent)]
    BindUnix(#[from] UnixBindError),
    /// A socket does not tell its address.
    #[error("the system does not tell the address of a socket")]
    Address(#[source] std::io::Error),
    /// The access log can't be written.
    #[error("the access log can't be opened")]
    AccessLog(#[source] LogsError),
    /// The tree can't be grown as the settings want it.
    #[error(transparent)]
    Spec(#[from] SpecFaults),
    /// The system gave no thread to run on.
    #[error("the system refused a thread")]
    Thread(#[source] std::io::Error),
}
