//! The interface of a record store: all that the rest of the daemon knows of it, whichever engine keeps the records.

use std::future::Ready;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::{Either, LocalBoxFuture};

use super::feed::{FeedStep, RecentChanges};
use super::fit::{DataFinding, Resources};
use super::history::RecordHistory;
use super::progress::{BackupTask, TaskProgress};
use super::sled::{LastChange, PreparedResources, ProposedResources};
use crate::num::as_millis;
use crate::record::{
    Atomicity, CommandError, Conditions, HistoryQuery, ListQuery, Record, RecordId, RequestKey,
    SELECTED_BYTES_MAX, Schema, WantedIndexes, WriteCommand,
};
use crate::settings::Settings;
use crate::supervision::MessageId;
use crate::telemetry::{MetricSource, Rows};

/// The most changes that one call of [`Store::changes`] returns.
pub(crate) const CHANGES_MAX: usize = 500;

/// The most commands of a [`WriteBatch`].
pub(crate) const BATCH_COMMANDS_MAX: usize = 128;

/// A resource. Its number stays the same as long as the process runs, whatever the settings declare meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct CollectionId(pub(crate) usize);

/// The answer of a store. It is known at once if nothing has to be waited for, so that reading a record allocates no future.
pub(crate) type StoreReply<'a, T> =
    Either<Ready<Result<T, StoreError>>, LocalBoxFuture<'a, Result<T, StoreError>>>;

/// A store of records, shared by all threads. Each engine implements it once; its callers hold an `Arc<dyn Store>`.
///
/// What a read shows is durable: a power cut can't take it back. A write that returns `Ok` is durable, too.
pub(crate) trait Store: Send + Sync + 'static {
    /// The declared resource of this name.
    fn collection(&self, name: &str) -> Option<CollectionId>;

    /// The name of a resource.
    fn name(&self, collection: CollectionId) -> Option<String>;

    /// The declared resources.
    fn resources(&self) -> Resources;

    /// Begins to declare other resources: says which numbers they would have. Nothing is changed.
    fn propose(&self, resources: &Resources) -> ProposedResources;

    /// Looks whether proposed resources may be declared: whether the stored records keep their rules and could be named by
    /// their ids. Records are read in the background, and reads and writes go on. A resource that is not declared any more
    /// keeps its records, and has them again when it is declared again. The future belongs on a tokio runtime.
    ///
    /// From here until [`adopt`](Self::adopt), each write is also held against the new rules.
    fn prepare(
        &self,
        proposed: ProposedResources,
    ) -> LocalBoxFuture<'_, Result<PreparedResources, ResourcesFault>>;

    /// Declares prepared resources, between two groups of writes: all of them or, with an error, none. From here on a write
    /// has to keep their rules too, whichever rules its request began with.
    fn adopt(&self, prepared: PreparedResources) -> LocalBoxFuture<'_, Result<(), ResourcesFault>>;

    /// Reads one record.
    fn get<'a>(
        &'a self,
        collection: CollectionId,
        id: &'a RecordId,
    ) -> StoreReply<'a, Option<Record>>;

    /// Reads the page that a query asks for. How it is found is the engine's business.
    fn query<'a>(
        &'a self,
        collection: CollectionId,
        query: &'a ListQuery,
    ) -> StoreReply<'a, ListPage>;

    /// Carries out a command.
    fn write(&self, write: Write) -> StoreReply<'_, Written>;

    /// Carries out the commands of a batch, one after the other, as one group of the journal: after a failure it has all of
    /// their changes or none.
    fn write_batch(&self, batch: WriteBatch) -> StoreReply<'_, BatchWritten>;

    /// The answer that a request of this name got before, if it was carried out. Another one may be on its way to the writer,
    /// which looks again.
    fn answered<'a>(&'a self, key: &'a RequestKey) -> StoreReply<'a, Option<BatchWritten>>;

    /// Reads the records that follow the id `after`, or else the first, in the order of ids: some of them, of one moment; none
    /// at the end.
    fn records<'a>(
        &'a self,
        collection: CollectionId,
        after: Option<&'a RecordId>,
    ) -> StoreReply<'a, Vec<Record>>;

    /// Reads what changed after the change `after`, oldest first, [`CHANGES_MAX`] changes at most.
    fn changes(&self, after: u64) -> StoreReply<'_, Changes>;

    /// Reads what a record was, as far as the journal and its snapshots reach.
    fn history<'a>(
        &'a self,
        collection: CollectionId,
        id: &'a RecordId,
        query: HistoryQuery,
    ) -> StoreReply<'a, RecordHistory>;

    /// Looks for the changes after this one without waiting, for a feed.
    fn feed(&self, after: u64) -> FeedStep;

    /// The same, from the journal if they are not in memory.
    fn read_feed(&self, after: u64) -> StoreReply<'_, FeedStep>;

    /// The newest changes, which are kept as long as somebody follows them.
    fn recent_changes(&self) -> &Arc<RecentChanges>;

    /// The number of the last change on the disk, to be watched.
    fn last_change(&self) -> LastChange;

    /// A short text that is part of each entity tag, so that tags of one store are never those of another. It is known from
    /// the first time on that the store is open.
    fn mark(&self) -> StoreReply<'_, &str>;

    /// The error that a write would get at once, if it would get one.
    fn refuses_writes(&self) -> Option<StoreError>;

    /// Whether reads and writes are served now.
    fn ready(&self) -> bool;

    /// Why the store is not open, if something is wrong; the text says what to do.
    fn trouble(&self) -> Option<String>;

    /// The same, if that ends the process, as `storage.on_refusal` may ask for.
    fn refusal(&self) -> Option<Refusal>;

    /// Has everything that is stored read soon, and what is damaged made again: somebody met damage.
    fn look_for_damage(&self);

    /// The oldest change to which the store can be restored, if it was opened.
    fn reaches_back(&self) -> Option<OldestMoment>;

    /// The long tasks that bring the store into order or read it through now, and how far they are.
    fn doing(&self) -> Option<String>;

    /// Begins a task that reads the store from outside: [`Self::doing`] tells of it, too.
    fn begin(&self, task: BackupTask) -> Box<dyn TaskProgress + '_>;

    /// How long a commit has been under way, if it takes longer than it may: then only a new process can help. `ran` is how
    /// long this process has run by now, without its pauses.
    fn overdue(&self, ran: Duration) -> Option<Duration>;

    /// Writes the store's families of `/metrics`.
    fn write_metrics(&self, rows: &mut Rows<'_>);

    /// Puts other limits in force: those of `storage` that may change, and those of the writer's queue.
    fn set_limits(&self, settings: &Settings);

    /// Closes the store for good. Blocks until everything is on the disk; called after the last write was answered.
    fn close(&self);
}

impl std::fmt::Debug for dyn Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

impl MetricSource for Arc<dyn Store> {
    fn write(&self, rows: &mut Rows<'_>) {
        self.write_metrics(rows);
    }
}

/// The oldest moment to which a store can be restored, from its own folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OldestMoment {
    /// The number of the change.
    pub(crate) change: u64,
    /// Its time in milliseconds since 1970, if it is not the very first one.
    pub(crate) at_ms: Option<u64>,
}

/// The reason for the process to end without its store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The fault, and what to do.
    pub(crate) text: String,
    /// Whether it is only that another process uses the data folder.
    pub(crate) held: bool,
}

/// A command on its way to the store.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub(crate) collection: CollectionId,
    /// The rules of the settings that the request began with.
    pub(crate) schema: Arc<Schema>,
    pub(crate) command: WriteCommand,
    pub(crate) conditions: Conditions,
    /// The length of the text that it came from: the queue of writes is bounded by it.
    pub(crate) bytes: usize,
}

/// Commands that become one group of changes, with one command or many of several resources.
#[derive(Debug, Clone)]
pub(crate) struct WriteBatch {
    /// [`BATCH_COMMANDS_MAX`] at most.
    pub(crate) writes: Vec<Write>,
    pub(crate) atomicity: Atomicity,
    /// Whether it is only tried out: nothing is changed.
    pub(crate) dry_run: bool,
    /// The name of the request. If it was carried out before, its answer is given again; otherwise the answer is kept with what
    /// it changes, so that one is never without the other. Only whole successes are kept.
    pub(crate) key: Option<RequestKey>,
    /// All its changes have this id, by which its sender finds them again; without one, an id of their own.
    pub(crate) origin: Option<MessageId>,
}

impl WriteBatch {
    /// Some writes, all or none.
    pub(crate) fn all(writes: Vec<Write>) -> Self {
        Self {
            writes,
            atomicity: Atomicity::All,
            dry_run: false,
            key: None,
            origin: None,
        }
    }

    /// The length of the texts that it came from.
    pub(crate) fn bytes(&self) -> usize {
        self.writes.iter().map(|write| write.bytes).sum()
    }
}

/// The results of a batch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BatchWritten {
    /// One for each command: an error of the store is none of them, but makes the batch fail as a whole.
    pub(crate) results: Vec<Result<Written, CommandError>>,
    /// The number of the store's last change after it.
    pub(crate) last: u64,
    /// Whether it was carried out before, and this is the answer of then.
    pub(crate) replayed: bool,
}

impl BatchWritten {
    /// The result of a batch of one.
    pub(crate) fn only(self) -> Result<Written, StoreError> {
        let result = self.results.into_iter().next();
        Ok(result.ok_or(StoreError::Failed)??)
    }
}

/// What a write did, with the records as they are now, or as they were last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Written {
    /// A record was created.
    Created(Record),
    /// A record got a new text.
    Replaced(Record),
    /// A record was deleted.
    Deleted(Record),
    /// All records that match were deleted.
    DeletedMatching(Vec<Record>),
    /// All records that match were patched.
    PatchedMatching(Vec<Record>),
}

impl Written {
    /// Its records.
    pub(crate) fn records(&self) -> &[Record] {
        self.parts().1
    }

    /// The name of its kind, and its records.
    pub(super) fn parts(&self) -> (&'static str, &[Record]) {
        match self {
            Self::Created(record) => ("created", std::slice::from_ref(record)),
            Self::Replaced(record) => ("replaced", std::slice::from_ref(record)),
            Self::Deleted(record) => ("deleted", std::slice::from_ref(record)),
            Self::DeletedMatching(records) => ("deleted_matching", records),
            Self::PatchedMatching(records) => ("patched_matching", records),
        }
    }

    /// The record, if it is one.
    pub(crate) fn record(self) -> Option<Record> {
        match self {
            Self::Created(record) | Self::Replaced(record) | Self::Deleted(record) => Some(record),
            Self::DeletedMatching(_) | Self::PatchedMatching(_) => None,
        }
    }

    /// The same from its parts; `None` if they are no one's.
    pub(super) fn of_parts(kind: &str, mut records: Vec<Record>) -> Option<Self> {
        match kind {
            "deleted_matching" => return Some(Self::DeletedMatching(records)),
            "patched_matching" => return Some(Self::PatchedMatching(records)),
            _ => {}
        }
        let record = records.pop().filter(|_| records.is_empty())?;
        match kind {
            "created" => Some(Self::Created(record)),
            "replaced" => Some(Self::Replaced(record)),
            "deleted" => Some(Self::Deleted(record)),
            _ => None,
        }
    }
}

/// A page of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ListPage {
    /// The records, in the order that was asked for.
    pub(crate) records: Vec<Record>,
    /// The number of matching records on all pages together.
    /// `None` if the query asks for no total.
    pub(crate) total: Option<u64>,
    /// Whether matching records follow these in the list.
    pub(crate) more: bool,
    /// The number of the resource's last change: as long as it stays the same, so does the list.
    pub(crate) seq: u64,
}

/// The result of [`Store::changes`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Changes {
    /// The changes that follow; none if there are none yet.
    Found(Vec<Change>),
    /// Some that follow were removed from the log, which begins at change `first` now: read the resource again.
    Trimmed {
        /// The oldest change that is left.
        first: u64,
    },
}

/// One change of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    /// The number of the change. Numbers grow, and none is given twice.
    pub(crate) seq: u64,
    /// The name of the resource.
    pub(crate) collection: String,
    pub(crate) id: RecordId,
    /// The message that asked for it.
    pub(crate) message: MessageId,
    pub(crate) kind: ChangeKind,
    /// The time of the change, in milliseconds since 1970.
    pub(crate) at_ms: u64,
}

/// The kind of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Put,
    Delete,
}

/// Why other resources may not be declared. Nothing was changed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum ResourcesFault {
    /// They don't fit the stored records.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Misfits(Vec<DataFinding>),
    /// Resources were declared meanwhile, or so many records were written that break new rules that not all were noted.
    #[error("resources or too many records were changed meanwhile; try again")]
    Overtaken,
    /// The store could not tell.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a store did not do what it was asked to. Clients read these texts.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum StoreError {
    /// The store is being opened, or its writer is being restarted.
    #[error("the store is being opened or its writer is being restarted; try again")]
    Unavailable,
    /// The store can't be read or written for some time.
    #[error("{told}")]
    Unready {
        /// The reason, and how far the work on it is.
        told: String,
        /// The time after which it may be over.
        retry_after: Duration,
    },
    /// The writer's queue is full.
    #[error("too many writes are waiting; try again")]
    Overloaded,
    /// As many histories are being read as may be at once.
    #[error("too many histories of records are being read; try again")]
    Busy,
    /// The deadline passed before the writer got to the write.
    #[error("the deadline passed before the write was begun; it was not done, try again")]
    Expired,
    /// All records would have to be looked at, and that took too long, or too many others were being answered in this way.
    #[error("no index serves this query, so every record has to be read: {limit}; {}", advice(.wanted))]
    Unindexed {
        /// The indexes that could serve it.
        wanted: WantedIndexes,
        /// The limit that was reached.
        limit: ScanLimit,
    },
    /// The deadline passed while records were read.
    #[error("reading the whole resource took too long; ask for less of it")]
    TooSlow,
    /// The records before the page of a sorted list have more than [`SELECTED_BYTES_MAX`], or there is no room for a page.
    #[error("the records of this sorted list up to the page asked for are more than {} MiB; filter, or read the list with _limit=100&_after= and follow its links", SELECTED_BYTES_MAX >> 20)]
    TooLarge,
    /// The writer panicked on the write twice.
    #[error("the writer failed on this write; it was not done")]
    Crashed,
    /// The write was begun, and nobody knows whether it was done.
    #[error("the write was begun, but its outcome is not known; read before trying again")]
    OutcomeUnknown,
    /// The daemon is stopping, or the writer was stopped by order.
    #[error(
        "the store takes nothing: the server is stopping, or this part of it was stopped by order"
    )]
    ShuttingDown,
    /// A stored record is not what was written.
    #[error("a stored record is damaged")]
    Damaged,
    /// The disk has less room than the reserve.
    #[error("the disk is full: writes are refused until there is room, reads go on")]
    Full,
    /// The engine failed; the log says how.
    #[error("the store failed; the log of the server says why")]
    Failed,
    /// The command may not be carried out as things are.
    #[error(transparent)]
    Refused(#[from] CommandError),
}

/// A limit of reading a whole resource for one query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ScanLimit {
    /// Only few are read at once, and its turn did not come before the deadline.
    #[error("too many such queries are being answered")]
    Turn,
    /// The deadline passed while records were read.
    #[error("that took too long")]
    Time,
    /// It has more records.
    #[error("they are more than the {most} that one query may read (storage.scan_records)")]
    Records { most: u64 },
}

impl ScanLimit {
    /// Their names in metrics.
    pub(super) const NAMES: [&str; 3] = ["turn", "time", "records"];

    /// The place of its name.
    pub(super) fn place(self) -> usize {
        match self {
            Self::Turn => 0,
            Self::Time => 1,
            Self::Records { .. } => 2,
        }
    }
}

/// The time in milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    as_millis(since.unwrap_or_default())
}

/// Advice for a client whose query no index serves.
fn advice(wanted: &WantedIndexes) -> String {
    match wanted.0.as_slice() {
        [] => "no index could; ask for records by values of their fields, too".to_owned(),
        _ => format!("the resource's setting {wanted} would serve it"),
    }
}
