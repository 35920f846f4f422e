//! A segment: one file of the journal. Its room is written with zeros before it is used, so that a sync of what is
//! written into it changes no metadata.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::frame::{Chain, FrameFault};
use super::{JournalError, StoreId, at, is_absent, sync_folder};
use crate::num::{as_u32, as_u64, as_usize};
use crate::plain_file;

/// The lengths of the first segment and of the longest; each is twice as long as the one before it. Only one group that needs
/// more makes a longer one.
const BYTES_FIRST: u64 = if cfg!(test) { 16 << 10 } else { 1 << 20 };
const BYTES_MAX: u64 = if cfg!(test) { 64 << 10 } else { 16 << 20 };
/// The length of a segment's head.
pub(super) const SEGMENT_HEAD_BYTES: usize = 64;
const MAGIC: [u8; 8] = *b"PRNJRNL1";
const ENDING: &str = "journal";
/// The zeros that are written at once.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// The head of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHead {
    pub(super) store: StoreId,
    /// Segments are numbered in the order in which they were begun.
    pub(super) number: u64,
    /// The number of the first change in it. Frames of the segment before that have this change or later ones don't count:
    /// they were not acknowledged.
    pub(super) first: u64,
    /// The chain at its beginning.
    pub(super) chain: Chain,
}

impl SegmentHead {
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEAD_BYTES] {
        let mut out = Vec::with_capacity(SEGMENT_HEAD_BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&self.store.0.to_be_bytes());
        out.extend_from_slice(&self.number.to_be_bytes());
        out.extend_from_slice(&self.first.to_be_bytes());
        out.extend_from_slice(&self.chain.0.to_be_bytes());
        out.extend_from_slice(&crc32c::crc32c(&out).to_be_bytes());
        let mut head = [0; SEGMENT_HEAD_BYTES];
        for (to, from) in head.iter_mut().zip(out) {
            *to = from;
        }
        head
    }

    /// The head at the beginning of a file.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, FrameFault> {
        let take = |from: usize, length: usize| bytes.get(from..from + length);
        let wide = |from| take(from, 8)?.try_into().ok().map(u64::from_be_bytes);
        let narrow = |from| take(from, 4)?.try_into().ok().map(u32::from_be_bytes);
        let read = || {
            let store = take(8, 16)?.try_into().ok().map(u128::from_be_bytes)?;
            let head = Self {
                store: StoreId(store),
                number: wide(24)?,
                first: wide(32)?,
                chain: Chain(narrow(40)?),
            };
            (head.encode().as_slice() == take(0, SEGMENT_HEAD_BYTES)?).then_some(head)
        };
        read().ok_or(FrameFault::FileHead)
    }
}

/// The length of the segment of this number.
pub(super) fn bytes_of(number: u64) -> u64 {
    let doublings = as_u32(number.saturating_sub(1));
    let factor = 2_u64.saturating_pow(doublings);
    BYTES_FIRST.saturating_mul(factor).min(BYTES_MAX)
}

/// The path of a segment.
pub(super) fn path_of(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:012}.{ENDING}"))
}

/// The numbers of the segments in a folder, in order; none if there is no folder.
pub(super) fn numbers(folder: &Path) -> Result<Vec<u64>, JournalError> {
    let mut numbers = Vec::new();
    let entries = match fs::read_dir(folder) {
        Err(error) if is_absent(&error) => return Ok(numbers),
        entries => entries.map_err(at(folder))?,
    };
    for entry in entries {
        let path = entry.map_err(at(folder))?.path();
        let number = path
            .file_stem()
            .and_then(|stem| stem.to_str()?.parse().ok());
        if let Some(number) = number
            && path.extension().is_some_and(|ending| ending == ENDING)
        {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Makes a file of `bytes` zeros that is on the disk, in the place of one that may be there.
pub(super) fn make_room(path: &Path, bytes: u64) -> Result<File, JournalError> {
    plain_file::remove(path).map_err(at(path))?;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(at(path))?;
    let write_zeros = || {
        let mut written = 0;
        while written < bytes {
            let left = as_usize(bytes - written);
            let zeros = ZEROS.get(..left).unwrap_or(&ZEROS);
            file.write_all_at(zeros, written)?;
            written += as_u64(zeros.len());
        }
        file.sync_all()
    };
    if let Err(error) = write_zeros() {
        // What was written takes room on a disk that may be full.
        drop(fs::remove_file(path));
        return Err(at(path)(error));
    }
    Ok(file)
}

/// Turns a file of zeros at `room` into a segment, durably.
pub(super) fn begin(
    folder: &Path,
    room: &Path,
    file: &File,
    head: &SegmentHead,
) -> Result<PathBuf, JournalError> {
    file.write_all_at(&head.encode(), 0).map_err(at(room))?;
    file.sync_data().map_err(at(room))?;
    let path = path_of(folder, head.number);
    fs::rename(room, &path).map_err(at(&path))?;
    sync_folder(folder)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_was_written_and_no_bit_can_change_unseen() {
        let head = SegmentHead {
            store: StoreId(u128::MAX - 3),
            number: 7,
            first: 800,
            chain: Chain(99),
        };
        assert_eq!(SegmentHead::decode(&head.encode()), Ok(head));
        for bit in 0..SEGMENT_HEAD_BYTES * 8 {
            let mut bytes = head.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHead::decode(&bytes), Err(FrameFault::FileHead));
        }
        assert_eq!(SegmentHead::decode(&[1, 2]), Err(FrameFault::FileHead));
    }
}
