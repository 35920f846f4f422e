//! A group while it is being put together: what its commands have staged so far, on top of what the engine has.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::answers::AnswerMoves;
use super::block_counts::{CountedKeys, KeyMoves};
use super::checked::{Checked, next_key};
use super::engine::{Engine, Group, Keyspace};
use super::index_catalog::IndexCatalog;
use super::log::{LogEntry, seq_key, seq_of};
use super::read_error::ReadError;
use super::stored_record::StoredRecord;
use super::value::{self, Before};
use crate::num::as_u64;
use crate::record::{JsonObject, NewValues, Record, RecordId, Revision, time_of_change};
use crate::storage::journal::{JournalChange, JournalEffect};
use crate::storage::{ChangeKind, CollectionId};
use crate::supervision::{Faults, MessageId};

/// A group while it is being put together.
pub(super) struct Staging<'a> {
    pub(super) group: Group,
    pub(super) checked: Checked,
    /// None for a message that is handed out again: one injected death must not make it fail.
    pub(super) faults: Faults,
    /// Whether the disk is so full that only deletions may be staged.
    pub(super) full: bool,
    pub(super) engine: &'a dyn Engine,
    /// The names of its resources.
    pub(super) names: Arc<[String]>,
    /// The changes of the group, for the journal.
    pub(super) changes: Vec<JournalChange>,
    /// Changes before this one get no entry in the log of changes.
    pub(super) log_from: u64,
    /// The time of its changes, in milliseconds since 1970.
    pub(super) now_ms: u64,
    pub(super) indexes: Arc<IndexCatalog>,
    /// The keys that come and go, among those that are counted.
    pub(super) moves: KeyMoves,
    /// The kept answers that come and go.
    pub(super) answers: AnswerMoves,
    /// The client that asked for what is staged next, if it had to show who it is.
    pub(super) by: Option<Arc<str>>,
}

/// A record that a command is about, as the group has it now.
pub(super) struct WriteTarget {
    pub(super) id: RecordId,
    pub(super) current: Option<Record>,
    /// The time of its creation, in milliseconds since 1970; none without a record.
    pub(super) created_ms: Option<u64>,
    /// The next number of the resource once there is a record of this id, if that changes it.
    next: Option<u64>,
    before: Before,
}

/// The number of a change, its time, and the message that asked for it.
#[derive(Clone, Copy)]
pub(super) struct Origin {
    pub(super) collection: CollectionId,
    pub(super) message: MessageId,
    pub(super) seq: u64,
    /// In milliseconds since 1970.
    pub(super) at_ms: u64,
}

impl Origin {
    /// The same with a time after the creation of the record that is there: by its time, a feed knows a creation.
    pub(super) fn after_creation(mut self, target: &WriteTarget) -> Self {
        self.at_ms = time_of_change(self.at_ms, target.created_ms);
        self
    }
}

impl<'a> Staging<'a> {
    /// Nothing is staged yet.
    pub(super) fn new(
        engine: &'a dyn Engine,
        checked: Checked,
        indexes: Arc<IndexCatalog>,
    ) -> Self {
        Self {
            group: Group::default(),
            checked,
            faults: Faults::none(),
            full: false,
            names: engine.collections(),
            engine,
            changes: Vec::new(),
            log_from: 0,
            now_ms: 0,
            indexes,
            moves: KeyMoves::default(),
            answers: AnswerMoves::default(),
            by: None,
        }
    }
}

impl Staging<'_> {
    /// Reads all that is needed to replace or remove the record of this id.
    pub(super) fn target(
        &self,
        collection: CollectionId,
        id: RecordId,
    ) -> Result<WriteTarget, ReadError> {
        let found = self.read(collection, &id.key())?;
        let before = Before::look(
            self.engine,
            &self.group,
            collection,
            &id.key(),
            found.as_ref(),
        )?;
        // Numbers are not given twice, even if the record of a later one was made first.
        let next = match (&id, &found) {
            (RecordId::Number(number), None) => Some(self.next_number(collection)?.max(number + 1)),
            (RecordId::Number(_) | RecordId::Text(_), _) => None,
        };
        Ok(WriteTarget {
            next,
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

    /// The target for a new record whose id is the next number that is no record's. It counts as given when the record is
    /// [put](Self::put).
    pub(super) fn numbered(&self, collection: CollectionId) -> Result<WriteTarget, ReadError> {
        let mut number = self.next_number(collection)?;
        loop {
            let target = self.target(collection, RecordId::Number(number))?;
            if target.current.is_none() {
                return Ok(target);
            }
            number += 1;
        }
    }

    pub(super) fn next_number(&self, collection: CollectionId) -> Result<u64, ReadError> {
        let key = next_key(self.name(collection));
        let value = value::get(self.engine, Some(&self.group), Keyspace::Meta, &key)?;
        let Some(value) = value else { return Ok(1) };
        seq_of(&value).map_err(|_| ReadError::damaged("the counter of ids"))
    }

    pub(super) fn name(&self, collection: CollectionId) -> &str {
        self.names.get(collection.0).map_or("", String::as_str)
    }

    /// The values that records get from the daemon.
    pub(super) fn new_values(&self) -> NewValues<'static> {
        NewValues::at(self.now_ms)
    }

    /// The origin of the next change.
    pub(super) fn next(&self, collection: CollectionId, message: MessageId) -> Origin {
        Origin {
            collection,
            message,
            seq: self.checked.last_seq + 1,
            at_ms: self.now_ms,
        }
    }

    /// Stages a record's new text and returns the record.
    pub(super) fn put(&mut self, origin: Origin, target: WriteTarget, json: Bytes) -> Record {
        let created_ms = target.created_ms.unwrap_or(origin.at_ms);
        let effect = JournalEffect::Put {
            created_ms,
            json: json.clone(),
        };
        self.log(origin, target.id.key().into_owned(), effect);
        let stored = StoredRecord {
            seq: origin.seq,
            created_ms,
            updated_ms: origin.at_ms,
            json: json.clone(),
        };
        let WriteTarget {
            id,
            current,
            before,
            next,
            ..
        } = target;
        before.put(&mut self.group, &stored);
        self.keep_indexes(origin.collection, &id, current.as_ref(), Some(&json));
        if let Some(next) = next {
            self.give_next(origin.collection, next);
        }
        self.count(origin.collection, current.as_ref(), Some(&json));
        Record {
            id,
            revision: Revision(origin.seq),
            created_ms,
            changed_ms: origin.at_ms,
            json,
        }
    }

    /// Stages the removal of a record and returns it as it was.
    pub(super) fn remove(&mut self, origin: Origin, target: WriteTarget) -> Option<Record> {
        let key = target.id.key().into_owned();
        self.log(origin, key, JournalEffect::Delete);
        target.before.remove(&mut self.group);
        self.keep_indexes(origin.collection, &target.id, target.current.as_ref(), None);
        self.count(origin.collection, target.current.as_ref(), None);
        target.current
    }

    /// Stages that the resource gives the number `next` to its next record.
    pub(super) fn give_next(&mut self, collection: CollectionId, next: u64) {
        let key = next_key(self.name(collection));
        self.group.put(Keyspace::Meta, key, seq_key(next).to_vec());
    }

    /// Notes a change for the journal, and stages its entry of the log of changes.
    fn log(&mut self, origin: Origin, key: Vec<u8>, effect: JournalEffect) {
        let kind = match effect {
            JournalEffect::Put { .. } => ChangeKind::Put,
            JournalEffect::Delete | JournalEffect::Numbers { .. } => ChangeKind::Delete,
        };
        self.checked.last_seq = self.checked.last_seq.max(origin.seq);
        let entry = LogEntry {
            kind,
            message: origin.message,
            at_ms: origin.at_ms,
            collection: self.name(origin.collection).to_owned(),
            id: key.clone(),
        };
        if origin.seq >= self.log_from {
            let seq = seq_key(origin.seq);
            self.group.put(Keyspace::Log, seq, entry.encode());
        }
        if let Some(tally) = self.checked.tallies.get_mut(origin.collection.0) {
            tally.seq = tally.seq.max(origin.seq);
        }
        self.changes.push(JournalChange {
            seq: origin.seq,
            at_ms: origin.at_ms,
            message: origin.message,
            collection: entry.collection,
            key,
            effect,
            by: self.by.clone(),
        });
    }

    /// Stages the keys of a record that takes the place of another, either of which may be none.
    fn keep_indexes(
        &mut self,
        collection: CollectionId,
        id: &RecordId,
        old: Option<&Record>,
        new: Option<&Bytes>,
    ) {
        let id = id.key();
        if old.is_some() != new.is_some() {
            let of = CountedKeys::records(collection);
            self.moves.add(of, id.to_vec(), new.is_some());
        }
        let indexes = Arc::clone(&self.indexes);
        let mut indexes = indexes
            .of(collection)
            .iter()
            .filter(|kept| !kept.is_dropping())
            .peekable();
        if indexes.peek().is_none() {
            return;
        }
        let names = indexes.clone().flat_map(|kept| kept.index.members());
        let names: BTreeSet<_> = names.collect();
        let names: Vec<_> = names.into_iter().cloned().collect();
        let members = |json: &Bytes| JsonObject::parse_some(json, &names).unwrap_or_default();
        let (old, new) = (old.map(|old| members(&old.json)), new.map(members));
        for kept in indexes {
            let entries = |of: Option<&JsonObject>| {
                of.map(|of| kept.index.entries(of.members()))
                    .unwrap_or_default()
            };
            let (old, new) = (entries(old.as_ref()), entries(new.as_ref()));
            // Of a record that it does not cover yet, it may lack what stays the same.
            let covered = kept.covers(&id);
            let changed =
                |entry: &&Vec<u8>| !covered || old.contains(*entry) != new.contains(*entry);
            for entry in old.union(&new).filter(changed) {
                let key = kept.key(entry, &id);
                let added = new.contains(entry);
                self.moves.add(kept.keys(collection), key.clone(), added);
                if added {
                    self.group.put(Keyspace::Index(collection), key, Vec::new());
                } else {
                    self.group.remove(Keyspace::Index(collection), key);
                }
            }
        }
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
