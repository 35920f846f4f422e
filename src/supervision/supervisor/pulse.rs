//! The signs of life of a tree: when the sentinel and the root supervisor last gave one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// When the sentinel and the root supervisor last showed that they are alive.
#[derive(Debug)]
pub struct Pulse {
    base: Instant,
    sentinel_ms: AtomicU64,
    supervisor_ms: AtomicU64,
}

impl Pulse {
    /// A pulse that counts both as alive now.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            base: Instant::now(),
            sentinel_ms: AtomicU64::new(0),
            supervisor_ms: AtomicU64::new(0),
        })
    }

    fn now_ms(&self) -> u64 {
        crate::num::as_millis(self.base.elapsed())
    }

    pub(crate) fn supervisor_ticked(&self) {
        self.supervisor_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    pub(crate) fn sentinel_ticked(&self) {
        self.sentinel_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    /// The time since the slower of the two last showed that it is alive.
    pub fn silence(&self) -> Duration {
        let sentinel = self.sentinel_ms.load(Ordering::Relaxed);
        let supervisor = self.supervisor_ms.load(Ordering::Relaxed);
        let last = sentinel.min(supervisor);
        Duration::from_millis(self.now_ms().saturating_sub(last))
    }
}
