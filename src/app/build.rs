//! Errors of building and starting the daemon, before any child runs.

use crate::listener::SocketError;
use crate::supervision::{SpecFaults, chain};
use crate::telemetry::LogsError;

/// The error of a daemon that could not be built or started.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Some of the sockets can't be had; all of them are named.
    #[error("{}", .0.iter().map(|error| with_causes(error)).collect::<Vec<_>>().join("\n"))]
    Sockets(Vec<SocketError>),
    /// A socket does not tell its address.
    #[error("the system does not tell the address of a socket")]
    Address(#[source] std::io::Error),
    /// The access log can't be written.
    #[error("the access log can't be opened")]
    AccessLog(#[source] LogsError),
    /// The children can't be arranged as the settings ask for.
    #[error(transparent)]
    Spec(#[from] SpecFaults),
    /// The system gave no thread to run on.
    #[error("the system refused a thread")]
    Thread(#[source] std::io::Error),
}

/// The text of an error, and of what caused it.
pub(crate) fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    chain(error, "\n  because ")
}
