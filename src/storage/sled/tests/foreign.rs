//! Data folders with parts of another store.

use std::fs;

use super::super::data_check::{ViewCheck, check_data};
use super::super::print::PrintError;
use super::super::snapshots::make_in_background;
use super::compaction::copy;
use super::opening::{flip, make, no_marks, segments, unclean, wait_for_snapshot};
use super::*;
use crate::storage::journal::{JournalError, MARK_FILES};

/// A store with a snapshot that was not closed in order, and its records.
pub(super) async fn with_snapshot(folder: &Path, more: u32) -> Vec<Record> {
    make(folder).await;
    let running = Running::on_sled(folder, &Faults::none()).await;
    for n in 0..more {
        running.store.create(BOOKS, book(n), None).await.unwrap();
    }
    make_in_background(&running.store.holder);
    wait_for_snapshot(folder).await;
    let records = running.all().await;
    running.stop().await;
    unclean(folder);
    records
}

/// Puts parts of one folder in the place of those of another.
fn put(from: &Path, to: &Path, parts: &[&str]) {
    for part in parts {
        let (from, to) = (from.join(part), to.join(part));
        if from.is_dir() {
            fs::remove_dir_all(&to).unwrap();
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
}

/// The names and contents of the files of a folder.
fn content(folder: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: std::path::PathBuf| (path.clone(), fs::read(&path).unwrap());
    paths.into_iter().map(read).collect()
}

#[test]
fn a_part_of_another_store_is_outvoted_and_two_against_two_are_refused() {
    run(async {
        let [ours, other] = [0, 1].map(|_| tempfile::tempdir().unwrap());
        let records = with_snapshot(ours.path(), 3).await;
        with_snapshot(other.path(), 5).await;
        for (parts, without, heals) in [
            (&["marks"][..], "", true),
            (&["marks-copy"], "", true),
            (&MARK_FILES, "", true),
            (&["journal"], "", true),
            (&["snapshots"], "", true),
            (&["view"], "", true),
            (&["snapshots", "view"], "", false),
            (&["marks", "marks-copy", "journal"], "", false),
            (&["marks", "marks-copy", "view"], "", true),
            (&["marks", "journal"], "", false),
            (&["journal"], "marks", true),
            (&["journal"], "all marks", false),
            (&["snapshots"], "all marks", false),
            (&["view"], "all marks", true),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let data = &folder.path().join("data");
            copy(ours.path(), data);
            put(other.path(), data, parts);
            match without {
                "" => {}
                "all marks" => no_marks(data),
                file => fs::remove_file(data.join(file)).unwrap(),
            }
            let what = format!("{parts:?} of another store, {without:?} missing");
            let checked = check_data(data, 1 << 20);
            if heals {
                let checked = checked.unwrap();
                assert_eq!(checked.mends, Some(true), "{what}: {checked:?}");
                let running = Running::on_sled(data, &Faults::none()).await;
                assert_eq!(running.all().await, records, "{what}");
                running.stop().await;
            } else {
                let mixed = matches!(
                    &checked,
                    Err(PrintError::Journal(JournalError::Mixed { .. }))
                );
                assert!(mixed, "{what}: {checked:?}");
                refusals::assert_refused(data, "files of two stores");
            }
        }
    });
}

#[test]
fn a_folder_none_of_whose_parts_names_its_store_is_no_empty_one() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let nothing = check_data(folder.path(), 1 << 20);
        assert!(matches!(nothing, Err(PrintError::NoStore(_))));
        with_snapshot(folder.path(), 1).await;
        no_marks(folder.path());
        fs::remove_dir_all(folder.path().join("journal")).unwrap();
        let checked = check_data(folder.path(), 1 << 20);
        assert!(matches!(checked, Err(PrintError::Unnamed(_))));
        refusals::assert_refused(folder.path(), "neither the file marks nor");
    });
}

#[test]
fn a_view_counts_as_a_copy_also_where_nothing_is_left_to_compare_it_with() {
    run(async {
        let [ours, other] = [0, 1].map(|_| tempfile::tempdir().unwrap());
        let records = with_snapshot(ours.path(), 3).await;
        with_snapshot(other.path(), 5).await;
        let first = |folder: &Path| segments(folder)[0].clone();
        fs::copy(first(other.path()), first(ours.path())).unwrap();
        let snapshots = content(&ours.path().join("snapshots"));
        for (snapshot, bytes) in snapshots {
            flip(&snapshot, u64::try_from(bytes.len() / 2).unwrap());
        }
        let checked = check_data(ours.path(), 1 << 20).unwrap();
        assert_eq!(checked.mends, Some(true), "{checked:?}");
        assert!(matches!(checked.view, ViewCheck::NotCompared(_)));
        let running = Running::on_sled(ours.path(), &Faults::none()).await;
        assert_eq!(running.all().await, records);
        running.stop().await;
    });
}
