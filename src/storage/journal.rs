//! The journal: every change that was acknowledged, in order, in files that are only appended to.
//!
//! It is the truth of a store. The records that are read come from a view, which is made from the journal and may be made
//! again at any time. `JOURNAL.md` beside this file gives the format byte by byte.
//!
//! Order of reading: [`change`] (one change), [`frame`] (one group of changes as bytes), [`segment`] (one file), [`append`] (writing), [`read`]
//! (reading and checking), [`marks`] (what was acknowledged), [`stream`] (changes one after the other, compressed), [`snapshot`] (all records of one moment, so that older
//! files can be removed), [`lock`] (one process at a time), [`archive`] (a copy elsewhere), [`pieces`] (what is left of a damaged file).

// Decision: The journal is the truth, and sled is a view of it.

mod append;
mod archive;
mod change;
mod frame;
mod lock;
mod marks;
mod pieces;
mod read;
mod segment;
mod snapshot;
mod stream;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use crate::plain_file;

pub(super) use append::{FrameSync, Journal};
pub(super) use archive::{Archive, ArchiveError, ArchiveFolders};
pub(super) use change::{JournalChange, JournalEffect};
pub(super) use frame::{FRAME_VERSION, FrameFault};
pub(super) use lock::{DataLock, LockError};
pub(super) use marks::{Acknowledged, MARK_FILES, Mark, Marks, MarksFound, boot_id};
pub(super) use pieces::{DamagedPiece, Piece};
pub(crate) use read::JournalFiles;
pub(super) use read::{JournalEnd, Reach};
pub(super) use snapshot::{Snapshot, SnapshotWriter};
pub(super) use stream::{StreamError, StreamHead, StreamReader, StreamWriter};

/// The number that a store was given when it was made. It is in each of its files, so that a file of another store is
/// recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoreId(pub(super) u128);

impl StoreId {
    /// A number that no other store has.
    pub(super) fn random() -> Self {
        Self(uuid::Uuid::now_v7().as_u128())
    }

    /// Its short form, in six letters and digits of its random part.
    pub(super) fn mark(self) -> String {
        let digit = |place: u32| u32::try_from((self.0 >> (5 * place)) & 31).ok();
        let sign = |place| char::from_digit(digit(place)?, 32);
        (0..6).filter_map(sign).collect()
    }
}

impl std::fmt::Display for StoreId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        uuid::Uuid::from_u128(self.0).fmt(f)
    }
}

/// The error of a file of the journal.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    /// The file system returned an error.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The file is not what was written.
    #[error("{} at byte {at}: {fault}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The position in it.
        at: u64,
        fault: FrameFault,
    },
    /// Changes are missing between two files.
    #[error("changes {first} to {last} are missing: they should be in {}", .path.display())]
    Missing {
        /// The file in which they should be.
        path: PathBuf,
        first: u64,
        last: u64,
    },
    /// A data folder has parts of two stores, and it can't be told which are its own.
    #[error(
        "{} has files of two stores, and nothing tells which are right: put back those that belong together, or a backup",
        .path.display()
    )]
    Mixed {
        /// The folder.
        path: PathBuf,
    },
    /// A group of changes is so long that it would not be read back.
    #[error("the changes are too long for one group of the journal; change fewer records at once")]
    TooMuch,
    /// The file was removed, or another one took its place, while the daemon had it open.
    #[error("{} was moved, removed or replaced while it was in use; put the data folder back", .path.display())]
    Replaced {
        /// The file.
        path: PathBuf,
    },
}

impl JournalError {
    /// Whether the changes were too long for one group. Nothing was written then.
    pub(super) fn is_too_much(&self) -> bool {
        matches!(self, Self::TooMuch)
    }

    /// Whether the content of a file is not what was written.
    pub(super) fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Damaged { .. } | Self::Missing { .. } | Self::Mixed { .. }
        )
    }

    /// Whether the file system returned an error.
    pub(super) fn is_of_disk(&self) -> bool {
        matches!(self, Self::Io { .. })
    }

    /// Whether a file was not there. Beside a daemon that means that it has made a snapshot in the place of older files.
    pub(super) fn is_vanished(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether the file system had no room.
    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_full(source))
    }
}

/// Whether a file system had no room.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Whether there is nothing at a path.
fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}

/// Adds the path to an error of the file system. Something else in the place of a file is damage: the file is lost.
fn at(path: &Path) -> impl FnOnce(io::Error) -> JournalError + use<'_> {
    move |source| {
        let path = path.to_owned();
        if plain_file::is_not_plain(&source) {
            let (at, fault) = (0, FrameFault::NotPlain);
            JournalError::Damaged { path, at, fault }
        } else {
            JournalError::Io { path, source }
        }
    }
}

/// Makes the names in a folder survive a power cut.
pub(super) fn sync_folder(folder: &Path) -> Result<(), JournalError> {
    let opened = std::fs::File::open(folder).map_err(at(folder))?;
    opened.sync_all().map_err(at(folder))
}
