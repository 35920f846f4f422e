//! Looks through the log in which sled keeps a view, before sled opens it.
//!
//! sled reads its log again from its last snapshot on. Release 0.34.7 takes a damaged message in the middle for the end of a segment,
//! and a damaged head for a segment that is free: it goes on behind them, and records are missing or old without an error. A crash
//! can tear only the last segments. Damage in pages that sled's snapshot lists is no concern here: reading such a page is an error.

// Decision: The log of a view is looked through before sled opens it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::io::Errno;

use super::engine::OpenFault;
use crate::num::{as_u64, as_usize};
use crate::plain_file;

const SEGMENT_BYTES: u64 = 512 << 10;
const SEGMENT_HEAD_BYTES: usize = 20;
/// Behind the last message there is less room in a segment than this.
const MESSAGE_HEAD_BYTES_MAX: usize = 32;
/// The kinds of messages; the one that ends a segment.
const KINDS: std::ops::RangeInclusive<u8> = 1..=11;
const END: u8 = 2;

/// The head of a segment of the log.
#[derive(Debug, Clone, Copy)]
struct ViewSegment {
    /// The place of its first byte in the log as a whole.
    begin: i64,
    /// All up to this place was on the disk when this head was made.
    stable: i64,
}

impl ViewSegment {
    /// `None` if it is damaged, or was never written.
    fn decode(bytes: &[u8; SEGMENT_HEAD_BYTES]) -> Option<Self> {
        let (sum, numbers) = bytes.split_first_chunk()?;
        let (begin, stable) = numbers.split_first_chunk()?;
        let number = |bytes| i64::from_le_bytes(bytes) ^ i64::MAX;
        (crc32fast::hash(numbers) == !u32::from_le_bytes(*sum)).then_some(Self {
            begin: number(*begin),
            stable: number(*stable.first_chunk()?),
        })
    }

    fn end(self) -> i64 {
        self.begin.saturating_add_unsigned(SEGMENT_BYTES)
    }
}

/// Looks through the log of the view in a folder. A fault of the view says where it is damaged.
pub(super) fn look_through(place: &Path) -> Result<(), OpenFault> {
    let path = place.join("db");
    let file = match plain_file::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file.map_err(OpenFault::Io)?,
    };
    match damage(&file, snapshot_end(place)) {
        Ok(None) => Ok(()),
        Ok(Some(at)) => {
            let path = path.display();
            Err(OpenFault::View(format!("{path} is damaged at byte {at}")))
        }
        // The journal has all that can't be read here.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::IO) => {
            let path = path.display();
            Err(OpenFault::View(format!("{path} can't be read: {error}")))
        }
        Err(error) => Err(OpenFault::Io(error)),
    }
}

/// The place in the log from which on sled reads it, by the name of its newest snapshot.
fn snapshot_end(place: &Path) -> i64 {
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    let ends = entries.filter_map(|entry| {
        let name = entry.file_name();
        i64::from_str_radix(name.to_str()?.strip_prefix("snap.")?, 16).ok()
    });
    ends.max().unwrap_or(0)
}

/// The position of the first damaged byte in the segments that sled will read from this place of the log on, and that no crash can
/// have torn.
fn damage(file: &File, from: i64) -> io::Result<Option<u64>> {
    let length = file.metadata()?.len();
    let mut heads = Vec::new();
    let mut at = 0;
    // The last segment may not be written to its end yet.
    while at + as_u64(SEGMENT_HEAD_BYTES) <= length {
        let mut head = [0; SEGMENT_HEAD_BYTES];
        file.read_exact_at(&mut head, at)?;
        heads.push((at, ViewSegment::decode(&head)));
        at += SEGMENT_BYTES;
    }
    let stable = heads.iter().filter_map(|(_, head)| Some((*head)?.stable));
    let stable = stable.max().unwrap_or(0);
    let is_stable = |head: ViewSegment| head.end() <= stable;
    let last_stable = heads
        .iter()
        .rposition(|(_, head)| head.is_some_and(is_stable));
    for (index, (at, head)) in heads.into_iter().enumerate() {
        if head.is_some_and(|head| !is_stable(head) || head.end() <= from) {
            continue;
        }
        let mut segment = vec![0; as_usize(SEGMENT_BYTES.min(length - at))];
        file.read_exact_at(&mut segment, at)?;
        let damaged = match head {
            Some(head) => damage_in(&segment, head),
            // The file grows at its end, so a segment before one that is in use was in use, too. sled fills a free one with zeros
            // when it is opened.
            None if Some(index) < last_stable => segment.iter().position(|byte| *byte != 0),
            // Where only the head is damaged, the first message tells.
            None => is_of_stable(&segment, stable).then_some(0),
        };
        if let Some(damaged) = damaged {
            return Ok(Some(at + as_u64(damaged)));
        }
    }
    Ok(None)
}

/// The position of the first message in a segment that is damaged, or cut off.
fn damage_in(segment: &[u8], head: ViewSegment) -> Option<usize> {
    let number = head.begin.unsigned_abs() / SEGMENT_BYTES;
    let mut at = SEGMENT_HEAD_BYTES;
    while at + MESSAGE_HEAD_BYTES_MAX <= as_usize(SEGMENT_BYTES) {
        match segment.get(at..).and_then(|rest| message(rest, number)) {
            None => return Some(at),
            Some((_, END)) => return None,
            Some((length, _)) => at += length,
        }
    }
    None
}

/// Whether the first message of a segment is whole, and of a segment that was on the disk up to its end.
fn is_of_stable(segment: &[u8], stable: i64) -> bool {
    let first = segment.get(SEGMENT_HEAD_BYTES..).and_then(any_message);
    let end = first.map(|(_, _, number)| number.saturating_add(1).saturating_mul(SEGMENT_BYTES));
    end.is_some_and(|end| i64::try_from(end).is_ok_and(|end| end <= stable))
}

/// The length and the kind of the message of segment `number` that these bytes begin with; `None` if it is damaged.
fn message(bytes: &[u8], number: u64) -> Option<(usize, u8)> {
    let (length, kind, of) = any_message(bytes)?;
    (of == number).then_some((length, kind))
}

/// The same for any segment, with the number of that.
fn any_message(bytes: &[u8]) -> Option<(usize, u8, u64)> {
    let (sum, head) = bytes.split_first_chunk()?;
    let (&kind, mut rest) = head.split_first()?;
    let length = as_usize(integer(&mut rest)?);
    let of = integer(&mut rest)?;
    integer(&mut rest)?;
    let body = rest.get(..length)?;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(body);
    hasher.update(head.get(..head.len() - rest.len())?);
    let is_whole = hasher.finalize() == !u32::from_le_bytes(*sum);
    let whole = bytes.len() - rest.len() + length;
    (is_whole && KINDS.contains(&kind)).then_some((whole, kind, of))
}

/// Takes an integer from the beginning of `bytes`: one byte for a small one, else two to nine.
fn integer(bytes: &mut &[u8]) -> Option<u64> {
    let (&first, rest) = bytes.split_first()?;
    let first = u64::from(first);
    let length = match first {
        0..=240 => 0,
        241..=248 => 1,
        249 => 2,
        _ => first - 247,
    };
    let (more, rest) = rest.split_at_checked(as_usize(length))?;
    *bytes = rest;
    let big_endian = more.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    Some(match first {
        0..=240 => first,
        241..=248 => 240 + ((first - 241) << 8) + big_endian,
        249 => 2288 + big_endian,
        _ => big_endian.swap_bytes() >> (64 - 8 * length),
    })
}

#[cfg(test)]
mod tests {
    use super::super::database::SledEngine;
    use super::super::engine::{Engine as _, Group, Keyspace};
    use super::*;

    /// Makes a view whose log has some segments, and returns their number.
    fn make(place: &Path) -> u64 {
        let engine = SledEngine::open(place, 8 << 20, &[]).unwrap();
        for n in 0_u64..400 {
            let mut group = Group::default();
            let value = vec![u8::try_from(n % 251).unwrap(); 9_000];
            group.put(Keyspace::Log, n.to_be_bytes(), value);
            engine.commit(&group).unwrap();
            if n % 10 == 9 {
                engine.flush().unwrap();
            }
        }
        drop(engine);
        log(place).metadata().unwrap().len().div_ceil(SEGMENT_BYTES)
    }

    fn log(place: &Path) -> File {
        let mut options = File::options();
        options.read(true).write(true);
        options.open(place.join("db")).unwrap()
    }

    fn head(place: &Path, number: u64) -> Option<ViewSegment> {
        let mut head = [0; SEGMENT_HEAD_BYTES];
        log(place)
            .read_exact_at(&mut head, number * SEGMENT_BYTES)
            .unwrap();
        ViewSegment::decode(&head)
    }

    fn flip(place: &Path, at: u64) {
        let (file, mut byte) = (log(place), [0]);
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 4], at).unwrap();
    }

    #[test]
    fn damage_in_the_middle_of_the_log_is_found_and_a_torn_end_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path();
        look_through(place).expect("there is none yet");
        let segments = make(place);
        assert!(segments > 5, "{segments}");
        look_through(place).unwrap();
        // sled may have written a snapshot meanwhile.
        let from = snapshot_end(place);
        let is_read = |number: &u64| head(place, *number).is_some_and(|head| head.end() > from);
        let first = (0..segments).find(is_read).unwrap() * SEGMENT_BYTES;
        for at in [
            0,
            7,
            16,
            25,
            300_000,
            SEGMENT_BYTES + 3,
            SEGMENT_BYTES + 200_000,
        ] {
            flip(place, first + at);
            let found = look_through(place);
            let is_found = matches!(found, Err(OpenFault::View(_)));
            let heads: Vec<_> = (0..segments).map(|number| head(place, number)).collect();
            assert!(
                is_found,
                "{first} + {at}, from {from}: {found:?}, {heads:?}"
            );
            flip(place, first + at);
        }
        let last_stable = (0..segments).rfind(|number| {
            let at = number * SEGMENT_BYTES;
            flip(place, at + 5);
            let found = look_through(place).is_err();
            flip(place, at + 5);
            found
        });
        assert!(
            last_stable.unwrap() + 3 >= segments,
            "{last_stable:?} of {segments}"
        );
        let last = (0..segments).max_by_key(|number| head(place, *number).map(|head| head.begin));
        flip(place, last.unwrap() * SEGMENT_BYTES + 30);
        look_through(place).expect("a tear");
        let zeros = |length: u64| {
            let zeros = vec![0; as_usize(length)];
            log(place).write_all_at(&zeros, SEGMENT_BYTES).unwrap();
        };
        zeros(4096);
        assert!(look_through(place).is_err(), "only its beginning");
        zeros(SEGMENT_BYTES);
        look_through(place).expect("it is free");
        // Segments may have any order: now the first one is the last.
        let mut bytes = fs::read(place.join("db")).unwrap();
        bytes.resize(as_usize(segments * SEGMENT_BYTES), 0);
        bytes.rotate_left(as_usize(SEGMENT_BYTES));
        fs::write(place.join("db"), &bytes).unwrap();
        look_through(place).unwrap();
        let cut = segments * SEGMENT_BYTES - 1000;
        log(place).set_len(cut).unwrap();
        assert!(look_through(place).is_err(), "it is cut off");
    }

    #[test]
    fn what_a_snapshot_of_sled_has_is_not_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path();
        let segments = make(place);
        // An opening writes a snapshot, and fills free segments with zeros.
        drop(SledEngine::open(place, 8 << 20, &[]).unwrap());
        let from = snapshot_end(place);
        let before = |number: &u64| head(place, *number).is_some_and(|head| head.end() <= from);
        let before = (0..segments).find(before);
        flip(place, before.unwrap() * SEGMENT_BYTES + 100);
        look_through(place).unwrap();
    }

    #[test]
    fn integers_are_read_as_sled_writes_them() {
        for (bytes, number) in [
            (&[240_u8][..], 240),
            (&[241, 0], 240),
            (&[248, 255], 2287),
            (&[249, 0, 0], 2288),
            (&[249, 255, 255], 67_823),
            (&[250, 1, 2, 3], 0x03_02_01),
            (&[255, 1, 2, 3, 4, 5, 6, 7, 8], 0x08_07_06_05_04_03_02_01),
        ] {
            let mut rest = bytes;
            assert_eq!(integer(&mut rest), Some(number), "{bytes:?}");
            assert!(rest.is_empty());
            let mut short = &bytes[..bytes.len() - 1];
            assert_eq!(integer(&mut short), None, "{bytes:?}");
        }
    }
}
