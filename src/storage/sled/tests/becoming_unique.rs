//! Values that become unique while the store runs, and writes meanwhile.

use std::collections::BTreeSet;

use futures_util::future::{join, join_all};
use proptest::prelude::*;
use serde_json::json;

use super::declaring::at_most;
use super::indexing::{create, id, object, refused};
use super::message::StoreMessage;
use super::random_steps::{RuleStep, play_all, rule_steps};
use super::*;
use crate::record::Absent;
use crate::storage::{PreparedResources, Resources, ResourcesFault};

/// More records than one step adds to an index.
const MADE: u32 = 600;

/// The resource `books`, whose `n` is unique or not.
fn books(data: &Path, unique: bool) -> Resources {
    let mut settings = indexed(data, if unique { &["n"] } else { &[] });
    let books = settings.resources.get_mut("books").unwrap();
    books
        .indexes
        .iter_mut()
        .for_each(|index| index.unique = true);
    settings.resources
}

fn replace(name: &str, n: u32) -> WriteCommand {
    WriteCommand::Replace {
        id: id(name),
        json: object(&json!({"n": n})).text(&id(name)),
        absent: Absent::Create,
    }
}

async fn with_records(folder: &Path, faults: &Faults, records: u32) -> (Running, Arc<Memory>) {
    let memory = Arc::<Memory>::default();
    let running = Running::start(in_memory(&memory, folder, faults)).await;
    let made: Vec<_> = (1..=records).map(|n| json!({"n": n})).collect();
    running.store.fill(&made).await;
    (running, memory)
}

impl SledStore {
    async fn put(&self, name: &str, n: u32) {
        let written = Store::write(self, write(BOOKS, replace(name, n))).await;
        written.unwrap_or_else(|error| panic!("{name} {n}: {error}"));
    }

    /// Refuses `unique`, and returns the reason.
    async fn not_unique(&self, prepared: PreparedResources) -> String {
        match self.adopt(prepared).await {
            Err(fault @ ResourcesFault::Misfits(_)) => fault.to_string(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_is_written_before_unique_is_declared_stands_against_it_as_it_is_then() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let (running, _) = with_records(folder.path(), &Faults::none(), MADE).await;
        let (store, wanted) = (&running.store, books(folder.path(), true));
        let prepare = || async { store.prepared(&wanted).await.unwrap() };
        let told = |ids: &str| {
            format!(
                "[resource.books] would get unique = [n], but {ids} have the same there as another one"
            )
        };
        // The value of a record from before, and one that two new records have.
        let prepared = prepare().await;
        store.put("x", 7).await;
        assert!(
            store
                .not_unique(prepared)
                .await
                .starts_with(&told("1 record (x)"))
        );
        let refused_at_once = store.declare(&wanted).await.unwrap_err().to_string();
        assert!(
            refused_at_once.starts_with(&told("1 record (x)")),
            "{refused_at_once}"
        );
        store.put("x", 7_000).await;
        let prepared = prepare().await;
        store.put("y", 7_000).await;
        assert!(
            store
                .not_unique(prepared)
                .await
                .starts_with(&told("1 record (y)"))
        );
        // One command gives several records the same value.
        store.put("y", 7_001).await;
        let prepared = prepare().await;
        let both = batch(vec![replace("y", 7_002), replace("z", 7_002)]);
        assert!(
            store
                .write_batch(both)
                .await
                .unwrap()
                .results
                .iter()
                .all(Result::is_ok)
        );
        assert!(
            store
                .not_unique(prepared)
                .await
                .starts_with(&told("2 records (y, z)"))
        );
        assert_eq!(store.resources(), books(folder.path(), false));
        store.settle_indexes().await;
        // What is mended in time counts no more. A removed record has no value.
        store.put("z", 7_003).await;
        let prepared = prepare().await;
        store.put("y", 7).await;
        store.put("z", 8).await;
        store.put("y", 7_004).await;
        store.delete(BOOKS, &id("z")).await.unwrap();
        store.adopt(prepared).await.unwrap();
        // From the first moment on, for every record.
        for n in [1, MADE, 7_004] {
            let outcome = refused(store, vec![create("late", &json!({"n": n}))]).await;
            assert!(
                matches!(&outcome[..], [Some((fields, _))] if fields == "n"),
                "{n}: {outcome:?}"
            );
        }
        store.assert_indexes().await;
        running.stop().await;
    });
}

#[test]
fn what_is_only_tried_does_not_stand_against_unique() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let (running, _) = with_records(folder.path(), &Faults::none(), 2).await;
        let store = &running.store;
        let prepared = store.prepared(&books(folder.path(), true)).await;
        // More than are noted.
        let same = (0..1001).map(|n| replace(&format!("new-{n}"), 1));
        let tried = WriteBatch {
            dry_run: true,
            ..batch(same.collect())
        };
        let tried = store.write_batch(tried).await.unwrap().results;
        assert!(tried.iter().all(Result::is_ok));
        let candidate = store.holder.resources.candidate.load_full().unwrap();
        assert!(!candidate.noted_too_many());
        assert_eq!(store.adopt(prepared.unwrap()).await, Ok(()));
        running.stop().await;
    });
}

#[test]
fn everything_that_stands_against_resources_is_told_at_once() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let (running, _) = with_records(folder.path(), &Faults::none(), 3).await;
        let store = &running.store;
        let mut wanted = books(folder.path(), true);
        let settings = wanted.get_mut("books").unwrap();
        settings.schema = at_most(2);
        let prepared_later = store.prepared(&wanted);
        store.put("x", 1).await;
        let Err(ResourcesFault::Misfits(found)) = prepared_later.await else {
            panic!("it fits");
        };
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("1 record (r000003) break"), "{found:?}");
        assert!(
            found[1].contains("unique = [n], but 1 record (x)"),
            "{found:?}"
        );
        running.stop().await;
    });
}

#[test]
fn a_store_that_is_opened_again_has_to_be_compared_again() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let faults = Faults::armed();
        let (running, _) = with_records(folder.path(), &faults, MADE).await;
        let (store, wanted) = (&running.store, books(folder.path(), true));
        let prepared = store.prepared(&wanted).await.unwrap();
        faults.arm("writer.before_view", 1);
        store.put("x", 1).await;
        while faults.points()["writer.before_view"] > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let adopted = store.adopt(prepared).await;
        assert!(
            matches!(
                adopted,
                Err(ResourcesFault::Overtaken | ResourcesFault::Misfits(_))
            ),
            "{adopted:?}"
        );
        store.declare(&wanted).await.unwrap_err();
        store.put("x", 7_000).await;
        store.declare(&wanted).await.unwrap();
        assert_eq!(store.resources(), wanted);
        running.stop().await;
    });
}

#[test]
fn a_view_that_was_begun_before_unique_was_declared_does_not_take_the_place_of_its_index() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let running = Running::on_sled(folder.path(), &Faults::none()).await;
        let (store, wanted) = (&running.store, books(folder.path(), true));
        store.fill(&[json!({"n": 1})]).await;
        store.holder.no_snapshots().await;
        let era = store.holder.look(|open| open.era).unwrap();
        let (replaced, old) = std::sync::mpsc::channel();
        let built = store.compactor.build(era, replaced).unwrap().unwrap();
        store.declare(&wanted).await.unwrap();
        let view = parking_lot::Mutex::new(Some(Box::new(built)));
        store.writer.tell(StoreMessage::UseView { view }).unwrap();
        let outcome = refused(store, vec![create("late", &json!({"n": 1}))]).await;
        assert_eq!(outcome, [Some(("n".to_owned(), "r000001".to_owned()))]);
        assert!(old.try_recv().is_err(), "it was not put in place");
        assert_eq!(store.holder.look(|open| open.era), Some(era));
        running.stop().await;
    });
}

#[test]
fn an_index_that_cannot_be_built_refuses_unique() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let (running, memory) = with_records(folder.path(), &Faults::none(), 3).await;
        let (store, wanted) = (&running.store, books(folder.path(), true));
        *memory.failing_reads.lock() = Some(rustix::io::Errno::IO.raw_os_error());
        let failed = Err(ResourcesFault::Store(StoreError::Failed));
        assert_eq!(store.declare(&wanted).await, failed);
        *memory.failing_reads.lock() = None;
        store.settle_indexes().await;
        store.declare(&wanted).await.unwrap();
        running.stop().await;
    });
}

/// A write of a client: the number of its record, and the `n` that it gets unless it is deleted.
type RecordWrite = (usize, Option<u32>);

fn steps() -> impl Strategy<Value = Vec<RuleStep<RecordWrite>>> {
    // Few values, so that some clash and some do not.
    let write = (0_usize..3, prop::option::weighted(0.8, 1_u32..40));
    rule_steps(write)
}

/// Whether two records had the same value.
fn twice(had: &BTreeMap<u32, BTreeSet<String>>) -> bool {
    had.values().any(|names| names.len() > 1)
}

/// The records of the clients, which have names of their own.
type Clients = BTreeMap<String, u32>;

/// Has each client write, and returns what was done.
async fn client_writes(
    store: &SledStore,
    client: usize,
    writes: &[RecordWrite],
) -> Vec<(String, Option<u32>)> {
    let mut done = Vec::new();
    for (record, n) in writes {
        let name = format!("c{client}-{record}");
        let command = match n {
            Some(n) => replace(&name, *n),
            None => WriteCommand::Delete { id: id(&name) },
        };
        match Store::write(store, write(BOOKS, command)).await {
            Ok(_) => done.push((name, *n)),
            Err(StoreError::Refused(CommandError::Taken { .. } | CommandError::Absent)) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    done
}

async fn play(steps: Vec<RuleStep<RecordWrite>>) {
    let folder = tempfile::tempdir().unwrap();
    let faults = Faults::armed();
    // Records that nobody writes, with other values.
    let memory = Arc::<Memory>::default();
    let running = Running::start(in_memory(&memory, folder.path(), &faults)).await;
    let store = &running.store;
    let made: Vec<_> = (1..=MADE).map(|n| json!({"n": 1_000 + n})).collect();
    store.fill(&made).await;
    let (mut unique, mut died) = (false, false);
    let mut stored = Clients::new();
    for step in steps {
        died |= step.dies.is_some();
        if let Some(point) = step.dies {
            faults.arm(point, 1);
        }
        faults.arm("storage.held_comparison", step.held);
        // Every value that any record had at some time of the step.
        let mut had: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
        let mut has = |name: &str, n: u32| {
            had.entry(n).or_default().insert(name.to_owned());
        };
        for (name, n) in &stored {
            has(name, *n);
        }
        let wanted = books(folder.path(), step.rule);
        let clients = step.clients.iter().enumerate();
        let clients = clients.map(|(client, writes)| client_writes(store, client, writes));
        let (changed, done) = join(store.declare(&wanted), join_all(clients)).await;
        faults.arm("writer.message", 0);
        faults.arm("storage.held_comparison", 0);
        for (name, n) in done.into_iter().flatten() {
            match n {
                Some(n) => {
                    has(&name, n);
                    stored.insert(name, n);
                }
                None => drop(stored.remove(&name)),
            }
        }
        match changed {
            Ok(()) => unique = step.rule,
            Err(ResourcesFault::Misfits(found)) => {
                assert!(step.rule && twice(&had), "{found:?}");
            }
            Err(error) => assert!(died || twice(&had), "{error:?}"),
        }
        assert_eq!(store.resources(), books(folder.path(), unique));
        let all = store.all_of(BOOKS).await;
        let of_clients = all
            .iter()
            .filter(|record| record.id.to_string().starts_with('c'));
        let found: Clients = of_clients
            .map(|record| {
                let members = JsonObject::parse(&record.json).unwrap();
                let n = members.members()["n"].as_u64().unwrap();
                (record.id.to_string(), u32::try_from(n).unwrap())
            })
            .collect();
        assert_eq!(found, stored);
        let mut values: Vec<_> = stored.values().collect();
        values.sort();
        values.dedup();
        assert!(!unique || values.len() == stored.len(), "{stored:?}");
        if unique && let Some((name, n)) = stored.iter().next() {
            let outcome = refused(store, vec![create("one-more", &json!({"n": n}))]).await;
            assert_eq!(outcome, [Some(("n".to_owned(), name.clone()))]);
        }
    }
    store.assert_indexes().await;
    running.stop().await;
}

#[test]
fn whatever_is_written_meanwhile_unique_is_refused_or_no_two_records_have_the_same_value() {
    play_all(32, steps(), play);
}
