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

/// The progress of the store, which waiting readers watch.
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
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Stats {
    /// The last change that may be visible: set before it is applied.
    pub(super) staged: u64,
    /// The last change that is applied completely.
    pub(super) applied: u64,
    pub(super) records: u64,
    /// The bytes of its records as they are served.
    pub(super) bytes: u64,
}

/// [`Stats`] that the writer changes while others read them.
#[derive(Debug, Default)]
struct AtomicStats {
    staged: AtomicU64,
    applied: AtomicU64,
    records: AtomicU64,
    bytes: AtomicU64,
}

impl AtomicStats {
    fn load(&self) -> Stats {
        Stats {
            staged: self.staged.load(Ordering::SeqCst),
            applied: self.applied.load(Ordering::SeqCst),
            records: self.records.load(Ordering::SeqCst),
            bytes: self.bytes.load(Ordering::SeqCst),
        }
    }

    fn set(&self, tally: &Tally) {
        self.applied.store(tally.seq, Ordering::SeqCst);
        self.records.store(tally.records, Ordering::SeqCst);
        self.bytes.store(tally.bytes, Ordering::SeqCst);
    }
}

/// The state that the writer publishes and all readers see without a lock.
pub(super) struct ReaderState {
    open: ArcSwapOption<OpenEngine>,
    progress: watch::Sender<Progress>,
    collections: Vec<AtomicStats>,
    /// Whether a group is being applied to the engine and the figures.
    group: SeqLock,
}

impl ReaderState {
    pub(super) fn new(collections: usize) -> Self {
        Self {
            open: ArcSwapOption::empty(),
            progress: watch::Sender::new(Progress::default()),
            collections: std::iter::repeat_with(AtomicStats::default)
                .take(collections)
                .collect(),
            group: SeqLock::default(),
        }
    }

    /// The engine, for one read; `None` while it is not open.
    pub(super) fn engine(&self) -> arc_swap::Guard<Option<Arc<OpenEngine>>> {
        self.open.load()
    }

    /// The sender of the progress, from which a waiting reader gets a receiver.
    pub(super) fn progress(&self) -> &watch::Sender<Progress> {
        &self.progress
    }

    /// The result of `look`, if no group was applied while it ran.
    pub(super) fn between_groups<T>(&self, look: impl FnOnce() -> T) -> Option<T> {
        self.group.read(look)
    }

    /// The figures of a resource.
    pub(super) fn stats(&self, collection: CollectionId) -> Stats {
        let stats = self.collections.get(collection.0);
        stats.map(AtomicStats::load).unwrap_or_default()
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
