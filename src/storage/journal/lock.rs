//! The lock of a data folder: one process at a time uses it.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::plain_file;

/// The lock, which ends with the process at the latest.
#[derive(Debug)]
pub(crate) struct DataLock(File);

/// The reason why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    /// Another process has it.
    #[error("process {0} uses it")]
    Held(String),
    /// The file system returned an error.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl DataLock {
    /// Takes the lock of the folder `data`, which is made if it is missing.
    pub(crate) fn take(data: &Path) -> Result<Self, LockError> {
        std::fs::create_dir_all(data)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let path = data.join("lock");
        let file = match plain_file::open_by(&mut options, &path) {
            // It was removed, and so is what is in its place now.
            Err(error) if plain_file::is_not_plain(&error) => {
                plain_file::remove(&path)?;
                plain_file::open_by(&mut options, &path)
            }
            file => file,
        }?;
        let mut lock = Self::locked(file)?;
        lock.0.set_len(0)?;
        writeln!(lock.0, "{}", std::process::id())?;
        Ok(lock)
    }

    /// Takes the lock of a folder that is only read, and changes nothing in it. `None` if no process ever used the folder.
    pub(crate) fn of_reader(data: &Path) -> Result<Option<Self>, LockError> {
        match plain_file::open(&data.join("lock")) {
            Ok(file) => Self::locked(file).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if plain_file::is_not_plain(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn locked(mut file: File) -> Result<Self, LockError> {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(file)),
            Err(Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder)?;
                let holder = holder.trim();
                let holder = if holder.is_empty() { "unknown" } else { holder };
                Err(LockError::Held(holder.to_owned()))
            }
            Err(error) => Err(io::Error::from(error).into()),
        }
    }

    /// Whether it is the lock of what is at `data` now: another folder may have taken its place.
    pub(crate) fn is_of(&self, data: &Path) -> bool {
        let id = |file: Metadata| (file.dev(), file.ino());
        let found = std::fs::metadata(data.join("lock")).map(id);
        let ours = self.0.metadata().map(id);
        found.ok().is_some_and(|found| ours.ok() == Some(found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_names_the_holder_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let lock = DataLock::take(folder.path()).unwrap();
        let refused = DataLock::take(folder.path()).unwrap_err().to_string();
        assert_eq!(refused, format!("process {} uses it", std::process::id()));
        let refused = DataLock::of_reader(folder.path()).unwrap_err();
        assert!(matches!(refused, LockError::Held(_)), "{refused}");
        drop(lock);
        assert!(DataLock::of_reader(folder.path()).unwrap().is_some());
        DataLock::take(folder.path()).unwrap();
        let unused = tempfile::tempdir().unwrap();
        assert!(DataLock::of_reader(unused.path()).unwrap().is_none());
        assert!(!unused.path().join("lock").exists());
    }
}
