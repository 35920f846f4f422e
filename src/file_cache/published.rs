//! What the child shares with the request handlers; it stays valid across restarts of the child.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::cache_counters::CacheCounters;
use super::root::{RootId, SiteRoot};
use super::root_io::{CallThreads, RootIo};
use super::table::Table;
use crate::num::as_millis;
use crate::settings::FileCacheSettings;

/// The parts from which a file cache is made.
#[derive(Debug)]
pub(crate) struct FilesSetup {
    /// The folders that are served; a root's [`RootId`] is its index.
    pub roots: Vec<SiteRoot>,
    /// The bounds of the cache.
    pub limits: FileCacheSettings,
    /// The longest time that a request waits for a file.
    pub deadline: Duration,
    /// The threads that make blocking calls.
    pub threads: CallThreads,
}

/// The state of the cache that the child changes and the request handlers read.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) table: ArcSwap<Table>,
    pub(crate) limits: FileCacheSettings,
    pub(crate) counters: CacheCounters,
    /// [`FileCacheSettings::revalidate`] in milliseconds.
    pub(crate) revalidate_ms: u64,
    pub(crate) deadline: Duration,
    pub(crate) roots: Vec<Arc<RootIo>>,
    /// Tells the prober that a root has stopped answering.
    pub(crate) alarm: Arc<Notify>,
    /// The start of the cache's own clock.
    base: Instant,
    _threads: CallThreads,
}

impl Published {
    pub(crate) fn new(setup: FilesSetup) -> Self {
        let alarm = Arc::new(Notify::new());
        let roots = setup.roots.into_iter().map(|site| {
            let alarm = Arc::clone(&alarm);
            let root = RootIo::new(site, &setup.threads, setup.deadline, alarm);
            Arc::new(root)
        });
        let roots: Vec<_> = roots.collect();
        Self {
            table: ArcSwap::from_pointee(Table::empty(roots.len())),
            counters: CacheCounters::default(),
            revalidate_ms: as_millis(setup.limits.revalidate),
            limits: setup.limits,
            deadline: setup.deadline,
            roots,
            alarm,
            base: Instant::now(),
            _threads: setup.threads,
        }
    }

    pub(crate) fn root(&self, id: RootId) -> Option<&Arc<RootIo>> {
        self.roots.get(id.index())
    }

    /// Probes the roots whose turn it is.
    pub(crate) async fn probe_due(&self, now: Instant) {
        let due = self.roots.iter().filter(|root| root.probe_at() <= now);
        join_all(due.map(RootIo::probe)).await;
    }

    /// `now` on the cache's own clock.
    pub(crate) fn millis_at(&self, now: Instant) -> u64 {
        as_millis(now.saturating_duration_since(self.base))
    }
}
