//! One look at the disk: is what is in memory still true, and if not, what is?

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use super::containment::SafePath;
use super::entry::Entry;
use super::figures::{Counters, count};
use super::file_error::FileError;
use super::folder::{Found, Located, find, open};
use super::large::Large;
use super::reading::{Reading, read};
use super::root::{BUILT_IN_INDEX, Root};
use super::stamp::Stamp;

/// Attempts at reading a file that changes meanwhile.
pub(crate) const READ_TRIES: u32 = 3;

/// What a look found.
#[derive(Debug)]
pub(crate) enum Look {
    /// What is in memory is still true.
    Unchanged,
    /// It was read.
    Read(Arc<Entry>),
    /// It is too large to be read.
    Large(Large),
    /// It is a folder, asked for without its slash.
    Moved,
}

/// What one look has to go by.
#[derive(Debug)]
pub(crate) struct Loader<'a> {
    pub(crate) root: &'a Root,
    pub(crate) max_file_bytes: usize,
    pub(crate) counters: &'a Counters,
    /// The time of day, for dates and the trust in stamps.
    pub(crate) now: SystemTime,
    /// The time of the cache's own clock.
    pub(crate) now_ms: u64,
}

impl Loader<'_> {
    /// Looks at `path`, which is in memory as `known`. `pause` is called after each reading, before it is verified.
    pub(crate) fn look(
        &self,
        path: &SafePath,
        known: Option<&Entry>,
        mut pause: impl FnMut(),
    ) -> Result<Look, FileError> {
        for _ in 0..READ_TRIES {
            let located = match find(&self.root.path, &self.root.index, path) {
                Ok(Found::File(located)) => located,
                Ok(Found::Folder) => return Ok(Look::Moved),
                Err(FileError::Root {
                    kind: std::io::ErrorKind::NotFound,
                }) if self.root.built_in => {
                    return self.built_in(path, known);
                }
                Err(error) => return Err(error),
            };
            if known.is_some_and(|known| {
                known.settled && known.stamp == Some(Stamp::of(&located.metadata))
            }) {
                return Ok(Look::Unchanged);
            }
            if let Some(look) = self.take(&located, &mut pause)? {
                return Ok(look);
            }
            count(&self.counters.rereads);
        }
        Err(FileError::Restless { tries: READ_TRIES })
    }

    /// Opens and reads; `None` if the file changed meanwhile.
    fn take(&self, located: &Located, pause: impl FnOnce()) -> Result<Option<Look>, FileError> {
        let Some((file, stamp)) = open(located)? else {
            return Ok(None);
        };
        if usize::try_from(stamp.length()).map_or(true, |length| length > self.max_file_bytes) {
            let large = Large::new(&located.path, file, stamp, self.now);
            return Ok(Some(Look::Large(large)));
        }
        match read(&file, &stamp, pause).map_err(|error| FileError::of(&error))? {
            Reading::Torn => Ok(None),
            Reading::Whole(bytes) => {
                count(&self.counters.reads);
                Ok(Some(self.entry(
                    &located.path,
                    Bytes::from(bytes),
                    Some(stamp),
                    stamp.modified(),
                )))
            }
        }
    }

    fn built_in(&self, path: &SafePath, known: Option<&Entry>) -> Result<Look, FileError> {
        let bytes = Root::built_in(path.as_str()).ok_or(FileError::Absent)?;
        if known.is_some_and(|known| known.stamp.is_none()) {
            return Ok(Look::Unchanged);
        }
        Ok(self.entry(Path::new(BUILT_IN_INDEX), bytes, None, self.now))
    }

    fn entry(&self, path: &Path, bytes: Bytes, stamp: Option<Stamp>, modified: SystemTime) -> Look {
        Look::Read(Arc::new(Entry::new(
            path,
            bytes,
            stamp,
            modified,
            self.now,
            self.now_ms,
        )))
    }
}
