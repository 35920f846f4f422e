//! The journal as files: written, read again, cut, damaged.
//!
//! `FUZZ_CASES` sets how many damaged journals are read.

mod archive;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;

use super::*;
use crate::num::as_u64;
use crate::supervision::MessageId;

const STORE: StoreId = StoreId(77);

fn change(seq: u64, bytes: usize) -> JournalChange {
    JournalChange {
        seq,
        at_ms: seq,
        message: MessageId(seq.into()),
        collection: "books".to_owned(),
        key: seq.to_be_bytes().to_vec(),
        effect: JournalEffect::Put {
            created_ms: seq,
            json: vec![b'x'; bytes].into(),
        },
        by: None,
    }
}

fn open(folder: &Path) -> (Journal, u64) {
    let files = JournalFiles::find(folder, STORE).unwrap();
    let before = files.first().map_or(0, |first| first - 1);
    let reach = files.read::<JournalError>(before, |_| Ok(()));
    let Reach::End(end) = reach.unwrap() else {
        panic!("damaged");
    };
    (Journal::open(folder, STORE, &end).unwrap(), end.last)
}

#[test]
fn a_group_that_would_not_be_read_back_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(folder.path());
    let long = change(1, 1 << 20);
    let changes = |n| std::iter::repeat_n(long.clone(), n).collect::<Vec<_>>();
    assert!(frame::fits(&changes(255)));
    let refused = journal.prepare(&changes(256), false).unwrap_err();
    assert!(refused.is_too_much() && !refused.is_of_disk(), "{refused}");
    drop(journal);
    let (mut journal, last) = open(folder.path());
    assert_eq!(last, 0);
    assert!(journal.prepare(&changes(256), false).is_err());
    append(&mut journal, &[change(1, 10)]);
    drop(journal);
    assert_eq!(open(folder.path()).1, 1);
}

fn append(journal: &mut Journal, changes: &[JournalChange]) {
    journal.prepare(changes, false).unwrap();
    journal
        .append(changes.last().unwrap().seq, FrameSync::Synced)
        .unwrap();
}

/// Writes groups of one to three changes, each of up to `bytes_max`, and opens the journal again now and then.
fn write(folder: &Path, groups: u64, bytes_max: usize) -> Vec<JournalChange> {
    let mut random = fastrand::Rng::with_seed(groups);
    let (mut journal, mut last) = open(folder);
    let mut written = Vec::new();
    for group in 0..groups {
        let mut changes = Vec::new();
        for _ in 0..random.u64(1..4) {
            last += 1;
            changes.push(change(last, random.usize(..bytes_max)));
        }
        append(&mut journal, &changes);
        written.extend(changes);
        if group % 7 == 3 {
            drop(journal);
            (journal, last) = open(folder);
        }
    }
    written
}

/// The changes after `after`, and where the reading ended.
fn read(folder: &Path, after: u64) -> (Vec<JournalChange>, Reach) {
    let mut found = Vec::new();
    let files = JournalFiles::find(folder, STORE).unwrap();
    let reach = files.read::<JournalError>(after, |changes| {
        found.extend(changes.into_iter().filter(|change| change.seq > after));
        Ok(())
    });
    (found, reach.unwrap())
}

#[test]
fn what_was_appended_is_read_from_any_change_on() {
    let folder = tempfile::tempdir().unwrap();
    let written = write(folder.path(), 60, 3_000);
    assert!(segment::numbers(folder.path()).unwrap().len() > 3);
    let last = written.last().unwrap().seq;
    for after in 0..=last {
        let (found, reach) = read(folder.path(), after);
        let rest = written.iter().filter(|change| change.seq > after);
        assert!(found.iter().eq(rest), "after {after}");
        assert!(matches!(reach, Reach::End(end) if end.last == last && end.clean));
    }
}

#[test]
fn a_group_that_is_longer_than_a_segment_gets_one_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(folder.path());
    let long = [change(1, 300_000)];
    append(&mut journal, &long);
    append(&mut journal, &[change(2, 10)]);
    let (found, _) = read(folder.path(), 0);
    assert_eq!(found, [change(1, 300_000), change(2, 10)]);
}

#[test]
fn what_follows_a_tear_does_not_count_once_a_new_segment_was_begun() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(folder.path());
    append(&mut journal, &[change(1, 10)]);
    // Change 2 was written, but its sync failed: nobody was told of it.
    let (_, end) = read(folder.path(), 0);
    append(&mut journal, &[change(2, 10)]);
    let Reach::End(end) = end else {
        panic!("{end:?}");
    };
    let torn = JournalEnd {
        clean: false,
        ..end
    };
    let mut journal = Journal::open(folder.path(), STORE, &torn).unwrap();
    let mut other = change(2, 500);
    other.key = b"another".to_vec();
    append(&mut journal, std::slice::from_ref(&other));
    assert_eq!(read(folder.path(), 0).0, [change(1, 10), other]);
}

#[test]
fn a_frame_of_a_newer_version_is_an_error_and_no_damage() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(folder.path());
    append(&mut journal, &[change(1, 10)]);
    let path = segment::path_of(folder.path(), 1);
    let mut content = fs::read(&path).unwrap();
    let frame = &mut content[segment::SEGMENT_HEAD_BYTES..];
    frame[4] = FRAME_VERSION + 1;
    let sum = crc32c::crc32c(&frame[..40]).to_be_bytes();
    frame[40..44].copy_from_slice(&sum);
    fs::write(&path, content).unwrap();
    let files = JournalFiles::find(folder.path(), STORE).unwrap();
    let error = files.read::<JournalError>(0, |_| Ok(())).unwrap_err();
    let told = error.to_string();
    assert!(
        told.contains("has version 3, this program knows 2"),
        "{told}"
    );
}

#[test]
fn segments_are_removed_only_if_all_their_changes_are_in_the_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let written = write(folder.path(), 60, 3_000);
    let last = written.last().unwrap().seq;
    for seq in [0, last / 3, last / 2, last] {
        let files = JournalFiles::find(folder.path(), STORE).unwrap();
        files.remove_before(seq).unwrap();
        let (found, _) = read(folder.path(), seq);
        let rest = written.iter().filter(|change| change.seq > seq);
        assert!(found.iter().eq(rest), "after {seq}");
    }
    assert_eq!(segment::numbers(folder.path()).unwrap().len(), 1);
}

#[test]
fn segments_are_taken_away_past_damage_and_damaged_ones_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let written = write(folder.path(), 60, 3_000);
    let numbers = segment::numbers(folder.path()).unwrap().into_iter();
    let path_of = |number| segment::path_of(folder.path(), number);
    let paths: Vec<_> = numbers.map(path_of).collect();
    assert!(paths.len() > 4, "{paths:?}");
    let spoil = |path: &Path, bytes: usize| {
        let mut content = fs::read(path).unwrap();
        content[10..10 + bytes].fill(7);
        fs::write(path, content).unwrap();
    };
    // The head and the first frame; the head alone, which is known from the frame behind it.
    spoil(&paths[1], 200);
    spoil(&paths[2], 8);
    let files = JournalFiles::find(folder.path(), STORE).unwrap();
    let taken = std::cell::RefCell::new(Vec::new());
    let take = |path: &Path, damaged: bool| {
        taken.borrow_mut().push((path.to_owned(), damaged));
        fs::remove_file(path)
    };
    files
        .take_before(written.last().unwrap().seq, take)
        .unwrap();
    let last = paths.len() - 1;
    let expected = paths.into_iter().take(last).enumerate();
    let expected = expected.map(|(index, path)| (path, index == 1));
    assert!(taken.into_inner().into_iter().eq(expected));
}

#[test]
fn a_snapshot_is_read_as_it_was_written_and_no_damage_goes_unseen() {
    let folder = tempfile::tempdir().unwrap();
    let mut out = SnapshotWriter::begin(folder.path(), STORE).unwrap();
    let changes: Vec<_> = (1..=40).map(|seq| change(seq, 100)).collect();
    for change in &changes {
        out.add(change.clone()).unwrap();
    }
    let snapshot = out.finish(55).unwrap();
    let read = || {
        let mut found = Vec::new();
        snapshot.read::<JournalError>(|changes| {
            found.extend(changes);
            Ok(())
        })?;
        Ok::<_, JournalError>(found)
    };
    assert_eq!(read().unwrap(), changes);
    let listed = Snapshot::find(folder.path(), STORE).unwrap();
    assert!(listed.iter().eq([&snapshot]));
    let whole = fs::read(snapshot.path()).unwrap();
    for bit in 0..whole.len() * 8 {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        fs::write(snapshot.path(), &damaged).unwrap();
        assert!(read().is_err(), "bit {bit}");
    }
    for length in 0..whole.len() {
        fs::write(snapshot.path(), &whole[..length]).unwrap();
        assert!(read().is_err(), "{length} bytes");
    }
}

#[test]
fn a_snapshot_that_is_not_finished_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let files = || fs::read_dir(folder.path()).unwrap().count();
    let out = SnapshotWriter::begin(folder.path(), STORE).unwrap();
    assert_eq!(files(), 1);
    drop(out);
    assert_eq!(files(), 0);
}

/// Reads journals with damage of all kinds: without a panic, and never another change than those that were written.
#[test]
fn fuzz_a_damaged_journal_never_gives_a_wrong_change() {
    let folder = tempfile::tempdir().unwrap();
    let written = write(folder.path(), 40, 1_500);
    let paths: Vec<_> = segment::numbers(folder.path())
        .unwrap()
        .into_iter()
        .map(|number| segment::path_of(folder.path(), number))
        .collect();
    let cases = std::env::var("FUZZ_CASES").map_or(1_000, |cases| cases.parse().unwrap());
    let mut random = fastrand::Rng::with_seed(11);
    let mut whole = 0;
    // Each case reads several files: fewer cases than those of what is read from memory.
    for _ in 0..cases / 50 + 200 {
        let path = &paths[random.usize(..paths.len())];
        let kept = fs::read(path).unwrap();
        let file = OpenOptions::new().write(true).open(path).unwrap();
        let at = random.usize(..kept.len() / 2);
        match random.u8(..4) {
            0 => file
                .write_all_at(&[kept[at] ^ (1 << random.u8(..8))], as_u64(at))
                .unwrap(),
            1 => file.set_len(as_u64(at)).unwrap(),
            2 => file
                .write_all_at(&vec![random.u8(..); random.usize(..900)], as_u64(at))
                .unwrap(),
            _ => {
                // A stretch from elsewhere in the same file.
                let from = random.usize(..kept.len() / 2);
                let stretch = &kept[from..from + random.usize(..900)];
                file.write_all_at(stretch, as_u64(at)).unwrap();
            }
        }
        let (found, reach) = read(folder.path(), 0);
        assert!(
            written.starts_with(&found),
            "other changes than those that were written"
        );
        if let Reach::End(end) = reach {
            assert_eq!(end.last, found.last().map_or(0, |change| change.seq));
            whole += usize::from(found.len() == written.len());
        }
        fs::write(path, kept).unwrap();
    }
    println!("{whole} journals were whole in spite of the damage");
}

#[test]
fn a_damaged_head_is_written_again_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 60, 2_000);
    let found = || JournalFiles::find(folder.path(), STORE).unwrap();
    let numbers = segment::numbers(folder.path()).unwrap();
    assert!(numbers.len() > 2);
    assert!(found().mend_heads().unwrap().is_empty());
    for number in numbers {
        let path = segment::path_of(folder.path(), number);
        let before = fs::read(&path).unwrap();
        for at in [0, 9, 63] {
            let mut content = before.clone();
            content[at] ^= 1;
            fs::write(&path, content).unwrap();
            assert_eq!(found().damaged_heads().unwrap().len(), 1);
            let mended = found().mend_heads().unwrap();
            assert!(
                matches!(&mended[..], [JournalError::Damaged { path: told, .. }] if *told == path)
            );
            assert_eq!(
                fs::read(&path).unwrap(),
                before,
                "segment {number}, byte {at}"
            );
        }
    }
}
