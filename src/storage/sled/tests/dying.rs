//! Tests of what callers get while the writer dies, a flush fails or hangs, or a value is damaged: each acknowledged write once, and
//! nothing that a power cut could take back.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use crate::record::Absent;
use crate::storage::journal::{JournalError, JournalFiles, Reach};

#[test]
fn a_panic_at_any_point_of_a_group_neither_loses_nor_repeats_a_write() {
    for point in [
        "writer.message",
        "writer.in_transaction",
        "writer.before_answers",
        "writer.before_view",
        "writer.after_view",
    ] {
        run(async move {
            let folder = tempfile::tempdir().unwrap();
            let faults = Faults::armed();
            let running = Running::on_sled(folder.path(), &faults).await;
            let store = &running.store;
            let doomed = store.create(BOOKS, book(0), None).await.unwrap();
            faults.arm(point, 1);
            let writes = (1..=50).map(|n| store.create(BOOKS, book(n), None));
            let writes = futures_util::future::join_all(writes);
            let (created, deleted) =
                futures_util::future::join(writes, store.delete(BOOKS, &doomed.id)).await;
            assert_eq!(deleted, Ok(Some(doomed)), "{point}");
            // The writer takes it after all that it does for the others.
            let last = store.create(BOOKS, book(51), None).await;
            let created = created.into_iter().chain([last]);
            assert_eq!(faults.points()[point], 0, "{point} was passed");
            let created: BTreeSet<_> = created
                .map(|record| record.unwrap_or_else(|error| panic!("{point}: {error}")))
                .map(|record| (record.revision.0, record.id, record.json))
                .collect();
            assert_eq!(created.len(), 51, "{point}: each its own revision");
            let kept = running.all().await;
            let kept: BTreeSet<_> = kept
                .into_iter()
                .map(|r| (r.revision.0, r.id, r.json))
                .collect();
            assert_eq!(kept, created, "{point}");
            assert_eq!(
                running.tree.view().children[0].restarts_total(),
                1,
                "{point}"
            );
            running.stop().await;
        });
    }
}
/// The number of the last change in the journal.
fn journaled(folder: &Path) -> u64 {
    let journal = folder.join("journal");
    let store = JournalFiles::store_of(&journal).unwrap().unwrap();
    let files = JournalFiles::find(&journal, store).unwrap();
    match files.read::<JournalError>(0, |_| Ok(())).unwrap() {
        Reach::End(end) => end.last,
        other @ Reach::Damage { .. } => panic!("{other:?}"),
    }
}

#[test]
fn a_group_is_in_the_journal_before_it_is_seen_and_before_it_is_answered() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let memory = Arc::<Memory>::default();
        let faults = Faults::armed();
        let running = Running::start(in_memory(&memory, folder.path(), &faults)).await;
        // It dies between the journal and the view.
        faults.arm("writer.before_view", 1);
        memory.calls.lock().clear();
        let record = running.store.create(BOOKS, book(1), None).await.unwrap();
        assert_eq!(journaled(folder.path()), 1);
        assert_eq!(running.all().await, [record]);
        let commits = memory.calls.lock().clone();
        // The view took it over when it was opened; the write was not applied again.
        assert_eq!(commits, ["commit"]);
        running.stop().await;
    });
}

#[test]
fn a_failed_sync_is_tried_again_and_after_a_failed_view_the_next_incarnation_answers() {
    for view in [false, true] {
        run(async move {
            let folder = tempfile::tempdir().unwrap();
            let memory = Arc::<Memory>::default();
            let faults = Faults::armed();
            let running = Running::start(in_memory(&memory, folder.path(), &faults)).await;
            let first = running.store.create(BOOKS, book(0), None).await.unwrap();
            memory.calls.lock().clear();
            if view {
                memory.failing.store(true, Ordering::SeqCst);
            } else {
                faults.arm(FAILING_SYNC, 1);
            }
            let record = running.store.create(BOOKS, book(1), None).await.unwrap();
            assert_eq!((first.revision.0, record.revision.0), (1, 2));
            assert_eq!(running.all().await, [first, record]);
            assert_eq!(journaled(folder.path()), 2);
            let made_again = memory.calls.lock().contains(&"aside");
            assert_eq!(
                made_again, view,
                "a view that has a part of a group is made again"
            );
            let restarts = &running.tree.view().children[0].restarts;
            assert_eq!(restarts.get("error"), view.then_some(&1));
            running.stop().await;
        });
    }
}

fn unready(error: &StoreError) -> bool {
    matches!(error, StoreError::Unready { told, .. } if told.starts_with("the disk of the server fails"))
}

/// Creates a record as soon as the disk takes it.
async fn create_when_it_works(running: &Running, n: u32) -> Record {
    loop {
        match running.store.create(BOOKS, book(n), None).await {
            Ok(record) => return record,
            Err(error) => assert!(unready(&error), "{error}"),
        }
        tokio::task::yield_now().await;
    }
}

#[test]
fn while_the_disk_fails_reads_go_on_and_what_was_in_doubt_does_not_come_back() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let faults = Faults::armed();
        let running = Running::on_sled(folder.path(), &faults).await;
        let store = &running.store;
        let first = store.create(BOOKS, book(0), None).await.unwrap();
        faults.arm(FAILING_SYNC, u32::MAX);
        let both = [1, 2].map(|n| store.create(BOOKS, book(n), None));
        for answer in futures_util::future::join_all(both).await {
            let error = answer.unwrap_err();
            assert!(
                error == StoreError::OutcomeUnknown || unready(&error),
                "{error}"
            );
        }
        // Nothing is begun, whatever the journal may have.
        let refused = store.create(BOOKS, book(3), None).await.unwrap_err();
        assert!(unready(&refused), "{refused}");
        assert!(!store.ready());
        let trouble = store.trouble().unwrap();
        assert!(trouble.contains("the disk has failed for"), "{trouble}");
        assert_eq!(running.all().await, std::slice::from_ref(&first));
        assert_eq!(store.get(BOOKS, &first.id).await, Ok(Some(first.clone())));
        faults.arm(FAILING_SYNC, 0);
        let second = create_when_it_works(&running, 4).await;
        assert_eq!(second.revision.0, 2);
        assert_eq!((store.ready(), store.trouble()), (true, None));
        let both = [first, second];
        let all = |records: Vec<Record>| {
            records
                .into_iter()
                .map(|it| it.revision)
                .collect::<BTreeSet<_>>()
        };
        assert_eq!(all(running.all().await), all(both.to_vec()));
        assert_eq!(journaled(folder.path()), 2);
        assert_eq!(running.tree.view().children[0].restarts_total(), 0);
        running.stop().await;
        // Nor does it at the next start, with or without the view.
        for without_view in [false, true] {
            if without_view {
                std::fs::remove_dir_all(folder.path().join("view")).unwrap();
            }
            let running = Running::on_sled(folder.path(), &faults).await;
            assert_eq!(all(running.all().await), all(both.to_vec()));
            running.stop().await;
        }
    });
}

#[test]
fn a_write_of_which_nothing_was_written_is_refused_as_such() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let faults = Faults::armed();
        let memory = Arc::<Memory>::default();
        let running = Running::start(in_memory(&memory, folder.path(), &faults)).await;
        let store = &running.store;
        store.create(BOOKS, book(0), None).await.unwrap();
        // No new file can be made, so the second attempt fails, too, and so do all later ones.
        let new = folder.path().join("journal/new");
        std::fs::create_dir_all(new.join("of somebody")).unwrap();
        faults.arm(FAILING_SYNC, 1);
        let unknown = store.create(BOOKS, book(1), None).await;
        assert_eq!(unknown, Err(StoreError::OutcomeUnknown));
        let failed = || store.holder.disk.failures.get();
        while failed() == 1 {
            let refused = store.create(BOOKS, book(2), None).await.unwrap_err();
            assert!(unready(&refused), "{refused}");
            tokio::task::yield_now().await;
        }
        std::fs::remove_dir_all(&new).unwrap();
        let second = create_when_it_works(&running, 3).await;
        assert_eq!(second.revision.0, 2);
        assert_eq!(running.all().await.len(), 2);
        assert_eq!(running.tree.view().children[0].restarts_total(), 0);
        running.stop().await;
    });
}

/// Changes one bit of the record that is stored first.
async fn damage_a_record(running: &Running, memory: &Memory) {
    // A list waits until the view has the last group.
    assert!(!running.all().await.is_empty());
    let mut keyspaces = memory.keyspaces.lock();
    let records = keyspaces.get_mut(&Keyspace::Records(BOOKS)).unwrap();
    *records.values_mut().next().unwrap().last_mut().unwrap() ^= 1;
}

#[test]
fn a_batch_beside_a_damaged_record_fails_as_a_whole_and_goes_in_once_it_is_healed() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let memory = Arc::<Memory>::default();
        let running = Running::start(in_memory(&memory, folder.path(), &Faults::none())).await;
        let store = &running.store;
        let first = RecordId::Number(1);
        store
            .create(BOOKS, book(1), Some(first.clone()))
            .await
            .unwrap();
        let command = |n: u32| WriteCommand::Replace {
            id: RecordId::Number(n.into()),
            json: book(n + 10).text(&RecordId::Number(n.into())),
            absent: Absent::Create,
        };
        let batch = || of_each([3, 1, 2].map(command).to_vec());
        damage_a_record(&running, &memory).await;
        // Another write of the same group is not concerned.
        let (other, failed) = futures_util::future::join(
            store.create(BOOKS, book(4), Some(RecordId::Number(4))),
            store.write_batch(batch()),
        )
        .await;
        assert_eq!(failed, Err(StoreError::Unavailable));
        assert_eq!(other.unwrap().revision.0, 2);
        let written = loop {
            match store.write_batch(batch()).await {
                Ok(written) => break written,
                Err(StoreError::Unavailable) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        };
        // Nothing of the attempts before is in.
        assert_eq!(written.last, 5);
        assert!(matches!(
            written.results.as_slice(),
            [
                Ok(Written::Created(_)),
                Ok(Written::Replaced(_)),
                Ok(Written::Created(_))
            ]
        ));
        assert_eq!(running.all().await.len(), 4);
        running.stop().await;
    });
}

#[test]
fn a_view_with_a_damaged_record_is_made_again_while_its_reader_waits() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let memory = Arc::<Memory>::default();
        let running = Running::start(in_memory(&memory, folder.path(), &Faults::none())).await;
        let record = running.store.create(BOOKS, book(1), None).await.unwrap();
        damage_a_record(&running, &memory).await;
        let got = running.store.get(BOOKS, &record.id).await;
        assert_eq!(got, Ok(Some(record.clone())));
        assert_eq!(running.all().await, [record]);
        let calls = memory.calls.lock().clone();
        assert!(calls.contains(&"aside"), "{calls:?}");
        running.stop().await;
    });
}

#[test]
fn a_view_that_opens_but_can_not_be_read_is_made_again() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let memory = Arc::<Memory>::default();
        let start = || Running::start(in_memory(&memory, folder.path(), &Faults::none()));
        let running = start().await;
        running.store.create(BOOKS, book(1), None).await.unwrap();
        let records = running.all().await;
        running.stop().await;
        memory.calls.lock().clear();
        memory.unreadable.store(true, Ordering::SeqCst);
        let running = start().await;
        let limit = Duration::from_secs(50);
        running.store.holder.wait_until_open(limit).unwrap();
        assert_eq!(running.all().await, records);
        assert_eq!(running.store.trouble(), None);
        assert!(memory.calls.lock().contains(&"aside"));
        running.stop().await;
    });
}

#[test]
fn while_the_view_is_made_again_callers_are_told_at_once_how_far_that_is() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let memory = Arc::<Memory>::default();
        let running = Running::start(in_memory(&memory, folder.path(), &Faults::none())).await;
        let record = running.store.create(BOOKS, book(1), None).await.unwrap();
        running.stop().await;
        memory.keyspaces.lock().clear();
        memory.held.store(true, Ordering::SeqCst);
        let running = Running::start(in_memory(&memory, folder.path(), &Faults::none())).await;
        let begun = tokio::time::Instant::now();
        let read = running.store.get(BOOKS, &record.id).await.unwrap_err();
        let written = running
            .store
            .create(BOOKS, book(2), None)
            .await
            .unwrap_err();
        let listed = running
            .store
            .query(BOOKS, &ListQuery::default())
            .await
            .unwrap_err();
        let waited = begun.elapsed();
        assert!(
            waited < running.store.holder.limits.now().deadline / 2,
            "{waited:?}"
        );
        for error in [read, written, listed] {
            let StoreError::Unready { told, retry_after } = error else {
                panic!("{error:?}");
            };
            assert!(
                told.contains("making the view of the records again"),
                "{told}"
            );
            assert!(told.contains(" % ("), "{told}");
            assert!(retry_after >= Duration::from_secs(1), "{retry_after:?}");
        }
        let doing = running.store.doing().unwrap();
        assert!(
            doing.contains("making the view of the records again"),
            "{doing}"
        );
        assert!(!running.store.ready());
        memory.held.store(false, Ordering::SeqCst);
        running
            .store
            .holder
            .wait_until_open(Duration::from_secs(10))
            .unwrap();
        assert_eq!(running.all().await, [record]);
        let incidents = running.store.holder.healing.incidents.all();
        let mended: Vec<_> = incidents
            .iter()
            .map(|incident| incident.what.as_str())
            .collect();
        assert_eq!(mended, ["the view of the records was missing"]);
        running.stop().await;
    });
}
