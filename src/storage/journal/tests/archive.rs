//! The archive: a copy that can be read as the journal can, whatever happens to both meanwhile.

use std::time::{Duration, SystemTime};

use super::*;

struct Disks {
    data: tempfile::TempDir,
    other: tempfile::TempDir,
}

impl Disks {
    fn new() -> Self {
        let new = || tempfile::tempdir().unwrap();
        Self {
            data: new(),
            other: new(),
        }
    }

    fn folders(&self) -> ArchiveFolders {
        ArchiveFolders {
            journal: self.data.path().join("journal"),
            snapshots: self.data.path().join("snapshots"),
            archive: self.other.path().to_owned(),
        }
    }

    fn open(&self) -> Archive {
        Archive::open(self.folders(), STORE).unwrap()
    }

    fn write(&self, groups: u64) -> Vec<JournalChange> {
        write(&self.folders().journal, groups, 3_000)
    }

    fn archived(&self) -> Vec<JournalChange> {
        let (found, reach) = read(&self.other.path().join("journal"), 0);
        assert!(matches!(reach, Reach::End(_)), "{reach:?}");
        found
    }

    fn aside(&self) -> usize {
        let entries = fs::read_dir(self.other.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name());
        names
            .filter(|name| name.to_str().unwrap().starts_with("aside-"))
            .count()
    }
}

fn last(changes: &[JournalChange]) -> u64 {
    changes.last().unwrap().seq
}

#[test]
fn all_changes_up_to_the_acknowledged_one_are_copied_in_any_number_of_steps() {
    let disks = Disks::new();
    let mut written = disks.write(40);
    let mut archive = disks.open();
    archive.advance(last(&written) - 5).unwrap();
    let early = disks.archived();
    assert!(written.starts_with(&early));
    // A group has up to three changes, and is copied as a whole.
    assert!((last(&written) - 7..=last(&written) - 5).contains(&archive.last));
    assert_eq!(last(&early), archive.last);
    archive.advance(last(&written)).unwrap();
    assert_eq!(disks.archived(), written);
    for groups in 1..20 {
        written.extend(disks.write(groups));
        if groups % 5 == 0 {
            drop(archive);
            archive = disks.open();
        }
        archive.advance(last(&written)).unwrap();
        assert_eq!(archive.last, last(&written));
    }
    assert_eq!(disks.archived(), written);
    assert_eq!((archive.gaps, disks.aside()), (0, 0));
}

#[test]
fn a_copy_that_was_torn_goes_on_where_it_is_whole() {
    let disks = Disks::new();
    let written = disks.write(40);
    disks.open().advance(last(&written)).unwrap();
    let copies = disks.other.path().join("journal");
    let number = *segment::numbers(&copies).unwrap().last().unwrap();
    let path = segment::path_of(&copies, number);
    let length = fs::metadata(&path).unwrap().len();
    for cut in [length - 1, length / 2, 70, 10, 0] {
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(cut).unwrap();
        disks.open().advance(last(&written)).unwrap();
        assert_eq!(disks.archived(), written, "cut to {cut}");
        assert_eq!(disks.aside(), 0);
    }
}

#[test]
fn what_the_journal_removed_stays_in_the_archive_and_a_gap_is_counted() {
    let disks = Disks::new();
    let journal = disks.folders().journal;
    let mut written = disks.write(60);
    let mut archive = disks.open();
    archive.advance(last(&written)).unwrap();
    let files = JournalFiles::find(&journal, STORE).unwrap();
    files.remove_before(last(&written)).unwrap();
    written.extend(disks.write(30));
    archive.advance(last(&written)).unwrap();
    assert_eq!(disks.archived(), written);
    assert_eq!(archive.gaps, 0);
    drop(archive);
    // More is removed while the archive is away.
    written.extend(disks.write(90));
    let files = JournalFiles::find(&journal, STORE).unwrap();
    files.remove_before(last(&written)).unwrap();
    let first = JournalFiles::find(&journal, STORE)
        .unwrap()
        .first()
        .unwrap();
    let mut archive = disks.open();
    archive.advance(last(&written)).unwrap();
    assert_eq!((archive.gaps, archive.last), (1, last(&written)));
    let (found, _) = read(&disks.other.path().join("journal"), first - 1);
    let rest = written.iter().filter(|change| change.seq >= first);
    assert!(found.iter().eq(rest));
}

#[test]
fn another_store_and_another_past_are_moved_aside() {
    let disks = Disks::new();
    let written = disks.write(30);
    disks.open().advance(last(&written)).unwrap();
    // The same numbers, but other changes.
    let journal = disks.folders().journal;
    while journal.exists() {
        // A thread may still make room in it.
        drop(fs::remove_dir_all(&journal));
    }
    let other = disks.write(29);
    assert_ne!(written, other);
    disks.open().advance(last(&other)).unwrap();
    assert_eq!(disks.archived(), other);
    assert_eq!(disks.aside(), 1);
    let foreign = StoreId(5);
    let archive = Archive::open(disks.folders(), foreign).unwrap();
    assert_eq!((archive.last, disks.aside()), (0, 2));
}

#[test]
fn a_journal_that_begins_again_under_the_archive_begins_a_new_one() {
    let disks = Disks::new();
    let written = disks.write(30);
    let mut archive = disks.open();
    archive.advance(last(&written)).unwrap();
    let journal = disks.folders().journal;
    fs::rename(&journal, disks.data.path().join("aside")).unwrap();
    let other = disks.write(3);
    let error = archive.advance(last(&other));
    let error = error.map(|()| archive.advance(last(&other)));
    drop(archive);
    disks.open().advance(last(&other)).unwrap();
    assert_eq!(disks.archived(), other, "{error:?}");
    assert_eq!(disks.aside(), 1);
}

#[test]
fn an_archive_has_one_user_and_is_not_made() {
    let disks = Disks::new();
    let _archive = disks.open();
    let error = Archive::open(disks.folders(), STORE).unwrap_err();
    assert!(error.to_string().contains("of its own"), "{error}");
    let mut folders = disks.folders();
    folders.archive = disks.other.path().join("away");
    let error = Archive::open(folders.clone(), STORE).unwrap_err();
    assert!(error.to_string().contains("mount its disk"), "{error}");
    assert!(!folders.archive.exists());
}

#[test]
fn snapshots_are_copied_and_only_what_is_older_than_the_limit_is_removed() {
    let disks = Disks::new();
    let written = disks.write(60);
    let seqs = [last(&written) / 3, last(&written) * 2 / 3];
    for seq in seqs {
        let mut out = SnapshotWriter::begin(&disks.folders().snapshots, STORE).unwrap();
        out.add(change(seq, 10)).unwrap();
        out.finish(seq).unwrap();
    }
    let mut archive = disks.open();
    archive.advance(last(&written)).unwrap();
    let folders = disks.folders();
    folders.copy_snapshots(STORE).unwrap();
    let copies = || Snapshot::find(&disks.other.path().join("snapshots"), STORE).unwrap();
    let found = || copies().iter().map(|copy| copy.seq).collect::<Vec<_>>();
    assert_eq!(found(), [seqs[1], seqs[0]]);
    let segments = segment::numbers(&disks.other.path().join("journal")).unwrap();
    let (day, now) = (Duration::from_secs(24 * 3600), SystemTime::now());
    folders.thin_out(STORE, day, now).unwrap();
    assert_eq!(found().len(), 2);
    // From the newer one on, each moment of the last day can be restored.
    folders.thin_out(STORE, day, now + 2 * day).unwrap();
    assert_eq!(found(), [seqs[1]]);
    let left = segment::numbers(&disks.other.path().join("journal")).unwrap();
    assert!(left.len() < segments.len() && segments.ends_with(&left));
    let (after, _) = read(&disks.other.path().join("journal"), seqs[1]);
    let rest = written.iter().filter(|change| change.seq > seqs[1]);
    assert!(after.iter().eq(rest));
}
