//! The settings of the store that may change while it runs. Whoever needs one reads it anew for each group, each message or
//! each attempt to open the store.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::num::as_u64;
use crate::settings::{ArchiveSync, AutoSize, OnRefusal, Settings};

/// The limits of a store.
#[derive(Debug, Clone, Copy)]
pub(super) struct StoreLimits {
    /// The longest time that a caller waits for its answer, and a message for the store.
    pub(super) deadline: Duration,
    /// The longest time that a commit may take.
    pub(super) flush_limit: Duration,
    /// The number of changes that the log of them keeps.
    pub(super) log_keep: u64,
    /// Whether a store that is refused ends the process.
    pub(super) exit_on_refusal: bool,
    /// The room on the disk below which writes are refused.
    pub(super) reserve: AutoSize,
    /// The time that the archive reaches back; without a limit if there is none.
    pub(super) archive_keep: Option<Duration>,
    /// The most changes that a feed reads later than they were made.
    pub(super) feed_history: usize,
    /// The age up to which it does.
    pub(super) feed_history_age: Duration,
    /// The bytes of the journal that are kept for an archive that lacks them.
    pub(super) archive_backlog: u64,
    /// The most answers to requests with a name that are kept, the most bytes of them, and the longest time.
    pub(super) answers: u64,
    pub(super) answers_bytes: u64,
    pub(super) answers_keep: Duration,
    /// The most records that are looked at for one query.
    pub(super) scan_records: u64,
    /// Whether a write waits for the archive.
    pub(super) waits_for_archive: bool,
}

impl StoreLimits {
    /// Those of the settings.
    pub(super) fn of(settings: &Settings) -> Self {
        let storage = &settings.storage;
        Self {
            deadline: settings.supervision.children.storage.deadline,
            flush_limit: storage.flush_limit,
            log_keep: as_u64(storage.log_keep),
            exit_on_refusal: storage.on_refusal == OnRefusal::Exit,
            reserve: storage.reserve,
            archive_keep: storage.archive_keep,
            feed_history: settings.feed.history,
            feed_history_age: settings.feed.history_age,
            archive_backlog: storage.archive_backlog,
            answers: as_u64(storage.answers),
            answers_bytes: storage.answers_bytes,
            answers_keep: storage.answers_keep,
            scan_records: as_u64(storage.scan_records),
            waits_for_archive: storage.archive_sync == ArchiveSync::Always,
        }
    }
}

/// The limits that are in force, for all parts of a store.
#[derive(Debug, Clone)]
pub(super) struct SharedLimits(Arc<ArcSwap<StoreLimits>>);

impl SharedLimits {
    /// Those of the settings.
    pub(super) fn new(settings: &Settings) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(StoreLimits::of(settings))))
    }

    /// The limits at this moment.
    pub(super) fn now(&self) -> StoreLimits {
        **self.0.load()
    }

    /// Puts those of the settings in force.
    pub(super) fn set(&self, settings: &Settings) {
        self.0.store(Arc::new(StoreLimits::of(settings)));
    }
}
