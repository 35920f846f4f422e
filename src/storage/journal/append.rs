//! Appends groups of changes to the journal: one write and one sync for each group.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::change::JournalChange;
use super::frame::{self, Chain, FrameKind, HEAD_BYTES, encode};
use super::read::JournalEnd;
use super::segment::{self, SEGMENT_HEAD_BYTES, SegmentHead, bytes_of};
use super::{JournalError, StoreId, at, is_absent, sync_folder};
use crate::num::as_u64;
use crate::plain_file;

/// The file whose room is made before it is needed.
const SPARE: &str = "spare";
/// The beginning of the names of such files while they are made: each is written by one thread only, and has a name of its own,
/// since a thread may outlive the journal that began it.
const UNFINISHED: &str = "spare-";
/// The name of a file whose room is made when it is needed.
const NEW: &str = "new";

/// The sync after a frame was written; all but the first are for tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameSync {
    Synced,
    /// As if it were.
    Skipped,
    /// As if the disk returned an error.
    Failing,
}

/// The open journal. Its one user is the writer.
#[derive(Debug)]
pub(crate) struct Journal {
    folder: PathBuf,
    store: StoreId,
    current: Current,
    number: u64,
    last: u64,
    chain: Chain,
    /// Whether the next group begins a new segment.
    leaves_segment: bool,
    /// Whether no room is made for the next segment, since the disk has none to spare.
    no_more_room: bool,
    /// The frame of the next group, and the chain after it.
    frame: Vec<u8>,
    frame_chain: Chain,
    /// The bytes of frames that were appended since that was asked.
    appended: u64,
    /// Whether a thread is making the spare file.
    making: Arc<AtomicBool>,
}

/// The segment that is appended to.
#[derive(Debug)]
struct Current {
    path: PathBuf,
    file: File,
    /// Device and number of the file.
    id: (u64, u64),
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
        remove_unfinished(folder)?;
        // What could not be read at the end of a segment is not overwritten: a new segment says that it doesn't count.
        let goes_on = end.clean && end.number > 0;
        let (number, current) = if goes_on {
            let path = segment::path_of(folder, end.number);
            let file = plain_file::open_by(OpenOptions::new().read(true).write(true), &path);
            let file = file.map_err(at(&path))?;
            // A process that was killed may have left changes in the kernel's cache.
            file.sync_data().map_err(at(&path))?;
            (end.number, Current::new(path, file, end.at)?)
        } else {
            let head = SegmentHead {
                store,
                number: end.number + 1,
                first: end.last + 1,
                chain: end.chain,
            };
            let begun = Current::begin(folder, &head, 0, false, false)?;
            (head.number, begun)
        };
        Ok(Self {
            folder: folder.to_owned(),
            store,
            current,
            number,
            last: end.last,
            chain: end.chain,
            leaves_segment: false,
            no_more_room: false,
            frame: Vec::new(),
            frame_chain: end.chain,
            appended: 0,
            making: Arc::default(),
        })
    }

    /// Puts the changes into a frame and makes sure that a segment has room for it. Nothing of it is written yet. With
    /// `no_more_room` the disk may not be used for it: then only a spare file can be the next segment. Changes that would not be
    /// read back are refused.
    pub(crate) fn prepare(
        &mut self,
        changes: &[JournalChange],
        no_more_room: bool,
    ) -> Result<(), JournalError> {
        if !frame::fits(changes) {
            return Err(JournalError::TooMuch);
        }
        self.no_more_room = no_more_room;
        self.frame.clear();
        self.frame_chain = encode(&mut self.frame, changes, FrameKind::Plain, self.chain);
        let needed = as_u64(self.frame.len());
        if self.leaves_segment || self.current.bytes - self.current.at < needed {
            self.begin_segment()?;
        }
        Ok(())
    }

    /// Begins a new segment with room for the frame that was prepared. What the one before has of later changes doesn't count.
    fn begin_segment(&mut self) -> Result<(), JournalError> {
        self.current.is_in_place()?;
        let head = SegmentHead {
            store: self.store,
            number: self.number + 1,
            first: self.last + 1,
            chain: self.chain,
        };
        let needed = as_u64(self.frame.len());
        let has_spare = !self.making.load(Ordering::Acquire);
        let begun = Current::begin(&self.folder, &head, needed, has_spare, self.no_more_room);
        match begun {
            Ok(begun) => {
                self.current = begun;
                self.number = head.number;
                self.leaves_segment = false;
                Ok(())
            }
            Err(error) => {
                if !error.is_full() && has_spare {
                    // A sync after a failed one says nothing about the same file.
                    drop(fs::remove_file(self.folder.join(SPARE)));
                }
                Err(error)
            }
        }
    }

    /// The room that the next segment needs.
    pub(crate) fn next_bytes(&self) -> u64 {
        segment_bytes(self.number + 1, as_u64(self.frame.len()))
    }

    /// Makes the next group begin a new segment.
    pub(crate) fn leave_segment(&mut self) {
        self.leaves_segment = true;
    }

    /// The number of bytes that were appended since the last call.
    pub(crate) fn bytes_since_asked(&mut self) -> u64 {
        std::mem::take(&mut self.appended)
    }

    /// Writes the frame that was prepared, whose last change is `last`, and returns when it is on the disk.
    ///
    /// After an error nobody knows what the disk has of it, and a second sync of the same file would not tell: the next group
    /// begins a new segment, which says where this one ends.
    pub(crate) fn append(&mut self, last: u64, sync: FrameSync) -> Result<(), JournalError> {
        self.leaves_segment = true;
        let current = &mut self.current;
        current.is_in_place()?;
        let written = current.file.write_all_at(&self.frame, current.at);
        written.map_err(at(&current.path))?;
        let synced = match sync {
            FrameSync::Synced => current.file.sync_data(),
            FrameSync::Skipped => Ok(()),
            FrameSync::Failing => Err(io::Error::other("a fault that was asked for")),
        };
        synced.map_err(at(&current.path))?;
        self.leaves_segment = false;
        let bytes = as_u64(self.frame.len());
        current.at += bytes;
        self.appended += bytes;
        (self.last, self.chain) = (last, self.frame_chain);
        if !self.no_more_room && self.current.at > self.current.bytes / 2 {
            self.make_spare();
        }
        Ok(())
    }

    /// Writes the frame that was prepared into a new segment, after an attempt to append it failed.
    pub(crate) fn append_again(&mut self, last: u64, sync: FrameSync) -> Result<(), JournalError> {
        self.begin_segment()?;
        self.append(last, sync)
    }

    /// Makes room for the next segment on a thread of its own, so that no group waits for it.
    fn make_spare(&self) {
        let spare = self.folder.join(SPARE);
        if spare.exists() || self.making.swap(true, Ordering::AcqRel) {
            return;
        }
        let making = Arc::clone(&self.making);
        let name = format!("{UNFINISHED}{}", uuid::Uuid::now_v7());
        let unfinished = self.folder.join(name);
        let bytes = bytes_of(self.number + 1);
        let make = move || {
            let made = segment::make_room(&unfinished, bytes)
                .and_then(|_| publish(&unfinished, &spare).map_err(at(&spare)));
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
    fn new(path: PathBuf, file: File, place: u64) -> Result<Self, JournalError> {
        let found = file.metadata().map_err(at(&path))?;
        Ok(Self {
            path,
            file,
            id: (found.dev(), found.ino()),
            at: place,
            bytes: found.len(),
        })
    }

    /// Begins the segment of this head, with room for a frame of `frame_bytes`. Takes the spare file if it may be used.
    fn begin(
        folder: &Path,
        head: &SegmentHead,
        frame_bytes: u64,
        has_spare: bool,
        no_more_room: bool,
    ) -> Result<Self, JournalError> {
        let bytes = segment_bytes(head.number, frame_bytes);
        let spare = folder.join(SPARE);
        let (room, file) =
            if has_spare && fs::metadata(&spare).is_ok_and(|file| file.len() == bytes) {
                let file = plain_file::open_by(OpenOptions::new().read(true).write(true), &spare);
                let file = file.map_err(at(&spare))?;
                (spare, file)
            } else if no_more_room {
                return Err(at(&spare)(io::ErrorKind::StorageFull.into()));
            } else {
                let room = folder.join(NEW);
                let file = segment::make_room(&room, bytes)?;
                (room, file)
            };
        let path = segment::begin(folder, &room, &file, head)?;
        Self::new(path, file, as_u64(SEGMENT_HEAD_BYTES))
    }

    /// Looks whether the path still leads to the file that is open: a folder that was moved away, replaced or unmounted must
    /// not be written into as if nothing had happened.
    fn is_in_place(&self) -> Result<(), JournalError> {
        let is_it = |found: fs::Metadata| (found.dev(), found.ino()) == self.id;
        match fs::metadata(&self.path).map(is_it) {
            Ok(true) => Ok(()),
            Err(error) if !is_absent(&error) => Err(at(&self.path)(error)),
            Ok(false) | Err(_) => {
                let path = self.path.clone();
                Err(JournalError::Replaced { path })
            }
        }
    }
}

/// The length of the segment of this number that is to begin with a frame of `frame_bytes`.
fn segment_bytes(number: u64, frame_bytes: u64) -> u64 {
    let needed = frame_bytes + as_u64(SEGMENT_HEAD_BYTES + HEAD_BYTES);
    bytes_of(number).max(needed)
}

/// Gives a file that was made the name by which it is taken, unless another has it: that one may be in use at this moment.
fn publish(unfinished: &Path, spare: &Path) -> io::Result<()> {
    let linked = fs::hard_link(unfinished, spare);
    fs::remove_file(unfinished)?;
    linked
}

/// Removes what was not finished by journals that were open before, and what is in the place of a spare file.
fn remove_unfinished(folder: &Path) -> Result<(), JournalError> {
    for entry in fs::read_dir(folder).map_err(at(folder))? {
        let entry = entry.map_err(at(folder))?;
        let name = entry.file_name();
        let is_unfinished =
            name == NEW || name.as_encoded_bytes().starts_with(UNFINISHED.as_bytes());
        if is_unfinished || name == SPARE && !entry.path().is_file() {
            let path = entry.path();
            plain_file::remove(&path).map_err(at(&path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_made_too_late_takes_no_name_and_none_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let spare = path(SPARE);
        for (name, content) in [("spare-1", "first"), ("spare-2", "second")] {
            fs::write(path(name), content).unwrap();
            assert_eq!(publish(&path(name), &spare).is_ok(), name == "spare-1");
            assert!(!path(name).exists());
            assert_eq!(fs::read(&spare).unwrap(), b"first");
        }
        // Journals that are opened one after the other, while the threads of those before still make room.
        fs::write(path("spare-3"), "killed").unwrap();
        let store = StoreId::random();
        let end = JournalEnd::default();
        let journal = Journal::open(folder.path(), store, &end).unwrap();
        journal.make_spare();
        assert!(!path("spare-3").exists());
        assert_eq!(fs::read(&spare).unwrap(), b"first", "there is one");
    }
}
