//! What can go wrong before anything runs.

use crate::listener::BindError;
use crate::supervision::SpecFaults;

/// Why the daemon could not be built or started.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// An address could not be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A socket does not tell its address.
    #[error("the system does not tell the address of a socket")]
    Address(#[source] std::io::Error),
    /// The tree can't be grown as the settings want it.
    #[error(transparent)]
    Spec(#[from] SpecFaults),
    /// The system gave no thread to run on.
    #[error("the system refused a thread")]
    Thread(#[source] std::io::Error),
}
