//! A snapshot: all records of one moment in one file, so that the segments before it can be removed.
//!
//! It has the frames of the journal: first the records, as changes with the numbers they were made with, then the changes
//! that were made while those were written. A last frame says that nothing is missing. It is written under another name,
//! read back, and only then gets its own.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::time::UNIX_EPOCH;

use bytes::Bytes;

use super::change::JournalChange;
use super::frame::FrameFault;
use super::stream::{FRAME_BYTES, StreamError, StreamHead, StreamReader, StreamWriter};
use super::{JournalError, StoreId, at, is_absent, sync_folder};
use crate::num::as_millis;
use crate::plain_file;
use crate::storage::ReadCounter;

const ENDING: &str = "snapshot";
const MAGIC: [u8; 8] = *b"PRNSNAP1";
/// The number of snapshots that are kept.
const KEPT: usize = 2;
/// The name of one that is being written.
const UNFINISHED: &str = "unfinished";

/// A snapshot on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    path: PathBuf,
    store: StoreId,
    /// The last change that it has.
    pub(crate) seq: u64,
}

/// Writes a snapshot.
#[derive(Debug)]
pub(crate) struct SnapshotWriter {
    folder: PathBuf,
    out: StreamWriter<BufWriter<File>>,
    store: StoreId,
    unfinished: UnnamedFile,
}

/// A file that is being written. It is removed if it gets no other name: it may have taken the last room on the disk.
#[derive(Debug)]
struct UnnamedFile(PathBuf);

impl Drop for UnnamedFile {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

impl SnapshotWriter {
    /// Begins one in `folder`, in the place of one that was not finished.
    pub(crate) fn begin(folder: &Path, store: StoreId) -> Result<Self, JournalError> {
        if !folder.exists() {
            fs::create_dir_all(folder).map_err(at(folder))?;
            if let Some(data) = folder.parent() {
                sync_folder(data)?;
            }
        }
        let unfinished = UnnamedFile(folder.join(UNFINISHED));
        let path = &unfinished.0;
        plain_file::remove(path).map_err(at(path))?;
        let file = plain_file::create(path).map_err(at(path))?;
        let out = StreamWriter::begin(BufWriter::new(file), &head(store));
        let out = out.map_err(at(path))?;
        Ok(Self {
            folder: folder.to_owned(),
            out,
            store,
            unfinished,
        })
    }

    /// Adds a change.
    pub(crate) fn add(&mut self, change: JournalChange) -> Result<(), JournalError> {
        self.out.add(change).map_err(at(&self.unfinished.0))
    }

    /// Ends the snapshot, whose last change is `seq`: writes it to the disk, reads it back, and gives it its name.
    pub(crate) fn finish(self, seq: u64) -> Result<Snapshot, JournalError> {
        let path = &self.unfinished.0;
        let out = self.out.finish(seq, Bytes::new()).map_err(at(path))?;
        out.get_ref().sync_all().map_err(at(path))?;
        let unfinished = Snapshot {
            path: path.clone(),
            store: self.store,
            seq,
        };
        unfinished.read::<JournalError>(|_| Ok(()))?;
        let path = self.folder.join(format!("{seq:020}.{ENDING}"));
        if path.exists() {
            // Nothing has changed since that one was made. It stays as the older of the two that are kept, which has the same
            // number, written with one digit fewer.
            let older = self.folder.join(format!("{seq:019}.{ENDING}"));
            fs::rename(&path, &older).map_err(at(&older))?;
        }
        fs::rename(&unfinished.path, &path).map_err(at(&path))?;
        sync_folder(&self.folder)?;
        Ok(Snapshot { path, ..unfinished })
    }
}

fn head(store: StoreId) -> StreamHead {
    StreamHead {
        magic: MAGIC,
        store,
        numbers: [0; 2],
    }
}

impl Snapshot {
    /// The snapshots in a folder, the newest first.
    pub(crate) fn find(folder: &Path, store: StoreId) -> Result<Vec<Self>, JournalError> {
        let mut found = Vec::new();
        let entries = match fs::read_dir(folder) {
            Err(error) if is_absent(&error) => return Ok(found),
            entries => entries.map_err(at(folder))?,
        };
        for entry in entries {
            let path = entry.map_err(at(folder))?.path();
            let seq = path
                .file_stem()
                .and_then(|stem| stem.to_str()?.parse().ok());
            if let Some(seq) = seq
                && path.extension().is_some_and(|ending| ending == ENDING)
            {
                found.push(Self { path, store, seq });
            }
        }
        // Of two with the same number the newer one has the longer name.
        found.sort_unstable_by_key(|snapshot| {
            std::cmp::Reverse((snapshot.seq, snapshot.path.as_os_str().len()))
        });
        Ok(found)
    }

    /// Removes what a process that ended left of one that it wrote.
    pub(crate) fn remove_unfinished(folder: &Path) -> Result<(), JournalError> {
        let path = folder.join(UNFINISHED);
        match plain_file::remove(&path) {
            Err(error) if !is_absent(&error) => Err(at(&path)(error)),
            _ => Ok(()),
        }
    }

    /// Removes all but the newest ones of a folder. Returns the last change of the oldest that is left.
    pub(crate) fn thin_out(folder: &Path, store: StoreId) -> Result<Option<u64>, JournalError> {
        let found = Self::find(folder, store)?;
        for old in found.iter().skip(KEPT) {
            plain_file::remove(&old.path).map_err(at(&old.path))?;
        }
        Ok(found.iter().take(KEPT).next_back().map(|oldest| oldest.seq))
    }

    /// The store of the snapshots in a folder, by the first one whose head is whole.
    pub(crate) fn store_of(folder: &Path) -> Result<Option<StoreId>, JournalError> {
        for snapshot in Self::find(folder, StoreId(0))? {
            if let Some(store) = snapshot.head()? {
                return Ok(Some(store));
            }
        }
        Ok(None)
    }

    /// Whether its head is that of another store.
    pub(super) fn is_foreign(&self) -> Result<bool, JournalError> {
        Ok(self.head()?.is_some_and(|store| store != self.store))
    }

    /// The store in its head, if that is whole.
    fn head(&self) -> Result<Option<StoreId>, JournalError> {
        let path = self.path.as_path();
        let file = match plain_file::open(path) {
            Err(error) if plain_file::is_not_plain(&error) => return Ok(None),
            file => file.map_err(at(path))?,
        };
        let stream = StreamReader::begin(file, MAGIC);
        Ok(stream.ok().map(|stream| stream.head.store))
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Copies it into another folder, and reads the copy.
    pub(super) fn copy_to(&self, folder: &Path) -> Result<(), JournalError> {
        let unfinished = UnnamedFile(folder.join(UNFINISHED));
        let path = &unfinished.0;
        let copy = || {
            let (mut from, mut file) = (plain_file::open(&self.path)?, plain_file::create(path)?);
            io::copy(&mut from, &mut file)?;
            file.set_modified(from.metadata()?.modified()?)?;
            file.sync_all()
        };
        copy().map_err(at(path))?;
        let named = folder.join(format!("{:020}.{ENDING}", self.seq));
        let copy = Self {
            path: path.clone(),
            ..self.clone()
        };
        copy.read::<JournalError>(|_| Ok(()))?;
        fs::rename(path, &named).map_err(at(&named))?;
        sync_folder(folder)
    }

    /// The time when it was written, in milliseconds since 1970: no change in it is later.
    pub(crate) fn written_ms(&self) -> Result<u64, JournalError> {
        let modified = fs::metadata(&self.path).and_then(|file| file.modified());
        let modified = modified.map_err(at(&self.path))?;
        let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(as_millis(since))
    }

    fn damaged(&self, place: u64, fault: FrameFault) -> JournalError {
        let path = self.path.clone();
        let at = place;
        JournalError::Damaged { path, at, fault }
    }

    /// The length of the file.
    pub(crate) fn bytes(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |file| file.len())
    }

    /// Shows its changes to `visit`, in order.
    pub(crate) fn read<E: From<JournalError>>(
        &self,
        visit: impl FnMut(Vec<JournalChange>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.read_counted(&AtomicU64::new(0), visit)
    }

    /// The same, with a counter of the bytes that are read.
    pub(crate) fn read_counted<E: From<JournalError>>(
        &self,
        counter: &AtomicU64,
        visit: impl FnMut(Vec<JournalChange>) -> Result<(), E>,
    ) -> Result<(), E> {
        let path = self.path.as_path();
        let failed = |error| match error {
            StreamError::Io(error) => at(path)(error),
            StreamError::Damaged { at, fault } => self.damaged(at, fault),
        };
        let file = plain_file::open(path).map_err(at(path))?;
        let file = BufReader::with_capacity(
            FRAME_BYTES,
            ReadCounter {
                from: file,
                counter,
            },
        );
        let stream = StreamReader::begin(file, MAGIC).map_err(failed)?;
        if stream.head != head(self.store) {
            return Err(self.damaged(0, FrameFault::FileHead).into());
        }
        let (last, _) = stream.read(|error| failed(error).into(), visit)?;
        if last == self.seq {
            Ok(())
        } else {
            Err(self.damaged(0, FrameFault::Form).into())
        }
    }
}
