//! Values that are declared to be unique, while an index is declared, built and complete, and indexes on a disk that fails.

use rustix::io::Errno;
use serde_json::json;

use super::super::unique::{ToldIndexes, find_repeated};
use super::indexing::{create, id, object, refused};
use super::*;
use crate::record::Absent;
use crate::storage::Store as _;

/// The records that there are first: so few that their keys are counted without another look at them.
const MADE: u32 = 60;

/// Settings with these indexes, which are unique.
fn unique(data: &Path, indexes: &[&str]) -> Settings {
    let mut settings = indexed(data, indexes);
    for index in &mut settings.resources.get_mut("books").unwrap().indexes {
        index.unique = true;
    }
    settings
}

/// Waits until a step could not read records.
async fn failed_step(memory: &Memory) {
    memory.calls.lock().clear();
    while !memory.calls.lock().contains(&"failed read") {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

impl Running {
    fn restarts(&self) -> u64 {
        let view = self.tree.view();
        let nodes = view.walk();
        nodes.iter().map(|node| node.restarts_total()).sum()
    }
}

#[test]
fn an_index_waits_for_a_disk_that_fails_and_no_write_does() {
    for error in [Errno::IO, Errno::NOSPC] {
        run(async move {
            let folder = tempfile::tempdir().unwrap();
            let memory = Arc::<Memory>::default();
            let running = Running::start(in_memory(&memory, folder.path(), &Faults::none())).await;
            let store = &running.store;
            let made: Vec<_> = (0..MADE).map(|n| json!({"n": n})).collect();
            store.fill(&made).await;
            *memory.failing_reads.lock() = Some(error.raw_os_error());
            store
                .declare(&indexed(folder.path(), &["n"]).resources)
                .await
                .unwrap();
            for n in 0..2 {
                failed_step(&memory).await;
                store.create(BOOKS, book(n), None).await.unwrap();
            }
            assert_eq!(running.restarts(), 0, "{error}");
            *memory.failing_reads.lock() = None;
            store.assert_indexes().await;
            assert_eq!(running.restarts(), 0, "{error}");
            running.stop().await;
        });
    }
}

#[test]
fn two_writes_get_no_value_that_is_unique_while_its_index_is_built() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let memory = Arc::<Memory>::default();
        let running = Running::start(in_memory(&memory, folder.path(), &Faults::none())).await;
        let store = &running.store;
        let made: Vec<_> = (0..MADE).map(|n| json!({"n": n, "t": n})).collect();
        store.fill(&made).await;
        let wanted = unique(folder.path(), &["n"]).resources;
        // From here on no record is read for the index before all is written.
        *memory.failing_reads.lock() = Some(Errno::IO.raw_os_error());
        // A start does not compare what it declares.
        let names = store.holder.look(|open| open.engine.collections()).unwrap();
        let known = &store.holder.resources.known;
        known.rcu(|known| known.with(&names, &wanted));
        // They arrive together, right after the declaration.
        let (x, y) = tokio::join!(
            store.create(BOOKS, book(7_000), Some(id("x"))),
            store.create(BOOKS, book(7_000), Some(id("y"))),
        );
        assert!(x.is_ok() != y.is_ok(), "{x:?} {y:?}");
        failed_step(&memory).await;
        let taken = |by: &str| Some(("n".to_owned(), by.to_owned()));
        let holder = if x.is_ok() { "x" } else { "y" };
        let replace = |name: &str, n: u32| WriteCommand::Replace {
            id: id(name),
            json: object(&json!({"n": n})).text(&id(name)),
            absent: Absent::Refuse,
        };
        for (name, command, outcome) in [
            ("new", create("z", &json!({"n": 7_000})), taken(holder)),
            ("changed", replace("r000002", 8_000), None),
            (
                "as changed",
                create("z", &json!({"n": 8_000})),
                taken("r000002"),
            ),
            ("same value", replace("r000003", 2), None),
            (
                "as written",
                create("z", &json!({"n": 2})),
                taken("r000003"),
            ),
            ("changed again", replace("r000002", 8_001), None),
            ("given up", create("z", &json!({"n": 8_000})), None),
            ("not read yet", create("late", &json!({"n": 50})), None),
            ("delete", WriteCommand::Delete { id: id("r000003") }, None),
            ("deleted", create("w", &json!({"n": 2})), None),
        ] {
            assert_eq!(refused(store, vec![command]).await, [outcome], "{name}");
        }
        *memory.failing_reads.lock() = None;
        store.assert_indexes().await;
        for (n, by) in [(49, "r000050"), (2, "w"), (8_001, "r000002")] {
            let command = create("v", &json!({"n": n}));
            assert_eq!(refused(store, vec![command]).await, [taken(by)]);
        }
        let mut told = ToldIndexes::new();
        let found = find_repeated(&store.holder, &mut told);
        let [finding] = &found[..] else {
            panic!("{found:?}");
        };
        let text = finding.to_string();
        let expected = "has unique = [n], but 1 record (r000051) have the same";
        assert!(text.contains(expected), "{text}");
        let again = find_repeated(&store.holder, &mut told);
        assert!(again.is_empty(), "it is told once: {again:?}");
        running.stop().await;
    });
}

#[test]
fn texts_that_were_cut_in_the_index_are_compared_as_a_whole() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let memory = Arc::<Memory>::default();
        let running = Running::start(in_memory(&memory, folder.path(), &Faults::none())).await;
        let store = &running.store;
        let long = |end: &str| format!("{}{end}", "x".repeat(300));
        let made = ["1", "2", "1", "3", "1"].map(|end| json!({"t": long(end)}));
        store.fill(&made).await;
        let wanted = unique(folder.path(), &["t"]);
        let refused = store.declare(&wanted.resources).await.unwrap_err();
        assert!(refused.to_string().contains("2 records"), "{refused}");
        running.stop().await;
        // A start does not refuse what it finds.
        let opener = Box::new(MemoryOpener(Arc::clone(&memory)));
        let made = with_engine(opener, &wanted, &Faults::none(), &incidents(folder.path()));
        let running = Running::start(made).await;
        let store = &running.store;
        store.assert_indexes().await;
        let found = find_repeated(&store.holder, &mut ToldIndexes::new());
        let [finding] = &found[..] else {
            panic!("{found:?}");
        };
        let text = finding.to_string();
        assert!(text.contains("[t], but 2 records"), "{text}");
        for (end, taken) in [("4", false), ("3", true)] {
            let json = object(&json!({"t": long(end)})).text(&id("new"));
            let write = Write {
                collection: BOOKS,
                schema: Arc::default(),
                command: WriteCommand::Create {
                    id: id("new"),
                    json,
                },
                conditions: Conditions::default(),
                bytes: 0,
            };
            let batch = WriteBatch {
                dry_run: true,
                ..WriteBatch::all(vec![write])
            };
            let tried = store.write_batch(batch).await.unwrap().results;
            assert_eq!(tried[0].is_err(), taken, "{end}: {tried:?}");
        }
        running.stop().await;
    });
}
