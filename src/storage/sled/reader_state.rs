//! The state of the store that readers use: the open engine, its last change, and the counts of each resource.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

use super::checked::{Checked, Tally};
use super::engine::{Engine, Group};
use super::index_catalog::IndexCatalog;
use super::opening::CommitLog;
use super::seqlock::SeqLock;
use crate::storage::journal::StoreId;
use crate::storage::{CollectionId, LastChange, RecentChanges};

/// The progress of the store, which waiting readers watch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// The number of times that the engine was opened or replaced.
    pub(super) era: u64,
    /// All changes up to this one are on the disk.
    pub(super) durable: u64,
    /// Whether the engine can be read.
    pub(super) readable: bool,
    /// Whether the last attempt to open it failed.
    pub(super) troubled: bool,
}

/// The engine while it is open. Readers hold it for one read, and never over an await.
pub(super) struct OpenEngine {
    pub(super) engine: Box<dyn Engine>,
    pub(super) era: u64,
    pub(super) store: StoreId,
    /// The group that is on the disk and is being applied to the engine: what it changes is read here.
    pub(super) unapplied: ArcSwapOption<Group>,
    /// Its indexes. The writer changes them while no reader [looks](ReaderState::between_groups).
    pub(super) indexes: ArcSwap<IndexCatalog>,
    /// Used by the writer alone. A view that takes the place of another goes on with its log.
    pub(super) log: Arc<Mutex<CommitLog>>,
}

/// The state that the writer publishes and all readers see without a lock.
#[derive(Default)]
pub(super) struct ReaderState {
    open: ArcSwapOption<OpenEngine>,
    progress: watch::Sender<Progress>,
    /// The number of the last change on the disk, for feeds; sent after the progress, which they read then.
    last_change: watch::Sender<u64>,
    /// The figures of each resource.
    tallies: ArcSwap<Vec<Tally>>,
    /// Locked while a group is being applied to the engine and the figures.
    group: SeqLock,
    /// Held by the writer meanwhile.
    applying: Mutex<()>,
    /// The newest changes, for feeds.
    pub(super) recent: Arc<RecentChanges>,
}

impl ReaderState {
    /// The engine, for one read; `None` while it is not open.
    pub(super) fn engine(&self) -> arc_swap::Guard<Option<Arc<OpenEngine>>> {
        self.open.load()
    }

    /// The sender of the progress, from which a waiting reader gets a receiver.
    pub(super) fn progress(&self) -> &watch::Sender<Progress> {
        &self.progress
    }

    /// The number of the last change on the disk, to be watched.
    pub(super) fn last_change(&self) -> LastChange {
        LastChange::of(&self.last_change)
    }

    /// The result of `look` into this engine, if it is in use and no group was applied while it ran.
    pub(super) fn between_groups<T>(
        &self,
        open: &OpenEngine,
        look: impl FnOnce() -> T,
    ) -> Option<T> {
        let in_use = || {
            let used = self.open.load();
            used.as_deref().is_some_and(|used| std::ptr::eq(used, open))
        };
        self.group.read(|| in_use().then(look)).flatten()
    }

    /// The result of `look` into this engine while the writer waits, so it must not take long. `None` if it is not in use, or
    /// was left with a group that is applied in part.
    pub(super) fn before_next_group<T>(
        &self,
        open: &OpenEngine,
        look: impl FnOnce() -> T,
    ) -> Option<T> {
        let _held = self.applying.lock();
        let used = self.open.load();
        let in_use = used.as_deref().is_some_and(|used| std::ptr::eq(used, open));
        (in_use && open.unapplied.load().is_none()).then(look)
    }

    /// Taken by the writer for the time in which a group is applied.
    pub(super) fn applying(&self) -> MutexGuard<'_, ()> {
        self.applying.lock()
    }

    /// The figures of a resource, with those of a group that is being applied.
    pub(super) fn tally(&self, collection: CollectionId) -> Tally {
        let tallies = self.tallies.load();
        tallies.get(collection.0).copied().unwrap_or_default()
    }

    /// The sum of a figure of all resources.
    pub(super) fn sum(&self, figure: impl Fn(&Tally) -> u64) -> u64 {
        self.tallies.load().iter().map(figure).sum()
    }

    /// Called by the writer when a group is on the disk, before it is answered or applied. Whoever reads more than one
    /// record waits from here on until it is applied. `show` lets those see it who read one record: not before, since an index
    /// and the records that it names would be of two moments.
    pub(super) fn group_begins(&self, now: &Checked, show: impl FnOnce()) {
        self.group.write_begin();
        show();
        self.tallies.store(Arc::new(now.tallies.clone()));
        let durable = now.last_seq;
        self.progress
            .send_modify(|progress| progress.durable = durable);
        self.last_change.send_replace(durable);
    }

    /// Called by the writer when a group has been applied.
    pub(super) fn group_ends(&self) {
        self.group.write_end();
    }

    /// Lets readers see an engine that was just opened and checked.
    pub(super) fn publish(&self, open: &Arc<OpenEngine>, checked: &Checked) {
        self.group_begins(checked, || ());
        self.open.store(Some(Arc::clone(open)));
        self.group_ends();
        self.progress.send_replace(Progress {
            era: open.era,
            durable: checked.last_seq,
            readable: true,
            troubled: false,
        });
        // Feeds learn that the store is open again.
        self.last_change.send_replace(checked.last_seq);
    }

    /// Notes whether the last attempt to open the engine failed.
    pub(super) fn troubled(&self, troubled: bool) {
        self.progress
            .send_modify(|progress| progress.troubled = troubled);
    }

    /// Takes the engine away from readers.
    pub(super) fn withdraw(&self) {
        self.open.store(None);
        self.progress
            .send_modify(|progress| progress.readable = false);
    }
}
