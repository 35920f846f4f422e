//! Reads a damaged file of frames as far as possible: the frames that are whole, wherever they are, and the
//! places between them. Nothing is taken from a damaged frame; what its changes seem to be is only told.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::change::{self, Cursor, JournalChange};
use super::frame::{FrameFault, FrameInfo, HEAD_BYTES, MAGIC};
use super::read::JournalFiles;
use super::segment::{self, SEGMENT_HEAD_BYTES, SegmentHead};
use super::snapshot::Snapshot;
use super::{JournalError, StoreId, at};
use crate::num::{as_u64, as_usize};
use crate::plain_file;

/// The bytes in which a frame is looked for at a time.
const CHUNK_BYTES: usize = 1 << 20;
/// The bytes that are passed over where the disk can't read.
const UNREADABLE_BYTES: u64 = 4096;

/// A piece of a file of frames.
#[derive(Debug)]
pub(crate) enum Piece {
    /// A whole frame with all changes from `first` to `last`; one of a snapshot has some of them.
    Whole {
        first: u64,
        last: u64,
        changes: Vec<JournalChange>,
    },
    /// Bytes that are no whole frame.
    Damaged(DamagedPiece),
}

/// Bytes that are no whole frame.
#[derive(Debug)]
pub(crate) struct DamagedPiece {
    pub(crate) path: PathBuf,
    pub(crate) at: u64,
    pub(crate) bytes: u64,
    pub(crate) fault: FrameFault,
    /// The changes that seem to be in it, if its head is whole.
    pub(crate) seeming: Vec<JournalChange>,
}

/// All of a file in whose place there is something else.
fn not_plain(path: &Path) -> DamagedPiece {
    DamagedPiece {
        path: path.to_owned(),
        at: 0,
        bytes: 0,
        fault: FrameFault::NotPlain,
        seeming: Vec::new(),
    }
}

/// Shows the pieces of a segment or a snapshot to `visit`, in order. Frames with change `until` or later ones don't count.
fn read<E: From<JournalError>>(
    path: &Path,
    until: u64,
    visit: &mut impl FnMut(Piece) -> Result<(), E>,
) -> Result<(), E> {
    let file = match plain_file::open(path) {
        Err(error) if plain_file::is_not_plain(&error) => {
            return visit(Piece::Damaged(not_plain(path)));
        }
        file => file.map_err(at(path))?,
    };
    let length = file.metadata().map_err(at(path))?.len();
    let mut place = as_u64(SEGMENT_HEAD_BYTES);
    let damaged = |at, bytes, fault, seeming| {
        let path = path.to_owned();
        Piece::Damaged(DamagedPiece {
            path,
            at,
            bytes,
            fault,
            seeming,
        })
    };
    while place < length {
        let found = frame_at(&file, place, length);
        let fault = match found {
            Ok(Some((info, Ok(body)))) => match info.changes(&body) {
                Ok(changes) => {
                    let counts = !info.is_end() && info.first < until;
                    let (first, last) = (info.first, info.last);
                    if counts {
                        visit(Piece::Whole {
                            first,
                            last,
                            changes,
                        })?;
                    }
                    place += as_u64(info.bytes());
                    continue;
                }
                Err(fault) => fault,
            },
            Ok(Some((info, Err((fault, body))))) => {
                if info.first < until {
                    let seeming = if info.is_compressed() {
                        Vec::new()
                    } else {
                        seeming(&info, body)
                    };
                    let bytes = as_u64(info.bytes()).min(length - place);
                    visit(damaged(place, bytes, fault, seeming))?;
                }
                // The head is whole, and says where the next one is.
                place += as_u64(info.bytes());
                continue;
            }
            Ok(None) => FrameFault::NoFrame,
            // A newer release wrote it: that is no damage.
            Err(fault @ FrameFault::Version(_)) => {
                let (path, at) = (path.to_owned(), place);
                return Err(JournalError::Damaged { path, at, fault }.into());
            }
            Err(fault) => fault,
        };
        let next = find(&file, place + 1, length);
        let end = next.unwrap_or(length);
        // Zeros up to the end were never used.
        if next.is_some() || !is_zero(&file, place, length) {
            visit(damaged(place, end - place, fault, Vec::new()))?;
        }
        place = end;
    }
    Ok(())
}

type BodyFound = Result<Vec<u8>, (FrameFault, Vec<u8>)>;

/// The frame at a place: its head and, if that is whole, its body, which may be damaged.
fn frame_at(
    file: &File,
    place: u64,
    length: u64,
) -> Result<Option<(FrameInfo, BodyFound)>, FrameFault> {
    let mut head = [0; HEAD_BYTES];
    let read = read_to_end(file, place, &mut head);
    let Some(info) = FrameInfo::decode(head.get(..read).unwrap_or_default())? else {
        return Ok(None);
    };
    // No more memory is taken than the file has bytes.
    let there = as_u64(info.bytes()).min(length - place);
    let mut frame = vec![0; as_usize(there)];
    let read = read_to_end(file, place, &mut frame);
    frame.truncate(read);
    let whole = info.body(&frame).map(<[u8]>::to_vec);
    let body = whole.map_err(|fault| {
        let body = frame.split_off(HEAD_BYTES.min(frame.len()));
        (fault, body)
    });
    Ok(Some((info, body)))
}

/// The changes that a damaged body seems to have: those whose numbers are in their places.
fn seeming(info: &FrameInfo, body: Vec<u8>) -> Vec<JournalChange> {
    let body = Bytes::from(body);
    let mut cursor = Cursor(&body);
    let mut found = Vec::new();
    for seq in info.first..=info.last {
        match change::decode(&body, &mut cursor) {
            Some(change) if change.seq == seq => found.push(change),
            Some(_) => {}
            None => break,
        }
    }
    found
}

/// The next place at which a frame with a whole head begins.
fn find(file: &File, from: u64, length: u64) -> Option<u64> {
    let mut begin = from;
    let mut chunk = vec![0; CHUNK_BYTES];
    while begin < length {
        let read = read_to_end(file, begin, &mut chunk);
        let bytes = chunk.get(..read).unwrap_or_default();
        for found in memchr::memmem::find_iter(bytes, &MAGIC) {
            let place = begin + as_u64(found);
            if matches!(frame_at(file, place, length), Ok(Some(_))) {
                return Some(place);
            }
        }
        // A head may lie across the border of two chunks.
        let kept = MAGIC.len() - 1;
        begin += if read > kept {
            as_u64(read - kept)
        } else {
            UNREADABLE_BYTES
        };
    }
    None
}

fn is_zero(file: &File, from: u64, length: u64) -> bool {
    let mut begin = from;
    let mut chunk = vec![0; CHUNK_BYTES];
    while begin < length {
        let read = read_to_end(file, begin, &mut chunk);
        let bytes = chunk.get(..read).unwrap_or_default();
        if read == 0 || bytes.iter().any(|byte| *byte != 0) {
            return false;
        }
        begin += as_u64(read);
    }
    true
}

/// Reads up to the end of the file, until `into` is full, or up to a place that the disk can't read.
fn read_to_end(file: &File, from: u64, into: &mut [u8]) -> usize {
    let mut read = 0;
    while let Some(rest) = into.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, from + as_u64(read)) {
            Ok(0) => break,
            Ok(length) => read += length,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    read
}

impl JournalFiles {
    /// Shows the changes after `after` in whole frames, whatever is damaged before them, to `visit`, in order, and returns the
    /// last one. It ends where one is missing.
    pub(crate) fn read_past_damage<E: From<JournalError>>(
        &self,
        store: StoreId,
        after: u64,
        mut visit: impl FnMut(Vec<JournalChange>) -> Result<(), E>,
    ) -> Result<u64, E> {
        let mut reached = after;
        self.pieces(store, |piece| match piece {
            Piece::Whole {
                first,
                last,
                mut changes,
            } if first <= reached + 1 && last > reached => {
                changes.retain(|change| change.seq > reached);
                reached = last;
                visit(changes)
            }
            Piece::Whole { .. } | Piece::Damaged(_) => Ok(()),
        })?;
        Ok(reached)
    }

    /// Shows the pieces of all segments of the store to `visit`. Returns those that are another store's.
    pub(crate) fn pieces<E: From<JournalError>>(
        &self,
        store: StoreId,
        mut visit: impl FnMut(Piece) -> Result<(), E>,
    ) -> Result<Vec<PathBuf>, E> {
        let mut foreign = Vec::new();
        let mut segments = Vec::new();
        for number in segment::numbers(&self.folder)? {
            let path = segment::path_of(&self.folder, number);
            let mut bytes = [0; SEGMENT_HEAD_BYTES];
            match plain_file::open(&path) {
                Err(error) if plain_file::is_not_plain(&error) => {}
                file => {
                    read_to_end(&file.map_err(at(&path))?, 0, &mut bytes);
                }
            }
            match SegmentHead::decode(&bytes) {
                Ok(head) if head.store != store => foreign.push(path),
                // A file with another name is at its place by the number in it.
                Ok(head) => segments.push((head.number, Some(head.first), path)),
                Err(_) => segments.push((number, None, path)),
            }
        }
        segments.sort_unstable();
        for (index, (_, _, path)) in segments.iter().enumerate() {
            let later = segments.iter().skip(index + 1);
            let until = later.filter_map(|(_, first, _)| *first).min();
            read(path, until.unwrap_or(u64::MAX), &mut visit)?;
        }
        Ok(foreign)
    }
}

impl Snapshot {
    /// Shows the pieces of the snapshot to `visit`. False if it is another store's.
    pub(crate) fn pieces<E: From<JournalError>>(
        &self,
        mut visit: impl FnMut(Piece) -> Result<(), E>,
    ) -> Result<bool, E> {
        if self.is_foreign()? {
            return Ok(false);
        }
        read(self.path(), u64::MAX, &mut visit)?;
        Ok(true)
    }
}
