//! What the child shares with the request handlers; it stays valid across restarts of the child.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::entry::{Entry, Freshness, freshness};
use super::metrics::CacheCounters;
use super::root::RootId;
use super::root_io::{CallThreads, RootIo};
use super::table::Table;
use crate::memory_file::MemoryFiles;
use crate::num::as_millis;
use crate::settings::FileCacheSettings;

/// The state of the cache that the child changes and the request handlers read.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) table: ArcSwap<Table>,
    pub(crate) limits: FileCacheSettings,
    pub(crate) counters: CacheCounters,
    pub(crate) memory_files: MemoryFiles,
    /// Places for large files that are being sent.
    pub(crate) large_files: Arc<Semaphore>,
    /// [`FileCacheSettings::revalidate`] in milliseconds.
    pub(super) revalidate_ms: u64,
    pub(crate) deadline: Duration,
    pub(crate) roots: Vec<Arc<RootIo>>,
    /// The time of day, for dates and for how far a file's times can be trusted.
    pub(crate) wall: fn() -> SystemTime,
    /// The start of the cache's own clock.
    pub(super) base: Instant,
    pub(super) _threads: CallThreads,
}

impl Published {
    pub(crate) fn root(&self, id: RootId) -> Option<&Arc<RootIo>> {
        self.roots.get(id.0)
    }

    /// Probes the roots whose probe is due.
    pub(crate) async fn probe_due(&self) {
        join_all(self.roots.iter().map(RootIo::probe_if_due)).await;
    }

    /// `now` on the cache's own clock.
    pub(crate) fn millis_at(&self, now: Instant) -> u64 {
        as_millis(now.saturating_duration_since(self.base))
    }

    pub(crate) fn freshness(&self, entry: &Entry, now: Instant) -> Freshness {
        freshness(entry.age_ms(self.millis_at(now)), self.revalidate_ms)
    }
}
