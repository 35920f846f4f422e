//! The store as its callers see it: reads go to the engine on the caller's thread, writes to the writer.
//!
//! What a read shows is returned once it is durable, so that nobody sees what a power cut could take back. Mostly it is
//! durable already, and the read waits for nothing.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, FutureExt as _};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::find::QueryCounts;
use super::holder::Holder;
use super::message::{QueuedWrite, StoreMessage};
use super::reader_state::{OpenEngine, Progress};
use super::writer::CommitTimes;
use super::{log, metrics, value};
use crate::record::{Example, IdScheme, ListQuery, Record, RecordId, WriteCommand};
use crate::storage::{
    CHANGES_MAX, Changes, CollectionId, ListPage, Store, StoreError, StoreReply, Write, Written,
};
use crate::supervision::{AskError, ChildRef, ReplyTo};
use crate::telemetry::Rows;

/// A store that keeps its records in sled.
pub(super) struct SledStore {
    pub(super) holder: Arc<Holder>,
    pub(super) writer: ChildRef<StoreMessage>,
    /// One for each resource.
    pub(super) ids: Vec<IdScheme>,
    /// The longest time that a caller waits for its answer.
    pub(super) deadline: Duration,
    /// The longest time that a commit may take.
    pub(super) flush_limit: Duration,
    /// The permits that scans wait for.
    pub(super) scans: Arc<Semaphore>,
    pub(super) commits: CommitTimes,
    pub(super) queries: QueryCounts,
}

/// The result of reading the engine.
pub(super) struct Seen<T> {
    pub(super) found: T,
    /// The last change that was seen, or may be why something was not.
    pub(super) need: u64,
}

impl SledStore {
    pub(super) fn deadline_from_now(&self) -> Instant {
        Instant::now() + self.deadline
    }

    /// Answers with what `look` finds in the engine: at once if the engine is open and all of it is durable.
    pub(super) fn read<'a, T: 'a>(
        &'a self,
        look: impl Fn(&OpenEngine) -> Result<Seen<T>, StoreError> + 'a,
    ) -> StoreReply<'a, T> {
        let seen = match self.look(&look) {
            Ok(seen) => seen,
            Err(error) => return Either::Left(ready(Err(error))),
        };
        let now = *self.holder.readers.progress().borrow();
        match seen {
            Some((seen, era)) if now.era == era && now.durable >= seen.need => {
                Either::Left(ready(Ok(seen.found)))
            }
            seen => Either::Right(self.wait(seen, look).boxed_local()),
        }
    }

    /// What `look` finds, and in which era; `None` while the engine is not open.
    fn look<T>(
        &self,
        look: impl Fn(&OpenEngine) -> Result<Seen<T>, StoreError>,
    ) -> Result<Option<(Seen<T>, u64)>, StoreError> {
        loop {
            let open = self.holder.readers.engine();
            let Some(open) = open.as_deref() else {
                return Ok(None);
            };
            match look(open) {
                // Reading may need room on the disk, too.
                Err(StoreError::Full) if self.holder.space.release() => {}
                seen => return Ok(Some((seen?, open.era))),
            }
        }
    }

    /// The slow part of [`read`](Self::read): waits for the engine, and for what was seen to be durable.
    async fn wait<T>(
        &self,
        mut seen: Option<(Seen<T>, u64)>,
        look: impl Fn(&OpenEngine) -> Result<Seen<T>, StoreError>,
    ) -> Result<T, StoreError> {
        let deadline = self.deadline_from_now();
        loop {
            if let Some((seen, era)) = seen
                && self.durable(era, seen.need, deadline).await?
            {
                return Ok(seen.found);
            }
            // What was seen in an earlier era may be gone: look again.
            self.readable(deadline).await?;
            seen = self.look(&look)?;
        }
    }

    /// Waits until change `need` is on the disk. False if the engine was opened again since `era`.
    pub(super) async fn durable(
        &self,
        era: u64,
        need: u64,
        deadline: Instant,
    ) -> Result<bool, StoreError> {
        let settled = |now: &Progress| now.era != era || now.durable >= need;
        Ok(self.progressed(deadline, settled).await? == era)
    }

    /// Waits until the engine is open.
    pub(super) async fn readable(&self, deadline: Instant) -> Result<(), StoreError> {
        let opened = self.progressed(deadline, |now| now.readable);
        opened.await.map(drop)
    }

    /// Waits until the progress of the store is as `wanted`. Returns the era of that moment.
    async fn progressed(
        &self,
        deadline: Instant,
        wanted: impl FnMut(&Progress) -> bool,
    ) -> Result<u64, StoreError> {
        let mut progress = self.holder.readers.progress().subscribe();
        match timeout_at(deadline, progress.wait_for(wanted)).await {
            Ok(Ok(now)) => Ok(now.era),
            Ok(Err(_)) => Err(StoreError::ShuttingDown),
            Err(_) => Err(StoreError::Unavailable),
        }
    }

    /// Finds the records that the command is about if only a scan can, and has the writer carry it out.
    async fn carry_out(&self, write: Write) -> Result<Written, StoreError> {
        let mut matching = Vec::new();
        if let WriteCommand::DeleteMatching { example } = &write.command {
            let example = Example::new(example.clone());
            let (example, _) = self.scan(write.collection, example, Example::visit).await?;
            matching = example.finish().ok_or(StoreError::TooManyMatches)?;
            if matching.is_empty() {
                return Ok(Written::DeletedMatching(Vec::new()));
            }
        }
        self.send(write, matching).await
    }

    /// Has the writer carry out a command. `matching` are the ids that a deletion by example is limited to.
    pub(super) async fn send(
        &self,
        write: Write,
        matching: Vec<RecordId>,
    ) -> Result<Written, StoreError> {
        let write = Box::new(QueuedWrite {
            write,
            matching,
            prepared: parking_lot::Mutex::new(None),
        });
        self.ask(|reply| StoreMessage::Write { write, reply }).await
    }

    pub(super) async fn ask<T: Send + 'static>(
        &self,
        message: impl FnOnce(ReplyTo<T, StoreError>) -> StoreMessage,
    ) -> Result<T, StoreError> {
        let answer = self.writer.ask(message, self.deadline).await;
        answer.map_err(|error| match error {
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

impl Store for SledStore {
    fn collection(&self, name: &str) -> Option<CollectionId> {
        let mut names = self.holder.collections.iter();
        names.position(|known| known == name).map(CollectionId)
    }

    fn get<'a>(
        &'a self,
        collection: CollectionId,
        id: &'a RecordId,
    ) -> StoreReply<'a, Option<Record>> {
        self.read(move |open| {
            let found = record(open, collection, id)?;
            let need = match &found {
                Some(record) => record.revision.0,
                // It may have been removed by a change that is not durable yet.
                None => self.holder.readers.staged(collection),
            };
            Ok(Seen { found, need })
        })
    }

    fn query<'a>(
        &'a self,
        collection: CollectionId,
        query: &'a ListQuery,
    ) -> StoreReply<'a, ListPage> {
        Either::Right(self.find(collection, query).boxed_local())
    }

    fn write(&self, write: Write) -> StoreReply<'_, Written> {
        Either::Right(self.carry_out(write).boxed_local())
    }

    fn changes(&self, after: u64) -> StoreReply<'_, Changes> {
        let next = after.saturating_add(1);
        self.read(move |open| {
            let engine = &*open.engine;
            let entries = log::entries(engine, next, CHANGES_MAX)?;
            let need = entries.last().map_or(0, |(seq, _)| *seq);
            let found = match log::first(engine)? {
                Some(first) if first > next => Changes::Trimmed { first },
                _ => Changes::Found(entries.into_iter().filter_map(log::change).collect()),
            };
            Ok(Seen { found, need })
        })
    }

    fn ready(&self) -> bool {
        self.holder.readers.progress().borrow().readable && self.writer.running()
    }

    fn refusal(&self) -> Option<String> {
        self.holder.refusal()
    }

    fn overdue(&self) -> Option<Duration> {
        let age = self.holder.engine.commit_age();
        age.filter(|age| *age > self.flush_limit)
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
    let found = value::read(&*open.engine, None, collection, &id.key())?;
    Ok(found.map(|found| found.into_record(id.clone())))
}
