//! The folders that a store is salvaged from, and the copies in them.

use std::path::{Path, PathBuf};

use super::SalvageError;
use super::found::Told;
use crate::storage::backup::{BackupError, no_store};
use crate::storage::journal::{
    DataLock, JournalError, JournalFiles, LockError, MarksFound, Piece, Snapshot, StoreId,
};
use crate::storage::{DataFolder, NoView, SalvagedView, ViewEntry, is_trusted, own_marks_of_copy};

/// The folders, all of one store. Nobody uses them meanwhile.
pub(super) struct Sources {
    folders: Vec<SourceFolder>,
    store: StoreId,
}

/// One folder.
struct SourceFolder {
    journal: JournalFiles,
    snapshots: Vec<Snapshot>,
    views: Vec<FoundView>,
    acknowledged: Option<u64>,
    faults: Vec<String>,
    _lock: Option<DataLock>,
}

/// A view in a folder.
struct FoundView {
    path: PathBuf,
    view: SalvagedView,
    /// Whether it has all that it says it has, if all of it can be read.
    trusted: bool,
}

impl Sources {
    /// Opens the folders, with copies of their views in the folder `scratch`.
    pub(super) fn open(from: &[PathBuf], scratch: &Path) -> Result<Self, SalvageError> {
        let mut folders: Vec<SourceFolder> = Vec::new();
        let mut known: Option<(StoreId, &Path)> = None;
        for (index, path) in from.iter().enumerate() {
            let lock = lock(path)?;
            let folder = DataFolder::new(path);
            let (marks, store) = marks_of(&folder)?;
            let store = match store {
                Some(store) => store,
                // Nothing in it says whose it is: it is taken for what the folder before it is.
                None => known.ok_or_else(|| no_store(path))?.0,
            };
            let (first, first_path) = *known.get_or_insert((store, path));
            if first != store {
                let (first, other) = (first_path.to_owned(), path.clone());
                return Err(SalvageError::OtherStore { first, other });
            }
            let scratch = scratch.join(format!("view-{index}"));
            folders.push(SourceFolder::open(&folder, marks, store, &scratch, lock)?);
        }
        let (store, _) = known.ok_or_else(|| BackupError::NoStore(PathBuf::new()))?;
        Ok(Self { folders, store })
    }

    /// The last change that was acknowledged, if that is known.
    pub(super) fn acknowledged(&self) -> Option<u64> {
        self.folders.iter().filter_map(|one| one.acknowledged).max()
    }

    /// The parts that could not be read when they were opened.
    pub(super) fn faults(&self) -> Vec<String> {
        let faults = self.folders.iter().flat_map(|one| &one.faults);
        faults.cloned().collect()
    }

    /// Shows all that the copies tell to `visit`.
    pub(super) fn read(
        &self,
        visit: &mut dyn FnMut(Told) -> Result<(), SalvageError>,
    ) -> Result<(), SalvageError> {
        for folder in &self.folders {
            for found in &folder.views {
                found.read(visit)?;
            }
            for snapshot in &folder.snapshots {
                read_snapshot(snapshot, visit)?;
            }
            let foreign = folder.journal.pieces(self.store, |piece| match piece {
                Piece::Whole {
                    first,
                    last,
                    changes,
                } => {
                    for change in changes {
                        visit(Told::Change(change))?;
                    }
                    visit(Told::All { first, last })
                }
                Piece::Damaged(piece) => visit(Told::Damaged(piece)),
            })?;
            for path in foreign {
                visit(Told::Fault(format!("{}: {FOREIGN}", path.display())))?;
            }
        }
        Ok(())
    }
}

const FOREIGN: &str = "the file belongs to another store";

fn lock(folder: &Path) -> Result<Option<DataLock>, SalvageError> {
    DataLock::of_reader(folder).map_err(|error| match error {
        LockError::Held(holder) => SalvageError::InUse {
            folder: folder.to_owned(),
            holder,
        },
        LockError::Io(source) => {
            let path = folder.to_owned();
            BackupError::Folder { path, source }.into()
        }
    })
}

/// The marks of a folder, and the id of its store, by whatever can be read of it.
fn marks_of(folder: &DataFolder) -> Result<(MarksFound, Option<StoreId>), JournalError> {
    match own_marks_of_copy(folder) {
        Ok((marks, None)) => Ok((marks, Snapshot::store_of(&folder.snapshots())?)),
        // All that is of the journal's store is read.
        Err(JournalError::Mixed { .. }) => {
            let store = JournalFiles::store_of(&folder.journal())?;
            Ok((MarksFound::Absent, store))
        }
        found => found,
    }
}

impl SourceFolder {
    fn open(
        folder: &DataFolder,
        marks: MarksFound,
        store: StoreId,
        scratch: &Path,
        lock: Option<DataLock>,
    ) -> Result<Self, SalvageError> {
        let mut faults = Vec::new();
        let acknowledged = match marks {
            MarksFound::Found { mark, .. } => Some(mark.acknowledged),
            MarksFound::Damaged => {
                let marks = folder.path.join("marks");
                faults.push(format!("{}: all marks are damaged", marks.display()));
                None
            }
            MarksFound::Absent => None,
        };
        let trusted = matches!(marks, MarksFound::Found { mark, .. } if is_trusted(&mark));
        let mut views = Vec::new();
        for (index, path) in folder.views().into_iter().enumerate() {
            let copy = scratch.with_extension(index.to_string());
            match SalvagedView::open(&path, copy, store) {
                Ok(view) => views.push(FoundView {
                    trusted: trusted && path == folder.found_view(),
                    path,
                    view,
                }),
                // What only it has would be missing, though it is not lost.
                Err(NoView::Full(source)) => {
                    let path = scratch.to_owned();
                    return Err(BackupError::Folder { path, source }.into());
                }
                Err(NoView::Unreadable(why)) => faults.push(format!("{}: {why}", path.display())),
            }
        }
        let mut snapshots = Snapshot::find(&folder.snapshots(), store)?;
        snapshots.reverse();
        Ok(Self {
            journal: JournalFiles::find(&folder.journal(), store)?,
            snapshots,
            views,
            acknowledged,
            faults,
            _lock: lock,
        })
    }
}

impl FoundView {
    fn read(
        &self,
        visit: &mut dyn FnMut(Told) -> Result<(), SalvageError>,
    ) -> Result<(), SalvageError> {
        let mut whole = true;
        let faults = self.view.read(&mut |entry| match entry {
            ViewEntry::Whole(change) => visit(Told::Change(change)),
            ViewEntry::Damaged { collection, key } => {
                whole = false;
                visit(Told::DamagedEntry { collection, key })
            }
        })?;
        if whole
            && faults.is_empty()
            && self.trusted
            && let Some(last) = self.view.last()
        {
            visit(Told::All { first: 1, last })?;
        }
        for fault in faults {
            visit(Told::Fault(format!("{}: {fault}", self.path.display())))?;
        }
        Ok(())
    }
}

fn read_snapshot(
    snapshot: &Snapshot,
    visit: &mut dyn FnMut(Told) -> Result<(), SalvageError>,
) -> Result<(), SalvageError> {
    let mut is_told = false;
    let ours = snapshot.pieces(|piece| match piece {
        Piece::Whole { changes, .. } => changes
            .into_iter()
            .try_for_each(|change| visit(Told::Change(change))),
        Piece::Damaged(piece) => {
            is_told = true;
            visit(Told::Damaged(piece))
        }
    })?;
    if !ours {
        let path = snapshot.path().display();
        return visit(Told::Fault(format!("{path}: {FOREIGN}")));
    }
    match snapshot.read::<JournalError>(|_| Ok(())) {
        Ok(()) => {
            let last = snapshot.seq;
            visit(Told::All { first: 1, last })
        }
        Err(_) if is_told => Ok(()),
        Err(error) => visit(Told::Fault(error.to_string())),
    }
}
