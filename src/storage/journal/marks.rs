//! The marks: two copies of what is known of the journal's end, written in turn before each answer.
//!
//! A tear at the end of the journal was never acknowledged and is cut off; damage at the end may have been. The last
//! acknowledged change tells them apart. It is not synced: after a power cut it may be too low, which does no harm; it is
//! never too high.
//!
//! ```text
//! slot: magic u64 | store u128 | boot u128 | acknowledged u64 | turn u64 | clean u8 | 3 zeros | crc32c u32
//! ```

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::{JournalError, StoreId, at, sync_folder};

const MAGIC: [u8; 8] = *b"PRNMARK1";
const SLOT_BYTES: usize = 64;
/// The slots are in two pages, so that one torn write can't take both.
const SLOT_PLACES: [u64; 2] = [0, 4096];

/// The knowledge of the journal's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) store: StoreId,
    /// The run of the machine in which the store was opened last; 0 if the machine does not tell.
    pub(crate) boot: u128,
    /// The last change that was acknowledged.
    pub(crate) acknowledged: u64,
    /// Whether the store was closed, and all of it was on the disk.
    pub(crate) clean: bool,
}

/// The open file.
#[derive(Debug)]
pub(crate) struct Marks {
    path: PathBuf,
    file: File,
    turn: u64,
}

/// The content of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MarksFound {
    /// There is no file.
    Absent,
    /// The newest mark; `damaged` if the other one can't be read.
    Found { mark: Mark, damaged: bool },
    /// No mark can be read.
    Damaged,
}

type Slots = [Option<(Mark, u64)>; 2];

fn slots(path: &Path, file: &File) -> Result<Slots, JournalError> {
    let mut slots = [None; 2];
    for (place, found) in SLOT_PLACES.into_iter().zip(&mut slots) {
        let mut slot = [0; SLOT_BYTES];
        match file.read_exact_at(&mut slot, place) {
            Ok(()) => *found = decode(&slot),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(at(path)(error)),
        }
    }
    Ok(slots)
}

fn is_blank(path: &Path) -> Result<bool, JournalError> {
    let bytes = std::fs::read(path).map_err(at(path))?;
    Ok(bytes.iter().all(|byte| *byte == 0))
}

fn newest(slots: &Slots) -> Option<(Mark, u64)> {
    slots
        .iter()
        .flatten()
        .max_by_key(|(_, turn)| *turn)
        .copied()
}

/// The number of the machine's run: another one after each start of the machine.
pub(crate) fn boot_id() -> u128 {
    let read = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    let parsed = read
        .ok()
        .and_then(|text| uuid::Uuid::parse_str(text.trim()).ok());
    parsed.map_or(0, |id| id.as_u128())
}

fn encode(mark: &Mark, turn: u64) -> [u8; SLOT_BYTES] {
    let mut out = Vec::with_capacity(SLOT_BYTES);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&mark.store.0.to_be_bytes());
    out.extend_from_slice(&mark.boot.to_be_bytes());
    out.extend_from_slice(&mark.acknowledged.to_be_bytes());
    out.extend_from_slice(&turn.to_be_bytes());
    out.extend_from_slice(&[u8::from(mark.clean), 0, 0, 0]);
    out.extend_from_slice(&crc32c::crc32c(&out).to_be_bytes());
    let mut slot = [0; SLOT_BYTES];
    for (to, from) in slot.iter_mut().zip(out) {
        *to = from;
    }
    slot
}

fn decode(slot: &[u8; SLOT_BYTES]) -> Option<(Mark, u64)> {
    let wide = |from: usize| {
        let bytes = slot.get(from..from + 16)?;
        bytes.try_into().ok().map(u128::from_be_bytes)
    };
    let narrow = |from: usize| {
        let bytes = slot.get(from..from + 8)?;
        bytes.try_into().ok().map(u64::from_be_bytes)
    };
    let mark = Mark {
        store: StoreId(wide(8)?),
        boot: wide(24)?,
        acknowledged: narrow(40)?,
        clean: *slot.get(56)? == 1,
    };
    let turn = narrow(48)?;
    (encode(&mark, turn) == *slot).then_some((mark, turn))
}

impl Marks {
    /// Reads the file, and changes nothing.
    pub(crate) fn read(data: &Path) -> Result<MarksFound, JournalError> {
        let path = data.join("marks");
        if !path.try_exists().map_err(at(&path))? {
            return Ok(MarksFound::Absent);
        }
        let file = File::open(&path).map_err(at(&path))?;
        let slots = slots(&path, &file)?;
        let damaged = slots.iter().any(Option::is_none);
        let newest = newest(&slots);
        // The power failed when the file was made, before anything was written into it.
        if newest.is_none() && is_blank(&path)? {
            return Ok(MarksFound::Absent);
        }
        Ok(
            newest.map_or(MarksFound::Damaged, |(mark, _)| MarksFound::Found {
                mark,
                damaged,
            }),
        )
    }

    /// Opens the file to write into it, or makes it.
    pub(crate) fn open(data: &Path) -> Result<Self, JournalError> {
        let path = data.join("marks");
        let is_new = !path.try_exists().map_err(at(&path))?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(at(&path))?;
        if is_new {
            // The name of the file, and that of the folder, must survive a power cut, too.
            sync_folder(data)?;
            let parent = data
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty());
            sync_folder(parent.unwrap_or(Path::new(".")))?;
        }
        let turn = newest(&slots(&path, &file)?).map_or(0, |(_, turn)| turn);
        Ok(Self { path, file, turn })
    }

    /// Writes the next mark. It survives the end of the process, not a power cut.
    pub(crate) fn write(&mut self, mark: &Mark) -> Result<(), JournalError> {
        self.turn += 1;
        let place = SLOT_PLACES.get(usize::from(self.turn % 2 == 1));
        let place = place.copied().unwrap_or_default();
        let slot = encode(mark, self.turn);
        self.file.write_all_at(&slot, place).map_err(at(&self.path))
    }

    /// Writes a mark into both slots, durably.
    pub(crate) fn write_both(&mut self, mark: &Mark) -> Result<(), JournalError> {
        self.write(mark)?;
        self.write(mark)?;
        self.file.sync_all().map_err(at(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_mark_is_read_and_one_damaged_slot_does_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let found = || Marks::read(folder.path()).unwrap();
        let mark = |acknowledged| Mark {
            store: StoreId(3),
            boot: 4,
            acknowledged,
            clean: acknowledged == 9,
        };
        assert_eq!(found(), MarksFound::Absent);
        for blank in [0, 3, 5_000] {
            std::fs::write(folder.path().join("marks"), vec![0; blank]).unwrap();
            assert_eq!(found(), MarksFound::Absent, "nothing was written into it");
        }
        let mut marks = Marks::open(folder.path()).unwrap();
        marks.write_both(&mark(0)).unwrap();
        for seq in 1..10 {
            marks.write(&mark(seq)).unwrap();
            let (mark, damaged) = (mark(seq), false);
            assert_eq!(found(), MarksFound::Found { mark, damaged });
        }
        // Turn 11 went into the second slot.
        let flip = |place: u64| {
            let mut byte = [0];
            marks.file.read_exact_at(&mut byte, place).unwrap();
            marks.file.write_all_at(&[byte[0] ^ 1], place).unwrap();
        };
        flip(SLOT_PLACES[1] + 40);
        let (mark, damaged) = (mark(8), true);
        assert_eq!(found(), MarksFound::Found { mark, damaged });
        flip(SLOT_PLACES[0] + 3);
        assert_eq!(found(), MarksFound::Damaged);
    }

    #[test]
    fn the_machine_tells_its_run() {
        assert_eq!(boot_id(), boot_id());
    }
}
