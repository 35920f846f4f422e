//! When the sentinel and the root supervisor were last known to live.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::supervision::clock::Clock;

/// When the sentinel and the supervisor were last known to live.
#[derive(Debug)]
pub struct Pulse {
    base: Instant,
    clock: Clock,
    sentinel_ms: AtomicU64,
    supervisor_ms: AtomicU64,
}

impl Pulse {
    /// Everything lives now.
    pub fn new(clock: Clock) -> Arc<Self> {
        let (sentinel_ms, supervisor_ms) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self {
            base: clock.now(),
            clock,
            sentinel_ms,
            supervisor_ms,
        })
    }

    fn now_ms(&self) -> u64 {
        let since = self.clock.now().saturating_duration_since(self.base);
        crate::num::as_millis(since)
    }

    pub(crate) fn supervisor_ticked(&self) {
        self.supervisor_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    pub(crate) fn sentinel_ticked(&self) {
        self.sentinel_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    /// For how long nothing has been heard of the slower of the two.
    pub fn silence(&self) -> Duration {
        let heard = |at: &AtomicU64| at.load(Ordering::Relaxed);
        let last = heard(&self.sentinel_ms).min(heard(&self.supervisor_ms));
        Duration::from_millis(self.now_ms().saturating_sub(last))
    }
}
