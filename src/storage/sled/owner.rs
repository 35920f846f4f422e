//! Decides which store a data folder holds. Each of its parts (marks, journal, snapshots, view) names its store. A part of another
//! store is outvoted by the others where it can be told which is the wrong one; else the folder is refused.

use super::checked;
use super::data_folder::DataFolder;
use super::view_copy::ViewCopy;
use crate::storage::journal::{JournalError, JournalFiles, Marks, MarksFound, Snapshot, StoreId};

/// The store of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    One(StoreId),
    /// It can't be told: the snapshots and the view are both of another store than the marks, or there are no marks, and the
    /// snapshots (or else the view) are of another store than the journal.
    Mixed,
    /// No part names a store.
    Unknown,
}

/// Decides by the parts that name a store. The view is read only where the others disagree.
fn owner(
    marks: Option<StoreId>,
    journal: Option<StoreId>,
    snapshots: Option<StoreId>,
    view: impl Fn() -> Option<StoreId>,
) -> Owner {
    let is_other = |one: StoreId, other: Option<StoreId>| other.is_some_and(|other| other != one);
    match (marks, journal) {
        (Some(marks), Some(journal)) if marks != journal => {
            let agrees = |other| other == Some(journal);
            if snapshots != Some(marks) && (agrees(snapshots) || agrees(view())) {
                Owner::One(journal)
            } else {
                Owner::One(marks)
            }
        }
        (Some(marks), _) if is_other(marks, snapshots) && view() == snapshots => Owner::Mixed,
        (Some(marks), _) => Owner::One(marks),
        (None, Some(journal)) if is_other(journal, snapshots.or_else(&view)) => Owner::Mixed,
        (None, Some(journal)) => Owner::One(journal),
        (None, None) => Owner::Unknown,
    }
}

/// The marks of a folder, and the store that it holds, if a part names one. Marks of another store count as damaged. `view`
/// reads the name of the view's store.
pub(super) fn own_marks(
    folder: &DataFolder,
    view: impl Fn() -> Option<StoreId>,
) -> Result<(MarksFound, Option<StoreId>), JournalError> {
    let named = Marks::store_of(&folder.path)?;
    let journal = JournalFiles::store_of(&folder.journal())?;
    let snapshots = Snapshot::store_of(&folder.snapshots())?;
    match owner(named, journal, snapshots, view) {
        Owner::One(store) => {
            if named.is_some_and(|named| named != store) {
                tracing::warn!(folder = %folder.path.display(), "the file marks is another store's");
            }
            Ok((Marks::read_of(&folder.path, Some(store))?, Some(store)))
        }
        Owner::Mixed => Err(JournalError::Mixed {
            path: folder.path.clone(),
        }),
        Owner::Unknown => Ok(match Marks::read(&folder.path)? {
            MarksFound::Absent => (MarksFound::Absent, None),
            MarksFound::Found { .. } | MarksFound::Damaged => (MarksFound::Damaged, None),
        }),
    }
}

/// The same for a folder that is not opened: its view is read from a copy.
pub(in crate::storage) fn own_marks_of_copy(
    folder: &DataFolder,
) -> Result<(MarksFound, Option<StoreId>), JournalError> {
    own_marks(folder, || {
        let copy = ViewCopy::make(&folder.found_view()).ok()?;
        copy.open(VIEW_CACHE_BYTES, checked::store_of).ok()?
    })
}

/// The cache for reading the name of a view's store.
const VIEW_CACHE_BYTES: u64 = 1 << 20;

/// The part of the store of a folder in `ETag`s.
pub(super) fn tag_of(folder: &DataFolder, store: StoreId) -> Result<String, JournalError> {
    Ok(match Marks::read(&folder.path)? {
        MarksFound::Found { mark, .. } if mark.store == store => mark.tag(),
        MarksFound::Found { .. } | MarksFound::Damaged | MarksFound::Absent => store.mark(),
    })
}

/// The store in a folder that is not opened, and the last change that was acknowledged, if that is known.
pub(in crate::storage) fn identify(
    folder: &DataFolder,
) -> Result<Option<(StoreId, Option<u64>)>, JournalError> {
    let (marks, store) = own_marks_of_copy(folder)?;
    Ok(store.map(|store| (store, marks.acknowledged())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_another_store_is_outvoted_and_two_against_two_are_not_decided() {
        use Owner::{Mixed, Unknown};
        let id = |name: u8| (name != 0).then(|| StoreId(name.into()));
        let one = |name: u8| Owner::One(StoreId(name.into()));
        // 0 is a part that is not there or can't be read.
        for (marks, journal, snapshots, view, expected) in [
            (1, 1, 1, 1, one(1)),
            (1, 1, 0, 0, one(1)),
            (1, 0, 0, 0, one(1)),
            (1, 0, 1, 0, one(1)),
            (2, 1, 1, 1, one(1)),
            (2, 1, 1, 0, one(1)),
            (2, 1, 0, 1, one(1)),
            (1, 2, 1, 1, one(1)),
            (1, 2, 0, 1, one(1)),
            (1, 1, 2, 1, one(1)),
            (1, 1, 1, 2, one(1)),
            (1, 1, 0, 2, one(1)),
            (1, 2, 0, 0, one(1)),
            (1, 2, 3, 2, one(2)),
            (2, 2, 1, 1, Mixed),
            (1, 0, 2, 2, Mixed),
            (0, 1, 1, 1, one(1)),
            (0, 1, 0, 0, one(1)),
            (0, 1, 1, 2, one(1)),
            (0, 1, 2, 1, Mixed),
            (0, 2, 0, 1, Mixed),
            (0, 0, 1, 1, Unknown),
        ] {
            let found = owner(id(marks), id(journal), id(snapshots), || id(view));
            assert_eq!(found, expected, "{marks} {journal} {snapshots} {view}");
        }
    }
}
