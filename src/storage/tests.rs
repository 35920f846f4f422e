//! A second engine, which keeps records in a map: the interface of the store asks for nothing that belongs to the first one.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{Either, LocalBoxFuture};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::proposal::Proposal;
use super::*;
use crate::incidents::Incidents;
use crate::record::{
    Conditions, HistoryQuery, ListQuery, Record, RecordId, RequestKey, Revision, Schema, Selection,
    WriteCommand,
};
use crate::settings::{ResourceSettings, Settings};
use crate::supervision::Faults;
use crate::telemetry::Rows;

/// Records in a map. It creates records, and refuses all other writes.
struct MapStore {
    /// The names of all resources that were declared, by their numbers.
    names: Mutex<Vec<String>>,
    declared: Mutex<Resources>,
    records: Mutex<BTreeMap<(CollectionId, RecordId), Record>>,
    last: watch::Sender<u64>,
    recent: Arc<RecentChanges>,
}

/// Resources that may be declared in a map.
#[derive(Debug)]
struct MapProposal {
    resources: Resources,
    names: Vec<String>,
    adopted: AtomicBool,
}

impl Proposal for MapProposal {
    fn collection(&self, name: &str) -> Option<CollectionId> {
        let place = self.names.iter().position(|known| known == name);
        place.map(CollectionId)
    }

    fn adopted(&self) -> bool {
        self.adopted.load(Ordering::SeqCst)
    }
}

/// A reply that needs no waiting.
fn at_once<'a, T>(reply: Result<T, StoreError>) -> StoreReply<'a, T> {
    Either::Left(ready(reply))
}

impl ChangeSource for MapStore {
    fn collection(&self, name: &str) -> Option<CollectionId> {
        let names = self.names.lock();
        let place = names.iter().position(|known| known == name);
        place.map(CollectionId)
    }

    fn name(&self, collection: CollectionId) -> Option<String> {
        self.names.lock().get(collection.0).cloned()
    }

    fn feed(&self, after: u64) -> FeedStep {
        if *self.last.borrow() == after {
            FeedStep::UpToDate
        } else {
            FeedStep::Gone
        }
    }

    fn read_feed(&self, after: u64) -> StoreReply<'_, FeedStep> {
        at_once(Ok(self.feed(after)))
    }

    fn recent_changes(&self) -> &Arc<RecentChanges> {
        &self.recent
    }

    fn last_change(&self) -> LastChange {
        LastChange::of(&self.last)
    }

    fn mark(&self) -> StoreReply<'_, &str> {
        at_once(Ok("map"))
    }
}

impl Store for MapStore {
    fn resources(&self) -> Resources {
        self.declared.lock().clone()
    }

    fn propose(&self, resources: &Resources) -> ProposedResources {
        let mut names = self.names.lock().clone();
        let lacking = resources.keys().filter(|name| !names.contains(name));
        let lacking: Vec<_> = lacking.cloned().collect();
        names.extend(lacking);
        ProposedResources::new(Arc::new(MapProposal {
            resources: resources.clone(),
            names,
            adopted: AtomicBool::new(false),
        }))
    }

    fn prepare(
        &self,
        proposed: ProposedResources,
    ) -> LocalBoxFuture<'_, Result<PreparedResources, ResourcesFault>> {
        let part = proposed.into_part::<MapProposal>();
        let prepared = part.map(PreparedResources::new);
        ready(prepared.ok_or(ResourcesFault::Overtaken)).boxed_local()
    }

    fn adopt(&self, prepared: PreparedResources) -> LocalBoxFuture<'_, Result<(), ResourcesFault>> {
        let Some(part) = prepared.into_part::<Arc<MapProposal>>() else {
            return ready(Err(ResourcesFault::Overtaken)).boxed_local();
        };
        *self.names.lock() = part.names.clone();
        *self.declared.lock() = part.resources.clone();
        part.adopted.store(true, Ordering::SeqCst);
        ready(Ok(())).boxed_local()
    }

    fn get<'a>(
        &'a self,
        collection: CollectionId,
        id: &'a RecordId,
    ) -> StoreReply<'a, Option<Record>> {
        let records = self.records.lock();
        at_once(Ok(records.get(&(collection, id.clone())).cloned()))
    }

    fn query<'a>(
        &'a self,
        collection: CollectionId,
        query: &'a ListQuery,
    ) -> StoreReply<'a, ListPage> {
        let mut selection = Selection::new(query.clone());
        let records = self.records.lock();
        let mut own = records.iter().filter(|((of, _), _)| *of == collection);
        own.all(|(_, record)| selection.visit(record.clone()));
        let page = selection.finish().map(|selected| ListPage {
            records: selected.records,
            total: selected.total,
            more: selected.more,
            seq: *self.last.borrow(),
            looked: selected.looked,
        });
        at_once(page.ok_or(StoreError::TooLarge))
    }

    fn cost<'a>(
        &'a self,
        collection: CollectionId,
        query: &'a ListQuery,
    ) -> StoreReply<'a, QueryCost> {
        let cost = async move {
            Ok(QueryCost {
                plan: Plan::Scan,
                indexes: Vec::new(),
                estimated: PlanCost {
                    keys: 0,
                    records: 0,
                },
                took: Duration::ZERO,
                page: self.query(collection, query).await?,
            })
        };
        Either::Right(cost.boxed_local())
    }

    fn changed(&self, _: CollectionId) -> Option<u64> {
        Some(*self.last.borrow())
    }

    fn write(&self, write: Write) -> StoreReply<'_, Written> {
        let WriteCommand::Create { id, json } = write.command else {
            return at_once(Err(StoreError::Failed));
        };
        let change = *self.last.borrow() + 1;
        let record = Record {
            id: id.clone(),
            revision: Revision(change),
            created_ms: change,
            changed_ms: change,
            json,
        };
        let mut records = self.records.lock();
        records.insert((write.collection, id), record.clone());
        self.last.send_replace(change);
        at_once(Ok(Written::Created(record)))
    }

    fn find_matching(&self, batch: WriteBatch) -> StoreReply<'_, FoundBatch> {
        let found = vec![FoundIds::NONE; batch.writes.len()];
        at_once(Ok(FoundBatch { batch, found }))
    }

    fn carry_out(&self, found: FoundBatch) -> StoreReply<'_, BatchWritten> {
        let carry_out = async move {
            let mut results = Vec::new();
            for write in found.batch.writes {
                results.push(Ok(self.write(write).await?));
            }
            Ok(BatchWritten {
                results,
                last: *self.last.borrow(),
                replayed: false,
            })
        };
        Either::Right(carry_out.boxed_local())
    }

    fn answered<'a>(&'a self, _: &'a RequestKey) -> StoreReply<'a, Option<BatchWritten>> {
        at_once(Ok(None))
    }

    fn records<'a>(
        &'a self,
        _: CollectionId,
        _: Option<&'a RecordId>,
    ) -> StoreReply<'a, Vec<Record>> {
        at_once(Ok(Vec::new()))
    }

    fn changes(&self, _: u64) -> StoreReply<'_, Changes> {
        at_once(Ok(Changes::Found(Vec::new())))
    }

    fn history<'a>(
        &'a self,
        _: CollectionId,
        _: &'a RecordId,
        _: HistoryQuery,
    ) -> StoreReply<'a, RecordHistory> {
        at_once(Ok(RecordHistory {
            changes: Vec::new(),
            first: 1,
            more: false,
            mark: "map".to_owned(),
        }))
    }

    fn refuses_writes(&self) -> Option<StoreError> {
        None
    }

    fn ready(&self) -> bool {
        true
    }

    fn trouble(&self) -> Option<String> {
        None
    }

    fn refusal(&self) -> Option<Refusal> {
        None
    }

    fn look_for_damage(&self) {}

    fn reaches_back(&self) -> Option<OldestMoment> {
        None
    }

    fn doing(&self) -> Option<String> {
        None
    }

    fn begin(&self, _: BackupTask) -> Box<dyn TaskProgress + '_> {
        Box::new(Untold::default())
    }

    fn notice_hangs(&self, _: Duration) {}

    fn overdue(&self, _: Duration) -> Option<Duration> {
        None
    }

    fn write_metrics(&self, _: &mut Rows<'_>) {}

    fn set_limits(&self, _: &Settings) {}

    fn close(&self) {}
}

#[tokio::test]
async fn another_engine_serves_behind_the_same_interface() {
    let store: Arc<dyn Store> = Arc::new(MapStore {
        names: Mutex::default(),
        declared: Mutex::default(),
        records: Mutex::default(),
        last: watch::Sender::new(0),
        recent: Arc::default(),
    });
    let books = ResourceSettings::at("/books");
    let resources = Resources::from([("books".to_owned(), books)]);
    let proposed = store.propose(&resources);
    let collection = proposed.collection("books").unwrap();
    assert_eq!(store.collection("books"), None);
    let prepared = store.prepare(proposed.clone()).await.unwrap();
    assert!(!proposed.adopted());
    store.adopt(prepared).await.unwrap();
    assert!(proposed.adopted());
    assert_eq!(store.collection("books"), Some(collection));

    let mut last = store.last_change();
    let id = RecordId::Text("a".into());
    let json: bytes::Bytes = r#"{"id":"a"}"#.into();
    let written = store.write(Write {
        collection,
        schema: Arc::new(Schema::Any),
        command: WriteCommand::Create {
            id: id.clone(),
            json: json.clone(),
        },
        conditions: Conditions::default(),
        bytes: json.len(),
    });
    let written = written.await.unwrap();
    assert_eq!(last.next().await, Some(1));
    let record = written.record().unwrap();
    let read = store.get(collection, &id).await.unwrap();
    assert_eq!(read, Some(record.clone()));
    let query = ListQuery::default();
    let page = store.query(collection, &query).await.unwrap();
    assert_eq!(page.records, [record]);
}

#[tokio::test]
async fn a_store_refuses_what_another_engine_has_proposed() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = Settings::default();
    settings.server.data = folder.path().to_owned();
    let incidents = Arc::new(Incidents::new(folder.path()));
    let (store, _) = storage(&settings, &Faults::none(), &incidents);
    let foreign = ProposedResources::new(Arc::new(MapProposal {
        resources: Resources::new(),
        names: Vec::new(),
        adopted: AtomicBool::new(false),
    }));
    let refused = store.prepare(foreign).await.unwrap_err();
    assert_eq!(refused, ResourcesFault::Overtaken);
    let refused = store.adopt(PreparedResources::new("prepared"));
    assert_eq!(refused.await.unwrap_err(), ResourcesFault::Overtaken);
    store.close();
}
