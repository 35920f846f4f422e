//! What callers get while the writer dies, a flush fails or hangs, or a value is damaged: each acknowledged write once, and
//! nothing that a power cut could take back.

use std::collections::BTreeSet;

use super::*;

#[test]
fn a_panic_at_any_point_of_a_group_neither_loses_nor_repeats_a_write() {
    for point in [
        "writer.message",
        "writer.in_transaction",
        "writer.before_flush",
        "writer.after_flush",
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
            assert_eq!(faults.points()[point], 0, "{point} was passed");
            let created: BTreeSet<_> = created
                .into_iter()
                .map(|record| record.unwrap_or_else(|error| panic!("{point}: {error}")))
                .map(|record| (record.revision.0, record.id, record.json))
                .collect();
            assert_eq!(created.len(), 50, "{point}: each its own revision");
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
#[test]
fn an_answer_comes_after_the_flush_of_its_group() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let memory = Arc::<Memory>::default();
        let running = Running::start(in_memory(&memory, folder.path())).await;
        memory.calls.lock().clear();
        running.store.create(BOOKS, book(1), None).await.unwrap();
        assert_eq!(*memory.calls.lock(), ["commit", "flush"]);
        running.stop().await;
    });
}

#[test]
fn after_a_failed_flush_the_next_incarnation_answers_and_applies_nothing_twice() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let memory = Arc::<Memory>::default();
        let running = Running::start(in_memory(&memory, folder.path())).await;
        memory.failing_flushes.store(1, Ordering::SeqCst);
        let record = running.store.create(BOOKS, book(1), None).await.unwrap();
        assert_eq!(running.all().await, [record]);
        let commits = memory
            .calls
            .lock()
            .iter()
            .filter(|c| **c == "commit")
            .count();
        // The first check writes the schema; then the group, once.
        assert_eq!(
            commits, 2,
            "the redelivered write was found in the log and not applied again"
        );
        assert_eq!(
            running.tree.view().children[0].restarts.get("error"),
            Some(&1)
        );
        running.stop().await;
    });
}

#[test]
fn nobody_sees_what_is_not_durable_yet() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let memory = Arc::<Memory>::default();
        let running = Running::start(in_memory(&memory, folder.path())).await;
        let id = RecordId::parse("x").unwrap();
        let shut = Arc::clone(&memory);
        let (close, closed) = tokio::sync::oneshot::channel();
        let (open, opened) = std::sync::mpsc::channel::<()>();
        let gate = std::thread::spawn(move || {
            let gate = shut.gate.lock();
            close.send(()).unwrap();
            opened.recv().unwrap();
            drop(gate);
        });
        closed.await.unwrap();
        let create = running.store.create(BOOKS, book(1), Some(id.clone()));
        let reads = async {
            // Applied, and stuck in its flush.
            while !memory.calls.lock().ends_with(&["commit"]) {
                tokio::task::yield_now().await;
            }
            let get = running.store.get(BOOKS, &id);
            let everything = ListQuery::default();
            let list = running.store.query(BOOKS, &everything);
            let both = futures_util::future::join(get, list);
            let mut both = std::pin::pin!(both);
            let early = tokio::time::timeout(Duration::from_millis(50), &mut both).await;
            assert!(
                early.is_err(),
                "neither is answered while the flush is under way"
            );
            open.send(()).unwrap();
            both.await
        };
        let (created, (got, list)) = futures_util::future::join(create, reads).await;
        let created = created.unwrap();
        assert_eq!(got, Ok(Some(created.clone())));
        assert_eq!(list.unwrap().records, [created]);
        gate.join().unwrap();
        running.stop().await;
    });
}

#[test]
fn a_damaged_value_is_an_error_and_never_an_answer() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let memory = Arc::<Memory>::default();
        let running = Running::start(in_memory(&memory, folder.path())).await;
        let record = running.store.create(BOOKS, book(1), None).await.unwrap();
        if let Some(value) = memory
            .keyspaces
            .lock()
            .get_mut(&Keyspace::Records(BOOKS))
            .and_then(|keys| keys.values_mut().next())
        {
            *value.last_mut().unwrap() ^= 1;
        }
        assert_eq!(
            running.store.get(BOOKS, &record.id).await,
            Err(StoreError::Damaged)
        );
        assert!(
            running
                .store
                .query(BOOKS, &ListQuery::default())
                .await
                .is_err()
        );
        running.stop().await;
    });
}
