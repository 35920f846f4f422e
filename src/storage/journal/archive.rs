//! The archive: a second copy of the journal and the snapshots on another disk, which keeps what the journal has no longer.
//!
//! Its files are those of the journal, byte by byte, as far as changes were acknowledged: a restore reads them as it reads
//! a data folder. They are copied behind the writer's back, who never waits for them.

mod copying;

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use copying::{Copying, frames_in};

use super::lock::{DataLock, LockError};
use super::read::JournalFiles;
use super::segment::{self, SEGMENT_HEAD_BYTES, SegmentHead};
use super::snapshot::Snapshot;
use super::{JournalError, StoreId, at, sync_folder};
use crate::num::as_u64;
use crate::plain_file;

/// The folders that are copied, and where to.
#[derive(Debug, Clone)]
pub(crate) struct ArchiveFolders {
    pub(crate) journal: PathBuf,
    pub(crate) snapshots: PathBuf,
    pub(crate) archive: PathBuf,
}

/// The reason why something was not archived.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    /// The folder is not there.
    #[error("there is no folder {}; mount its disk, or make the folder", .0.display())]
    NoFolder(PathBuf),
    /// The lock was not taken.
    #[error("{}: {error}; each daemon needs an archive of its own", .folder.display())]
    Lock {
        folder: PathBuf,
        #[source]
        error: LockError,
    },
    /// The folder was exchanged while it was in use.
    #[error("{} was exchanged while it was in use", .0.display())]
    Exchanged(PathBuf),
    /// A file can't be read or written.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl ArchiveError {
    /// Whether the journal that is copied is not what was written.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(self, Self::Journal(error) if error.is_damage())
    }
}

/// An open archive.
#[derive(Debug)]
pub(crate) struct Archive {
    folders: ArchiveFolders,
    store: StoreId,
    lock: DataLock,
    /// The segment that is copied; none before the first.
    current: Option<Copying>,
    /// The last change that it has.
    pub(crate) last: u64,
    /// The number of times that changes were left out, since the journal did not have them any more.
    pub(crate) gaps: u64,
}

impl Archive {
    /// Opens the archive of a store. What is another store's, or of another past of this one, is moved aside.
    pub(crate) fn open(folders: ArchiveFolders, store: StoreId) -> Result<Self, ArchiveError> {
        let folder = &folders.archive;
        if !folder.is_dir() {
            return Err(ArchiveError::NoFolder(folder.clone()));
        }
        let lock = DataLock::take(folder).map_err(|error| ArchiveError::Lock {
            folder: folder.clone(),
            error,
        })?;
        for part in [folders.copied_journal(), folders.copied_snapshots()] {
            fs::create_dir_all(&part).map_err(at(&part))?;
        }
        let mut archive = Self {
            folders,
            store,
            lock,
            current: None,
            last: 0,
            gaps: 0,
        };
        if !archive.go_on()? {
            archive.set_aside()?;
        }
        sync_folder(&archive.folders.archive)?;
        Ok(archive)
    }

    /// Finds the end of what was copied before. False if it can't go on there.
    fn go_on(&mut self) -> Result<bool, JournalError> {
        let folder = self.folders.copied_journal();
        let Some(number) = segment::numbers(&folder)?.last().copied() else {
            return Ok(true);
        };
        let path = segment::path_of(&folder, number);
        let copy = plain_file::read(&path).map_err(at(&path))?;
        let Ok(head) = SegmentHead::decode(&copy) else {
            // Its beginning was not written yet, or is damaged: it is copied again.
            return Ok(true);
        };
        if head.store != self.store {
            return Ok(false);
        }
        let frames = copy.get(SEGMENT_HEAD_BYTES..).unwrap_or_default();
        let run = frames_in(frames, head.first.saturating_sub(1), head.chain, u64::MAX);
        self.last = run.last;
        let from_path = segment::path_of(&self.folders.journal, number);
        let from = match plain_file::open(&from_path) {
            // The journal does not need it any more, or begins again.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let numbers = segment::numbers(&self.folders.journal)?;
                return Ok(numbers.first().is_none_or(|first| *first > number));
            }
            from => from.map_err(at(&from_path))?,
        };
        let copied = SEGMENT_HEAD_BYTES + run.bytes;
        let mut same = vec![0; copied];
        let read = from.read_exact_at(&mut same, 0);
        if read.is_err() || copy.get(..copied) != Some(same.as_slice()) {
            return Ok(false);
        }
        let to = plain_file::open_by(OpenOptions::new().write(true), &path);
        let to = to.map_err(at(&path))?;
        to.set_len(as_u64(copied)).map_err(at(&path))?;
        to.sync_all().map_err(at(&path))?;
        self.current = Some(Copying {
            number,
            from,
            from_path,
            to,
            to_path: path,
            at: as_u64(copied),
            last: run.last,
            chain: run.chain,
        });
        Ok(true)
    }

    /// Moves all that is there into a new folder of the archive.
    fn set_aside(&mut self) -> Result<(), JournalError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_millis();
        let aside = self.folders.archive.join(format!("aside-{now}"));
        fs::create_dir_all(&aside).map_err(at(&aside))?;
        for part in [
            self.folders.copied_journal(),
            self.folders.copied_snapshots(),
        ] {
            if let Some(name) = part.file_name() {
                fs::rename(&part, aside.join(name)).map_err(at(&part))?;
            }
            fs::create_dir_all(&part).map_err(at(&part))?;
        }
        self.last = 0;
        tracing::warn!(to = %aside.display(), "the archive belongs to another store, or has changes that this store does not have: it was moved aside, and a new one is begun");
        Ok(())
    }

    /// Copies the changes up to `until`, which were acknowledged.
    pub(crate) fn advance(&mut self, until: u64) -> Result<(), ArchiveError> {
        if !self.lock.is_of(&self.folders.archive) {
            return Err(ArchiveError::Exchanged(self.folders.archive.clone()));
        }
        if let Some(current) = &self.current
            && current.is_replaced()?
        {
            return Err(ArchiveError::Exchanged(current.from_path.clone()));
        }
        loop {
            let number = self.current.as_ref().map_or(0, |current| current.number);
            let numbers = segment::numbers(&self.folders.journal)?;
            let next = numbers.into_iter().find(|other| *other > number);
            let head = next.map(|next| self.head(next)).transpose()?;
            let before = head.map_or(u64::MAX, |head| head.first.saturating_sub(1));
            if let Some(current) = &mut self.current {
                match current.copy(until.min(before)) {
                    // The store makes a snapshot of what is damaged, and goes on in the next segment.
                    Err(error) if error.is_damage() && head.is_some() => {
                        tracing::warn!(%error, "a damaged part of the journal is not archived");
                    }
                    copied => copied?,
                }
                self.last = current.last.min(before);
            }
            let Some(head) = head.filter(|_| before <= until) else {
                return Ok(());
            };
            self.begin(&head)?;
        }
    }

    fn head(&self, number: u64) -> Result<SegmentHead, JournalError> {
        let path = segment::path_of(&self.folders.journal, number);
        let mut head = [0; SEGMENT_HEAD_BYTES];
        let file = plain_file::open(&path).map_err(at(&path))?;
        file.read_exact_at(&mut head, 0).map_err(at(&path))?;
        let at = 0;
        SegmentHead::decode(&head).map_err(|fault| JournalError::Damaged { path, at, fault })
    }

    /// Begins to copy a segment.
    fn begin(&mut self, head: &SegmentHead) -> Result<(), ArchiveError> {
        if self.last > 0 && head.first > self.last + 1 {
            self.gaps += 1;
            let (first, last) = (self.last + 1, head.first - 1);
            tracing::warn!(
                first,
                last,
                "the archive lacks changes that the journal does not have any more; it continues after them"
            );
        }
        let from_path = segment::path_of(&self.folders.journal, head.number);
        let to_path = segment::path_of(&self.folders.copied_journal(), head.number);
        let from = plain_file::open(&from_path).map_err(at(&from_path))?;
        let to = plain_file::create(&to_path).map_err(at(&to_path))?;
        to.write_all_at(&head.encode(), 0).map_err(at(&to_path))?;
        to.sync_all().map_err(at(&to_path))?;
        sync_folder(&self.folders.copied_journal())?;
        self.last = head.first.saturating_sub(1);
        self.current = Some(Copying {
            number: head.number,
            from,
            from_path,
            to,
            to_path,
            at: as_u64(SEGMENT_HEAD_BYTES),
            last: self.last,
            chain: head.chain,
        });
        Ok(())
    }
}

impl ArchiveFolders {
    fn copied_journal(&self) -> PathBuf {
        self.archive.join("journal")
    }

    fn copied_snapshots(&self) -> PathBuf {
        self.archive.join("snapshots")
    }

    /// Copies the snapshots that are not there yet, and reads the copies.
    pub(crate) fn copy_snapshots(&self, store: StoreId) -> Result<(), JournalError> {
        let folder = self.copied_snapshots();
        let there = Snapshot::find(&folder, store)?;
        for snapshot in Snapshot::find(&self.snapshots, store)? {
            if there.iter().any(|copy| copy.seq == snapshot.seq) {
                continue;
            }
            let copied = snapshot.copy_to(&folder);
            // It may be thinned out meanwhile.
            if snapshot.path().exists() {
                copied?;
            }
        }
        Ok(())
    }

    /// Removes what is needed for no moment of the last `keep`.
    pub(crate) fn thin_out(
        &self,
        store: StoreId,
        keep: Duration,
        now: SystemTime,
    ) -> Result<(), JournalError> {
        let horizon = now.checked_sub(keep).unwrap_or(UNIX_EPOCH);
        let snapshots = Snapshot::find(&self.copied_snapshots(), store)?;
        let written = |snapshot: &Snapshot| {
            let file = fs::metadata(snapshot.path());
            file.and_then(|file| file.modified()).unwrap_or(now)
        };
        let ages: Vec<_> = snapshots
            .iter()
            .map(|one| (one.seq, written(one)))
            .collect();
        let Some(base) = oldest_needed(&ages, horizon) else {
            return Ok(());
        };
        for old in snapshots.iter().filter(|snapshot| snapshot.seq < base) {
            fs::remove_file(old.path()).map_err(at(old.path()))?;
        }
        JournalFiles::find(&self.copied_journal(), store)?.remove_before(base)?;
        Ok(())
    }
}

/// The snapshot from which the oldest moment that is kept is restored: the newest one before that moment.
fn oldest_needed(snapshots: &[(u64, SystemTime)], horizon: SystemTime) -> Option<u64> {
    let before = snapshots.iter().filter(|(_, written)| *written <= horizon);
    before.map(|(seq, _)| *seq).max()
}
