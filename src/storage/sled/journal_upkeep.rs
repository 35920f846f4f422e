//! The journal and its snapshots, as far as that outlives one opening of the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::archiving::Archiving;
use super::data_folder::DataFolder;
use super::one_at_a_time::OneAtATime;
use super::snapshots;
use crate::storage::OldestMoment;
use crate::storage::journal::StoreId;

/// The facts about the journal and its snapshots that are not in their files, and the work on them.
pub(super) struct JournalUpkeep {
    /// The bytes that the journal has grown by since the last snapshot.
    growth: AtomicU64,
    segment_is_damaged: AtomicBool,
    /// The making of a snapshot or of another view: one at a time.
    pub(super) snapshotting: OneAtATime,
    /// The oldest moment to which the store can be restored.
    oldest: Mutex<Option<OldestMoment>>,
    /// The copying of the journal into an archive, if the settings ask for it.
    pub(super) archiving: Option<Arc<Archiving>>,
}

impl JournalUpkeep {
    pub(super) fn new(archiving: Option<Archiving>) -> Self {
        Self {
            growth: AtomicU64::new(0),
            segment_is_damaged: AtomicBool::new(false),
            snapshotting: OneAtATime::default(),
            oldest: Mutex::new(None),
            archiving: archiving.map(Arc::new),
        }
    }

    /// Makes the next group begin a new file of the journal, since the current one is damaged.
    pub(super) fn leave_segment(&self) {
        self.segment_is_damaged.store(true, Ordering::SeqCst);
    }

    /// Whether the next group begins a new file of the journal. Asked once for each group.
    pub(super) fn takes_new_segment(&self) -> bool {
        self.segment_is_damaged.load(Ordering::Relaxed)
            && self.segment_is_damaged.swap(false, Ordering::SeqCst)
    }

    /// Notes that the journal has grown, and returns by how much since the last snapshot.
    pub(super) fn grown(&self, bytes: u64) -> u64 {
        self.growth.fetch_add(bytes, Ordering::Relaxed) + bytes
    }

    /// Notes by how much the journal has grown since the last snapshot: that of a store that was just opened, or 0 when a
    /// snapshot is being made, so that the next one is due when the journal has grown again.
    pub(super) fn set_growth(&self, bytes: u64) {
        self.growth.store(bytes, Ordering::Relaxed);
    }

    /// The oldest moment to which the store can be restored, if that was looked up.
    pub(super) fn oldest(&self) -> Option<OldestMoment> {
        *self.oldest.lock()
    }

    /// Looks up the oldest moment to which the store can be restored.
    pub(super) fn look_how_far_back(&self, data: &DataFolder, store: StoreId) {
        match snapshots::oldest_moment(data, store) {
            Ok(oldest) => *self.oldest.lock() = oldest,
            Err(error) => {
                tracing::debug!(%error, "the files of the store could not be looked through");
            }
        }
    }
}
