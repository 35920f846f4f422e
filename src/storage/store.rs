//! The interface of a record store: all that the rest of the daemon knows of it, whichever engine keeps the records.

use std::future::Ready;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::{Either, FutureExt as _, LocalBoxFuture};

use super::feed::{FeedStep, RecentChanges};
use super::fit::Resources;
use super::found::FoundBatch;
use super::history::RecordHistory;
use super::last_change::LastChange;
use super::list_page::{ListPage, QueryCost};
use super::progress::{BackupTask, TaskProgress};
use super::proposal::{PreparedResources, ProposedResources};
use super::store_error::{ResourcesFault, StoreError};
use super::writes::{BatchWritten, Write, WriteBatch, Written};
use crate::num::as_millis;
use crate::record::{HistoryQuery, ListQuery, Record, RecordId, RequestKey};
use crate::settings::Settings;
use crate::supervision::MessageId;
use crate::telemetry::{MetricSource, Rows};

/// The most changes that one call of [`Store::changes`] returns.
pub(crate) const CHANGES_MAX: usize = 500;

/// A resource. Its number stays the same as long as the process runs, whatever the settings declare meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct CollectionId(pub(crate) usize);

/// The answer of a store. It is known at once if nothing has to be waited for, so that reading a record allocates no future.
pub(crate) type StoreReply<'a, T> =
    Either<Ready<Result<T, StoreError>>, LocalBoxFuture<'a, Result<T, StoreError>>>;

/// The part of a store that change feeds read.
pub(crate) trait ChangeSource: Send + Sync + 'static {
    /// The declared resource of this name.
    fn collection(&self, name: &str) -> Option<CollectionId>;

    /// The name of a resource.
    fn name(&self, collection: CollectionId) -> Option<String>;

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
}

/// A store of records, shared by all threads. Each engine implements it once; its callers hold an `Arc<dyn Store>`.
///
/// What a read shows is durable: a power cut can't take it back. A write that returns `Ok` is durable, too.
pub(crate) trait Store: ChangeSource {
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

    /// Reads the same page, and tells how it was found and what that cost.
    fn cost<'a>(
        &'a self,
        collection: CollectionId,
        query: &'a ListQuery,
    ) -> StoreReply<'a, QueryCost>;

    /// The number of a resource's last change, as readers see it now; `None` while the store can't be read, or does not
    /// have the resource yet. As long as it stays the same, so do all [pages](Self::query).
    fn changed(&self, collection: CollectionId) -> Option<u64>;

    /// Carries out a command.
    fn write(&self, write: Write) -> StoreReply<'_, Written> {
        let batch = WriteBatch::all(vec![write]);
        let only = async { self.write_batch(batch).await?.only() };
        Either::Right(only.boxed_local())
    }

    /// Carries out the commands of a batch, with the records that their filters match now.
    fn write_batch(&self, batch: WriteBatch) -> StoreReply<'_, BatchWritten> {
        let both = async {
            let found = self.find_matching(batch).await?;
            self.carry_out(found).await
        };
        Either::Right(both.boxed_local())
    }

    /// Finds the records that the filters of a batch match. That may take long, and may be given up: nothing is decided yet.
    fn find_matching(&self, batch: WriteBatch) -> StoreReply<'_, FoundBatch>;

    /// Carries out the commands of a batch, one after the other, as one group of the journal: after a failure it has all of
    /// their changes or none.
    fn carry_out(&self, found: FoundBatch) -> StoreReply<'_, BatchWritten>;

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

    /// The error that a write would get at once, if it would get one.
    fn refuses_writes(&self) -> Option<StoreError>;

    /// Whether reads and writes are served now.
    fn ready(&self) -> bool;

    /// The reason why the store is not open, if something is wrong; the text says what to do.
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

    /// Notices a disk that hangs though nobody writes; asked again and again. `ran` is how long this process has run by now,
    /// without its pauses.
    fn notice_hangs(&self, ran: Duration);

    /// The time for which a commit has been under way, if it takes longer than it may: then only a new process can help. `ran`
    /// is how long this process has run by now, without its pauses.
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

impl std::fmt::Debug for dyn ChangeSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ChangeSource")
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

/// The result of [`Store::changes`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Changes {
    /// The changes that follow; none if there are none yet.
    Found(Vec<Change>),
    /// Some that follow were removed from the log of changes, which begins at change `first` now: read the resource again.
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

/// The time in milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    as_millis(since.unwrap_or_default())
}
