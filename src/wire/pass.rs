//! The permission to work on one request.

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// The permission to work on one request, which is held until it is answered.
#[derive(Debug, Default)]
pub(crate) struct Pass {
    not_before: Option<Instant>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Pass {
    /// A pass for an answer that is given at this moment at the earliest, and that holds `permit` until then.
    pub(crate) fn new(not_before: Option<Instant>, permit: Option<OwnedSemaphorePermit>) -> Self {
        Self {
            not_before,
            _permit: permit,
        }
    }

    /// Waits until the answer may be given.
    pub(crate) async fn wait_delay(&self) {
        if let Some(not_before) = self.not_before {
            tokio::time::sleep_until(not_before).await;
        }
    }
}
