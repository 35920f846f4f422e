//! `/records`: the records of a resource, out of the store and into it, for `perennial export` and `perennial import`.
//!
//! Records come in as parcels: each is a request with a line of JSON for each record, and is cut into batches, each a group of
//! the journal. A few batches are on their way to the writer at a time, in the order of the lines.

// Decision: An import goes through the running daemon.

mod parcel;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::Method;
use actix_web::http::header;
use futures_util::stream::{self, StreamExt as _};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Semaphore;

use super::{Answered, READ, decoded, json_answer};
use crate::num::as_u64;
use crate::record::{
    Atomicity, CommandError, Conditions, Handling, ListQuery, Record, RecordId, RecordIndex,
    Schema, WriteCommand, nearest,
};
use crate::settings::ResourceSettings;
use crate::storage::{Changes, CollectionId, Store, StoreError, Write, WriteBatch, Written};
use crate::supervision::MessageId;
use crate::wire::{Code, Incoming, Problem, Response, read_body};
use parcel::{Parcel, ParcelLine};

/// The length of a parcel at which its sender begins the next one.
pub(crate) const PARCEL_BYTES: usize = 1 << 20;
/// The most lines of a parcel.
pub(crate) const PARCEL_LINES: usize = 2048;
/// The batches of a parcel that are on their way to the writer at a time.
const IN_FLIGHT: usize = 3;

/// The resources, for whoever brings records or takes them.
pub(crate) struct Records {
    store: Arc<dyn Store>,
    /// Parcels are taken one at a time, so that what a broken connection left is done when its sender comes again.
    turn: Semaphore,
}

/// The answer to a GET of `/records`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Catalogue {
    /// The short id of the store.
    pub(crate) store: String,
    /// The longest record that is taken, in bytes.
    pub(crate) record_bytes: usize,
    /// The fields of each resource with their types, in the order of the settings; `None` where any object is a record.
    pub(crate) resources: BTreeMap<String, Option<Vec<(String, String)>>>,
    /// The names of the indexes of each resource whose values must be unique, where it has such ones.
    #[serde(default)]
    pub(crate) unique: BTreeMap<String, Vec<String>>,
}

/// The answer to a parcel.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ParcelDone {
    /// Records that were created; in a dry run, those that could be.
    pub(crate) created: u64,
    pub(crate) replaced: u64,
    /// The positions of these lines; only in a dry run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) replaced_at: Vec<usize>,
    /// Records that an earlier attempt at the same parcel has brought.
    pub(crate) before: u64,
    /// The last change that the parcel made; for an empty one, the last that the store has.
    pub(crate) change: Option<u64>,
    pub(crate) refused: Vec<RefusedLine>,
}

/// A line whose record was not taken.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RefusedLine {
    /// Its position in the parcel, from 0 on.
    pub(crate) at: usize,
    /// All that is wrong with it.
    pub(crate) faults: Vec<String>,
    /// If that is only that records are missing to which it refers: the resource and the id of each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) lacks: Vec<(String, String)>,
}

impl ParcelDone {
    fn add(&mut self, more: Self) {
        self.created += more.created;
        self.replaced += more.replaced;
        self.replaced_at.extend(more.replaced_at);
        self.before += more.before;
        self.change = self.change.max(more.change);
        self.refused.extend(more.refused);
    }

    fn refuse(&mut self, line: &ParcelLine<'_>, faults: Vec<String>, lacks: Vec<(String, String)>) {
        let at = line.at;
        self.refused.push(RefusedLine { at, faults, lacks });
    }
}

/// The changes that earlier attempts at a batch made: the record of each, and its number.
type Earlier = Vec<(RecordId, u64)>;

impl Records {
    pub(crate) fn new(store: &Arc<dyn Store>) -> Self {
        Self {
            store: Arc::clone(store),
            turn: Semaphore::new(1),
        }
    }

    /// Answers a request for `/records` or what is below it.
    pub(super) async fn answer(&self, request: &mut Incoming) -> Answered {
        let read = [Method::GET, Method::HEAD].contains(request.method());
        let path = request.path().to_owned();
        match path.strip_prefix("/records/") {
            None if read => {
                let record_bytes = request.limits().body_bytes;
                Ok(json_answer(&json!(self.catalogue(record_bytes).await?)))
            }
            None => Err(Problem::not_allowed(READ)),
            Some(name) if read => self.give(name).await,
            Some(name) if request.method() == Method::POST => {
                let done = self.take(name, request).await?;
                Ok(json_answer(&json!(done)))
            }
            Some(_) => Err(Problem::not_allowed("GET, HEAD, POST")),
        }
    }

    async fn catalogue(&self, record_bytes: usize) -> Result<Catalogue, StoreError> {
        let fields = |resource: &ResourceSettings| match &*resource.schema {
            Schema::Any => None,
            Schema::Fields(fields) => {
                let fields = fields.list.iter();
                let typed = fields.map(|field| {
                    let is_text = field.kind.is_text();
                    let kind = if is_text { "string" } else { field.kind.name() };
                    (field.name.clone(), kind.to_owned())
                });
                Some(typed.collect())
            }
        };
        let resources = self.store.resources();
        Ok(Catalogue {
            store: self.store.mark().await?.to_owned(),
            record_bytes,
            resources: resources
                .iter()
                .map(|(name, resource)| (name.clone(), fields(resource)))
                .collect(),
            unique: resources
                .iter()
                .map(|(name, resource)| {
                    let unique = resource.indexes.iter().filter(|index| index.unique);
                    (
                        name.clone(),
                        unique.map(RecordIndex::name).collect::<Vec<_>>(),
                    )
                })
                .filter(|(_, unique)| !unique.is_empty())
                .collect(),
        })
    }

    fn resource(&self, name: &str) -> Result<(CollectionId, ResourceSettings), Problem> {
        let name = decoded(name);
        let resources = self.store.resources();
        let settings = resources.get(&*name).cloned();
        self.store.collection(&name).zip(settings).ok_or_else(|| {
            let names = resources.keys().map(String::as_str);
            let near = nearest(&name, names).map(|near| format!("; did you mean {near}?"));
            let near = near.unwrap_or_default();
            let detail = format!("there is no resource named {name}{near}");
            Problem::new(Code::NotFound).detail(detail)
        })
    }

    /// All records of a resource, a line of JSON for each, in the order of their ids.
    async fn give(&self, name: &str) -> Result<Response, Problem> {
        let (collection, _) = self.resource(name)?;
        let none = ListQuery::parse("_limit=0", &Schema::Any, Handling::Strict)?;
        let total = self.store.query(collection, &none).await?.total;
        let total = total.unwrap_or_default();
        let first = self.store.records(collection, None).await?;
        let begin = (Arc::clone(&self.store), Some(first), None);
        let pieces = stream::try_unfold(begin, move |(store, first, last)| async move {
            let records = match first {
                Some(first) => first,
                None => store.records(collection, last.as_ref()).await?,
            };
            let Some(last) = records.last().map(|last| last.id.clone()) else {
                return Ok::<_, StoreError>(None);
            };
            Ok(Some((lines(&records), (store, None, Some(last)))))
        });
        Ok(HttpResponse::Ok()
            .insert_header((header::CONTENT_TYPE, "application/x-ndjson"))
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .insert_header(("x-total-count", total.to_string()))
            .streaming(pieces))
    }

    /// Brings the records of a parcel in.
    async fn take(&self, name: &str, request: &mut Incoming) -> Result<ParcelDone, Problem> {
        let (collection, mut settings) = self.resource(name)?;
        settings.schema = Schema::of_operator(&settings.schema);
        let parcel = Parcel::parse(request.query(), request.limits().body_bytes)
            .map_err(|detail| Problem::new(Code::InvalidParameter).detail(detail))?;
        let body = read_body(request, PARCEL_BYTES + parcel.record_bytes + 1).await?;
        let turn = self.turn.acquire().await;
        let _turn = turn.map_err(|_| Problem::new(Code::ShuttingDown))?;
        if body.is_empty() {
            let last = self.last_change().await?;
            return Ok(ParcelDone {
                change: Some(last),
                ..ParcelDone::default()
            });
        }
        let batches = parcel::batches(&body);
        let earlier = match parcel.again {
            Some(since) => self.earlier(&parcel, &batches, since).await?,
            None => HashMap::new(),
        };
        let mut all = ParcelDone::default();
        let batches = stream::iter(&batches);
        let batches = batches.map(|lines| {
            let origin = parcel.origin(lines.first().map_or(0, |line| line.at));
            let earlier = earlier.get(&origin);
            self.take_batch(collection, &settings, &parcel, lines, origin, earlier)
        });
        let mut batches = std::pin::pin!(batches.buffered(IN_FLIGHT));
        while let Some(done) = batches.next().await {
            all.add(done?);
        }
        Ok(all)
    }

    /// The store's last change, once the writer has done all that it was sent before.
    async fn last_change(&self) -> Result<u64, StoreError> {
        let nothing = WriteBatch::all(Vec::new());
        Ok(self.store.write_batch(nothing).await?.last)
    }

    /// The changes that earlier attempts at these batches made after the change `since`.
    async fn earlier(
        &self,
        parcel: &Parcel,
        batches: &[Vec<ParcelLine<'_>>],
        since: u64,
    ) -> Result<HashMap<MessageId, Earlier>, Problem> {
        self.last_change().await?;
        let firsts = batches.iter().filter_map(|lines| lines.first());
        let origins: BTreeSet<_> = firsts.map(|line| parcel.origin(line.at)).collect();
        let mut earlier = HashMap::<_, Earlier>::new();
        let mut after = since;
        loop {
            let changes = match self.store.changes(after).await? {
                Changes::Found(changes) => changes,
                Changes::Trimmed { first } => {
                    let detail = format!(
                        "the log of changes begins with change {first}, but this import was cut after change {since}, so nobody knows how far it came: see which of its records are there, and import the rest"
                    );
                    return Err(Problem::new(Code::InvalidParameter).detail(detail));
                }
            };
            let Some(last) = changes.last() else {
                return Ok(earlier);
            };
            after = last.seq;
            for change in changes {
                if origins.contains(&change.message) {
                    let batch = earlier.entry(change.message).or_default();
                    batch.push((change.id, change.seq));
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// Brings the records of some lines in.
    async fn take_batch(
        &self,
        collection: CollectionId,
        settings: &ResourceSettings,
        parcel: &Parcel,
        lines: &[ParcelLine<'_>],
        origin: MessageId,
        earlier: Option<&Earlier>,
    ) -> Result<ParcelDone, StoreError> {
        let mut done = ParcelDone::default();
        let (mut commands, mut taken) = (Vec::new(), Vec::new());
        for line in lines {
            match parcel.command(line, settings) {
                Ok(command) => {
                    commands.push(command);
                    taken.push(line);
                }
                Err(faults) => done.refuse(line, faults, Vec::new()),
            }
        }
        if let Some(earlier) = earlier {
            // What is not in was refused: it is tried again, so that its sender is told the reason.
            let is_in = self.are_in(collection, earlier, &commands).await?;
            let mut is_in = is_in.iter().copied();
            let all = commands.len();
            let both = commands.into_iter().zip(taken);
            (commands, taken) = both.filter(|_| is_in.next() == Some(false)).unzip();
            done.before = as_u64(all - commands.len());
            done.change = earlier.last().map(|(_, seq)| *seq);
        }
        let results: Vec<Result<Fate, CommandError>> = if commands.is_empty() {
            Vec::new()
        } else {
            let writes = commands
                .into_iter()
                .zip(&taken)
                .map(|(command, line)| Write {
                    collection,
                    schema: Arc::clone(&settings.schema),
                    command,
                    conditions: Conditions::default(),
                    bytes: line.text.len(),
                });
            let batch = WriteBatch {
                atomicity: Atomicity::Each,
                origin: Some(origin),
                dry_run: parcel.dry_run,
                ..WriteBatch::all(writes.collect())
            };
            let written = self.store.write_batch(batch).await?;
            let results = written.results.into_iter();
            results.map(|result| result.map(Fate::of)).collect()
        };
        for (line, result) in taken.into_iter().zip(results) {
            match result {
                Ok(Fate::Created(change)) => {
                    done.created += 1;
                    done.change = done.change.max(Some(change).filter(|_| !parcel.dry_run));
                }
                Ok(Fate::Replaced(change)) => {
                    done.replaced += 1;
                    if parcel.dry_run {
                        done.replaced_at.push(line.at);
                    }
                    done.change = done.change.max(Some(change).filter(|_| !parcel.dry_run));
                }
                Ok(Fate::Other) => {}
                Err(error) => {
                    let lacks = parcel::lacking(line, &settings.schema, &error);
                    done.refuse(line, parcel::faults_of_refusal(error), lacks);
                }
            }
        }
        done.refused.sort_by_key(|refused| refused.at);
        Ok(done)
    }

    /// Whether earlier attempts brought each of these commands in.
    async fn are_in(
        &self,
        collection: CollectionId,
        earlier: &Earlier,
        commands: &[WriteCommand],
    ) -> Result<Vec<bool>, StoreError> {
        let mut brought = Vec::with_capacity(earlier.len());
        for (id, seq) in earlier {
            let record = self.store.get(collection, id).await?;
            let record = record.filter(|record| record.revision.0 == *seq);
            brought.push((id.clone(), record.map(|record| record.json)));
        }
        Ok(parcel::are_in(brought, commands))
    }
}

/// The fate of the record of a line, and the change that it made.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Created(u64),
    Replaced(u64),
    /// No line is such a command.
    Other,
}

impl Fate {
    fn of(written: Written) -> Self {
        match written {
            Written::Created(record) => Self::Created(record.revision.0),
            Written::Replaced(record) => Self::Replaced(record.revision.0),
            Written::Deleted(_) | Written::DeletedMatching(_) | Written::PatchedMatching(_) => {
                Self::Other
            }
        }
    }
}

fn lines(records: &[Record]) -> bytes::Bytes {
    let bytes: usize = records.iter().map(|record| record.json.len() + 1).sum();
    let mut text = Vec::with_capacity(bytes);
    for record in records {
        text.extend_from_slice(&record.json);
        text.push(b'\n');
    }
    text.into()
}
