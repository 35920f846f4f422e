//! The writer: the only one that changes the store, on a thread of its own.
//!
//! Whatever has arrived while the last group was written becomes the next group: its commands are evaluated one by one on
//! top of what the group holds already, applied in one transaction, made durable, and only then answered.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use tokio::time::Instant;

use super::engine::{CommitError, Group, Keyspace};
use super::holder::Holder;
use super::log::{LogEntry, seq_key};
use super::message::{Prepared, QueuedWrite, StoreMessage};
use super::page;
use super::reader_state::OpenEngine;
use super::recovery::{Checked, LAST_SEQ_KEY, tally_key};
use super::staging::{Origin, Staging};
use crate::record::{Decision, RecordId, Schema, Slice, WriteCommand, decide};
use crate::storage::{CollectionId, ListPage, StoreError, Written};
use crate::supervision::{
    BatchLimits, BlockingChild, BoxError, Delivery, Faults, Fence, Incarnation, MessageId,
};

/// The largest group. While a group is applied, its writer holds sled's process-wide lock, and readers wait.
pub(super) const GROUP: BatchLimits = BatchLimits {
    messages: 128,
    bytes: 1 << 20,
};
/// The fewest entries the log keeps. A message that is delivered again is looked for there, two groups later at most.
const LOG_KEEP_MIN: u64 = 2560;
/// How many entries of the log a group removes at most, besides as many as it adds.
const LOG_TRIM: u64 = 256;

/// The writer's fault points.
pub(super) const POINTS: [&str; 5] = [
    "writer.message",
    "writer.in_transaction",
    "writer.fatal",
    "writer.before_flush",
    "writer.after_flush",
];

/// The durations of commits, in seconds.
pub(super) type CommitTimes = Histogram;

/// From 100 us to 6.5 s.
pub(super) fn commit_times() -> CommitTimes {
    Histogram::new(exponential_buckets(0.0001, 2.0, 17))
}

/// The settings of the writer, the same for all its incarnations.
#[derive(Clone)]
pub(super) struct WriterSettings {
    pub(super) flush_limit: Duration,
    pub(super) log_keep: u64,
    pub(super) faults: Faults,
    /// One for each resource.
    pub(super) schemas: Vec<Arc<Schema>>,
    pub(super) commits: CommitTimes,
}

/// One incarnation of the writer.
pub(super) struct Writer {
    holder: Arc<Holder>,
    open: Arc<OpenEngine>,
    checked: Checked,
    fence: Fence,
    settings: WriterSettings,
}

impl Writer {
    pub(super) fn new(
        holder: Arc<Holder>,
        incarnation: &Incarnation,
        settings: WriterSettings,
    ) -> Result<Self, BoxError> {
        let (open, checked) = holder.ensure_open(&|| incarnation.wanted())?;
        Ok(Self {
            holder,
            open,
            checked,
            fence: incarnation.fence(),
            settings,
        })
    }

    /// Stages a write. Returns its answer, which is due when the group is durable; `None` if nobody waits for it any more.
    fn evaluate(
        &self,
        staging: &mut Staging<'_>,
        delivery: &Delivery<StoreMessage>,
        queued: &QueuedWrite,
    ) -> Result<Option<Written>, StoreError> {
        if delivery.attempt() > 1 {
            let prepared = queued.prepared.lock().clone();
            if let Some(prepared) = prepared
                && self.was_committed(delivery.id(), &prepared)?
            {
                return Ok(Some(prepared.written));
            }
        }
        if staging.full {
            self.holder.space.refused();
            return Err(StoreError::Full);
        }
        let write = &queued.write;
        let schema = self.settings.schemas.get(write.collection.0);
        let schema = schema.ok_or(StoreError::Failed)?;
        let mut decided = Vec::new();
        for id in targets(staging, queued)? {
            let target = staging.target(write.collection, id)?;
            let decision = decide(
                &write.command,
                &write.conditions,
                schema,
                &target.id,
                target.current.as_ref(),
            )?;
            decided.push((target, decision));
        }
        if !delivery.commit_to(self.settings.flush_limit) {
            return Ok(None);
        }
        let before = staging.checked.last_seq;
        let origin = Origin {
            collection: write.collection,
            message: delivery.id(),
        };
        let matching = matches!(write.command, WriteCommand::DeleteMatching { .. });
        let (mut written, mut deleted) = (None, Vec::new());
        for (target, decision) in decided {
            match decision {
                Decision::Put(json) if target.current.is_none() => {
                    written = Some(Written::Created(staging.put(origin, target, json)));
                }
                Decision::Put(json) => {
                    written = Some(Written::Replaced(staging.put(origin, target, json)));
                }
                Decision::Remove if matching => deleted.extend(staging.remove(origin, target)),
                Decision::Remove => {
                    written = staging.remove(origin, target).map(Written::Deleted);
                }
                Decision::Keep => {}
            }
        }
        let written = written.unwrap_or(Written::DeletedMatching(deleted));
        *queued.prepared.lock() = Some(Prepared {
            written: written.clone(),
            changes: before + 1..=staging.checked.last_seq,
        });
        Ok(Some(written))
    }

    /// Whether the log has the entries of a write that was staged before, and they are this message's.
    fn was_committed(&self, message: MessageId, prepared: &Prepared) -> Result<bool, StoreError> {
        let mut any = false;
        for seq in prepared.changes.clone() {
            let entry = self.open.engine.get(Keyspace::Log, &seq_key(seq))?;
            let its = |entry: &[u8]| LogEntry::decode(entry).is_ok_and(|e| e.message == message);
            if !entry.is_some_and(|entry| its(&entry)) {
                return Ok(false);
            }
            any = true;
        }
        Ok(any)
    }

    /// Applies the group, makes it durable, and tells readers so.
    fn commit(&mut self, staging: Staging<'_>) -> Result<(), BoxError> {
        let Staging {
            mut group,
            mut checked,
            faults,
            ..
        } = staging;
        self.trim_log(&mut group, &mut checked);
        for (name, tally) in self.holder.collections.iter().zip(&checked.tallies) {
            group.put(Keyspace::Meta, tally_key(name), tally.encode());
        }
        let last_seq = seq_key(checked.last_seq).to_vec();
        group.put(Keyspace::Meta, LAST_SEQ_KEY, last_seq);
        let begun = Instant::now();
        let doubt = Doubt::begin(&self.holder, begun);
        let engine = &self.open.engine;
        let allowed = || {
            faults.hit("writer.in_transaction");
            // The one fault point that is hit again at a second delivery: it makes a message fail for good.
            self.settings.faults.hit("writer.fatal");
            let allowed = self.holder.engine.begin_commit(&|| self.fence.holds());
            if allowed {
                self.holder.readers.group_begins(&checked.tallies);
            }
            allowed
        };
        if let Err(error) = engine.commit(&group, &allowed) {
            if matches!(error, CommitError::Fenced) {
                // Nothing was changed, and another incarnation has the engine by now.
                doubt.dispel();
            }
            return Err(error.into());
        }
        self.holder.readers.group_ends();
        faults.hit("writer.before_flush");
        engine.durable_flush()?;
        self.open.mark.write(checked.last_seq)?;
        doubt.dispel();
        self.settings.commits.observe(begun.elapsed().as_secs_f64());
        self.checked = checked;
        self.holder.committed(self.checked.clone());
        Ok(())
    }

    /// Removes the oldest entries of a log that is too long, a bounded number of them.
    fn trim_log(&self, group: &mut Group, checked: &mut Checked) {
        let added = checked.last_seq - self.checked.last_seq;
        for _ in 0..added.saturating_add(LOG_TRIM) {
            let kept = checked.last_seq + 1 - checked.log_first;
            if kept <= self.settings.log_keep.max(LOG_KEEP_MIN) {
                break;
            }
            group.remove(Keyspace::Log, seq_key(checked.log_first));
            checked.log_first += 1;
        }
    }

    fn page(&self, collection: CollectionId, slice: Slice) -> Result<Option<ListPage>, StoreError> {
        let readers = &self.holder.readers;
        Ok(page::read(&*self.open.engine, readers, collection, slice)?)
    }
}

/// The ids of the records that a write is about.
fn targets(staging: &Staging<'_>, queued: &QueuedWrite) -> Result<Vec<RecordId>, StoreError> {
    Ok(match &queued.write.command {
        WriteCommand::CreateNumbered { .. } => vec![staging.next_id(queued.write.collection)?],
        WriteCommand::Create { id, .. }
        | WriteCommand::Replace { id, .. }
        | WriteCommand::Merge { id, .. }
        | WriteCommand::Delete { id } => vec![id.clone()],
        WriteCommand::DeleteMatching { .. } => queued.matching.clone(),
    })
}

impl BlockingChild for Writer {
    type Message = StoreMessage;

    fn handle(&mut self, batch: &[Delivery<StoreMessage>]) -> Result<(), BoxError> {
        let first = batch.iter().all(|delivery| delivery.attempt() == 1);
        let faults = if first {
            self.settings.faults.clone()
        } else {
            Faults::none()
        };
        faults.hit("writer.message");
        let (holder, open) = (Arc::clone(&self.holder), Arc::clone(&self.open));
        let writes =
            |delivery: &Delivery<StoreMessage>| matches!(**delivery, StoreMessage::Write { .. });
        let full = batch.iter().any(writes) && holder.space.refuses();
        let stage = |writer: &Self| Staging {
            group: Group::default(),
            checked: writer.checked.clone(),
            faults: faults.clone(),
            full,
            engine: &*open.engine,
            collections: &holder.collections,
        };
        let mut staging = stage(self);
        let mut answers = Vec::with_capacity(batch.len());
        for delivery in batch {
            let answer = match &**delivery {
                StoreMessage::Write { write, .. } if !delivery.expired() => {
                    self.evaluate(&mut staging, delivery, write).transpose()
                }
                StoreMessage::Write { .. } | StoreMessage::Page { .. } => None,
            };
            answers.push(answer);
            // The chunks that a command removes were not counted when it was taken from the queue.
            if staging.group.bytes() >= GROUP.bytes {
                self.commit(staging)?;
                staging = stage(self);
            }
        }
        if !staging.group.is_empty() {
            self.commit(staging)?;
        }
        faults.hit("writer.after_flush");
        for (delivery, answer) in batch.iter().zip(answers) {
            match &**delivery {
                StoreMessage::Write { reply, .. } => {
                    if let Some(answer) = answer {
                        reply.settle(answer);
                    }
                }
                StoreMessage::Page {
                    collection,
                    slice,
                    reply,
                } if !delivery.expired() => {
                    reply.settle(self.page(*collection, *slice));
                }
                StoreMessage::Page { .. } => {}
            }
        }
        Ok(())
    }

    fn stop(&mut self) {
        // There is nothing to write between two groups: what was answered is on the disk.
    }
}

/// Held during a commit: unless it is dispelled, the engine is in doubt when it is dropped, by an error or a panic.
struct Doubt<'a> {
    holder: &'a Holder,
    doubtful: bool,
}

impl<'a> Doubt<'a> {
    fn begin(holder: &'a Holder, begun: Instant) -> Self {
        holder.engine.clock_commit(Some(begun));
        Self {
            holder,
            doubtful: true,
        }
    }

    fn dispel(mut self) {
        self.doubtful = false;
    }
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        self.holder.engine.clock_commit(None);
        if self.doubtful {
            self.holder.doubt();
        }
    }
}
