//! A group in the making: what commands have staged so far, on top of what the engine has.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::engine::{CollectionId, Engine, EngineError, Group, Keyspace};
use super::envelope::{Change, Envelope, What, seq_key};
use super::message::WriteError;
use super::recovery::{Checked, next_key};
use super::value::{self, Before};
use crate::record::{Record, RecordId, Revision};
use crate::supervision::{Faults, MessageId};

/// A group in the making.
pub(super) struct Staging<'a> {
    pub(super) group: Group,
    pub(super) checked: Checked,
    /// A message that is handed out again passes no fault point: one injected death must not become a fatal message.
    pub(super) faults: Faults,
    /// Whether the disk is so full that nothing may be staged.
    pub(super) full: bool,
    pub(super) engine: &'a dyn Engine,
    pub(super) collections: &'a [String],
}

/// A record as the group sees it.
pub(super) struct Current {
    pub(super) record: Record,
    /// Unix time in milliseconds.
    pub(super) created_ms: u64,
}

impl<'a> Staging<'a> {
    /// The record as this group sees it.
    pub(super) fn read(
        &self,
        collection: CollectionId,
        id: &RecordId,
    ) -> Result<Option<Current>, WriteError> {
        let found = value::read(self.engine, Some(&self.group), collection, &id.key());
        let Some(envelope) = found.map_err(|error| failed(&error))? else {
            return Ok(None);
        };
        let envelope = envelope.map_err(|_| {
            tracing::error!(%id, "a stored record is damaged");
            WriteError::Damaged
        })?;
        let record = Record {
            id: id.clone(),
            revision: Revision(envelope.seq),
            json: envelope.json,
        };
        Ok(Some(Current {
            record,
            created_ms: envelope.created_ms,
        }))
    }

    /// What a write of this id must take the place of. All reading comes before staging.
    pub(super) fn look(
        &self,
        collection: CollectionId,
        id: &RecordId,
    ) -> Result<Before, WriteError> {
        let before = Before::look(self.engine, &self.group, collection, &id.key());
        before.map_err(|error| failed(&error))
    }

    /// The next number that is no record's id. Nothing is staged by that: see [`Staging::put`].
    pub(super) fn next_id(&self, collection: CollectionId) -> Result<RecordId, WriteError> {
        let mut number = self.next(collection)?;
        loop {
            let id = RecordId::Number(number);
            if self.read(collection, &id)?.is_none() {
                return Ok(id);
            }
            number += 1;
        }
    }

    fn next(&self, collection: CollectionId) -> Result<u64, WriteError> {
        let key = next_key(self.name(collection));
        let value = if let Some(staged) = self.group.get(Keyspace::Meta, &key) {
            staged.map(Bytes::copy_from_slice)
        } else {
            let stored = self.engine.get(Keyspace::Meta, &key);
            stored.map_err(|error| failed(&error))?
        };
        let Some(value) = value else { return Ok(1) };
        super::envelope::seq_of(&value).map_err(|_| WriteError::Damaged)
    }

    fn name(&self, collection: CollectionId) -> &'a str {
        self.collections
            .get(collection.0)
            .map_or("", String::as_str)
    }

    /// Stages a record's new text and returns the record.
    pub(super) fn put(
        &mut self,
        collection: CollectionId,
        id: &RecordId,
        json: Bytes,
        (current, before): (Option<&Current>, Before),
        message: MessageId,
    ) -> Record {
        let now = unix_ms();
        let seq = self.log(collection, id, What::Put, message, now);
        let envelope = Envelope {
            seq,
            created_ms: current.map_or(now, |current| current.created_ms),
            updated_ms: now,
            json: json.clone(),
        };
        before.put(&mut self.group, &envelope);
        if current.is_none() {
            self.tally(collection, |records| records + 1);
            if let RecordId::Number(number) = id {
                let next = seq_key(number + 1).to_vec();
                self.group
                    .put(Keyspace::Meta, next_key(self.name(collection)), next);
            }
        }
        Record {
            id: id.clone(),
            revision: Revision(seq),
            json,
        }
    }

    /// Stages a record's end.
    pub(super) fn remove(
        &mut self,
        collection: CollectionId,
        id: &RecordId,
        before: Before,
        message: MessageId,
    ) {
        self.log(collection, id, What::Delete, message, unix_ms());
        before.remove(&mut self.group);
        self.tally(collection, |records| records.saturating_sub(1));
    }

    /// Stages an entry of the log and returns its number.
    fn log(
        &mut self,
        collection: CollectionId,
        id: &RecordId,
        what: What,
        message: MessageId,
        at_ms: u64,
    ) -> u64 {
        self.checked.last_seq += 1;
        let seq = self.checked.last_seq;
        let change = Change {
            what,
            message,
            at_ms,
            collection: self.name(collection).to_owned(),
            id: id.key().into_owned(),
        };
        self.group.put(Keyspace::Log, seq_key(seq), change.encode());
        if let Some(tally) = self.checked.tallies.get_mut(collection.0) {
            tally.seq = seq;
        }
        seq
    }

    fn tally(&mut self, collection: CollectionId, change: impl Fn(u64) -> u64) {
        if let Some(tally) = self.checked.tallies.get_mut(collection.0) {
            tally.records = change(tally.records);
        }
    }
}

fn failed(error: &EngineError) -> WriteError {
    tracing::error!(%error, "the store could not be read");
    WriteError::Failed
}

fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
