//! The data that the child shares with the request handlers; it stays valid across restarts of the child.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::compressor::Compressor;
use super::entry::{Entry, Freshness, freshness};
use super::limits::CacheLimits;
use super::metrics::CacheCounters;
use super::probing::probe_all;
use super::roots::Roots;
use crate::memory_file::MemoryFiles;
use crate::num::as_millis;

/// The state of the cache that the child changes and the request handlers read.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) limits: Arc<CacheLimits>,
    pub(crate) counters: CacheCounters,
    pub(crate) memory_files: MemoryFiles,
    pub(crate) compressor: Compressor,
    /// Places for large files that are being sent.
    pub(crate) large_files: Arc<Semaphore>,
    pub(crate) roots: Roots,
    /// The time of day, for dates and for how far a file's times can be trusted.
    pub(crate) wall: fn() -> SystemTime,
    /// The start of the cache's own clock.
    pub(super) base: Instant,
}

impl Published {
    /// Probes the roots whose probe is due.
    pub(crate) async fn probe_due(&self) {
        let now = Instant::now();
        let due = self.roots.all().into_iter();
        probe_all(due.filter(|root| root.is_probe_due(now))).await;
    }

    /// `now` on the cache's own clock.
    pub(crate) fn millis_at(&self, now: Instant) -> u64 {
        as_millis(now.saturating_duration_since(self.base))
    }

    pub(crate) fn freshness(&self, entry: &Entry, now: Instant) -> Freshness {
        let age = entry.age_ms(self.millis_at(now));
        freshness(age, self.limits.revalidate_ms())
    }
}
