//! Files of a store that are removed, damaged or not copied, and made again while the store is used.

use std::fs;

use super::super::data_check::check_data;
use super::super::engine::{Group, Keyspace};
use super::opening::{flip, make, segments};
use super::*;
use crate::incidents::IncidentKind;
use crate::storage::journal::{Marks, MarksFound};

/// A folder without marks may be a copy of an archive: the store that is archived may have gone on, and its `ETag`s must not come
/// again for other content.
#[test]
fn a_store_that_is_opened_without_marks_has_other_etags_from_then_on() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path()).await;
        let open_and_stop = || async {
            let running = Running::on_sled(folder.path(), &Faults::none()).await;
            let tag = running.store.mark().await.unwrap().to_owned();
            running.stop().await;
            tag
        };
        let first = open_and_stop().await;
        assert_eq!(open_and_stop().await, first);
        flip(&folder.path().join("marks"), 20);
        assert_eq!(open_and_stop().await, first, "one mark is enough");
        let mut tags = vec![first];
        for _ in 0..3 {
            for entry in fs::read_dir(folder.path()).unwrap() {
                let path = entry.unwrap().path();
                if path.to_string_lossy().contains("marks") {
                    fs::remove_file(path).unwrap();
                }
            }
            let tag = open_and_stop().await;
            assert!(!tags.contains(&tag), "{tags:?} {tag}");
            assert_eq!(open_and_stop().await, tag);
            tags.push(tag);
        }
    });
}

/// Someone tidies up under the running daemon.
#[test]
fn marks_and_a_view_that_are_removed_while_they_are_in_use_are_made_again() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let records = make(folder.path()).await;
        let running = Running::on_sled(folder.path(), &Faults::none()).await;
        let incidents = || running.store.holder.healing.incidents.all();
        let told = |kind| incidents().iter().any(|incident| incident.kind == kind);
        for (number, (part, kind)) in [
            ("marks", IncidentKind::DamagedMark),
            ("marks-copy", IncidentKind::DamagedMark),
            ("view", IncidentKind::DamagedView),
        ]
        .into_iter()
        .enumerate()
        {
            let path = folder.path().join(part);
            if path.is_dir() {
                fs::remove_dir_all(&path).unwrap();
            } else {
                fs::remove_file(&path).unwrap();
            }
            while incidents().len() <= number || !told(kind) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert_eq!(running.all().await, records, "{part}");
        }
        running.store.create(BOOKS, book(7), None).await.unwrap();
        assert_eq!(incidents().len(), 3, "{:?}", incidents());
        let records = running.all().await;
        running.stop().await;
        assert!(matches!(
            Marks::read(folder.path()).unwrap(),
            MarksFound::Found { mark, damaged: false, .. } if mark.clean
        ));
        let running = Running::on_sled(folder.path(), &Faults::none()).await;
        assert_eq!(running.all().await, records);
        assert!(running.store.holder.healing.incidents.all().len() <= 3);
        running.stop().await;
    });
}

/// The engine lost a record, and no error says so.
#[test]
fn a_view_that_lacks_a_record_is_made_again_by_the_scrubbing() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let records = make(folder.path()).await;
        let running = Running::on_sled(folder.path(), &Faults::none()).await;
        let holder = &running.store.holder;
        let mut group = Group::default();
        group.remove(Keyspace::Records(BOOKS), records[3].id.key());
        let lost = holder.look(|open| open.engine.commit(&group));
        lost.unwrap().unwrap();
        // One that is under way may find it already.
        holder.ask_for_scrub();
        while holder.healing.incidents.all().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(running.all().await, records);
        let [incident] = holder.healing.incidents.all().try_into().unwrap();
        assert_eq!(incident.kind, IncidentKind::DamagedView);
        assert!(incident.what.contains("its own count"), "{}", incident.what);
        running.stop().await;
    });
}

/// Its first frame has all that is in the head of a file of the journal, so it is read all the same; the scrubbing writes it again.
#[test]
fn a_damaged_head_of_the_journal_is_written_again() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let records = make(folder.path()).await;
        let damaged = segments(folder.path());
        for segment in &damaged {
            flip(segment, 9);
        }
        let findings = || check_data(folder.path(), 1 << 20).unwrap().findings;
        assert_eq!(findings().len(), damaged.len());
        let running = Running::on_sled(folder.path(), &Faults::none()).await;
        assert_eq!(running.all().await, records);
        let incidents = || running.store.holder.healing.incidents.all();
        while incidents().len() < damaged.len() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for incident in incidents() {
            assert_eq!(incident.kind, IncidentKind::DamagedJournal);
        }
        running.stop().await;
        assert!(findings().is_empty(), "{:?}", findings());
    });
}
