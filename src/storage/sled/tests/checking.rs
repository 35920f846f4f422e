//! Data folders that are read whole by `perennial check --data`.

use std::fs;

use super::super::checked;
use super::super::data_check::{DataCheck, ViewCheck, check_data};
use super::super::database::SledEngine;
use super::super::engine::{Engine as _, Group};
use super::super::index_catalog::{IndexState, KeptIndex};
use super::super::snapshots::make_in_background;
use super::super::stored_fit::stored_ids;
use super::super::stored_record::StoredRecord;
use super::super::view_check::{ViewSource, compare};
use super::opening::{flip, make, segments, unclean, used, wait_for_snapshot};
use super::*;
use crate::storage::journal::{DataLock, JournalFiles, Marks, MarksFound};

fn check(folder: &Path) -> DataCheck {
    check_data(folder, 1 << 20).unwrap()
}

fn told(checked: &DataCheck) -> String {
    let findings = checked.findings.iter().map(ToString::to_string);
    findings.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_view_that_differs_from_the_journal_is_named_record_by_record() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        let records = make(data).await;
        let running = Running::on_sled(data, &Faults::none()).await;
        let number = Some(RecordId::Number(7));
        running.store.create(BOOKS, book(1), number).await.unwrap();
        running.stop().await;
        let whole = check(data);
        assert_eq!(told(&whole), "");
        let count = u64::try_from(records.len()).unwrap() + 1;
        assert_eq!(whole.view, ViewCheck::Compared { records: count });

        let engine = SledEngine::open(&data.join("view"), 1 << 20, &names()).unwrap();
        let mut group = Group::default();
        let other = StoredRecord {
            seq: records[0].revision.0,
            created_ms: 1,
            updated_ms: 2,
            json: records[0].json.clone(),
        };
        let space = Keyspace::Records(BOOKS);
        let unknown = RecordId::Number(99);
        for id in [&records[0].id, &unknown] {
            group.put(space, id.key().into_owned(), other.encode());
        }
        group.put(space, records[2].id.key().into_owned(), b"damaged".to_vec());
        group.remove(space, records[1].id.key().into_owned());
        group.put(
            Keyspace::Meta,
            &b"next/books"[..],
            3_u64.to_be_bytes().to_vec(),
        );
        engine.commit(&group).unwrap();
        let MarksFound::Found { mark, .. } = Marks::read(data).unwrap() else {
            panic!("no marks");
        };
        let journal = JournalFiles::find(&data.join("journal"), mark.store).unwrap();
        let of_view = checked::read(&engine, mark.store).unwrap().unwrap();
        let compare = |parts| {
            let source = ViewSource {
                snapshot: None,
                journal: &journal,
            };
            let mut found = compare(&engine, &of_view, source, parts).unwrap().named;
            found.sort();
            found
        };
        assert_eq!(compare(1), compare(7));
        let found = compare(1);
        engine.flush().unwrap();
        drop(engine);
        let checked = check(data);
        for part in [
            format!(
                "the record {} of books differs from the journal",
                records[0].id
            ),
            format!("the record {} of books is missing", records[1].id),
            format!("the record {} of books can't be read", records[2].id),
            format!("the record {unknown} of books is not in the journal"),
            "the next number of books is 3, not 8".to_owned(),
            format!("it counts {count} records"),
        ] {
            assert!(found.iter().any(|line| line.contains(&part)), "{found:?}");
            assert!(told(&checked).contains(&part), "{}", told(&checked));
        }
        assert_eq!(checked.mends, Some(true));
    });
}

#[test]
fn a_flipped_bit_of_any_file_is_found_also_while_the_folder_is_in_use() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        make(data).await;
        let running = Running::on_sled(data, &Faults::none()).await;
        make_in_background(&running.store.holder);
        wait_for_snapshot(data).await;
        running.stop().await;
        assert_eq!(told(&check(data)), "");
        let lock = DataLock::take(data).unwrap();
        let used_by = format!("process {} uses it", std::process::id());
        assert_eq!(check(data).view, ViewCheck::NotCompared(used_by));
        let snapshots = fs::read_dir(data.join("snapshots")).unwrap();
        let mut files: Vec<_> = snapshots.map(|entry| entry.unwrap().path()).collect();
        files.extend(segments(data));
        for file in files {
            let length = used(&file);
            for at in (0..length).step_by(usize::try_from(length / 9).unwrap()) {
                flip(&file, at);
                let checked = check(data);
                let name = file.file_name().unwrap().to_str().unwrap();
                let told = told(&checked);
                assert!(told.contains(name), "{file:?} at {at} of {length}: {told}");
                assert_eq!(checked.mends, None);
                flip(&file, at);
            }
        }
        for at in [3, 4_100] {
            flip(&data.join("marks"), at);
            assert!(told(&check(data)).contains("a copy of the marks"));
            flip(&data.join("marks"), at);
        }
        drop(lock);
        assert_eq!(told(&check(data)), "");
    });
}

#[test]
fn what_no_copy_has_is_said_to_be_lost() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path()).await;
        unclean(folder.path());
        let last = segments(folder.path()).pop().unwrap();
        flip(&last, used(&last) - 5);
        assert_eq!(check(folder.path()).mends, Some(true), "the view has it");
        fs::remove_dir_all(folder.path().join("view")).unwrap();
        let checked = check(folder.path());
        assert!(told(&checked).contains("ends at change 164, but change 165"));
        assert_eq!(checked.mends, Some(false));
    });
}

#[test]
fn an_index_that_is_being_removed_is_no_fault() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        make(data).await;
        let engine = SledEngine::open(&data.join("view"), 1 << 20, &names()).unwrap();
        for (state, faults) in [(IndexState::Dropping, 0), (IndexState::Complete, 1)] {
            let index = RecordIndex::of_name("n");
            let kept = KeptIndex::new(900, index, state);
            let mut group = Group::default();
            kept.note(&mut group, &names()[BOOKS.0]);
            let stray = kept.key(b"a value", b"gone");
            group.put(Keyspace::Index(BOOKS), stray, Vec::new());
            engine.commit(&group).unwrap();
            let mut found = 0;
            index_check::compare(&engine, |_, kept, key, _| {
                let strays = kept.number == 900 && key.ends_with(b"gone");
                found += u32::from(strays);
            })
            .unwrap();
            assert_eq!(found, faults);
        }
    });
}

#[test]
fn each_id_that_reads_as_a_number_is_counted_once() {
    for ids in [
        &["10"][..],
        &["0"],
        &["0", "10"],
        &["0", "10", "9", "0a", "10a"],
        &["0a"],
        &["a"],
    ] {
        let folder = tempfile::tempdir().unwrap();
        let engine = SledEngine::open(&folder.path().join("view"), 1 << 20, &names()).unwrap();
        let mut group = Group::default();
        for id in ids {
            let id = RecordId::parse(id).unwrap();
            let space = Keyspace::Records(BOOKS);
            group.put(space, id.key().into_owned(), Vec::new());
        }
        engine.commit(&group).unwrap();
        let digits = stored_ids(&engine, BOOKS, IdScheme::Sequence)
            .unwrap()
            .digits;
        let expected = ids.iter().filter(|id| !id.ends_with('a'));
        let expected: Vec<_> = expected.map(|id| RecordId::parse(id).unwrap()).collect();
        let count = u64::try_from(expected.len()).unwrap();
        assert_eq!((digits.count, digits.first), (count, expected), "{ids:?}");
    }
}
