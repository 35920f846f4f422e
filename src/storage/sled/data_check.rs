//! `perennial check --data`: reads everything that a data folder has, says what is damaged, and changes nothing.
//!
//! A daemon may use the folder meanwhile. Then its view is not compared, and a snapshot that it makes during the check makes
//! older files superfluous: the check begins again.

use std::path::Path;
use std::sync::atomic::AtomicU64;

use super::answers::without_answers;
use super::checked;
use super::data_folder::DataFolder;
use super::engine::{Engine, OpenFault};
use super::folder_fault::FolderFault;
use super::opener;
use super::opening::Opening;
use super::owner::own_marks_of_copy;
use super::print::{PrintError, store_of};
use super::sources::Agreement;
use super::start::{self, Remedy};
use super::view_check::{self, ViewSource};
use super::view_copy::ViewCopy;
use crate::num::{as_u32, as_u64};
use crate::storage::journal::{
    Acknowledged, DataLock, FrameFault, JournalEnd, JournalError, JournalFiles, LockError, Marks,
    MarksFound, Reach, Snapshot, StoreId, boot_id,
};

/// The bytes of a view whose records are in memory at a time.
const PART_BYTES: u64 = 256 << 20;

/// The result of a check.
#[derive(Debug)]
pub(crate) struct DataCheck {
    /// The last change of the journal.
    pub(crate) last: u64,
    pub(crate) snapshots: usize,
    pub(crate) view: ViewCheck,
    pub(crate) findings: Vec<FolderFault>,
    /// Whether the copies of the store have all that was acknowledged, although something is damaged; `None` if a daemon uses
    /// the folder, which knows better.
    pub(crate) mends: Option<bool>,
}

/// The result for the view.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ViewCheck {
    /// It was compared with the journal.
    Compared { records: u64 },
    /// It was not, and need not be.
    NotCompared(String),
    /// It could not be compared.
    Failed(String),
}

/// Checks a data folder, the folder of an archive, or a copy of one.
pub(crate) fn check_data(data: &Path, cache_bytes: u64) -> Result<DataCheck, PrintError> {
    let folder = DataFolder::new(data);
    let snapshots = || -> Result<Vec<u64>, PrintError> {
        let (store, _) = store_of(&folder)?;
        let found = Snapshot::find(&folder.snapshots(), store)?;
        Ok(found.iter().map(|snapshot| snapshot.seq).collect())
    };
    let read = || {
        let before = snapshots()?;
        let checked = check(&folder, cache_bytes)?;
        Ok((checked, before == snapshots()?))
    };
    let checked = JournalFiles::beside_daemon(read, is_outdated);
    checked.map(|(checked, _)| checked)
}

/// Whether what was found may only mean that the daemon made a snapshot meanwhile, and removed older files. It is told whether
/// there are still the same snapshots.
fn is_outdated(checked: &Result<(DataCheck, bool), PrintError>) -> bool {
    match checked {
        Ok((checked, same_snapshots)) => !checked.findings.is_empty() && !same_snapshots,
        Err(PrintError::Journal(error)) => error.is_vanished(),
        Err(
            PrintError::NoStore(_)
            | PrintError::Old(_)
            | PrintError::Unnamed(_)
            | PrintError::Output(_),
        ) => false,
    }
}

fn check(folder: &DataFolder, cache_bytes: u64) -> Result<DataCheck, PrintError> {
    // As long as the lock is held, no daemon begins to change the view.
    let lock = DataLock::of_reader(&folder.path);
    let (marks, store) = own_marks_of_copy(folder)?;
    let store = store.ok_or_else(|| PrintError::unknown(folder))?;
    let acknowledged = marks.acknowledged();
    let view = match &lock {
        Err(LockError::Held(holder)) => {
            Err(ViewCheck::NotCompared(format!("process {holder} uses it")))
        }
        Err(LockError::Io(error)) => Err(ViewCheck::Failed(format!(
            "the lock of the folder can't be read: {error}"
        ))),
        Ok(_) => copy_view(folder, marks),
    };
    let in_use = lock.is_err();
    let misplaced = opener::has_files(&folder.found_view()).err();
    drop(lock);
    let mut parts = CheckedParts::read(folder, store, acknowledged)?;
    parts.marks(marks, folder)?;
    let view = match (view, misplaced) {
        (_, Some(OpenFault::View(found))) if !in_use => parts.unreadable_view(found),
        (Ok(copy), _) => parts.compare_view(store, &copy, cache_bytes),
        (Err(view), _) => view,
    };
    let damaged = parts.findings.iter().any(FolderFault::is_damage);
    let mends = (damaged && !in_use).then(|| parts.mends(store, marks));
    Ok(DataCheck {
        last: parts.last,
        snapshots: parts.snapshots.len(),
        view,
        findings: parts.findings,
        mends,
    })
}

/// Copies the view of a store that no daemon uses, if it counts: sled writes into what it opens.
fn copy_view(folder: &DataFolder, marks: MarksFound) -> Result<ViewCopy, ViewCheck> {
    let not = |why: &str| Err(ViewCheck::NotCompared(why.to_owned()));
    match marks {
        _ if !folder.found_view().is_dir() => {
            not("there is none, and the daemon makes it from the journal when it starts")
        }
        MarksFound::Found { mark, .. } if !start::trusts_view(&mark, boot_id()) => {
            not("the machine was switched off while it was in use, and it is made again")
        }
        MarksFound::Found { .. } | MarksFound::Damaged | MarksFound::Absent => ViewCopy::make(&folder.found_view()).map_err(|(path, error)| {
            let path = path.display();
            ViewCheck::Failed(format!(
                "it can't be copied to {path}: {error}; name a folder with room and rights in TMPDIR"
            ))
        }),
    }
}

/// The snapshots and the journal of a store, and what is wrong with them.
struct CheckedParts {
    /// Those that are whole, the newest first.
    snapshots: Vec<Snapshot>,
    files: JournalFiles,
    /// The last change that can be read without a gap behind the oldest snapshot.
    last: u64,
    /// The last change of the view, if it was compared and is whole.
    view: Option<u64>,
    findings: Vec<FolderFault>,
}

impl CheckedParts {
    fn read(
        folder: &DataFolder,
        store: StoreId,
        acknowledged: Option<u64>,
    ) -> Result<Self, PrintError> {
        let mut findings = Vec::new();
        let mut snapshots = Snapshot::find(&folder.snapshots(), store)?;
        let base = snapshots.last().map_or(0, |oldest| oldest.seq);
        let mut read = Ok(());
        snapshots.retain(|snapshot| match snapshot.read(|_| Ok(())) {
            Ok(()) => true,
            Err(error @ JournalError::Io { .. }) => {
                read = Err(error);
                false
            }
            Err(error) => {
                findings.push(FolderFault::Snapshot(error));
                false
            }
        });
        read?;
        let files = JournalFiles::find(&folder.journal(), store)?;
        for error in files.damaged_heads()? {
            findings.push(FolderFault::SegmentHead(error));
        }
        let begin = match files.first() {
            Some(first) => first.saturating_sub(1).min(base),
            // A store that was restored has only a snapshot.
            None if files.is_empty() => snapshots.first().map_or(0, |newest| newest.seq),
            None => base,
        };
        let read = |after| files.read::<JournalError>(after, |_| Ok(()));
        let mut reach = read(begin)?;
        if let Reach::Damage { last, error } = reach {
            if last < base {
                let before = base;
                findings.push(FolderFault::Old { error, before });
                reach = read(base)?;
            } else {
                reach = Reach::Damage { last, error };
            }
        }
        let last = match reach {
            Reach::End(end) => {
                let newest = snapshots.first().map_or(0, |newest| newest.seq);
                findings.extend(too_short(&files, &end, newest, acknowledged));
                end.last.max(newest)
            }
            Reach::Damage { last, error } => {
                findings.push(FolderFault::Journal(error));
                last
            }
        };
        Ok(Self {
            snapshots,
            files,
            last,
            view: None,
            findings,
        })
    }

    /// Adds the state of the marks.
    fn marks(&mut self, marks: MarksFound, folder: &DataFolder) -> Result<(), JournalError> {
        self.findings.extend(match marks {
            MarksFound::Found { damaged: true, .. } => Some(FolderFault::Mark),
            MarksFound::Damaged => Some(match Marks::read(&folder.path)? {
                MarksFound::Found { .. } => FolderFault::ForeignMarks,
                MarksFound::Damaged | MarksFound::Absent => FolderFault::Marks,
            }),
            // An archive has neither.
            MarksFound::Absent => folder.found_view().exists().then_some(FolderFault::Marks),
            MarksFound::Found { .. } => None,
        });
        Ok(())
    }

    fn compare_view(&mut self, store: StoreId, copy: &ViewCopy, cache_bytes: u64) -> ViewCheck {
        let bytes = copy.bytes();
        let found = match copy.open(cache_bytes, |engine| self.compare(store, engine, bytes)) {
            Ok(view) => return view,
            Err(fault @ OpenFault::Io(_)) => return ViewCheck::Failed(fault.to_string()),
            Err(OpenFault::View(found)) => found,
            Err(fault) => fault.to_string(),
        };
        self.unreadable_view(found)
    }

    fn unreadable_view(&mut self, found: String) -> ViewCheck {
        self.findings.push(FolderFault::View(found));
        ViewCheck::NotCompared("it can't be read".to_owned())
    }

    fn compare(
        &mut self,
        store: StoreId,
        engine: &dyn Engine,
        bytes: u64,
    ) -> Result<ViewCheck, OpenFault> {
        let checked = checked::read(engine, store)?;
        let checked = checked.ok_or_else(|| OpenFault::View("it is empty".to_owned()))?;
        let (view, last) = (checked.last_seq, self.last);
        if view > last {
            self.findings.push(FolderFault::Ahead { view, last });
            self.view = Some(view);
            return Ok(ViewCheck::NotCompared(
                "the journal ends before the view does".to_owned(),
            ));
        }
        let mut snapshots = self.snapshots.iter();
        let source = ViewSource {
            snapshot: snapshots.find(|snapshot| snapshot.seq <= view),
            journal: &self.files,
        };
        if source.snapshot.is_none() && self.files.first().is_some_and(|first| first > 1) {
            self.view = Some(view);
            return Ok(ViewCheck::NotCompared(format!(
                "it is at change {view}, and no snapshot of an earlier change can be read; the daemon uses it as it is"
            )));
        }
        let parts = as_u32(bytes / PART_BYTES);
        let compared = view_check::compare(engine, &checked, source, parts.saturating_add(1));
        let differences = match compared {
            Err(OpenFault::Damaged(found)) => {
                self.view = Some(view);
                return Ok(ViewCheck::NotCompared(format!(
                    "what it was made from is damaged: {found}"
                )));
            }
            compared => compared?,
        };
        let count = differences.count;
        let more = count.saturating_sub(as_u64(differences.named.len()));
        let mut named = differences.named;
        if more > 0 {
            named.push(format!("and {more} more"));
        }
        if count == 0 {
            self.view = Some(view);
        } else {
            self.findings
                .push(FolderFault::Difference(named.join("; ")));
        }
        let resources = engine.collections();
        let records = without_answers(&resources, &checked.tallies).map(|tally| tally.records);
        let records = records.sum();
        Ok(ViewCheck::Compared { records })
    }

    /// Whether the daemon finds all that was acknowledged when it starts.
    fn mends(&self, store: StoreId, marks: MarksFound) -> bool {
        let marked = marks.acknowledged().is_some();
        let acknowledged = if marked {
            marks.known()
        } else {
            Acknowledged::AtLeast(self.view.unwrap_or(0))
        };
        let agrees = |view| {
            let agreement = Agreement::read(&self.files, store, view, acknowledged);
            agreement.is_ok_and(|it| matches!(it.remedy, Remedy::Replay | Remedy::Renew))
        };
        // Without marks the view is made again.
        if marked && self.view.is_some_and(agrees) {
            return true;
        }
        // Without a snapshot the journal has everything, from the first change on.
        let mut snapshots = self.snapshots.iter().map(Some).chain([None]);
        snapshots.any(|snapshot| {
            let counter = AtomicU64::new(0);
            Opening::source(&self.files, snapshot, acknowledged, &counter).is_ok()
        })
    }
}

/// The fault of a journal that ends before what was acknowledged. It may go on behind the newest snapshot, in a new file.
fn too_short(
    files: &JournalFiles,
    end: &JournalEnd,
    newest: u64,
    acknowledged: Option<u64>,
) -> Option<FolderFault> {
    let path = files.path_of(end.number.max(1));
    let (at, last) = (end.at, end.last);
    let acknowledged = acknowledged.filter(|acknowledged| last < *acknowledged)?;
    Some(if newest >= acknowledged {
        let fault = FrameFault::NoFrame;
        let error = JournalError::Damaged { path, at, fault };
        let before = newest;
        FolderFault::Old { error, before }
    } else {
        FolderFault::Short {
            path,
            at,
            last,
            acknowledged,
        }
    })
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_check_begins_again_only_if_files_were_removed_meanwhile() {
        let checked = |findings| {
            Ok(DataCheck {
                last: 1,
                snapshots: 1,
                view: ViewCheck::Compared { records: 1 },
                findings,
                mends: None,
            })
        };
        let failed = |kind: io::ErrorKind| {
            let source = kind.into();
            let path = PathBuf::new();
            Err(PrintError::Journal(JournalError::Io { path, source }))
        };
        for (result, same_snapshots, outdated) in [
            (checked(vec![]), false, false),
            (checked(vec![FolderFault::Mark]), true, false),
            (checked(vec![FolderFault::Mark]), false, true),
            (failed(io::ErrorKind::NotFound), true, true),
            (failed(io::ErrorKind::PermissionDenied), false, false),
        ] {
            let result = result.map(|checked| (checked, same_snapshots));
            assert_eq!(is_outdated(&result), outdated, "{result:?}");
        }
    }
}
