//! A group while it is being put together: what its commands have staged so far, on top of what the engine has.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::engine::{Engine, Group, Keyspace};
use super::log::{LogEntry, seq_key, seq_of};
use super::read_error::ReadError;
use super::recovery::{Checked, next_key};
use super::stored_record::StoredRecord;
use super::value::{self, Before};
use crate::num::{as_millis, as_u64};
use crate::record::{Record, RecordId, Revision};
use crate::storage::{ChangeKind, CollectionId, StoreError};
use crate::supervision::{Faults, MessageId};

/// A group while it is being put together.
pub(super) struct Staging<'a> {
    pub(super) group: Group,
    pub(super) checked: Checked,
    /// None for a message that is handed out again: one injected death must not make it fail.
    pub(super) faults: Faults,
    /// Whether the disk is so full that nothing may be staged.
    pub(super) full: bool,
    pub(super) engine: &'a dyn Engine,
    pub(super) collections: &'a [String],
}

/// A record that a command is about, as the group has it now.
pub(super) struct WriteTarget {
    pub(super) id: RecordId,
    pub(super) current: Option<Record>,
    /// The time of its creation, in milliseconds since 1970; none without a record.
    created_ms: Option<u64>,
    before: Before,
}

/// The command that stages something.
#[derive(Clone, Copy)]
pub(super) struct Origin {
    pub(super) collection: CollectionId,
    pub(super) message: MessageId,
}

impl<'a> Staging<'a> {
    /// Reads all that is needed to replace or remove the record of this id.
    pub(super) fn target(
        &self,
        collection: CollectionId,
        id: RecordId,
    ) -> Result<WriteTarget, StoreError> {
        let found = self.read(collection, &id.key())?;
        let before = Before::look(
            self.engine,
            &self.group,
            collection,
            &id.key(),
            found.as_ref(),
        )?;
        Ok(WriteTarget {
            created_ms: found.as_ref().map(|found| found.created_ms),
            current: found.map(|found| found.into_record(id.clone())),
            id,
            before,
        })
    }

    fn read(
        &self,
        collection: CollectionId,
        key: &[u8],
    ) -> Result<Option<StoredRecord>, ReadError> {
        value::read(self.engine, Some(&self.group), collection, key)
    }

    /// The next number that is no record's id. It counts as given when a record of that id is [put](Self::put).
    pub(super) fn next_id(&self, collection: CollectionId) -> Result<RecordId, StoreError> {
        let mut number = self.next_number(collection)?;
        loop {
            let id = RecordId::Number(number);
            if self.read(collection, &id.key())?.is_none() {
                return Ok(id);
            }
            number += 1;
        }
    }

    fn next_number(&self, collection: CollectionId) -> Result<u64, ReadError> {
        let key = next_key(self.name(collection));
        let value = value::get(self.engine, Some(&self.group), Keyspace::Meta, &key)?;
        let Some(value) = value else { return Ok(1) };
        seq_of(&value).map_err(|_| ReadError::damaged("the counter of ids"))
    }

    fn name(&self, collection: CollectionId) -> &'a str {
        self.collections
            .get(collection.0)
            .map_or("", String::as_str)
    }

    /// Stages a record's new text and returns the record.
    pub(super) fn put(&mut self, origin: Origin, target: WriteTarget, json: Bytes) -> Record {
        let WriteTarget {
            id,
            current,
            created_ms,
            before,
        } = target;
        let now = unix_ms();
        let seq = self.log(origin, &id, ChangeKind::Put, now);
        let stored = StoredRecord {
            seq,
            created_ms: created_ms.unwrap_or(now),
            updated_ms: now,
            json: json.clone(),
        };
        before.put(&mut self.group, &stored);
        if current.is_none()
            && let RecordId::Number(number) = id
        {
            let next = seq_key(number + 1).to_vec();
            let key = next_key(self.name(origin.collection));
            self.group.put(Keyspace::Meta, key, next);
        }
        self.count(origin.collection, current.as_ref(), Some(&json));
        Record {
            id,
            revision: Revision(seq),
            json,
        }
    }

    /// Stages the removal of a record and returns it as it was.
    pub(super) fn remove(&mut self, origin: Origin, target: WriteTarget) -> Option<Record> {
        self.log(origin, &target.id, ChangeKind::Delete, unix_ms());
        target.before.remove(&mut self.group);
        self.count(origin.collection, target.current.as_ref(), None);
        target.current
    }

    /// Stages an entry of the log and returns its number.
    fn log(&mut self, origin: Origin, id: &RecordId, kind: ChangeKind, at_ms: u64) -> u64 {
        self.checked.last_seq += 1;
        let seq = self.checked.last_seq;
        let entry = LogEntry {
            kind,
            message: origin.message,
            at_ms,
            collection: self.name(origin.collection).to_owned(),
            id: id.key().into_owned(),
        };
        self.group.put(Keyspace::Log, seq_key(seq), entry.encode());
        if let Some(tally) = self.checked.tallies.get_mut(origin.collection.0) {
            tally.seq = seq;
        }
        seq
    }

    /// Counts a record that took the place of another, either of which may be none.
    fn count(&mut self, collection: CollectionId, old: Option<&Record>, new: Option<&Bytes>) {
        let Some(tally) = self.checked.tallies.get_mut(collection.0) else {
            return;
        };
        if let Some(old) = old {
            tally.records = tally.records.saturating_sub(1);
            let bytes = as_u64(old.json.len());
            tally.bytes = tally.bytes.saturating_sub(bytes);
        }
        if let Some(new) = new {
            tally.records += 1;
            tally.bytes += as_u64(new.len());
        }
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    as_millis(since.unwrap_or_default())
}
