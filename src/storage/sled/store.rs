//! The store as its callers see it: reads go to the engine on the caller's thread, writes to the writer.
//!
//! A group is seen after the journal has it on the disk, so nobody sees what a power cut could take back.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, FutureExt as _, LocalBoxFuture};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::archiving::{Archiving, UNARCHIVED};
use super::compaction::{Compactor, DAMAGED_RECORD};
use super::healing::{PATIENCE, TaskKind};
use super::holder::Holder;
use super::message::{QueuedBatch, StoreMessage};
use super::query_counts::QueryCounts;
use super::reader_state::{OpenEngine, Progress};
use super::writer::CommitTimes;
use super::{log, metrics, value};
use crate::record::{HistoryQuery, ListQuery, Record, RecordId, RequestKey};
use crate::settings::Settings;
use crate::storage::{
    BackupTask, BatchWritten, CHANGES_MAX, ChangeSource, Changes, CollectionId, FeedStep,
    FoundBatch, FoundIds, LastChange, ListPage, OldestMoment, PreparedResources, ProposedResources,
    QueryCost, RecentChanges, RecordHistory, Refusal, Resources, ResourcesFault, Store, StoreError,
    StoreReply, TaskProgress, WriteBatch,
};
use crate::supervision::{AskError, ChildRef, Faults, ReplyTo};
use crate::telemetry::Rows;

/// A store that keeps its records in sled.
pub(super) struct SledStore {
    pub(super) holder: Arc<Holder>,
    pub(super) writer: ChildRef<StoreMessage>,
    /// The permits that scans wait for.
    pub(super) scans: Arc<Semaphore>,
    /// The permits to read histories.
    pub(super) histories: Arc<Semaphore>,
    /// The permits to read the journal for feeds.
    pub(super) feed_reads: Arc<Semaphore>,
    pub(super) commits: CommitTimes,
    pub(super) queries: QueryCounts,
    pub(super) compactor: Compactor,
    pub(super) faults: Faults,
}

/// The reason why nothing was read.
enum Unread {
    Error(StoreError),
    /// Look again when the engine was opened so many times.
    Until(u64),
}

impl SledStore {
    pub(super) fn deadline_from_now(&self) -> Instant {
        Instant::now() + self.holder.limits.now().deadline
    }

    /// Answers with what `look` finds in the engine: at once if the engine is open.
    pub(super) fn read<'a, T: 'a>(
        &'a self,
        look: impl Fn(&OpenEngine) -> Result<T, StoreError> + 'a,
    ) -> StoreReply<'a, T> {
        match self.look(&look) {
            Ok(found) => Either::Left(ready(Ok(found))),
            Err(Unread::Error(error)) => Either::Left(ready(Err(error))),
            Err(Unread::Until(era)) => Either::Right(self.wait(era, look).boxed_local()),
        }
    }

    /// The result of `look`.
    fn look<T>(&self, look: impl Fn(&OpenEngine) -> Result<T, StoreError>) -> Result<T, Unread> {
        loop {
            let open = self.holder.readers.engine();
            let Some(open) = open.as_deref() else {
                return Err(Unread::Until(0));
            };
            match look(open) {
                // Reading may need room on the disk, too.
                Err(StoreError::Full) if self.holder.space.release() => {}
                Err(StoreError::Damaged) => {
                    self.compactor.heal(open.era, DAMAGED_RECORD);
                    return Err(Unread::Until(open.era + 1));
                }
                found => return found.map_err(Unread::Error),
            }
        }
    }

    /// The slow part of [`read`](Self::read): waits until the engine was opened for the `era`th time.
    async fn wait<T>(
        &self,
        mut era: u64,
        look: impl Fn(&OpenEngine) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let deadline = self.deadline_from_now();
        loop {
            self.readable(era, deadline).await?;
            match self.look(&look) {
                Ok(found) => return Ok(found),
                Err(Unread::Error(error)) => return Err(error),
                Err(Unread::Until(next)) => era = next,
            }
        }
    }

    /// Waits until the engine is open, for the `era`th time at least, as long as nothing is wrong with it.
    pub(super) async fn readable(&self, era: u64, deadline: Instant) -> Result<(), StoreError> {
        let mut progress = self.holder.readers.progress().subscribe();
        let settled = |now: &Progress| now.readable && now.era >= era || now.troubled;
        loop {
            if let Some(unready) = self.unready() {
                return Err(unready);
            }
            // A task that takes longer may have begun meanwhile.
            let now = Instant::now();
            let until = deadline.min(now + PATIENCE);
            match timeout_at(until, progress.wait_for(settled)).await {
                Ok(Ok(now)) if now.readable => return Ok(()),
                Ok(Err(_)) => return Err(StoreError::ShuttingDown),
                Ok(Ok(_)) => return Err(self.unready().unwrap_or(StoreError::Unavailable)),
                Err(_) if now + PATIENCE >= deadline => return Err(StoreError::Unavailable),
                Err(_) => {}
            }
        }
    }

    /// The reason why nothing can be read or written for some time, if that is so.
    fn unready(&self) -> Option<StoreError> {
        let readable = self.holder.readers.progress().borrow().readable;
        (!readable).then(|| self.holder.unready()).flatten()
    }

    /// The reason why nothing can be written, if the disk does not finish what is being written.
    pub(super) fn stuck(&self) -> Option<StoreError> {
        let age = self.holder.engine.slow_commit()?;
        let seconds = age.as_secs();
        Some(StoreError::Unready {
            told: format!(
                "the disk has not finished a write for {seconds} s; this one was not begun"
            ),
            retry_after: age,
        })
    }

    /// Has the writer carry out a batch. `matching` are the records that were found for each of its commands.
    pub(super) async fn send(
        &self,
        batch: WriteBatch,
        matching: Vec<FoundIds>,
    ) -> Result<BatchWritten, StoreError> {
        let batch = Box::new(QueuedBatch {
            batch,
            matching,
            prepared: parking_lot::Mutex::new(None),
        });
        let write = |reply| StoreMessage::Write { batch, reply };
        self.ask_to_change(write).await
    }

    /// Has the writer change something, unless the disk fails.
    pub(super) async fn ask_to_change<T: Send + 'static>(
        &self,
        message: impl FnOnce(ReplyTo<T, StoreError>) -> StoreMessage,
    ) -> Result<T, StoreError> {
        if let Some(refusal) = self.holder.disk.refusal() {
            return Err(refusal);
        }
        let waits = self.working_archive()?;
        let answer = self.ask(message).await?;
        self.archived(waits).await?;
        Ok(answer)
    }

    pub(super) async fn ask<T: Send + 'static>(
        &self,
        message: impl FnOnce(ReplyTo<T, StoreError>) -> StoreMessage,
    ) -> Result<T, StoreError> {
        if let Some(refused) = self.refuses_writes() {
            return Err(refused);
        }
        let answer = self
            .writer
            .ask(message, self.holder.limits.now().deadline)
            .await;
        answer.map_err(|error| match error {
            // The record that the write is about can't be read.
            AskError::Rejected(StoreError::Damaged) => {
                let era = self.holder.readers.progress().borrow().era;
                self.compactor.heal(era, DAMAGED_RECORD);
                StoreError::Unavailable
            }
            AskError::Rejected(error) => error,
            AskError::Lost => StoreError::Failed,
            AskError::Overloaded { .. } => StoreError::Overloaded,
            AskError::Expired if self.writer.running() => StoreError::Expired,
            AskError::Expired => StoreError::Unavailable,
            AskError::Crashed { .. } => StoreError::Crashed,
            AskError::Hung { .. } | AskError::OutcomeUnknown => StoreError::OutcomeUnknown,
            AskError::ShuttingDown => StoreError::ShuttingDown,
        })
    }
}

impl ChangeSource for SledStore {
    fn collection(&self, name: &str) -> Option<CollectionId> {
        self.holder.resources.known.load().id(name)
    }

    fn name(&self, collection: CollectionId) -> Option<String> {
        self.holder
            .resources
            .known
            .load()
            .name(collection)
            .map(str::to_owned)
    }

    fn feed(&self, after: u64) -> FeedStep {
        self.feed_step(after)
    }

    fn read_feed(&self, after: u64) -> StoreReply<'_, FeedStep> {
        Either::Right(SledStore::read_feed(self, after).boxed_local())
    }

    fn recent_changes(&self) -> &Arc<RecentChanges> {
        &self.holder.readers.recent
    }

    fn last_change(&self) -> LastChange {
        self.holder.readers.last_change()
    }

    fn mark(&self) -> StoreReply<'_, &str> {
        let known = || self.holder.files.mark();
        if let Some(mark) = known() {
            return Either::Left(ready(Ok(mark)));
        }
        let wait = async move {
            self.readable(0, self.deadline_from_now()).await?;
            known().ok_or(StoreError::Unavailable)
        };
        Either::Right(wait.boxed_local())
    }
}

impl Store for SledStore {
    fn resources(&self) -> Resources {
        self.holder.resources.known.load().declared()
    }

    fn propose(&self, resources: &Resources) -> ProposedResources {
        self.propose_resources(resources)
    }

    fn prepare(
        &self,
        proposed: ProposedResources,
    ) -> LocalBoxFuture<'_, Result<PreparedResources, ResourcesFault>> {
        self.prepare_resources(proposed).boxed_local()
    }

    fn adopt(&self, prepared: PreparedResources) -> LocalBoxFuture<'_, Result<(), ResourcesFault>> {
        self.adopt_resources(prepared).boxed_local()
    }

    fn get<'a>(
        &'a self,
        collection: CollectionId,
        id: &'a RecordId,
    ) -> StoreReply<'a, Option<Record>> {
        self.read(move |open| record(open, collection, id))
    }

    fn changed(&self, collection: CollectionId) -> Option<u64> {
        self.holder.resources.known.load().name(collection)?;
        let readers = &self.holder.readers;
        let open = readers.engine().is_some();
        open.then(|| readers.tally(collection).seq)
    }

    fn query<'a>(
        &'a self,
        collection: CollectionId,
        query: &'a ListQuery,
    ) -> StoreReply<'a, ListPage> {
        Either::Right(self.find(collection, query).boxed_local())
    }

    fn cost<'a>(
        &'a self,
        collection: CollectionId,
        query: &'a ListQuery,
    ) -> StoreReply<'a, QueryCost> {
        Either::Right(self.cost_of(collection, query).boxed_local())
    }

    fn find_matching(&self, batch: WriteBatch) -> StoreReply<'_, FoundBatch> {
        if !batch.writes.iter().any(|write| write.command.has_filter()) {
            let found = vec![FoundIds::NONE; batch.writes.len()];
            return Either::Left(ready(Ok(FoundBatch { batch, found })));
        }
        let find = async {
            let found = self.matching(&batch.writes).await?;
            Ok(FoundBatch { batch, found })
        };
        Either::Right(find.boxed_local())
    }

    fn carry_out(&self, found: FoundBatch) -> StoreReply<'_, BatchWritten> {
        let FoundBatch { batch, found } = found;
        Either::Right(self.send(batch, found).boxed_local())
    }

    fn answered<'a>(&'a self, key: &'a RequestKey) -> StoreReply<'a, Option<BatchWritten>> {
        let read = self.read(move |open| self.holder.answered(open, key));
        if self.waited_for_archive().is_none() {
            return read;
        }
        // The first request may have been told that its outcome is not known: then the archive may lack it.
        let archived = async move {
            let answered = read.await?;
            if answered.is_some() {
                let waits = self.working_archive()?;
                self.archived(waits).await?;
            }
            Ok(answered)
        };
        Either::Right(archived.boxed_local())
    }

    fn records<'a>(
        &'a self,
        collection: CollectionId,
        after: Option<&'a RecordId>,
    ) -> StoreReply<'a, Vec<Record>> {
        Either::Right(self.stretch(collection, after).boxed_local())
    }

    fn changes(&self, after: u64) -> StoreReply<'_, Changes> {
        let next = after.saturating_add(1);
        let look = move |open: &OpenEngine| {
            let engine = &*open.engine;
            let entries = log::entries(engine, next, CHANGES_MAX)?;
            Ok(match log::first(engine)? {
                Some(first) if first > next => Changes::Trimmed { first },
                _ => Changes::Found(entries.into_iter().filter_map(log::change).collect()),
            })
        };
        let found = self.between_groups(look, self.deadline_from_now());
        Either::Right(found.boxed_local())
    }

    fn history<'a>(
        &'a self,
        collection: CollectionId,
        id: &'a RecordId,
        query: HistoryQuery,
    ) -> StoreReply<'a, RecordHistory> {
        Either::Right(self.past(collection, id, query).boxed_local())
    }

    fn refuses_writes(&self) -> Option<StoreError> {
        let unready = self.unready().or_else(|| self.stuck());
        unready.or_else(|| self.writer.closed().then_some(StoreError::ShuttingDown))
    }

    fn ready(&self) -> bool {
        let readable = self.holder.readers.progress().borrow().readable;
        let Holder { disk, space, .. } = &*self.holder;
        let works = disk.trouble().is_none() && !space.is_short();
        let writable = works && self.holder.engine.slow_commit().is_none();
        let archivable = !self.waited_for_archive().is_some_and(Archiving::fails);
        readable && self.writer.running() && writable && archivable
    }

    fn trouble(&self) -> Option<String> {
        let trouble = self.holder.trouble().map(|trouble| trouble.text);
        let trouble = trouble.or_else(|| self.holder.disk.trouble());
        let trouble = trouble.or_else(|| self.holder.space.trouble());
        let trouble = trouble.or_else(|| {
            let fails = self.waited_for_archive()?.fails();
            fails.then(|| format!("{UNARCHIVED}; records are read meanwhile"))
        });
        trouble.or_else(|| {
            let seconds = self.holder.engine.slow_commit()?.as_secs();
            Some(format!(
                "a commit has been under way for {seconds} s: look at the disk; records are read meanwhile"
            ))
        })
    }

    fn look_for_damage(&self) {
        self.holder.ask_for_scrub();
    }

    fn reaches_back(&self) -> Option<OldestMoment> {
        self.holder.journal.oldest()
    }

    fn doing(&self) -> Option<String> {
        self.holder.healing.text()
    }

    fn begin(&self, task: BackupTask) -> Box<dyn TaskProgress + '_> {
        Box::new(self.holder.healing.begin(match task {
            BackupTask::Write => TaskKind::Backup,
            BackupTask::Verify => TaskKind::VerifyBackup,
        }))
    }

    fn refusal(&self) -> Option<Refusal> {
        let refusal = self.holder.refusal();
        refusal.filter(|_| self.holder.limits.now().exit_on_refusal)
    }

    fn notice_hangs(&self, ran: Duration) {
        self.holder.notice_hanging_look(ran, &self.faults);
    }

    fn overdue(&self, ran: Duration) -> Option<Duration> {
        let limits = self.holder.limits.now();
        let age = self.holder.engine.commit_age(ran)?;
        age.overdue(limits.flush_limit, !limits.exit_on_refusal)
    }

    fn set_limits(&self, settings: &Settings) {
        self.holder.limits.set(settings);
        let queue = settings.supervision.children.storage;
        self.writer.set_limits(queue.limits());
    }

    fn write_metrics(&self, rows: &mut Rows<'_>) {
        metrics::write(self, rows);
    }

    fn close(&self) {
        self.holder.close();
    }
}

pub(super) fn record(
    open: &OpenEngine,
    collection: CollectionId,
    id: &RecordId,
) -> Result<Option<Record>, StoreError> {
    let unapplied = open.unapplied.load();
    let found = value::read(&*open.engine, unapplied.as_deref(), collection, &id.key())?;
    Ok(found.map(|found| found.into_record(id.clone())))
}
