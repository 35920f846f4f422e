//! The marks: what is known of the journal's end, written before each answer into two files, `marks` and `marks-copy`. Each file
//! has two copies, which are written in turn. If one file is lost, or one copy in each, the last acknowledged change is still known.
//!
//! A tear at the end of the journal was never acknowledged and is cut off; damage at the end may have been. The last
//! acknowledged change tells them apart. It is not synced: after a power cut it may be too low, which does no harm; it is
//! never too high.
//!
//! ```text
//! copy: magic u64 | store u128 | boot u128 | acknowledged u64 | turn u64 | clean u8 | branch u24 | crc32c u32
//! ```

// Decision: A store that is opened without marks is another one for its clients.

use std::fs::{File, Metadata, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::{JournalError, StoreId, at, is_absent, sync_folder};
use crate::plain_file;

const MAGIC: [u8; 8] = *b"PRNMARK1";
const COPY_BYTES: usize = 64;
/// The copies are in two pages, so that one torn write can't take both.
const COPY_PLACES: [u64; 2] = [0, 4096];

/// The knowledge of the journal's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) store: StoreId,
    /// 0, or a random number that a store gets when it is opened without marks: it may be a copy of one that went on without
    /// it, as an archive is, and must not give the `ETag`s of that one to other content.
    pub(crate) branch: u32,
    /// The run of the machine in which the store was opened last; 0 if the machine does not tell.
    pub(crate) boot: u128,
    /// The last change that was acknowledged.
    pub(crate) acknowledged: u64,
    /// Whether the store was closed, and all of it was on the disk.
    pub(crate) clean: bool,
}

/// The files of marks, of which either is enough. Older releases wrote the first one only.
pub(crate) const MARK_FILES: [&str; 2] = ["marks", "marks-copy"];

/// The open files.
#[derive(Debug)]
pub(crate) struct Marks {
    files: [(PathBuf, File); 2],
    turn: u64,
}

/// The content of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MarksFound {
    /// There is no file.
    Absent,
    /// The newest mark that can be read.
    Found {
        mark: Mark,
        /// Whether a copy can't be read.
        damaged: bool,
        /// Whether no newer mark was written: both copies of a file that has this mark can be read.
        newest: bool,
    },
    /// No mark can be read.
    Damaged,
}

/// The greatest number of a branch: three bytes.
const BRANCH_MAX: u32 = 0xFF_FFFF;

impl Mark {
    /// The part of the store in `ETag`s and in positions of feeds.
    pub(crate) fn tag(&self) -> String {
        StoreId(self.store.0 ^ u128::from(self.branch)).mark()
    }
}

/// The last change that was acknowledged, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acknowledged {
    Exactly(u64),
    /// This one, or a later one: a mark that can't be read may have been the newest.
    AtLeast(u64),
}

impl MarksFound {
    /// The knowledge that the marks alone give.
    pub(crate) fn known(&self) -> Acknowledged {
        match *self {
            Self::Found {
                mark, newest: true, ..
            } => Acknowledged::Exactly(mark.acknowledged),
            Self::Found { mark, .. } => Acknowledged::AtLeast(mark.acknowledged),
            Self::Absent | Self::Damaged => Acknowledged::AtLeast(0),
        }
    }

    /// The last change that is known to be acknowledged, if one is.
    pub(crate) fn acknowledged(&self) -> Option<u64> {
        match self {
            Self::Found { mark, .. } => Some(mark.acknowledged),
            Self::Absent | Self::Damaged => None,
        }
    }
}

type MarkCopies = [Option<(Mark, u64)>; 2];

/// The copies in the file at a path, if something is there. Something else than a file has none.
fn copies_at(path: &Path) -> Result<Option<MarkCopies>, JournalError> {
    match plain_file::open(path) {
        Ok(file) => copies(path, &file).map(Some),
        Err(error) if plain_file::is_not_plain(&error) => Ok(Some([None; 2])),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(at(path)(error)),
    }
}

fn copies(path: &Path, file: &File) -> Result<MarkCopies, JournalError> {
    let mut copies = [None; 2];
    for (place, found) in COPY_PLACES.into_iter().zip(&mut copies) {
        let mut copy = [0; COPY_BYTES];
        match file.read_exact_at(&mut copy, place) {
            Ok(()) => *found = decode(&copy),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(at(path)(error)),
        }
    }
    Ok(copies)
}

fn is_blank(path: &Path) -> Result<bool, JournalError> {
    let bytes = match plain_file::read(path) {
        Err(error) if plain_file::is_not_plain(&error) => return Ok(false),
        bytes => bytes.map_err(at(path))?,
    };
    Ok(bytes.iter().all(|byte| *byte == 0))
}

fn newest(copies: &MarkCopies) -> Option<(Mark, u64)> {
    copies
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

fn encode(mark: &Mark, turn: u64) -> [u8; COPY_BYTES] {
    let mut out = Vec::with_capacity(COPY_BYTES);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&mark.store.0.to_be_bytes());
    out.extend_from_slice(&mark.boot.to_be_bytes());
    out.extend_from_slice(&mark.acknowledged.to_be_bytes());
    out.extend_from_slice(&turn.to_be_bytes());
    let [_, high, middle, low] = mark.branch.to_be_bytes();
    out.extend_from_slice(&[u8::from(mark.clean), high, middle, low]);
    out.extend_from_slice(&crc32c::crc32c(&out).to_be_bytes());
    let mut copy = [0; COPY_BYTES];
    for (to, from) in copy.iter_mut().zip(out) {
        *to = from;
    }
    copy
}

fn decode(copy: &[u8; COPY_BYTES]) -> Option<(Mark, u64)> {
    let wide = |from: usize| {
        let bytes = copy.get(from..from + 16)?;
        bytes.try_into().ok().map(u128::from_be_bytes)
    };
    let narrow = |from: usize| {
        let bytes = copy.get(from..from + 8)?;
        bytes.try_into().ok().map(u64::from_be_bytes)
    };
    let branch = copy.get(56..60)?.try_into().ok().map(u32::from_be_bytes)?;
    let mark = Mark {
        store: StoreId(wide(8)?),
        branch: branch & BRANCH_MAX,
        boot: wide(24)?,
        acknowledged: narrow(40)?,
        clean: *copy.get(56)? == 1,
    };
    let turn = narrow(48)?;
    (encode(&mark, turn) == *copy).then_some((mark, turn))
}

impl Marks {
    /// The store that the files name; `None` if they name none, or two.
    pub(crate) fn store_of(data: &Path) -> Result<Option<StoreId>, JournalError> {
        let mut named = None;
        for path in MARK_FILES.map(|name| data.join(name)) {
            let Some(copies) = copies_at(&path)? else {
                continue;
            };
            if let Some((mark, _)) = newest(&copies)
                && named
                    .replace(mark.store)
                    .is_some_and(|other| other != mark.store)
            {
                return Ok(None);
            }
        }
        Ok(named)
    }

    /// Reads the files, and changes nothing.
    pub(crate) fn read(data: &Path) -> Result<MarksFound, JournalError> {
        Self::read_of(data, None)
    }

    /// The same, where marks of another store than this one count as damaged.
    pub(crate) fn read_of(data: &Path, store: Option<StoreId>) -> Result<MarksFound, JournalError> {
        let (mut there, mut damaged, mut first_is_missing) = (false, false, false);
        let mut best: Option<(u64, Mark, bool)> = None;
        for name in MARK_FILES {
            let path = data.join(name);
            let Some(mut copies) = copies_at(&path)? else {
                // An older release made the first file only.
                first_is_missing |= name == MARK_FILES[0];
                continue;
            };
            // The power failed when the file was made, before anything was written into it.
            if newest(&copies).is_none() && is_blank(&path)? {
                continue;
            }
            for copy in &mut copies {
                *copy = copy.filter(|(mark, _)| store.is_none_or(|store| mark.store == store));
            }
            let whole = copies.iter().all(Option::is_some);
            (there, damaged) = (true, damaged || !whole);
            if let Some((mark, turn)) = newest(&copies)
                && best.is_none_or(|(other, _, is_newest)| (other, is_newest) < (turn, whole))
            {
                best = Some((turn, mark, whole));
            }
        }
        Ok(match best {
            Some((_, mark, newest)) => MarksFound::Found {
                mark,
                damaged: damaged || first_is_missing,
                newest,
            },
            None if there => MarksFound::Damaged,
            None => MarksFound::Absent,
        })
    }

    /// Opens the files to write into them, or makes them.
    pub(crate) fn open(data: &Path) -> Result<Self, JournalError> {
        let mut is_new = false;
        let mut turn = 0;
        let mut open = |name| {
            let path = data.join(name);
            is_new |= !path.try_exists().map_err(at(&path))?;
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            let file = plain_file::open_by(&mut options, &path).map_err(at(&path))?;
            let found = newest(&copies(&path, &file)?);
            turn = turn.max(found.map_or(0, |(_, turn)| turn));
            Ok((path, file))
        };
        let [first, second] = MARK_FILES;
        let files = [open(first)?, open(second)?];
        if is_new {
            // The names of the files, and that of the folder, must survive a power cut, too.
            sync_folder(data)?;
            let parent = data
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty());
            sync_folder(parent.unwrap_or(Path::new(".")))?;
        }
        Ok(Self { files, turn })
    }

    /// The branch of a store by the marks in a folder, or else a new one.
    pub(crate) fn branch_of(data: &Path, store: StoreId) -> Result<u32, JournalError> {
        Ok(match Self::read(data)? {
            MarksFound::Found { mark, .. } if mark.store == store => mark.branch,
            MarksFound::Found { .. } | MarksFound::Damaged | MarksFound::Absent => {
                let random = StoreId::random().0 & u128::from(BRANCH_MAX);
                u32::try_from(random).unwrap_or(0).max(1)
            }
        })
    }

    /// Writes the next mark. It survives the end of the process, not a power cut.
    pub(crate) fn write(&mut self, mark: &Mark) -> Result<(), JournalError> {
        self.turn += 1;
        let place = COPY_PLACES.get(usize::from(self.turn % 2 == 1));
        let place = place.copied().unwrap_or_default();
        let copy = encode(mark, self.turn);
        for (path, file) in &self.files {
            file.write_all_at(&copy, place).map_err(at(path))?;
        }
        Ok(())
    }

    /// Writes a mark again if the folder `data`, in which they were opened, does not have it any more: a file was removed,
    /// damaged, or something else took its place. Returns whether that was so.
    pub(crate) fn put_back(&mut self, data: &Path, mark: &Mark) -> Result<bool, JournalError> {
        if let MarksFound::Found {
            mark: found,
            damaged: false,
            ..
        } = Self::read(data)?
            && found == *mark
            && self.are_in_place()?
        {
            return Ok(false);
        }
        let turn = self.turn;
        *self = Self::open(data)?;
        self.turn = self.turn.max(turn);
        self.write_both(mark)?;
        Ok(true)
    }

    /// Whether the names of both files still lead to those that are open.
    fn are_in_place(&self) -> Result<bool, JournalError> {
        let id = |found: Metadata| (found.dev(), found.ino());
        for (path, file) in &self.files {
            let open = file.metadata().map(id).map_err(at(path))?;
            if std::fs::metadata(path).map(id).ok() != Some(open) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes a mark into all copies, durably.
    pub(crate) fn write_both(&mut self, mark: &Mark) -> Result<(), JournalError> {
        self.write(mark)?;
        self.write(mark)?;
        for (path, file) in &self.files {
            file.sync_all().map_err(at(path))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found_mark(mark: Mark, damaged: bool, newest: bool) -> MarksFound {
        MarksFound::Found {
            mark,
            damaged,
            newest,
        }
    }

    #[test]
    fn the_newest_mark_is_read_as_long_as_one_file_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let found = || Marks::read(folder.path()).unwrap();
        let mark = |acknowledged| Mark {
            store: StoreId(3),
            branch: 5,
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
            assert_eq!(found(), found_mark(mark(seq), false, true));
        }
        // Turn 11 went into the second copy of each file.
        let flip = |[file, copy]: [usize; 2]| {
            let place = COPY_PLACES[copy] + 40;
            let (_, file) = &marks.files[file];
            let mut byte = [0];
            file.read_exact_at(&mut byte, place).unwrap();
            file.write_all_at(&[byte[0] ^ 1], place).unwrap();
        };
        for (flipped, expected) in [
            // Either file is enough, and so is either copy if both files have it.
            (&[[0, 1]][..], found_mark(mark(9), true, true)),
            (&[[1, 1]], found_mark(mark(9), true, true)),
            (&[[0, 0], [0, 1]], found_mark(mark(9), true, true)),
            (&[[0, 0], [1, 0]], found_mark(mark(9), true, false)),
            (&[[0, 1], [1, 0]], found_mark(mark(9), true, false)),
            (&[[0, 1], [1, 1]], found_mark(mark(8), true, false)),
            (&[[0, 0], [0, 1], [1, 1]], found_mark(mark(8), true, false)),
            (&[[0, 0], [0, 1], [1, 0], [1, 1]], MarksFound::Damaged),
        ] {
            flipped.iter().copied().for_each(flip);
            assert_eq!(found(), expected, "{flipped:?}");
            // A second time brings the bytes of before.
            flipped.iter().copied().for_each(flip);
        }
        for name in MARK_FILES {
            let aside = folder.path().join("aside");
            std::fs::rename(folder.path().join(name), &aside).unwrap();
            let damaged = name == MARK_FILES[0];
            assert_eq!(
                found(),
                found_mark(mark(9), damaged, true),
                "without {name}"
            );
            std::fs::rename(aside, folder.path().join(name)).unwrap();
        }
    }

    fn branched(branch: u32, acknowledged: u64) -> Mark {
        Mark {
            store: StoreId(u128::MAX),
            branch,
            boot: 4,
            acknowledged,
            clean: false,
        }
    }

    #[test]
    fn a_store_without_marks_gets_another_tag() {
        let folder = tempfile::tempdir().unwrap();
        let store = StoreId(u128::MAX);
        let branch = || Marks::branch_of(folder.path(), store).unwrap();
        assert_eq!(branched(0, 1).tag(), store.mark());
        let new = branch();
        assert_ne!(branch(), new);
        for kept in [0, 1, BRANCH_MAX, new] {
            let mark = branched(kept, 1);
            let mut marks = Marks::open(folder.path()).unwrap();
            marks.write_both(&mark).unwrap();
            assert_eq!(branch(), kept);
            assert_eq!(mark.tag() == store.mark(), kept == 0, "{kept}");
        }
        let other = || Marks::branch_of(folder.path(), StoreId(3)).unwrap();
        assert_ne!(other(), other());
    }

    #[test]
    fn marks_that_were_removed_or_damaged_are_put_back() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        let mut marks = Marks::open(data).unwrap();
        marks.write_both(&branched(5, 2)).unwrap();
        let damages: [fn(&Path); 3] = [
            |path| std::fs::remove_file(path).unwrap(),
            |path| {
                std::fs::remove_file(path).unwrap();
                std::fs::write(path, "another file").unwrap();
            },
            |path| {
                let mut content = std::fs::read(path).unwrap();
                content[20] ^= 1;
                std::fs::write(path, content).unwrap();
            },
        ];
        let damages = MARK_FILES
            .into_iter()
            .flat_map(|name| damages.map(|damage| (name, damage)));
        for (seq, (name, damage)) in (2..).zip(damages) {
            assert!(!marks.put_back(data, &branched(5, seq)).unwrap());
            damage(&data.join(name));
            assert!(marks.put_back(data, &branched(5, seq)).unwrap());
            for acknowledged in [seq, seq + 1] {
                let mark = branched(5, acknowledged);
                marks.write(&mark).unwrap();
                assert!(matches!(
                    Marks::read(data).unwrap(),
                    MarksFound::Found { mark: found, damaged: false, .. } if found == mark
                ));
            }
        }
    }

    #[test]
    fn the_machine_tells_its_run() {
        assert_eq!(boot_id(), boot_id());
    }
}
