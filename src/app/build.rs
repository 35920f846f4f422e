//! Errors of building and starting the daemon, before any child runs.

use crate::listener::{BindError, InheritError, UnixBindError};
use crate::supervision::SpecFaults;
use crate::telemetry::LogsError;

/// The error of a daemon that could not be built or started.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Some of the sockets can't be had; all of them are named.
    #[error("{}", .0.iter().map(|error| with_causes(error)).collect::<Vec<_>>().join("\n"))]
    Sockets(Vec<SocketError>),
    /// The sockets that were passed to this process can't be read.
    #[error(transparent)]
    Inherit(InheritError),
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

/// A socket that can't be had.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// An address could not be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A socket was not passed to this process.
    #[error(transparent)]
    Inherit(#[from] InheritError),
    /// A path could not be listened at.
    #[error(transparent)]
    BindUnix(#[from] UnixBindError),
}

/// The text of an error, and of what caused it.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str("\n  because ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
