//! The drain: all handlers finish their requests within one limit, whichever is asked first.

// Decision: All handlers drain at once.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::wire::Drain;

/// A drain with its limit.
#[derive(Debug, Clone)]
pub(crate) struct DrainLimit {
    drain: Drain,
    /// The longest time that the drain may take.
    pub(super) limit: Duration,
    until: Arc<Mutex<Option<Instant>>>,
}

impl DrainLimit {
    /// The time beyond the limit that a handler has to end by itself.
    pub(super) const GRACE: Duration = Duration::from_secs(1);

    /// A drain that may take `limit`.
    pub(crate) fn new(limit: Duration) -> Self {
        Self {
            drain: Drain::new(),
            limit,
            until: Arc::default(),
        }
    }

    /// The signal for connections.
    pub(crate) fn signal(&self) -> Drain {
        self.drain.clone()
    }

    /// Begins, for all handlers; the limit runs from the first call.
    pub(super) fn begin(&self) -> Instant {
        self.drain.begin();
        let mut until = self.until.lock();
        *until.get_or_insert_with(|| Instant::now() + self.limit)
    }

    /// Ends the drain: a handler starts, so connections are served again.
    pub(super) fn renew(&self) {
        self.drain.renew();
        *self.until.lock() = None;
    }
}
