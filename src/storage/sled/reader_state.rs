//! What readers see of the store: the engine while it is open, how far it is, and the figures of each resource.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

use super::engine::Engine;
use super::recovery::{Checked, Tally};
use super::seqlock::SeqLock;
use super::watermark::Watermark;
use crate::storage::CollectionId;

/// How far the store is, for those who wait for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// How often the engine was opened. A change that was seen in an earlier era may never become durable.
    pub(super) era: u64,
    /// All changes up to this one are on the disk.
    pub(super) durable: u64,
    /// Whether the engine can be read.
    pub(super) readable: bool,
}

/// The engine while it is open. Readers hold it for one read, and never over an await.
pub(super) struct OpenEngine {
    pub(super) engine: Box<dyn Engine>,
    pub(super) era: u64,
    pub(super) mark: Watermark,
}

/// The figures of one resource.
#[derive(Debug, Default)]
struct CollectionStats {
    /// The last change that may be visible: set before it is applied.
    staged: AtomicU64,
    /// The last change that is applied completely.
    applied: AtomicU64,
    records: AtomicU64,
    bytes: AtomicU64,
}

impl CollectionStats {
    fn set(&self, tally: &Tally) {
        self.applied.store(tally.seq, Ordering::SeqCst);
        self.records.store(tally.records, Ordering::SeqCst);
        self.bytes.store(tally.bytes, Ordering::SeqCst);
    }
}

/// What the writer publishes and all readers see, without a lock.
pub(super) struct ReaderState {
    open: ArcSwapOption<OpenEngine>,
    progress: watch::Sender<Progress>,
    collections: Vec<CollectionStats>,
    /// Whether a group is being applied to the engine and the figures.
    group: SeqLock,
}

impl ReaderState {
    pub(super) fn new(collections: usize) -> Self {
        let stats = || CollectionStats::default();
        Self {
            open: ArcSwapOption::empty(),
            progress: watch::Sender::new(Progress::default()),
            collections: std::iter::repeat_with(stats).take(collections).collect(),
            group: SeqLock::default(),
        }
    }

    /// The engine, for one read; `None` while it is not open.
    pub(super) fn engine(&self) -> arc_swap::Guard<Option<Arc<OpenEngine>>> {
        self.open.load()
    }

    /// How far the store is, and how to wait for more.
    pub(super) fn progress(&self) -> &watch::Sender<Progress> {
        &self.progress
    }

    /// What `look` returns, if no group was applied while it looked.
    pub(super) fn between_groups<T>(&self, look: impl FnOnce() -> T) -> Option<T> {
        self.group.read(look)
    }

    /// The resource's last change that may be visible.
    pub(super) fn staged(&self, collection: CollectionId) -> u64 {
        self.stat(collection, |stats| &stats.staged)
    }

    /// The resource's last change that is applied completely.
    pub(super) fn applied(&self, collection: CollectionId) -> u64 {
        self.stat(collection, |stats| &stats.applied)
    }

    /// How many records the resource has.
    pub(super) fn records(&self, collection: CollectionId) -> u64 {
        self.stat(collection, |stats| &stats.records)
    }

    /// How many bytes its records have as they are served.
    pub(super) fn bytes(&self, collection: CollectionId) -> u64 {
        self.stat(collection, |stats| &stats.bytes)
    }

    fn stat(&self, collection: CollectionId, of: fn(&CollectionStats) -> &AtomicU64) -> u64 {
        let stats = self.collections.get(collection.0);
        stats.map_or(0, |stats| of(stats).load(Ordering::SeqCst))
    }

    /// Called by the writer before the first change of a group becomes visible.
    pub(super) fn group_begins(&self, tallies: &[Tally]) {
        for (stats, tally) in self.collections.iter().zip(tallies) {
            stats.staged.store(tally.seq, Ordering::SeqCst);
        }
        self.group.write_begin();
    }

    /// Called by the writer after the last change of a group became visible.
    pub(super) fn group_ends(&self, tallies: &[Tally]) {
        for (stats, tally) in self.collections.iter().zip(tallies) {
            stats.set(tally);
        }
        self.group.write_end();
    }

    /// All changes up to this one are on the disk.
    pub(super) fn durable(&self, seq: u64) {
        self.progress.send_modify(|progress| progress.durable = seq);
    }

    /// Lets readers see an engine that was just opened and checked.
    pub(super) fn publish(&self, open: &Arc<OpenEngine>, checked: &Checked) {
        self.group_begins(&checked.tallies);
        self.group_ends(&checked.tallies);
        self.open.store(Some(Arc::clone(open)));
        self.progress.send_replace(Progress {
            era: open.era,
            durable: checked.last_seq,
            readable: true,
        });
    }

    /// Takes the engine away from readers.
    pub(super) fn withdraw(&self) {
        self.open.store(None);
        self.progress
            .send_modify(|progress| progress.readable = false);
    }
}
