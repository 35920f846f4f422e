//! The writer: the only one that changes the store. Its thread is the incarnation.
//!
//! What has arrived while the last group was being written is the next group: evaluated command by command on top of
//! what the group already holds, applied in one transaction, made durable, and only then answered.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::engine::{CollectionId, CommitError, EngineError, Group, Tree};
use super::envelope::{Change, Envelope, What, seq_key};
use super::holder::{Holder, Reader};
use super::message::{Created, Deleted, StoreMessage, WriteError};
use super::page;
use super::recovery::{Checked, LAST_SEQ_KEY, tally_key};
use super::store::ListPage;
use crate::record::{Record, RecordId, Revision};
use crate::supervision::{
    BatchLimits, BlockingChild, BoxError, Delivery, Faults, Fence, MessageId,
};

/// The largest group: applying it keeps sled's process-wide lock, and with it every reader, waiting.
pub(crate) const GROUP: BatchLimits = BatchLimits {
    messages: 128,
    bytes: 1 << 20,
};
/// How far back the log is searched for a message that is handed out again: its own group, and the ones after it which
/// came again before it.
const REDELIVERY_REACH: u64 = 256;
/// How many entries of the log a group removes at most, beyond as many as it adds.
const LOG_TRIM: u64 = 256;

/// What the writer is told once.
#[derive(Debug, Clone)]
pub(crate) struct WriterSettings {
    pub(crate) flush_limit: Duration,
    pub(crate) log_keep: u64,
    pub(crate) faults: Faults,
}

/// One life of the writer.
pub(crate) struct Writer {
    holder: Arc<Holder>,
    reader: Arc<Reader>,
    checked: Checked,
    fence: Fence,
    settings: WriterSettings,
}

/// A group in the making.
struct Staging {
    group: Group,
    checked: Checked,
    /// A message that is handed out again passes no fault point: one injected death must not become a fatal message.
    faults: Faults,
}

/// What one delivery is answered with, after the group.
enum Answer {
    Created(Created),
    Deleted(Deleted),
    /// Read between two groups.
    Page,
    /// Nobody waits for it.
    None,
}

impl Writer {
    pub(crate) fn new(
        holder: Arc<Holder>,
        fence: Fence,
        settings: WriterSettings,
    ) -> Result<Self, BoxError> {
        let (reader, checked) = holder.ensure_open()?;
        Ok(Self {
            holder,
            reader,
            checked,
            fence,
            settings,
        })
    }

    fn evaluate(
        &self,
        staging: &mut Staging,
        delivery: &Delivery<StoreMessage>,
    ) -> Result<Answer, EngineError> {
        if delivery.expired() {
            return Ok(Answer::None);
        }
        match &**delivery {
            StoreMessage::Create {
                collection,
                id,
                json,
                prepared,
                ..
            } => {
                if let Some(record) = self.done_before(delivery, prepared)? {
                    return Ok(Answer::Created(Ok(record)));
                }
                if let Some(found) = self.read(staging, *collection, id)? {
                    let duplicate = WriteError::Duplicate { id: id.clone() };
                    return Ok(Answer::Created(Err(found.err().unwrap_or(duplicate))));
                }
                let Some(record) = self.create(staging, delivery, *collection, id, json) else {
                    return Ok(Answer::None);
                };
                prepare(prepared, record.clone());
                Ok(Answer::Created(Ok(record)))
            }
            StoreMessage::Delete {
                collection,
                id,
                prepared,
                ..
            } => {
                if let Some(record) = self.done_before(delivery, prepared)? {
                    return Ok(Answer::Deleted(Ok(Some(record))));
                }
                let record = match self.read(staging, *collection, id)? {
                    None => return Ok(Answer::Deleted(Ok(None))),
                    Some(Err(error)) => return Ok(Answer::Deleted(Err(error))),
                    Some(Ok(record)) => record,
                };
                if !delivery.commit_to(self.settings.flush_limit) {
                    return Ok(Answer::None);
                }
                self.log(
                    staging,
                    *collection,
                    id,
                    What::Delete,
                    delivery.id(),
                    unix_ms(),
                );
                staging
                    .group
                    .remove(Tree::Records(*collection), id.as_bytes());
                staging.tally(*collection, |records| records.saturating_sub(1));
                prepare(prepared, record.clone());
                Ok(Answer::Deleted(Ok(Some(record))))
            }
            StoreMessage::Page { .. } => Ok(Answer::Page),
        }
    }

    /// Stages a new record; `None` if nobody waits for it any more.
    fn create(
        &self,
        staging: &mut Staging,
        delivery: &Delivery<StoreMessage>,
        collection: CollectionId,
        id: &RecordId,
        json: &Bytes,
    ) -> Option<Record> {
        if !delivery.commit_to(self.settings.flush_limit) {
            return None;
        }
        let now = unix_ms();
        let seq = self.log(staging, collection, id, What::Put, delivery.id(), now);
        let envelope = Envelope {
            seq,
            created_ms: now,
            updated_ms: now,
            json: json.clone(),
        };
        staging
            .group
            .put(Tree::Records(collection), id.as_bytes(), envelope.encode());
        staging.tally(collection, |records| records + 1);
        Some(Record {
            id: id.clone(),
            revision: Revision(seq),
            json: json.clone(),
        })
    }

    /// The answer of the first delivery, if this is the second and the first was committed.
    fn done_before(
        &self,
        delivery: &Delivery<StoreMessage>,
        prepared: &std::sync::Mutex<Option<Record>>,
    ) -> Result<Option<Record>, EngineError> {
        if delivery.attempt() < 2 {
            return Ok(None);
        }
        let prepared = prepared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match prepared {
            Some(record) if self.log_has(delivery.id())? => Ok(Some(record)),
            Some(_) | None => Ok(None),
        }
    }

    fn log_has(&self, message: MessageId) -> Result<bool, EngineError> {
        let from = seq_key(self.checked.last_seq.saturating_sub(REDELIVERY_REACH));
        let mut found = false;
        self.reader.engine.scan(Tree::Log, &from, &mut |_, value| {
            found = Change::decode(value).is_ok_and(|change| change.message == message);
            !found
        })?;
        Ok(found)
    }

    /// The record as this group sees it.
    fn read(
        &self,
        staging: &Staging,
        collection: CollectionId,
        id: &RecordId,
    ) -> Result<Option<Result<Record, WriteError>>, EngineError> {
        let tree = Tree::Records(collection);
        let value = match staging.group.get(tree, id.as_bytes()) {
            Some(staged) => staged.map(Bytes::copy_from_slice),
            None => self.reader.engine.get(tree, id.as_bytes())?,
        };
        Ok(value.map(|value| match Envelope::decode(&value) {
            Ok(envelope) => Ok(Record {
                id: id.clone(),
                revision: Revision(envelope.seq),
                json: envelope.json,
            }),
            Err(_) => Err(WriteError::Damaged),
        }))
    }

    /// Stages an entry of the log and returns its number.
    fn log(
        &self,
        staging: &mut Staging,
        collection: CollectionId,
        id: &RecordId,
        what: What,
        message: MessageId,
        at_ms: u64,
    ) -> u64 {
        staging.checked.last_seq += 1;
        let seq = staging.checked.last_seq;
        let name = self
            .holder
            .collections
            .get(collection.0)
            .cloned()
            .unwrap_or_default();
        let change = Change {
            what,
            message,
            at_ms,
            collection: name,
            id: id.as_bytes().to_vec(),
        };
        staging.group.put(Tree::Log, seq_key(seq), change.encode());
        if let Some(tally) = staging.checked.tallies.get_mut(collection.0) {
            tally.seq = seq;
        }
        seq
    }

    /// Applies the group, makes it durable, and lets it be seen as such.
    fn commit(&mut self, mut staging: Staging) -> Result<(), BoxError> {
        self.trim_log(&mut staging);
        for (name, tally) in self.holder.collections.iter().zip(&staging.checked.tallies) {
            staging
                .group
                .put(Tree::Meta, tally_key(name), tally.encode());
        }
        let last_seq = seq_key(staging.checked.last_seq).to_vec();
        staging.group.put(Tree::Meta, LAST_SEQ_KEY, last_seq);
        let doubt = Doubt {
            holder: Some(&self.holder),
        };
        let engine = &self.reader.engine;
        let allowed = || {
            staging.faults.hit("writer.in_transaction");
            // The one point that strikes a message again: for a message that is fatal.
            self.settings.faults.hit("writer.fatal");
            let allowed = self.fence.holds();
            if allowed {
                self.announce(&staging.checked);
            }
            allowed
        };
        match engine.commit(&staging.group, &allowed) {
            Ok(()) => {}
            Err(CommitError::Fenced) => {
                // Nothing was changed, and the holder is somebody else's by now.
                doubt.none();
                return Err(CommitError::Fenced.into());
            }
            Err(error @ CommitError::Engine(_)) => return Err(error.into()),
        }
        self.applied(&staging.checked);
        staging.faults.hit("writer.before_flush");
        engine.durable_flush()?;
        self.reader.mark.write(staging.checked.last_seq)?;
        doubt.none();
        self.checked = staging.checked;
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
    fn trim_log(&self, staging: &mut Staging) {
        let added = staging.checked.last_seq - self.checked.last_seq;
        for _ in 0..added.saturating_add(LOG_TRIM) {
            let kept = staging.checked.last_seq + 1 - staging.checked.log_first;
            if kept <= self.settings.log_keep.max(REDELIVERY_REACH) {
                break;
            }
            staging
                .group
                .remove(Tree::Log, seq_key(staging.checked.log_first));
            staging.checked.log_first += 1;
        }
    }

    fn page(&self, delivery: &Delivery<StoreMessage>) -> Option<Result<ListPage, WriteError>> {
        let StoreMessage::Page {
            collection, slice, ..
        } = &**delivery
        else {
            return None;
        };
        let page = page::read(&*self.reader.engine, &self.holder, *collection, *slice);
        Some(page.map_err(|error| {
            tracing::error!(%error, "a page could not be read");
            WriteError::Failed
        }))
    }
}

impl Staging {
    fn tally(&mut self, collection: CollectionId, change: impl Fn(u64) -> u64) {
        if let Some(tally) = self.checked.tallies.get_mut(collection.0) {
            tally.records = change(tally.records);
        }
    }
}

fn prepare(prepared: &std::sync::Mutex<Option<Record>>, record: Record) {
    *prepared.lock().unwrap_or_else(PoisonError::into_inner) = Some(record);
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
        let mut staging = Staging {
            group: Group::default(),
            checked: self.checked.clone(),
            faults: faults.clone(),
        };
        let mut answers = Vec::with_capacity(batch.len());
        for delivery in batch {
            answers.push(self.evaluate(&mut staging, delivery)?);
        }
        if !staging.group.is_empty() {
            self.commit(staging)?;
        }
        faults.hit("writer.after_flush");
        for (delivery, answer) in batch.iter().zip(answers) {
            match (&**delivery, answer) {
                (StoreMessage::Create { reply, .. }, Answer::Created(created)) => {
                    reply.settle(created);
                }
                (StoreMessage::Delete { reply, .. }, Answer::Deleted(deleted)) => {
                    reply.settle(deleted);
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
    holder: Option<&'a Holder>,
}

impl Doubt<'_> {
    fn none(mut self) {
        self.holder = None;
    }
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if let Some(holder) = self.holder {
            holder.doubt();
        }
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
