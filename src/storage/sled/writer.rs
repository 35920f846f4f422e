//! The writer: the only one that changes the store. Its thread is the incarnation.
//!
//! What has arrived while the last group was being written is the next group: evaluated command by command on top of
//! what the group already holds, applied in one transaction, made durable, and only then answered.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::engine::{CommitError, Group, Keyspace};
use super::envelope::{Change, seq_key};
use super::holder::{Holder, Reader};
use super::message::{StoreMessage, Write, WriteError, Written};
use super::page::{self, PageError};
use super::recovery::{Checked, LAST_SEQ_KEY, tally_key};
use super::staging::Staging;
use super::store::ListPage;
use crate::record::{Command, Effect, RecordId, Schema, decide};
use crate::supervision::{
    BatchLimits, BlockingChild, BoxError, Delivery, Faults, Fence, Life, MessageId,
};

/// The largest group: applying it keeps sled's process-wide lock, and with it every reader, waiting.
pub(crate) const GROUP: BatchLimits = BatchLimits {
    messages: 128,
    bytes: 1 << 20,
};
/// How many entries the log keeps at least: a message that is handed out again is looked for there, at most two groups
/// later.
const LOG_KEEP_MIN: u64 = 2560;
/// How many entries of the log a group removes at most, beyond as many as it adds.
const LOG_TRIM: u64 = 256;

/// What the writer is told once.
#[derive(Debug, Clone)]
pub(crate) struct WriterSettings {
    pub(crate) flush_limit: Duration,
    pub(crate) log_keep: u64,
    pub(crate) faults: Faults,
    /// For each collection, in order.
    pub(crate) schemas: Vec<Arc<Schema>>,
}

/// One life of the writer.
pub(crate) struct Writer {
    holder: Arc<Holder>,
    reader: Arc<Reader>,
    checked: Checked,
    fence: Fence,
    settings: WriterSettings,
}

/// What one delivery is answered with, after the group.
enum Answer {
    Write(Result<Written, WriteError>),
    /// Read between two groups.
    Page,
    /// Nobody waits for it.
    None,
}

impl Writer {
    pub(crate) fn new(
        holder: Arc<Holder>,
        life: &Life,
        settings: WriterSettings,
    ) -> Result<Self, BoxError> {
        let (reader, checked) = holder.ensure_open(&|| life.wanted())?;
        Ok(Self {
            holder,
            reader,
            checked,
            fence: life.fence(),
            settings,
        })
    }

    /// What one delivery does to the group, and is answered with once that is durable.
    fn evaluate(&self, staging: &mut Staging<'_>, delivery: &Delivery<StoreMessage>) -> Answer {
        if delivery.expired() {
            return Answer::None;
        }
        match &**delivery {
            StoreMessage::Write { write, .. } => match self.write(staging, delivery, write) {
                Ok(Some(written)) => Answer::Write(Ok(written)),
                Ok(None) => Answer::None,
                Err(error) => Answer::Write(Err(error)),
            },
            StoreMessage::Page { .. } => Answer::Page,
        }
    }

    /// Stages a write; `None` if nobody waits for it any more.
    fn write(
        &self,
        staging: &mut Staging<'_>,
        delivery: &Delivery<StoreMessage>,
        write: &Write,
    ) -> Result<Option<Written>, WriteError> {
        if delivery.attempt() > 1
            && let Some((written, changes)) = write.prepared()
            && self.log_has(delivery.id(), changes)?
        {
            return Ok(Some(written));
        }
        if staging.full {
            self.holder.space.refused();
            return Err(WriteError::Full);
        }
        let collection = write.collection;
        let schema = self.settings.schemas.get(collection.0);
        let schema = schema.ok_or(WriteError::Failed)?;
        let mut effects = Vec::new();
        for id in targets(staging, write)? {
            let current = staging.read(collection, &id)?;
            let record = current.as_ref().map(|current| &current.record);
            let effect = decide(&write.command, &write.conditions, schema, &id, record)?;
            let before = staging.look(collection, &id)?;
            effects.push((id, current, before, effect));
        }
        if !delivery.commit_to(self.settings.flush_limit) {
            return Ok(None);
        }
        let seq = staging.checked.last_seq;
        let mut removed = Vec::new();
        let mut written = None;
        for (id, current, before, effect) in effects {
            match effect {
                Effect::Put(json) => {
                    let found = (current.as_ref(), before);
                    let record = staging.put(collection, &id, json, found, delivery.id());
                    written = Some(match current {
                        None => Written::Created(record),
                        Some(_) => Written::Replaced(record),
                    });
                }
                Effect::Remove => {
                    staging.remove(collection, &id, before, delivery.id());
                    removed.extend(current.map(|current| current.record));
                }
                Effect::None => {}
            }
        }
        let written = written.unwrap_or(Written::Removed(removed));
        write.prepare(written.clone(), seq + 1..=staging.checked.last_seq);
        Ok(Some(written))
    }

    /// Whether the log has these entries, and they are this message's.
    fn log_has(
        &self,
        message: MessageId,
        changes: RangeInclusive<u64>,
    ) -> Result<bool, WriteError> {
        let mut any = false;
        for seq in changes {
            let entry = self.reader.engine.get(Keyspace::Log, &seq_key(seq));
            let entry = entry.map_err(|error| {
                tracing::error!(%error, "the log could not be read");
                WriteError::Failed
            })?;
            let is_its = |entry: &[u8]| Change::decode(entry).is_ok_and(|c| c.message == message);
            if !entry.is_some_and(|entry| is_its(&entry)) {
                return Ok(false);
            }
            any = true;
        }
        Ok(any)
    }

    /// Applies the group, makes it durable, and lets it be seen as such.
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
        let doubt = Doubt::begin(&self.holder);
        let engine = &self.reader.engine;
        let allowed = || {
            faults.hit("writer.in_transaction");
            // The one point that strikes a message again: for a message that is fatal.
            self.settings.faults.hit("writer.fatal");
            let allowed = self.holder.begin_commit(&|| self.fence.holds());
            if allowed {
                self.announce(&checked);
            }
            allowed
        };
        match engine.commit(&group, &allowed) {
            Ok(()) => {}
            Err(CommitError::Fenced) => {
                // Nothing was changed, and the holder is somebody else's by now.
                doubt.none();
                return Err(CommitError::Fenced.into());
            }
            Err(error @ CommitError::Engine(_)) => return Err(error.into()),
        }
        self.applied(&checked);
        faults.hit("writer.before_flush");
        engine.durable_flush()?;
        self.reader.mark.write(checked.last_seq)?;
        doubt.none();
        self.checked = checked;
        self.holder.committed(self.checked.clone());
        Ok(())
    }

    /// Before the first change is visible: what a reader may meet from now on.
    fn announce(&self, checked: &Checked) {
        for (figures, tally) in self.holder.figures.iter().zip(&checked.tallies) {
            figures.staged.store(tally.seq, Ordering::SeqCst);
        }
        // Odd: a group is being applied.
        self.holder.epoch.fetch_or(1, Ordering::SeqCst);
    }

    /// After the last change is visible.
    fn applied(&self, checked: &Checked) {
        for (figures, tally) in self.holder.figures.iter().zip(&checked.tallies) {
            figures.applied.store(tally.seq, Ordering::SeqCst);
            figures.records.store(tally.records, Ordering::SeqCst);
        }
        self.holder.epoch.fetch_add(1, Ordering::SeqCst);
    }

    /// Keeps the log at its length, in bounded steps.
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

    fn page(
        &self,
        delivery: &Delivery<StoreMessage>,
    ) -> Option<Result<Option<ListPage>, WriteError>> {
        let StoreMessage::Page {
            collection, slice, ..
        } = &**delivery
        else {
            return None;
        };
        let page = page::read(&*self.reader.engine, &self.holder, *collection, *slice);
        Some(page.map_err(|error| {
            tracing::error!(%error, "a page could not be read");
            match error {
                PageError::Damaged { .. } => WriteError::Damaged,
                PageError::Engine(_) => WriteError::Failed,
            }
        }))
    }
}

/// The records a write is about.
fn targets(staging: &Staging<'_>, write: &Write) -> Result<Vec<RecordId>, WriteError> {
    Ok(match &write.command {
        Command::CreateNext { .. } => vec![staging.next_id(write.collection)?],
        Command::Create { id, .. }
        | Command::Replace { id, .. }
        | Command::Merge { id, .. }
        | Command::Delete { id } => vec![id.clone()],
        Command::DeleteMatching { ids, .. } => ids.clone(),
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
        let (holder, reader) = (Arc::clone(&self.holder), Arc::clone(&self.reader));
        let writes =
            |delivery: &Delivery<StoreMessage>| matches!(**delivery, StoreMessage::Write { .. });
        let full = batch.iter().any(writes) && holder.space.refuses();
        let stage = |writer: &Self| Staging {
            group: Group::default(),
            checked: writer.checked.clone(),
            faults: faults.clone(),
            full,
            engine: &*reader.engine,
            collections: &holder.collections,
        };
        let mut staging = stage(self);
        let mut answers = Vec::with_capacity(batch.len());
        for delivery in batch {
            answers.push(self.evaluate(&mut staging, delivery));
            // What a command removes, chunk by chunk, was not counted when it was pulled.
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
            match (&**delivery, answer) {
                (StoreMessage::Write { reply, .. }, Answer::Write(written)) => {
                    reply.settle(written);
                }
                (StoreMessage::Page { reply, .. }, Answer::Page) => {
                    if let Some(page) = self.page(delivery) {
                        reply.settle(page);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn stop(&mut self) {
        // Nothing is pending between two groups: what was answered is on the disk.
    }
}

/// Between the first change and the flush the engine is in doubt, however this ends.
struct Doubt<'a> {
    holder: &'a Holder,
    doubtful: bool,
}

impl<'a> Doubt<'a> {
    fn begin(holder: &'a Holder) -> Self {
        holder.clock_commit(Some(Instant::now()));
        Self {
            holder,
            doubtful: true,
        }
    }

    fn none(mut self) {
        self.doubtful = false;
    }
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        self.holder.clock_commit(None);
        if self.doubtful {
            self.holder.doubt();
        }
    }
}
