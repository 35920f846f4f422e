//! The faults that a check of a data folder finds.

use std::path::PathBuf;

use crate::storage::journal::JournalError;

/// One thing that is not as it was written. Each text says what becomes of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderFault {
    #[error(
        "a copy of the marks can't be read or is missing: the daemon writes it again when it starts"
    )]
    Mark,
    #[error(
        "the file marks can't be read: without it nobody knows where the journal should end; the daemon compares the journal with the view when it starts"
    )]
    Marks,
    #[error(
        "the file marks is another store's: the daemon compares the journal with the view when it starts, and writes it again"
    )]
    ForeignMarks,
    #[error("{0}: the daemon makes a new snapshot in its place while it runs")]
    Snapshot(JournalError),
    #[error("{0}: the frames behind this head are whole, and nothing is lost")]
    SegmentHead(JournalError),
    #[error("{0}: the daemon makes the journal again from the view, if that has all changes")]
    Journal(JournalError),
    #[error(
        "the journal ends at change {last}, but change {acknowledged} was acknowledged: the rest is damaged from byte {at} of {} on, or missing; the daemon makes the journal again from the view, if that has all changes",
        .path.display()
    )]
    Short {
        path: PathBuf,
        at: u64,
        last: u64,
        acknowledged: u64,
    },
    #[error("{error}: no snapshot needs it, but moments before change {before} can't be restored")]
    Old { error: JournalError, before: u64 },
    #[error(
        "the view differs from the journal: {0}; stop the daemon and move the folder view out of the data folder: it is made again"
    )]
    Difference(String),
    #[error(
        "the view is at change {view}, but the journal ends at {last}: the daemon makes the journal again from the view when it starts"
    )]
    Ahead { view: u64, last: u64 },
    #[error(
        "the view can't be read: {0}; the daemon makes it again from the journal when it starts"
    )]
    View(String),
}

impl FolderFault {
    /// Whether it is damage, and not only a loss of history.
    pub(crate) fn is_damage(&self) -> bool {
        !matches!(self, Self::Old { .. })
    }
}
