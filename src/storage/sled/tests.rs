//! The storage room as its users see it: the real writer under a real supervisor, on sled and on engines that fail.

mod memory;
mod modelled;
mod recovering;
mod values;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::database::SledEngine;
use super::engine::{CommitError, Engine, Group, Keyspace};
use super::envelope::{What, seq_key};
use super::recovery;
use super::*;
use crate::record::{
    Command, Conditions, JsonObject, ListQuery, Record, RecordId, Refusal, Selection, Slice,
};
use crate::settings::ResourceSettings;
use crate::supervision::{
    Backoff, ExitReason, Flags, Intensity, Placer, Root, Seed, SupervisorSpec, Tree as Plant,
};
use memory::{Memory, MemoryEngine, MemoryOpener};
use recovering::{logged, names, put};

const BOOKS: CollectionId = CollectionId(0);

fn settings(data: &Path) -> Settings {
    let mut settings = Settings::default();
    settings.server.data = data.to_owned();
    let books = ResourceSettings::at("/books");
    settings.resources.insert("books".to_owned(), books);
    settings
}

fn book(n: u32) -> JsonObject {
    JsonObject::parse(format!("{{\"n\":{n}}}").as_bytes()).unwrap()
}

impl Store {
    pub(super) async fn create(
        &self,
        collection: CollectionId,
        object: JsonObject,
        id: Option<RecordId>,
    ) -> Result<Record, StoreError> {
        let id = id.unwrap_or_else(|| RecordId::from_uuid(uuid::Uuid::now_v7()));
        let json = object.text(&id);
        let command = Command::Create { id, json };
        match self
            .write(collection, command, Conditions::default(), 100)
            .await?
        {
            Written::Created(record) => Ok(record),
            other @ (Written::Replaced(_) | Written::Removed(_)) => panic!("{other:?}"),
        }
    }

    pub(super) async fn delete(
        &self,
        collection: CollectionId,
        id: &RecordId,
    ) -> Result<Option<Record>, StoreError> {
        let command = Command::Delete { id: id.clone() };
        match self
            .write(collection, command, Conditions::default(), 0)
            .await
        {
            Ok(Written::Removed(mut records)) => Ok(records.pop()),
            Err(StoreError::Refused(Refusal::Absent)) => Ok(None),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error),
        }
    }
}

fn duplicate(id: &RecordId) -> StoreError {
    StoreError::Refused(Refusal::Duplicate { id: id.clone() })
}

/// A store that runs.
struct Running {
    store: Store,
    root: Root,
    plant: Plant,
}

impl Running {
    async fn start((store, spec): (Store, ChildSpec)) -> Self {
        let intensity = Intensity {
            max_restarts: 1_000,
            period: Duration::from_secs(1),
        };
        let backoff = Backoff {
            max: Duration::from_millis(1),
            ..Backoff::default()
        };
        let flags = Flags {
            intensity,
            backoff,
            ..Flags::default()
        };
        let seed = Seed::new(
            SupervisorSpec::new("root", flags).child(spec),
            Clock::default(),
        )
        .unwrap();
        let plant = seed.tree();
        let mut root = seed.grow(Clock::default(), Placer::threads(), None);
        (&mut root.ready).await.expect("the store opens");
        Self { store, root, plant }
    }

    async fn on_sled(data: &Path, faults: &Faults) -> Self {
        Self::start(storage(&settings(data), Clock::default(), faults)).await
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
        self.plant
            .view()
            .walk()
            .iter()
            .filter_map(|n| n.slot.as_ref())
            .map(|s| s.lost_total)
            .sum()
    }

    async fn all(&self) -> Vec<Record> {
        let page = self.store.list(BOOKS, Slice::default()).await.unwrap();
        let Some(page) = page else {
            let everything = Selection::new(ListQuery::default());
            let (walked, _) = self.store.walk(BOOKS, everything).await.unwrap();
            return walked.finish().unwrap().0;
        };
        assert_eq!(page.total, u64::try_from(page.records.len()).unwrap());
        page.records
    }
}

fn run<F: Future<Output = ()>>(test: F) {
    let limit = Duration::from_secs(60);
    let done = actix_rt::System::new().block_on(async { tokio::time::timeout(limit, test).await });
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

#[test]
fn a_death_at_any_point_of_a_group_neither_loses_nor_repeats_a_write() {
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
            assert_eq!(faults.pending(point), 0, "{point} was passed");
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
                running.plant.view().children[0].restarts_total(),
                1,
                "{point}"
            );
            running.stop().await;
        });
    }
}

fn in_memory(memory: &Arc<Memory>, folder: &Path) -> (Store, ChildSpec) {
    let opener = MemoryOpener(Arc::clone(memory), folder.join("memory"));
    with_engine(
        Box::new(opener),
        &settings(folder),
        Clock::default(),
        &Faults::none(),
    )
}

#[test]
fn an_answer_comes_after_the_flush_of_its_group() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let memory = Arc::<Memory>::default();
        let running = Running::start(in_memory(&memory, folder.path())).await;
        memory.calls.lock().unwrap().clear();
        running.store.create(BOOKS, book(1), None).await.unwrap();
        assert_eq!(*memory.calls.lock().unwrap(), ["commit", "flush"]);
        running.stop().await;
    });
}

#[test]
fn a_failed_flush_is_not_answered_by_its_own_life() {
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
            .unwrap()
            .iter()
            .filter(|c| **c == "commit")
            .count();
        // The first check writes the schema; then the group, once.
        assert_eq!(
            commits, 2,
            "the redelivered write was found in the log and not applied again"
        );
        assert_eq!(
            running.plant.view().children[0].restarts.get("error"),
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
            let gate = shut.gate.lock().unwrap();
            close.send(()).unwrap();
            opened.recv().unwrap();
            drop(gate);
        });
        closed.await.unwrap();
        let create = running.store.create(BOOKS, book(1), Some(id.clone()));
        let reads = async {
            // Applied, and stuck in its flush.
            while !memory.calls.lock().unwrap().ends_with(&["commit"]) {
                tokio::task::yield_now().await;
            }
            let get = running.store.get(BOOKS, &id);
            let list = running.store.list(BOOKS, Slice::default());
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
        assert_eq!(list.unwrap().unwrap().records, [created]);
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
            .trees
            .lock()
            .unwrap()
            .get_mut(&Keyspace::Records(BOOKS))
            .and_then(|tree| tree.values_mut().next())
        {
            *value.last_mut().unwrap() ^= 1;
        }
        assert_eq!(
            running.store.get(BOOKS, &record.id).await,
            Err(StoreError::Damaged)
        );
        assert!(running.store.list(BOOKS, Slice::default()).await.is_err());
        running.stop().await;
    });
}

#[test]
fn a_fenced_writer_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sled");
    let engine = SledEngine::open(&path, 1 << 20, &names()).unwrap();
    let mut group = Group::default();
    put(&mut group, 1, 1, What::Put);
    assert!(matches!(
        engine.commit(&group, &|| false),
        Err(CommitError::Fenced)
    ));
    assert!(engine.last(Keyspace::Log).unwrap().is_none());
    engine.commit(&group, &|| true).unwrap();
    assert_eq!(
        engine
            .get(Keyspace::Log, &seq_key(1))
            .unwrap()
            .map(|v| v.len() > 20),
        Some(true)
    );
}

#[test]
fn unfinished_scratch_files_are_moved_aside_and_the_store_opens() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let running = Running::on_sled(folder.path(), &Faults::none()).await;
        let record = running.store.create(BOOKS, book(1), None).await.unwrap();
        running.stop().await;
        let sled = folder.path().join("sled");
        std::fs::write(sled.join("snap.00000.generating"), b"half").unwrap();
        std::fs::write(sled.join("conf"), b"").unwrap();
        let running = Running::on_sled(folder.path(), &Faults::none()).await;
        assert_eq!(running.all().await, [record]);
        running.stop().await;
        let mut aside = BTreeSet::new();
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let path = entry.unwrap().path();
            if path
                .file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("aside-")
            {
                let files = std::fs::read_dir(path).unwrap();
                aside.extend(files.map(|file| file.unwrap().file_name()));
            }
        }
        let expected = ["conf", "snap.00000.generating"].map(Into::into);
        assert_eq!(aside, BTreeSet::from(expected), "nothing was deleted");
    });
}

#[test]
fn a_store_that_has_lost_its_end_is_refused() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let running = Running::on_sled(folder.path(), &Faults::none()).await;
        for n in 0..20 {
            running.store.create(BOOKS, book(n), None).await.unwrap();
        }
        running.stop().await;
        let sled = folder.path().join("sled");
        std::fs::rename(&sled, folder.path().join("gone")).unwrap();
        let (store, spec) = storage(&settings(folder.path()), Clock::default(), &Faults::none());
        let spec = SupervisorSpec::new("root", Flags::default()).child(spec);
        let planted = Seed::new(spec, Clock::default()).unwrap();
        let mut root = planted.grow(Clock::default(), Placer::threads(), None);
        let exit = root.exit.wait_for(Option::is_some).await.unwrap().clone();
        assert_eq!(exit.map(|reason| reason.cause()), Some("start_failed"));
        let refusal = store.refusal().unwrap();
        assert!(
            refusal.contains("it is empty, but it was made before, and change 20 was acknowledged"),
            "{refusal}"
        );
        assert!(refusal.contains("restore the last backup"), "{refusal}");
    });
}

#[test]
fn the_log_is_kept_at_its_length() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let memory = Arc::<Memory>::default();
        let mut short = settings(folder.path());
        short.storage.log_keep = 3000;
        let opener = MemoryOpener(Arc::clone(&memory), folder.path().join("memory"));
        let made = with_engine(Box::new(opener), &short, Clock::default(), &Faults::none());
        let running = Running::start(made).await;
        for n in 0..3100 {
            running.store.create(BOOKS, book(n), None).await.unwrap();
        }
        assert_eq!(logged(&MemoryEngine(Arc::clone(&memory))).len(), 3000);
        running.stop().await;
        let engine = MemoryEngine(memory);
        assert_eq!(
            recovery::check(&engine, &names(), Some(3100))
                .unwrap()
                .log_first,
            101
        );
    });
}
