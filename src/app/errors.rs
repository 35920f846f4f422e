//! The errors of building and starting the daemon, and the reasons for which it stops by itself.

use crate::file_cache::RootFault;
use crate::listener::SocketError;
use crate::supervision::{Causes, ExitReason, SpecFaults, chain};
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
    /// A folder can't be used.
    #[error(transparent)]
    Folder(#[from] RootFault),
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

/// The reason for which a daemon stopped by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// Children died too often.
    #[error("the daemon ended: {0}")]
    GaveUp(ExitReason),
    /// Not all of it could be started; what had been was stopped again.
    #[error("could not start:{}", listed(causes.leaves()))]
    NotStarted {
        /// Everything that failed.
        causes: Causes,
    },
    /// The store can't be used as it is; the text says what was found and what to do.
    #[error("{text}{}", listed(others(causes.as_ref(), text)))]
    DataRefused {
        /// The fault that was found, and the advice to the operator.
        text: String,
        /// Whether the fault is that another process uses it: it may be let go.
        held: bool,
        /// Everything that failed, if that was at the start.
        causes: Option<Causes>,
    },
}

/// The failures other than the one that `text` describes already.
fn others<'a>(causes: Option<&'a Causes>, text: &str) -> Vec<(String, &'a ExitReason)> {
    let leaves = causes.map(Causes::leaves).unwrap_or_default();
    let others = leaves.into_iter();
    others
        .filter(|(_, reason)| !reason.to_string().contains(text))
        .collect()
}

/// One line for each failure.
fn listed(failures: Vec<(String, &ExitReason)>) -> String {
    failures
        .iter()
        .fold(String::new(), |lines, (child, reason)| {
            lines + &format!("\n  {child}: {reason}")
        })
}
