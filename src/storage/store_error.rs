//! The errors of a store.

use std::time::Duration;

use super::fit::DataFinding;
use super::unserved::Unserved;
use crate::record::{CommandError, SELECTED_BYTES_MAX};

/// The reasons for refusing to declare other resources. Nothing was changed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum ResourcesFault {
    /// They don't fit the stored records.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Misfits(Vec<DataFinding>),
    /// Resources were declared meanwhile, or so many records were written that break new rules that not all were noted.
    #[error("resources or too many records were changed meanwhile; try again")]
    Overtaken,
    /// The store could not tell.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The errors of a store. Clients read these texts.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum StoreError {
    /// The store is being opened, or its writer is being restarted.
    #[error("the store is being opened or its writer is being restarted; try again")]
    Unavailable,
    /// The store can't be read or written for some time.
    #[error("{told}")]
    Unready {
        /// The reason, and how far the work on it is.
        told: String,
        /// The time after which it may be over.
        retry_after: Duration,
    },
    /// The writer's queue is full.
    #[error("too many writes are waiting; try again")]
    Overloaded,
    /// As many histories are being read as may be at once.
    #[error("too many histories of records are being read; try again")]
    Busy,
    /// The deadline passed before the writer got to the write.
    #[error("the deadline passed before the write was begun; it was not done, try again")]
    Expired,
    /// Many records would have to be looked at, and that took too long, or too many others were being answered in this way.
    #[error("{}: {limit}; {}", why.reason(), why.advice())]
    Unindexed {
        /// The reason, and the indexes that could serve it.
        why: Unserved,
        /// The limit that was reached.
        limit: ScanLimit,
    },
    /// The deadline passed while records were read.
    #[error("reading the whole resource took too long; ask for less of it")]
    TooSlow,
    /// The records before the page of a sorted list have more than [`SELECTED_BYTES_MAX`], or there is no room for a page.
    #[error("the records of this sorted list up to the page asked for are more than {} MiB; filter, or read the list with _limit=100&_after= and follow its links", SELECTED_BYTES_MAX >> 20)]
    TooLarge,
    /// The writer panicked on the write twice.
    #[error("the writer failed on this write; it was not done")]
    Crashed,
    /// The write was begun, and nobody knows whether it was done.
    #[error("the write was begun, but its outcome is not known; read before trying again")]
    OutcomeUnknown,
    /// The daemon is stopping, or the writer was stopped by order.
    #[error(
        "no writes are accepted: the daemon is stopping, or its writer was stopped by an order"
    )]
    ShuttingDown,
    /// A stored record is not what was written.
    #[error("a stored record is damaged")]
    Damaged,
    /// The disk has less room than the reserve.
    #[error("the disk is full: writes are refused until there is room, reads go on")]
    Full,
    /// The engine failed; the log says how.
    #[error("the store failed; the daemon's log says why")]
    Failed,
    /// The command may not be carried out as things are.
    #[error(transparent)]
    Refused(#[from] CommandError),
}

/// A limit of reading a whole resource for one query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ScanLimit {
    /// Only few are read at once, and its turn did not come before the deadline.
    #[error("too many such queries are being answered")]
    Turn,
    /// The deadline passed while records were read.
    #[error("that took too long")]
    Time,
    /// It has more records.
    #[error("they are more than the {most} that one query may read (storage.scan_records)")]
    Records { most: u64 },
}

impl ScanLimit {
    /// Their names in metrics.
    pub(super) const NAMES: [&str; 3] = ["turn", "time", "records"];

    /// The place of its name.
    pub(super) fn place(self) -> usize {
        match self {
            Self::Turn => 0,
            Self::Time => 1,
            Self::Records { .. } => 2,
        }
    }
}
