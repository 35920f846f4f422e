//! The store on sled: the real writer under a real supervisor, on sled and on an engine in memory that fails when told to.

mod answers;
mod becoming_references;
mod becoming_unique;
mod candidates;
mod checking;
mod compaction;
mod damaged_ends;
mod declaring;
mod dying;
mod finding;
mod foreign;
mod indexing;
mod made_again;
pub(super) mod memory;
mod modelled;
mod older_formats;
mod opening;
mod other_kinds;
mod random_steps;
mod referring;
mod refusals;
mod snapshots;
mod unique;
mod values;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::record::{
    Atomicity, CommandError, Conditions, Handling, ID_NUMBER_MAX, IdScheme, JsonObject, ListQuery,
    Record, RecordId, RecordIndex, RequestKey, RuleViolation, Schema, WriteCommand,
};
use crate::settings::ResourceSettings;
use crate::storage::ChangeSource as _;
use crate::storage::{
    ChangeKind, Changes, CollectionId, ListPage, StoreError, Write, WriteBatch, Written,
};
use crate::supervision::{
    Backoff, Env, ExitReason, Intensity, PreparedTree, RunningTree, SupervisorSpec, Tree,
};
use engine::Keyspace;
use memory::{Memory, MemoryOpener};

const BOOKS: CollectionId = CollectionId(0);

fn settings(data: &Path) -> Settings {
    let mut settings = Settings::default();
    settings.server.data = data.to_owned();
    let books = ResourceSettings {
        ids: IdScheme::Sequence,
        ..ResourceSettings::at("/books")
    };
    settings.resources.insert("books".to_owned(), books);
    settings
}

/// The same with indexes of this name each.
fn indexed(data: &Path, indexes: &[&str]) -> Settings {
    let mut settings = settings(data);
    let of = indexes.iter().map(|name| RecordIndex::of_name(name));
    let books = settings.resources.get_mut("books");
    books.unwrap().indexes = of.collect();
    settings
}

fn names() -> Vec<String> {
    vec!["books".to_owned()]
}

fn book(n: u32) -> JsonObject {
    JsonObject::parse(format!("{{\"n\":{n}}}").as_bytes()).unwrap()
}

fn write(collection: CollectionId, command: WriteCommand) -> Write {
    Write {
        collection,
        schema: Arc::default(),
        command,
        conditions: Conditions::default(),
        bytes: 100,
    }
}

/// These commands, all or none.
fn batch(commands: Vec<WriteCommand>) -> WriteBatch {
    let commands = commands.into_iter();
    WriteBatch::all(commands.map(|command| write(BOOKS, command)).collect())
}

/// These commands, each for itself.
fn of_each(commands: Vec<WriteCommand>) -> WriteBatch {
    WriteBatch {
        atomicity: Atomicity::Each,
        ..batch(commands)
    }
}

impl SledStore {
    pub(super) async fn create(
        &self,
        collection: CollectionId,
        object: JsonObject,
        id: Option<RecordId>,
    ) -> Result<Record, StoreError> {
        let id = id.unwrap_or_else(|| RecordId::from_uuid(uuid::Uuid::now_v7()));
        let json = object.text(&id);
        match self
            .write(write(collection, WriteCommand::Create { id, json }))
            .await?
        {
            Written::Created(record) => Ok(record),
            other @ (Written::Replaced(_)
            | Written::Deleted(_)
            | Written::DeletedMatching(_)
            | Written::PatchedMatching(_)) => panic!("{other:?}"),
        }
    }

    pub(super) async fn delete(
        &self,
        collection: CollectionId,
        id: &RecordId,
    ) -> Result<Option<Record>, StoreError> {
        let id = id.clone();
        match self
            .write(write(collection, WriteCommand::Delete { id }))
            .await
        {
            Ok(Written::Deleted(record)) => Ok(Some(record)),
            Err(StoreError::Refused(CommandError::Absent)) => Ok(None),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error),
        }
    }
}

fn duplicate(id: &RecordId) -> StoreError {
    StoreError::Refused(CommandError::Duplicate { id: id.clone() })
}

/// A store that runs.
struct Running {
    store: Arc<SledStore>,
    root: RunningTree,
    tree: Tree,
}

impl Running {
    async fn start((store, spec): (Arc<SledStore>, ChildSpec)) -> Self {
        let intensity = Intensity {
            max_restarts: 1_000,
            period: Duration::from_secs(1),
        };
        let backoff = Backoff {
            max: Duration::from_millis(1),
            ..Backoff::default()
        };
        let spec = SupervisorSpec::new("root")
            .intensity(intensity)
            .backoff(backoff)
            .child(spec);
        let prepared = PreparedTree::new(spec).unwrap();
        let tree = prepared.tree();
        let mut root = prepared.start(Env::default());
        (&mut root.ready).await.expect("the store opens");
        Self { store, root, tree }
    }

    async fn on_sled(data: &Path, faults: &Faults) -> Self {
        Self::start(on_sled(data, faults)).await
    }

    async fn stop(mut self) {
        assert_eq!(self.lost(), 0);
        self.root.stopper().stop();
        let exit = self
            .root
            .exit
            .wait_for(Option::is_some)
            .await
            .unwrap()
            .clone();
        assert_eq!(exit, Some(ExitReason::Shutdown));
        self.store.close();
    }

    fn lost(&self) -> u64 {
        self.tree
            .view()
            .walk()
            .iter()
            .filter_map(|n| n.slot.as_ref())
            .map(|s| s.lost_total)
            .sum()
    }

    async fn list(&self) -> ListPage {
        let everything = ListQuery::default();
        self.store.query(BOOKS, &everything).await.unwrap()
    }

    async fn all(&self) -> Vec<Record> {
        let page = self.list().await;
        assert_eq!(page.total, Some(u64::try_from(page.records.len()).unwrap()));
        page.records
    }
}

fn on_sled(data: &Path, faults: &Faults) -> (Arc<SledStore>, ChildSpec) {
    sled_with(data, &settings(data), faults)
}

fn sled_with(data: &Path, settings: &Settings, faults: &Faults) -> (Arc<SledStore>, ChildSpec) {
    let opener = SledOpener::new(data.join("view"), settings.storage.cache_bytes);
    with_engine(Box::new(opener), settings, faults, &incidents(data))
}

fn incidents(data: &Path) -> Arc<Incidents> {
    Arc::new(Incidents::new(data))
}

/// A test that takes longer hangs.
const TEST_LIMIT: Duration = Duration::from_secs(300);

fn run<F: Future<Output = ()>>(test: F) {
    let limited = async { tokio::time::timeout(TEST_LIMIT, test).await };
    let done = actix_rt::System::new().block_on(limited);
    done.expect("the test ends");
}

#[test]
fn records_are_kept_over_a_restart_and_revisions_never_repeat() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let running = Running::on_sled(folder.path(), &Faults::none()).await;
        let id = RecordId::parse("dune").unwrap();
        let first = running
            .store
            .create(BOOKS, book(1), Some(id.clone()))
            .await
            .unwrap();
        let again = running.store.create(BOOKS, book(2), Some(id.clone())).await;
        assert_eq!(again, Err(duplicate(&id)));
        assert_eq!(
            running.store.delete(BOOKS, &id).await,
            Ok(Some(first.clone()))
        );
        assert_eq!(running.store.delete(BOOKS, &id).await, Ok(None));
        assert_eq!(running.store.get(BOOKS, &id).await, Ok(None));
        let second = running
            .store
            .create(BOOKS, book(3), Some(id.clone()))
            .await
            .unwrap();
        assert!(second.revision > first.revision);
        running.stop().await;
        let running = Running::on_sled(folder.path(), &Faults::none()).await;
        assert_eq!(running.store.get(BOOKS, &id).await, Ok(Some(second)));
        assert_eq!(running.all().await.len(), 1);
        running.stop().await;
    });
}

fn in_memory(memory: &Arc<Memory>, folder: &Path, faults: &Faults) -> (Arc<SledStore>, ChildSpec) {
    let opener = MemoryOpener(Arc::clone(memory));
    with_engine(
        Box::new(opener),
        &settings(folder),
        faults,
        &incidents(folder),
    )
}

#[test]
fn changes_are_read_in_order_until_the_log_was_trimmed() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let memory = Arc::<Memory>::default();
        let running = Running::start(in_memory(&memory, folder.path(), &Faults::none())).await;
        let mut expected = Vec::new();
        for n in 0..3 {
            let record = running.store.create(BOOKS, book(n), None).await.unwrap();
            expected.push((record.revision.0, record.id, ChangeKind::Put));
        }
        let (_, id, _) = expected[1].clone();
        running.store.delete(BOOKS, &id).await.unwrap();
        expected.push((4, id, ChangeKind::Delete));
        for after in 0..6_usize {
            let found = running.store.changes(after.try_into().unwrap()).await;
            let Ok(Changes::Found(found)) = found else {
                panic!("{found:?}");
            };
            assert!(found.iter().all(|change| change.collection == "books"));
            let found = found
                .into_iter()
                .map(|change| (change.seq, change.id, change.kind));
            let rest = expected.get(after..).unwrap_or_default();
            assert_eq!(found.collect::<Vec<_>>(), rest, "after {after}");
        }
        let trim = |log: &mut BTreeMap<_, _>| log.pop_first();
        memory
            .keyspaces
            .lock()
            .get_mut(&Keyspace::Log)
            .and_then(trim);
        let trimmed = running.store.changes(0).await;
        assert_eq!(trimmed, Ok(Changes::Trimmed { first: 2 }));
        assert!(matches!(
            running.store.changes(1).await,
            Ok(Changes::Found(found)) if found.len() == 3
        ));
        running.stop().await;
    });
}

#[test]
fn the_metrics_show_records_bytes_queries_and_commits() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let running = Running::on_sled(folder.path(), &Faults::none()).await;
        let mut bytes = 0;
        for n in 0..3 {
            let record = running.store.create(BOOKS, book(n), None).await.unwrap();
            bytes += record.json.len();
            if n == 0 {
                running.store.delete(BOOKS, &record.id).await.unwrap();
                bytes = 0;
            }
        }
        for query in ["", "_limit=1", "n=2", "id=x"] {
            let query = ListQuery::parse(query, &Schema::Any, Handling::Strict).unwrap();
            running.store.query(BOOKS, &query).await.unwrap();
        }
        let shown = |running: &Running| {
            let store: Arc<dyn Store> = Arc::<SledStore>::clone(&running.store);
            crate::telemetry::exposed(store)
        };
        let metrics = shown(&running);
        let sizes = [
            "perennial_storage_records{resource=\"books\"} 2\n".to_owned(),
            format!("perennial_storage_record_bytes{{resource=\"books\"}} {bytes}\n"),
        ];
        for line in sizes.iter().map(String::as_str).chain([
            "perennial_storage_queries_total{plan=\"page\"} 2\n",
            "perennial_storage_queries_total{plan=\"ids\"} 1\n",
            "perennial_storage_queries_total{plan=\"index\"} 0\n",
            "perennial_storage_queries_total{plan=\"scan\"} 1\n",
            "perennial_storage_commit_seconds_count 4\n",
            "perennial_storage_durable_changes_total 4\n",
        ]) {
            assert!(metrics.contains(line), "{line}{metrics}");
        }
        running.stop().await;
        let running = Running::on_sled(folder.path(), &Faults::none()).await;
        let metrics = shown(&running);
        for line in sizes {
            assert!(
                metrics.contains(&line),
                "counted at the start: {line}{metrics}"
            );
        }
        running.stop().await;
    });
}

#[test]
fn a_batch_is_a_group_of_its_own() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let memory = Arc::<Memory>::default();
        let running = Running::start(in_memory(&memory, folder.path(), &Faults::none())).await;
        let store = &running.store;
        let commits = || {
            let calls = memory.calls.lock();
            calls.iter().filter(|call| **call == "commit").count()
        };
        let before = commits();
        memory.held.store(true, Ordering::SeqCst);
        store.create(BOOKS, book(1), None).await.unwrap();
        while commits() == before {
            tokio::task::yield_now().await;
        }
        let two = [7, 8].map(|n| {
            let id = RecordId::Number(n);
            let json = book(7).text(&id);
            WriteCommand::Create { id, json }
        });
        // All three are in the queue before the writer takes the next.
        let (one, written, other, ()) = futures_util::future::join4(
            store.create(BOOKS, book(2), None),
            store.write_batch(batch(two.to_vec())),
            store.create(BOOKS, book(3), None),
            async { memory.held.store(false, Ordering::SeqCst) },
        )
        .await;
        assert!(one.is_ok() && other.is_ok());
        assert!(written.unwrap().results.iter().all(Result::is_ok));
        assert_eq!(running.all().await.len(), 5);
        assert_eq!(commits() - before, 4);
        running.stop().await;
    });
}

#[test]
fn no_number_is_given_after_the_largest_that_is_an_id() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let running = Running::on_sled(folder.path(), &Faults::none()).await;
        let store = &running.store;
        // As an import may bring it.
        let largest = RecordId::Number(ID_NUMBER_MAX);
        store.create(BOOKS, book(1), Some(largest)).await.unwrap();
        let numbered = || WriteCommand::CreateNumbered {
            members: book(2).without_id(),
        };
        let refused = Store::write(&**store, write(BOOKS, numbered())).await;
        let none = CommandError::Invalid(vec![RuleViolation::without_number()]);
        assert_eq!(refused, Err(none.into()));
        let chosen = Some(RecordId::Number(2));
        store.create(BOOKS, book(2), chosen).await.unwrap();
        running.stop().await;
    });
}
