//! Something else in the place of a file or a folder of a store: a folder, a file, a FIFO, a device. No start waits for it.

use std::fs;
use std::os::unix::fs::symlink;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::super::data_check::check_data;
use super::compaction::copy;
use super::foreign::with_snapshot;
use super::opening::segments;
use super::*;
use crate::storage::journal::{Marks, MarksFound};

/// A kind of file, and how it is made.
type MadeKind = (&'static str, fn(&Path));

const KINDS: [MadeKind; 4] = [
    ("a file", |path| fs::write(path, "something else").unwrap()),
    ("a folder", |path| fs::create_dir(path).unwrap()),
    ("a FIFO", |path| {
        mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap();
    }),
    ("a device", |path| symlink("/dev/zero", path).unwrap()),
];

/// Removes what is at a path, and puts this in its place.
fn put(path: &Path, (_, put): MadeKind) {
    if path.is_dir() {
        fs::remove_dir_all(path).unwrap();
    } else if path.exists() {
        fs::remove_file(path).unwrap();
    }
    put(path);
}

async fn heals(store: &Path, name: &str, kind: MadeKind, records: &[Record]) {
    let what = format!("{} in the place of {name}", kind.0);
    let folder = tempfile::tempdir().unwrap();
    let data = &folder.path().join("data");
    copy(store, data);
    put(&data.join(name), kind);
    let checked = check_data(data, 1 << 20).unwrap();
    assert_ne!(checked.mends, Some(false), "{what}: {checked:?}");
    for time in ["the first", "the second"] {
        let running = Running::on_sled(data, &Faults::none()).await;
        let opened = running
            .store
            .holder
            .wait_until_open(Duration::from_secs(20));
        assert!(opened.is_some(), "{what}: {:?}", running.store.trouble());
        assert_eq!(running.all().await, records, "{what}: {time}");
        let made = running.store.create(BOOKS, book(7), None).await.unwrap();
        running.store.delete(BOOKS, &made.id).await.unwrap();
        // A damaged snapshot is found by the scrubbing.
        while !check_data(data, 1 << 20).unwrap().findings.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        running.stop().await;
        let marks = Marks::read(data).unwrap();
        let is_clean =
            matches!(marks, MarksFound::Found { mark, damaged: false, .. } if mark.clean);
        assert!(is_clean, "{what}: {time}: {marks:?}");
    }
    let checked = check_data(data, 1 << 20).unwrap();
    assert!(checked.findings.is_empty(), "{what}: {checked:?}");
}

#[test]
fn nothing_that_is_no_file_or_no_folder_stops_a_store() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let records = with_snapshot(folder.path(), 3).await;
        let within = |path: &Path| {
            let name = path.strip_prefix(folder.path()).unwrap();
            name.to_str().unwrap().to_owned()
        };
        let journal = segments(folder.path());
        let snapshot = fs::read_dir(folder.path().join("snapshots")).unwrap();
        let snapshot = snapshot.last().unwrap().unwrap().path();
        let names = [
            "marks",
            "marks-copy",
            "lock",
            "running",
            "ballast",
            "probe",
            "room",
            "incidents.ndjson",
            "journal/new",
            "journal/spare",
            "snapshots/unfinished",
            "view/conf",
            "view/db",
            "view-next-unfinished",
        ];
        let mut names: Vec<_> = names.map(str::to_owned).into();
        names.extend([&journal[0], journal.last().unwrap(), &snapshot].map(|path| within(path)));
        for name in names {
            for kind in &KINDS[1..] {
                heals(folder.path(), &name, *kind, &records).await;
            }
        }
        for name in [
            "journal",
            "snapshots",
            "view",
            "view-next",
            "view-old",
            "view-copy",
        ] {
            for kind in [KINDS[0], KINDS[2], KINDS[3]] {
                heals(folder.path(), name, kind, &records).await;
            }
        }
    });
}
