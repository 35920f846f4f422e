//! Appends groups of changes to the journal: one write and one sync for each group.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::frame::{Chain, FrameKind, HEAD_BYTES, JournalChange, encode};
use super::read::JournalEnd;
use super::segment::{self, SEGMENT_HEAD_BYTES, SegmentHead, bytes_of};
use super::{JournalError, StoreId, at, sync_folder};
use crate::num::as_u64;

/// The file whose room is made before it is needed.
const SPARE: &str = "spare";

/// The open journal. Its one user is the writer.
#[derive(Debug)]
pub(crate) struct Journal {
    folder: PathBuf,
    store: StoreId,
    current: Option<Current>,
    number: u64,
    last: u64,
    chain: Chain,
    /// The bytes of frames that were appended since that was asked.
    appended: u64,
    /// Whether a thread is making the spare file.
    making: Arc<AtomicBool>,
    buffer: Vec<u8>,
}

/// The segment that is appended to.
#[derive(Debug)]
struct Current {
    path: PathBuf,
    file: File,
    /// The end of what was written.
    at: u64,
    bytes: u64,
}

impl Journal {
    /// A journal in `folder` that goes on after `end`. The folder is made if it is missing.
    pub(crate) fn open(
        folder: &Path,
        store: StoreId,
        end: &JournalEnd,
    ) -> Result<Self, JournalError> {
        if !folder.exists() {
            fs::create_dir_all(folder).map_err(at(folder))?;
            if let Some(parent) = folder.parent() {
                sync_folder(parent)?;
            }
        }
        let mut journal = Self {
            folder: folder.to_owned(),
            store,
            current: None,
            number: end.number,
            last: end.last,
            chain: end.chain,
            appended: 0,
            making: Arc::default(),
            buffer: Vec::new(),
        };
        // What could not be read at the end of a segment is not overwritten: a new segment says that it doesn't count.
        if end.clean && end.number > 0 {
            let path = segment::path_of(folder, end.number);
            let file = OpenOptions::new().read(true).write(true).open(&path);
            let file = file.map_err(at(&path))?;
            // A process that was killed may have left changes in the kernel's cache.
            file.sync_data().map_err(at(&path))?;
            let bytes = file.metadata().map_err(at(&path))?.len();
            journal.current = Some(Current {
                path,
                file,
                at: end.at,
                bytes,
            });
        } else {
            journal.begin_segment(0)?;
        }
        Ok(journal)
    }

    /// Puts the frame of `changes` into the buffer and makes sure that a segment has room for it. Nothing is written yet.
    pub(crate) fn prepare(&mut self, changes: &[JournalChange]) -> Result<(), JournalError> {
        self.encode(changes);
        let needed = as_u64(self.buffer.len());
        let room = self.current.as_ref().map_or(0, |now| now.bytes - now.at);
        if room < needed {
            self.begin_segment(needed)?;
            self.encode(changes);
        }
        Ok(())
    }

    /// Makes the next group begin a new file.
    pub(crate) fn leave_segment(&mut self) {
        self.current = None;
    }

    /// The number of bytes that were appended since the last call.
    pub(crate) fn bytes_since_asked(&mut self) -> u64 {
        std::mem::take(&mut self.appended)
    }

    fn encode(&mut self, changes: &[JournalChange]) {
        self.buffer.clear();
        encode(&mut self.buffer, changes, FrameKind::Plain, self.chain);
    }

    /// Writes what was prepared and returns when it is on the disk; without `sync`, when the kernel has it.
    ///
    /// After an error nobody knows what is on the disk: the journal must be opened again.
    pub(crate) fn append(
        &mut self,
        changes: &[JournalChange],
        sync: bool,
    ) -> Result<(), JournalError> {
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        current.is_in_place()?;
        let written = current.file.write_all_at(&self.buffer, current.at);
        written.map_err(at(&current.path))?;
        if sync {
            current.file.sync_data().map_err(at(&current.path))?;
        }
        current.at += as_u64(self.buffer.len());
        self.appended += as_u64(self.buffer.len());
        let nearly_full = current.at > current.bytes / 2;
        self.last = changes.last().map_or(self.last, |change| change.seq);
        if let Ok(Some(info)) = super::frame::FrameInfo::decode(&self.buffer) {
            self.chain = info.chain;
        }
        if nearly_full {
            self.make_spare();
        }
        Ok(())
    }

    fn begin_segment(&mut self, frame_bytes: u64) -> Result<(), JournalError> {
        let head = SegmentHead {
            store: self.store,
            number: self.number + 1,
            first: self.last + 1,
            chain: self.chain,
        };
        let needed = frame_bytes + as_u64(SEGMENT_HEAD_BYTES + HEAD_BYTES);
        let bytes = bytes_of(head.number).max(needed);
        let spare = self.folder.join(SPARE);
        let ready = !self.making.load(Ordering::Acquire)
            && fs::metadata(&spare).is_ok_and(|file| file.len() == bytes);
        let (room, file) = if ready {
            let file = OpenOptions::new().read(true).write(true).open(&spare);
            let file = file.map_err(at(&spare))?;
            (spare, file)
        } else {
            let room = self.folder.join("new");
            let file = segment::make_room(&room, bytes)?;
            (room, file)
        };
        let path = segment::begin(&self.folder, &room, &file, &head)?;
        self.number = head.number;
        self.current = Some(Current {
            path,
            file,
            at: as_u64(SEGMENT_HEAD_BYTES),
            bytes,
        });
        Ok(())
    }

    /// Makes room for the next segment on a thread of its own, so that no group waits for it.
    fn make_spare(&self) {
        let spare = self.folder.join(SPARE);
        if spare.exists() || self.making.swap(true, Ordering::AcqRel) {
            return;
        }
        let making = Arc::clone(&self.making);
        let unfinished = self.folder.join("spare-unfinished");
        let bytes = bytes_of(self.number + 1);
        let make = move || {
            let made = segment::make_room(&unfinished, bytes)
                .and_then(|_| fs::rename(&unfinished, &spare).map_err(at(&spare)));
            if let Err(error) = made {
                tracing::debug!(%error, "no room was made for the next file of the journal; it will be made when it is needed");
            }
            making.store(false, Ordering::Release);
        };
        let thread = std::thread::Builder::new().name("journal-room".to_owned());
        if thread.spawn(make).is_err() {
            self.making.store(false, Ordering::Release);
        }
    }
}

impl Current {
    /// Whether the path still leads to the file that is open: a folder that was moved away, replaced or unmounted must not
    /// be written into as if nothing had happened.
    fn is_in_place(&self) -> Result<(), JournalError> {
        let ours = self.file.metadata().map_err(at(&self.path))?;
        let found = fs::metadata(&self.path);
        let same = found.is_ok_and(|found| (found.dev(), found.ino()) == (ours.dev(), ours.ino()));
        if same {
            Ok(())
        } else {
            let path = self.path.clone();
            Err(JournalError::Replaced { path })
        }
    }
}
