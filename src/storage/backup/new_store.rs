//! A store that is made in a folder that has none: one snapshot and marks, and no journal.
//!
//! It is made in the folder `restoring` of the data folder and then moved to its place, its marks last, so that one that was
//! cut off is never taken for a store. If it fails, all that was made for it is removed.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::BackupError;
use super::manifest::{Census, Totals};
use crate::storage::DataFolder;
use crate::storage::journal::{
    DataLock, JournalChange, LockError, MARK_FILES, Mark, Marks, SnapshotWriter, StoreId,
    sync_folder,
};

/// A store that is being made. It has an id of its own, so that its `ETag`s are not taken for those of another one.
pub(in crate::storage) struct NewStore {
    place: NewPlace,
    store: StoreId,
    out: SnapshotWriter,
    census: Census,
    /// Nobody uses the folder meanwhile.
    _lock: DataLock,
}

impl NewStore {
    /// Begins one in the folder `into`, which must not have a store.
    pub(in crate::storage) fn begin(into: &Path) -> Result<Self, BackupError> {
        let mut place = NewPlace::new(into);
        let failed = |source| BackupError::Folder {
            path: into.to_owned(),
            source,
        };
        let lock = match DataLock::take(into) {
            Ok(lock) => lock,
            Err(LockError::Held(_)) => return Err(BackupError::HasStore(into.to_owned())),
            Err(LockError::Io(source)) => return Err(failed(source)),
        };
        if place.folder.has_store() {
            return Err(BackupError::HasStore(into.to_owned()));
        }
        place.clear().map_err(failed)?;
        let unfinished = place.unfinished();
        fs::create_dir(&unfinished.path).map_err(failed)?;
        let store = StoreId::random();
        Ok(Self {
            out: SnapshotWriter::begin(&unfinished.snapshots(), store)?,
            place,
            store,
            census: Census::default(),
            _lock: lock,
        })
    }

    /// A folder for what is needed meanwhile; it is removed at the end.
    pub(in crate::storage) fn scratch(&self) -> PathBuf {
        self.place.unfinished().path
    }

    /// Adds a change. One of a record that has a later one already changes nothing.
    pub(in crate::storage) fn add(&mut self, change: JournalChange) -> Result<(), BackupError> {
        self.census.add(&change);
        Ok(self.out.add(change)?)
    }

    /// Ends the store, whose last change is `last`, and moves it to its place. Returns the records of each resource.
    pub(in crate::storage) fn finish(
        mut self,
        last: u64,
    ) -> Result<BTreeMap<String, Totals>, BackupError> {
        let resources = self.census.totals();
        let snapshot = self.out.finish(last)?;
        let mut census = Census::default();
        snapshot.read::<BackupError>(|changes| {
            for change in &changes {
                census.add(change);
            }
            Ok(())
        })?;
        if census.totals() != resources {
            return Err(BackupError::OtherRecords);
        }
        let mark = Mark {
            store: self.store,
            branch: 0,
            // The view must be made.
            boot: 0,
            acknowledged: last,
            clean: false,
        };
        Marks::open(&self.place.unfinished().path)?.write_both(&mark)?;
        self.place.finish()?;
        Ok(resources)
    }
}

/// The folder that a store is made in, and what has to be removed again if it is not finished.
struct NewPlace {
    folder: DataFolder,
    /// The files and folders that were made here and are not part of the store: `lock`, the folder, and folders above it.
    made: Vec<PathBuf>,
    begun: bool,
}

impl NewPlace {
    fn new(into: &Path) -> Self {
        let lock = into.join("lock");
        let above = into.ancestors().map(Path::to_owned);
        let named = above.filter(|folder| !folder.as_os_str().is_empty());
        let missing = std::iter::once(lock).chain(named);
        Self {
            folder: DataFolder::new(into),
            made: missing.take_while(|path| !path.exists()).collect(),
            begun: false,
        }
    }

    fn unfinished(&self) -> DataFolder {
        DataFolder::new(&self.folder.restoring())
    }

    /// Removes what one that was cut off has left, and from here on what this one leaves.
    fn clear(&mut self) -> io::Result<()> {
        self.begun = true;
        self.remove_parts()
    }

    /// Removes the parts of an unfinished store. `restoring` goes last: it says that the others are not whole.
    fn remove_parts(&self) -> io::Result<()> {
        for part in [self.folder.snapshots(), self.folder.restoring()] {
            match fs::remove_dir_all(part) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Moves the parts to their places.
    fn finish(&mut self) -> Result<(), BackupError> {
        let unfinished = self.unfinished().path;
        for part in ["snapshots"].iter().chain(&MARK_FILES) {
            let path = self.folder.path.join(part);
            let moved = fs::rename(unfinished.join(part), &path);
            moved.map_err(|source| BackupError::Folder { path, source })?;
            sync_folder(&self.folder.path)?;
        }
        self.made.clear();
        self.begun = false;
        if let Err(error) = fs::remove_dir_all(&unfinished) {
            tracing::warn!(folder = %unfinished.display(), %error, "a folder of a restore was not removed");
        }
        Ok(())
    }
}

impl Drop for NewPlace {
    fn drop(&mut self) {
        if self.begun
            && let Err(error) = self.remove_parts()
        {
            let folder = self.folder.path.display();
            tracing::warn!(%folder, %error, "what an unfinished restore left was not removed");
            return;
        }
        for path in &self.made {
            let removed = if path.ends_with("lock") && path.is_file() {
                fs::remove_file(path)
            } else {
                fs::remove_dir(path)
            };
            // A folder that got something else meanwhile stays, and so do those above it.
            if removed.is_err() {
                return;
            }
        }
    }
}
