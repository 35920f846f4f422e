//! Backups: all changes of a store from a snapshot on, in one file, and stores that are made from them again.
//!
//! A backup is made from the files of the data folder, which are only appended to, so the daemon may run meanwhile and takes
//! no part in it. `journal/JOURNAL.md` gives the format.
//!
//! Order of reading: [`manifest`] (what a backup says of itself), [`write`](self::write), [`new_store`] (a store that is made), [`restore`](self::restore).

mod manifest;
mod new_store;
mod restore;
#[cfg(test)]
pub(super) mod tests;
mod write;

use std::io;
use std::path::{Path, PathBuf};

pub(crate) use manifest::Manifest;
pub(super) use manifest::Totals;
pub(super) use new_store::NewStore;
pub(crate) use restore::{Moment, moment_text, restore_backup, restore_folder, verify_backup};
pub(crate) use write::BackupPlan;

use super::DataFolder;
use super::journal::{FrameFault, JournalError, StreamError};

/// The kind of stream that a backup is.
const MAGIC: [u8; 8] = *b"PRNBKUP1";

/// The reason why a backup was not made or not restored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackupError {
    /// There is no store.
    #[error("{} has no store; name the data folder of one (server.data)", .0.display())]
    NoStore(PathBuf),
    /// There is one of the format before the journal.
    #[error("{} has a store of an older format; start the daemon on it, which takes it over", .0.display())]
    OldStore(PathBuf),
    /// A file of the store is damaged or can't be read.
    #[error("{0}; perennial check --data says what to do")]
    Store(JournalError),
    /// A file was removed while it was read: the daemon made a snapshot that replaces it.
    #[error(
        "the daemon made a snapshot and removed a file of the journal that was still to be read: what was written is no backup; run the command again, or name a file as its target, which begins again by itself"
    )]
    Vanished,
    /// The journal ends too early.
    #[error(
        "change {acknowledged} was acknowledged, but neither the journal nor a snapshot has all changes up to it; perennial check --data says what to do"
    )]
    Short {
        /// The last change that was acknowledged.
        acknowledged: u64,
    },
    /// The backup can't be written.
    #[error("the backup can't be written")]
    Output(#[source] io::Error),
    /// There is something in its place.
    #[error("{} exists; name a new file", .0.display())]
    Exists(PathBuf),
    /// The backup can't be read.
    #[error("the backup can't be read")]
    Input(#[source] io::Error),
    /// The file is something else.
    #[error("this is no backup of a store; perennial backup makes one")]
    NoBackup,
    /// The backup is not what was written.
    #[error("the backup is damaged at byte {at}: {fault}; take another one")]
    Damaged {
        /// The position in the file.
        at: u64,
        fault: FrameFault,
    },
    /// A newer release wrote the backup.
    #[error(
        "the backup has version {0}, which this release does not know; restore it with the release that made it"
    )]
    Newer(u8),
    /// The records of the backup are not those that it says it has.
    #[error("the backup does not have the records that it says it has; take another one")]
    OtherRecords,
    /// The moment is not in the backup.
    #[error(
        "what was asked for is not in it: it has the changes {first} to {last}, of {from} to {to}; name one of these with --at, or take an older backup or an archive"
    )]
    OutOfRange {
        /// The first change to which a store can be restored.
        first: u64,
        last: u64,
        /// Their times.
        from: String,
        to: String,
    },
    /// The folder has a store.
    #[error("{} has a store already; move it away, or name another folder with --into", .0.display())]
    HasStore(PathBuf),
    /// The folder can't be written.
    #[error("{} can't be written", .path.display())]
    Folder {
        /// The folder or file.
        path: PathBuf,
        source: io::Error,
    },
}

/// The error of a data folder in which no store can be named.
pub(crate) fn no_store(data: &Path) -> BackupError {
    let path = data.to_owned();
    if DataFolder::new(data).is_old() {
        BackupError::OldStore(path)
    } else {
        BackupError::NoStore(path)
    }
}

impl From<JournalError> for BackupError {
    fn from(error: JournalError) -> Self {
        match error {
            gone if gone.is_vanished() => Self::Vanished,
            error => Self::Store(error),
        }
    }
}

impl From<StreamError> for BackupError {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Io(error) => Self::Input(error),
            StreamError::Damaged {
                fault: FrameFault::Version(version),
                ..
            } => Self::Newer(version),
            StreamError::Damaged {
                at: 0,
                fault: FrameFault::FileHead,
            } => Self::NoBackup,
            StreamError::Damaged { at, fault } => Self::Damaged { at, fault },
        }
    }
}

impl BackupError {
    /// Whether what is stored is not what was written, and trying again does not help.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Store(error) => error.is_damage(),
            Self::Short { .. }
            | Self::NoBackup
            | Self::Damaged { .. }
            | Self::Newer(_)
            | Self::OtherRecords => true,
            Self::NoStore(_)
            | Self::OldStore(_)
            | Self::Vanished
            | Self::Output(_)
            | Self::Exists(_)
            | Self::Input(_)
            | Self::OutOfRange { .. }
            | Self::HasStore(_)
            | Self::Folder { .. } => false,
        }
    }
}
