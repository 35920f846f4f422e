//! The lock of a data folder: one process at a time uses it.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

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
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(data.join("lock"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder)?;
                let holder = holder.trim();
                let holder = if holder.is_empty() { "unknown" } else { holder };
                return Err(LockError::Held(holder.to_owned()));
            }
            Err(error) => return Err(io::Error::from(error).into()),
        }
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self(file))
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
        drop(lock);
        DataLock::take(folder.path()).unwrap();
    }
}
