//! The place where backups are written and read: a folder or a bucket. All of it may block.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use super::folder_target::FolderTarget;
use super::name::BackupName;
use super::s3_target::S3Target;
use crate::settings::{BackupSettings, BackupTo};

/// The ending of the empty file beside a backup that was verified.
pub(super) const VERIFIED: &str = ".verified";
/// The ending of a backup that is being written; in a bucket, of the note about it.
pub(super) const UNFINISHED: &str = ".unfinished";

/// A place for backups.
pub(crate) trait BackupTarget {
    /// Lists the backups that are there.
    fn list(&self) -> Result<Found, TargetError>;

    /// Begins a backup. Nobody sees it under its name before it is finished.
    fn begin(&self, name: BackupName) -> Result<Box<dyn Unfinished + '_>, TargetError>;

    /// Removes a backup that was not finished.
    fn abort(&self, name: BackupName) -> Result<(), TargetError>;

    /// Reads a backup.
    fn read(&self, name: BackupName) -> Result<Box<dyn Read + '_>, TargetError>;

    /// Notes that a backup was verified.
    fn mark_verified(&self, name: BackupName) -> Result<(), TargetError>;

    /// Removes a backup.
    fn remove(&self, name: BackupName) -> Result<(), TargetError>;
}

/// A backup that is being written. Unless it is finished, nothing is left of it.
pub(crate) trait Unfinished: Write {
    /// Makes it a backup, durably.
    fn finish(self: Box<Self>) -> Result<(), TargetError>;
}

/// Opens the place that the settings name.
pub(crate) fn open(
    to: &BackupTo,
    settings: &BackupSettings,
) -> Result<Box<dyn BackupTarget>, TargetError> {
    Ok(match to {
        BackupTo::Folder(folder) => Box::new(FolderTarget::new(folder)),
        BackupTo::S3 { bucket, prefix } => Box::new(S3Target::new(bucket, prefix, settings)?),
    })
}

/// The content of a place.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// The backups and their bytes, the oldest first.
    pub(crate) backups: Vec<(BackupName, u64)>,
    /// Those of them that were verified.
    pub(crate) verified: BTreeSet<BackupName>,
    /// Backups that were begun and not finished.
    pub(crate) unfinished: Vec<BackupName>,
}

impl Found {
    /// Sorts the names of files and their bytes. Whatever is none of ours is left out.
    pub(super) fn of(files: impl Iterator<Item = (String, u64)>) -> Self {
        let mut found = Self::default();
        let mut verified = BTreeSet::new();
        for (file, bytes) in files {
            let named = |ending| file.strip_suffix(ending)?.parse::<BackupName>().ok();
            if let Ok(name) = file.parse() {
                found.backups.push((name, bytes));
            } else if let Some(name) = named(VERIFIED) {
                verified.insert(name);
            } else if let Some(name) = named(UNFINISHED) {
                found.unfinished.push(name);
            }
        }
        found.backups.sort_unstable();
        let is_there = |(name, _): &&(BackupName, u64)| verified.contains(name);
        let verified = found.backups.iter().filter(is_there).map(|(name, _)| *name);
        found.verified = verified.collect();
        found
    }

    /// The same of one store, without what is dated after `now`: that was made when the clock was wrong.
    pub(super) fn of_store(mut self, store: u64, now: u64) -> Self {
        let counts = |name: &BackupName| name.store == store && name.taken <= now;
        self.backups.retain(|(name, _)| counts(name));
        self.verified.retain(counts);
        self.unfinished.retain(|name| name.store == store);
        self
    }
}

/// The error of a place for backups.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TargetError {
    /// The folder is not there.
    #[error("there is no folder {}; mount its disk, or make the folder", .0.display())]
    NoFolder(PathBuf),
    /// The file system returned an error.
    #[error("{}: {source}; {}", .path.display(), advice(.source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// There are no credentials for the bucket.
    #[error(
        "no credentials for s3://: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment, or name a file with them in backup.credentials_file"
    )]
    NoCredentials,
    /// The file of the credentials does not have them.
    #[error("{} has no line aws_access_key_id = ... or no line aws_secret_access_key = ...; write both", .0.display())]
    NoCredentialsIn(PathBuf),
    /// The server does not have it.
    #[error("{object} is not there; look whether the bucket is the right one")]
    Gone {
        /// The bucket or the object.
        object: String,
    },
    /// The server did not do what it was asked.
    #[error(
        "{object}: {cause}; look whether backup.endpoint, the bucket and the credentials are right, and whether the server can be reached"
    )]
    Server {
        /// The bucket or the object.
        object: String,
        cause: String,
    },
}

/// The advice after an error of the file system.
fn advice(error: &io::Error) -> &'static str {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let known = [
        (
            StorageFull,
            "make room there, or keep fewer backups by backup.keep",
        ),
        (
            QuotaExceeded,
            "make room there, or keep fewer backups by backup.keep",
        ),
        (PermissionDenied, "let the user of the daemon write there"),
        (ReadOnlyFilesystem, "mount it so that it can be written"),
    ];
    let found = known.iter().find(|(kind, _)| *kind == error.kind());
    found.map_or("look whether its disk works", |(_, advice)| advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_files_count() {
        let name = |taken| BackupName {
            store: 7,
            taken,
            change: 1,
        };
        let files = [
            (name(20).to_string(), 5),
            (name(10).to_string(), 4),
            (format!("{}.verified", name(10)), 0),
            // The backup is gone, and the mark was left.
            (format!("{}.verified", name(9)), 0),
            (format!("{}.unfinished", name(30)), 2),
            (format!("{}.copy", name(10)), 4),
            ("holiday.jpg".to_owned(), 3),
            (
                BackupName {
                    store: 8,
                    taken: 15,
                    change: 1,
                }
                .to_string(),
                6,
            ),
            (name(500).to_string(), 6),
        ];
        let found = Found::of(files.into_iter()).of_store(7, 100);
        assert_eq!(found.backups, [(name(10), 4), (name(20), 5)]);
        assert_eq!(found.verified, BTreeSet::from([name(10)]));
        assert_eq!(found.unfinished, [name(30)]);
    }
}
