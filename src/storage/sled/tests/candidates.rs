//! Candidates that are overtaken, given up, or met by writes whose commit fails or comes twice.

use super::declaring::{declared, start};
use super::message::StoreMessage;
use super::*;
use crate::record::Absent;
use crate::storage::{Resources, ResourcesFault};

fn wide() -> Resources {
    declared(&[("books", None)])
}

fn narrow() -> Resources {
    declared(&[("books", Some(4))])
}

#[test]
fn only_records_that_are_stored_when_a_candidate_is_adopted_stand_against_it() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let faults = Faults::armed();
        let running = start(folder.path(), wide(), &faults).await;
        let store = &running.store;
        let books = store.collection("books").unwrap();
        // A commit that dies half way makes the writer judge the record twice; it counts once.
        let prepared = store.prepared(&narrow()).await.unwrap();
        faults.arm("writer.in_transaction", 1);
        let wrong = store.create(books, book(5), None).await.unwrap();
        assert_eq!(faults.points()["writer.in_transaction"], 0, "it has died");
        let refused = store.adopt(prepared).await.unwrap_err().to_string();
        assert!(refused.contains("1 record ("), "{refused}");
        store.delete(books, &wrong.id).await.unwrap();
        // A record that is mended or deleted before the end does not count.
        let prepared = store.prepared(&narrow()).await.unwrap();
        let mended = store.create(books, book(6), None).await.unwrap();
        let command = WriteCommand::Replace {
            json: book(3).text(&mended.id),
            id: mended.id,
            absent: Absent::Refuse,
        };
        Store::write(&**store, write(books, command)).await.unwrap();
        let gone = store.create(books, book(7), None).await.unwrap();
        store.delete(books, &gone.id).await.unwrap();
        // Nor does one whose commit failed, so that it is not stored.
        let candidate = store.holder.resources.candidate.load_full().unwrap();
        let failed = RecordId::from_uuid(uuid::Uuid::now_v7());
        candidate.note_misfit(books, &failed);
        store.adopt(prepared).await.unwrap();
        assert_eq!(store.resources(), narrow());
        running.stop().await;
    });
}

#[test]
fn more_records_than_are_noted_overtake_a_candidate_even_if_all_that_are_noted_were_mended() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let running = start(folder.path(), wide(), &Faults::none()).await;
        let store = &running.store;
        let books = store.collection("books").unwrap();
        let prepared = store.prepared(&narrow()).await.unwrap();
        let candidate = store.holder.resources.candidate.load_full().unwrap();
        for _ in 0..1001 {
            let id = RecordId::from_uuid(uuid::Uuid::now_v7());
            candidate.note_misfit(books, &id);
        }
        assert_eq!(store.adopt(prepared).await, Err(ResourcesFault::Overtaken));
        assert_eq!(store.resources(), wide());
        running.stop().await;
    });
}

#[test]
fn writes_that_are_only_tried_do_not_count_against_a_candidate() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let running = start(folder.path(), wide(), &Faults::none()).await;
        let store = &running.store;
        let books = store.collection("books").unwrap();
        let prepared = store.prepared(&narrow()).await.unwrap();
        let creates = (0..1001).map(|_| {
            let id = RecordId::from_uuid(uuid::Uuid::now_v7());
            let json = book(9).text(&id);
            write(books, WriteCommand::Create { id, json })
        });
        let batch = WriteBatch {
            dry_run: true,
            ..WriteBatch::all(creates.collect())
        };
        let tried = store.write_batch(batch).await.unwrap().results;
        assert!(tried.iter().all(Result::is_ok));
        let candidate = store.holder.resources.candidate.load_full().unwrap();
        assert!(!candidate.noted_too_many());
        assert_eq!(store.adopt(prepared).await, Ok(()));
        running.stop().await;
    });
}

#[test]
fn a_candidate_takes_only_the_place_of_what_it_was_compared_with() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let running = start(folder.path(), wide(), &Faults::none()).await;
        let store = &running.store;
        let mut moved = wide();
        moved.get_mut("books").unwrap().path = "/shelf".to_owned();
        // The writer has nothing to do for this one.
        let prepared = store.prepared(&moved).await.unwrap();
        let both = declared(&[("albums", None), ("books", None)]);
        store.declare(&both).await.unwrap();
        assert_eq!(store.adopt(prepared).await, Err(ResourcesFault::Overtaken));
        assert_eq!(store.resources(), both);
        // Back and forth is not the same as never changed.
        let prepared = store.prepared(&both).await.unwrap();
        store.declare(&wide()).await.unwrap();
        store.declare(&both).await.unwrap();
        assert_eq!(store.adopt(prepared).await, Err(ResourcesFault::Overtaken));
        running.stop().await;
    });
}

#[test]
fn the_numbers_that_are_proposed_are_those_that_are_declared() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let running = start(folder.path(), wide(), &Faults::none()).await;
        let store = &running.store;
        for names in [
            &["albums", "books", "pens"][..],
            &["pens"],
            &["albums", "ink", "pens"],
            &["books"],
        ] {
            let named: Vec<_> = names.iter().map(|name| (*name, None)).collect();
            let proposed = store.propose(&declared(&named));
            let prepared = store.prepare(proposed.clone()).await.unwrap();
            assert!(!proposed.adopted());
            store.adopt(prepared).await.unwrap();
            assert!(proposed.adopted());
            for name in names {
                assert!(proposed.collection(name).is_some());
                assert_eq!(proposed.collection(name), store.collection(name));
            }
        }
        running.stop().await;
    });
}

#[test]
fn giving_up_never_waits_for_a_writer_that_declares() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let memory = Arc::<Memory>::default();
        let running = Running::start(in_memory(&memory, folder.path(), &Faults::none())).await;
        let store = &running.store;
        let before = store.resources();
        let mut both = before.clone();
        both.extend(declared(&[("albums", None)]));
        let proposed = store.propose(&both);
        let prepared = store.prepare(proposed.clone()).await.unwrap();
        memory.declaring_held.store(true, Ordering::SeqCst);
        memory.declaring.store(false, Ordering::SeqCst);
        let declares = || memory.declaring.load(Ordering::SeqCst);
        let mut adopting = store.adopt(prepared);
        while !declares() {
            let moment = Duration::from_millis(1);
            assert!(tokio::time::timeout(moment, &mut adopting).await.is_err());
        }
        // The writer is in the middle of it, and stays there.
        drop(adopting);
        memory.declaring_held.store(false, Ordering::SeqCst);
        store
            .ask(|reply| StoreMessage::Applied { reply })
            .await
            .unwrap();
        assert!(!proposed.adopted());
        assert_eq!(store.resources(), before);
        running.stop().await;
    });
}

#[test]
fn a_late_write_gets_no_id_that_can_not_be_named_any_more() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let running = Running::on_sled(folder.path(), &Faults::none()).await;
        let store = &running.store;
        store.declare(&wide()).await.unwrap();
        let numbered = WriteCommand::CreateNumbered {
            members: book(1).without_id(),
        };
        let late = Store::write(&**store, write(BOOKS, numbered)).await;
        assert_eq!(late, Err(CommandError::Overtaken.into()));
        store.create(BOOKS, book(1), None).await.unwrap();
        assert_eq!(store.all_of(BOOKS).await.len(), 1);
        running.stop().await;
    });
}

#[test]
fn a_resource_that_comes_back_with_its_rules_keeps_the_records_that_break_them() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let running = start(folder.path(), wide(), &Faults::none()).await;
        let books = running.store.collection("books").unwrap();
        running.store.create(books, book(9), None).await.unwrap();
        running.stop().await;
        // Rules that were written before a start are not held against records.
        let running = start(folder.path(), narrow(), &Faults::none()).await;
        let store = &running.store;
        store.declare(&Resources::new()).await.unwrap();
        // A late write keeps the rules that the resource had last.
        let late = store.create_by(books, &Arc::default(), 5).await;
        assert!(
            matches!(late, Err(StoreError::Refused(CommandError::Invalid(_)))),
            "{late:?}"
        );
        store.declare(&narrow()).await.unwrap();
        assert_eq!(store.all_of(books).await.len(), 1);
        store.declare(&Resources::new()).await.unwrap();
        store
            .declare(&declared(&[("books", Some(3))]))
            .await
            .unwrap();
        running.stop().await;
    });
}
