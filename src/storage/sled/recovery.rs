//! Checks a store when it is opened, and repairs the one thing that may be wrong with it.
//!
//! A group is applied keyspace by keyspace: `log` first, then the resources, `meta` last. So a group that an I/O error cut
//! off can be told from a complete one: `meta.last_seq` is behind the log. Nobody was told that such a group was done, so
//! for each of its commands both outcomes are right; but the log must say which one it was. For each entry of the torn
//! tail the record decides: if the effect of the entry is there, the entry stays; if not, it is removed.
//!
//! Everything else that does not fit together is damage, and the store is refused.

use std::collections::HashMap;

use bytes::Bytes;

use super::engine::{CommitError, Engine, EngineError, Group, Keyspace, OpenFault};
use super::log::{self, LogEntry, seq_key, seq_of};
use super::read_error::ReadError;
use super::stored_record::{Damaged, StoredRecord};
use super::value;
use crate::record::RecordId;
use crate::storage::{ChangeKind, CollectionId};

/// The version of the stored format. 2: long bodies are stored in chunks; a store of version 1 has none yet.
pub(super) const SCHEMA: u32 = 2;

pub(super) const SCHEMA_KEY: &[u8] = b"schema";
pub(super) const LAST_SEQ_KEY: &[u8] = b"last_seq";

/// The key of a resource's [`Tally`] in `meta`.
pub(super) fn tally_key(collection: &str) -> Vec<u8> {
    [b"tally/", collection.as_bytes()].concat()
}

/// The key in `meta` of the next number that a resource gives to a record as its id.
pub(super) fn next_key(collection: &str) -> Vec<u8> {
    [b"next/", collection.as_bytes()].concat()
}

/// The figures of one resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) records: u64,
    /// The number of the resource's last change.
    pub(super) seq: u64,
    /// The bytes of its records as they are served. Not stored: counted when the store is opened.
    pub(super) bytes: u64,
}

impl Tally {
    pub(super) fn encode(self) -> Vec<u8> {
        [self.records.to_be_bytes(), self.seq.to_be_bytes()].concat()
    }

    fn decode(stored: &[u8], bytes: u64) -> Result<Self, Damaged> {
        let (records, seq) = stored.split_at_checked(8).ok_or(Damaged)?;
        Ok(Self {
            records: seq_of(records)?,
            seq: seq_of(seq)?,
            bytes,
        })
    }
}

/// The result of checking a consistent store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Checked {
    /// The number of the last change.
    pub(super) last_seq: u64,
    /// The oldest change that the log still has; `last_seq + 1` if it has none.
    pub(super) log_first: u64,
    /// One for each resource, in the order of the settings.
    pub(super) tallies: Vec<Tally>,
}

impl From<Damaged> for OpenFault {
    fn from(damaged: Damaged) -> Self {
        Self::Damaged(damaged.to_string())
    }
}

impl From<ReadError> for OpenFault {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Engine(error) => error.into(),
            damaged @ ReadError::Damaged { .. } => Self::Damaged(damaged.to_string()),
        }
    }
}

/// Checks a store that was just opened, settles a torn tail, and makes the result durable. `acknowledged` is the number of
/// the last change that a client was told of; `None` if the store is new.
pub(super) fn check(
    engine: &dyn Engine,
    collections: &[String],
    acknowledged: Option<u64>,
) -> Result<Checked, OpenFault> {
    let mut repair = Group::default();
    check_schema(engine, acknowledged, &mut repair)?;
    let acknowledged = acknowledged.unwrap_or(0);
    let last_seq = number(engine.get(Keyspace::Meta, LAST_SEQ_KEY)?)?.unwrap_or(0);
    let log_last = match engine.last(Keyspace::Log)? {
        Some((key, _)) => seq_of(&key)?,
        None => 0,
    };
    if log_last < last_seq {
        return Err(OpenFault::Damaged(format!(
            "the log ends at change {log_last}, but change {last_seq} was acknowledged"
        )));
    }
    if last_seq < acknowledged {
        return Err(OpenFault::Damaged(format!(
            "it ends at change {last_seq}, but change {acknowledged} was acknowledged"
        )));
    }
    let torn = log_last > last_seq;
    let mut checked = Checked {
        last_seq,
        log_first: log::first(engine)?.unwrap_or(last_seq + 1),
        tallies: Vec::new(),
    };
    if torn {
        let after = settle_tail(engine, collections, last_seq, &mut repair)?;
        checked.last_seq = after;
        repair.put(Keyspace::Meta, LAST_SEQ_KEY, seq_key(after).to_vec());
        tracing::warn!(
            last_seq,
            log_last,
            after,
            "settled the tail of a group that was cut off"
        );
    }
    for (index, name) in collections.iter().enumerate() {
        let found = Tally {
            seq: checked.last_seq,
            ..count(engine, CollectionId(index))?
        };
        let tally = if torn {
            repair.put(Keyspace::Meta, tally_key(name), found.encode());
            found
        } else {
            check_tally(engine, name, found)?
        };
        checked.tallies.push(tally);
    }
    if !repair.is_empty() {
        engine
            .commit(&repair, &|| true)
            .map_err(|error| match error {
                CommitError::Engine(error) => error.into(),
                CommitError::Fenced => OpenFault::Damaged("the repair was not allowed".to_owned()),
            })?;
    }
    engine.durable_flush()?;
    Ok(checked)
}

fn number(value: Option<Bytes>) -> Result<Option<u64>, Damaged> {
    value.as_deref().map(seq_of).transpose()
}

fn check_schema(
    engine: &dyn Engine,
    acknowledged: Option<u64>,
    repair: &mut Group,
) -> Result<(), OpenFault> {
    let Some(bytes) = engine.get(Keyspace::Meta, SCHEMA_KEY)? else {
        if let Some(change) = acknowledged {
            return Err(OpenFault::Damaged(format!(
                "it is empty, but it was made before, and change {change} was acknowledged"
            )));
        }
        repair.put(Keyspace::Meta, SCHEMA_KEY, SCHEMA.to_be_bytes().to_vec());
        return Ok(());
    };
    let found = bytes
        .as_ref()
        .try_into()
        .map(u32::from_be_bytes)
        .map_err(|_| Damaged)?;
    if found > SCHEMA {
        return Err(OpenFault::Newer {
            found,
            known: SCHEMA,
        });
    }
    if found < SCHEMA {
        repair.put(Keyspace::Meta, SCHEMA_KEY, SCHEMA.to_be_bytes().to_vec());
    }
    Ok(())
}

/// Compares what was counted with what `meta` says. A resource without a tally is new, or was not declared while a tail was
/// settled.
fn check_tally(engine: &dyn Engine, name: &str, found: Tally) -> Result<Tally, OpenFault> {
    let Some(stored) = engine.get(Keyspace::Meta, &tally_key(name))? else {
        return Ok(found);
    };
    let stored = Tally::decode(&stored, found.bytes)?;
    if stored.records == found.records {
        return Ok(stored);
    }
    Err(OpenFault::Damaged(format!(
        "resource {name} has {} records, but {} were acknowledged",
        found.records, stored.records
    )))
}

/// Decides for each entry of a torn tail whether it was applied. Returns the last number in use.
fn settle_tail(
    engine: &dyn Engine,
    collections: &[String],
    last_seq: u64,
    repair: &mut Group,
) -> Result<u64, OpenFault> {
    let tail = log::entries(engine, last_seq + 1, usize::MAX)?;
    // A group holds one change of each key: the last. So all entries of an id were applied, or none, as its last one was.
    let mut applied = HashMap::new();
    for (seq, entry) in &tail {
        let declared = collections
            .iter()
            .position(|name| *name == entry.collection);
        let Some(index) = declared else {
            // A resource that is no longer declared can't be read: its entries stay, and its records are counted when it is
            // declared again.
            repair.remove(Keyspace::Meta, tally_key(&entry.collection));
            continue;
        };
        let collection = CollectionId(index);
        let found = value::read(engine, None, collection, &entry.id)?.map(|found| found.seq);
        for stray in value::strays(engine, collection, &entry.id, found)? {
            repair.remove(Keyspace::OldChunks(collection), stray);
        }
        let there = match entry.kind {
            ChangeKind::Put => found.is_some_and(|found| found >= *seq),
            ChangeKind::Delete => found.is_none_or(|found| found > *seq),
        };
        applied.insert((entry.collection.clone(), entry.id.clone()), there);
    }
    let mut after = last_seq;
    for (seq, entry) in tail {
        after = seq;
        raise_next(engine, &entry, repair)?;
        if applied.get(&(entry.collection, entry.id)) == Some(&false) {
            repair.remove(Keyspace::Log, seq_key(seq));
        }
    }
    // The numbers of removed entries must not be given again, so the last entry stays, as a change of nothing.
    if let Some(None) = repair.get(Keyspace::Log, &seq_key(after)) {
        let nothing = LogEntry {
            kind: ChangeKind::Delete,
            message: crate::supervision::MessageId(0),
            at_ms: 0,
            collection: String::new(),
            id: Vec::new(),
        };
        repair.put(Keyspace::Log, seq_key(after), nothing.encode());
    }
    Ok(after)
}

/// Makes sure that a number that may have been seen as an id is not given again, whatever became of its record.
fn raise_next(engine: &dyn Engine, entry: &LogEntry, repair: &mut Group) -> Result<(), OpenFault> {
    let Some(RecordId::Number(id)) = RecordId::from_key(&entry.id) else {
        return Ok(());
    };
    let key = next_key(&entry.collection);
    let known = match repair.get(Keyspace::Meta, &key) {
        Some(staged) => staged.map(seq_of).transpose()?,
        None => number(engine.get(Keyspace::Meta, &key)?)?,
    };
    if known.unwrap_or(1) <= id {
        repair.put(Keyspace::Meta, key, seq_key(id + 1).to_vec());
    }
    Ok(())
}

/// Counts the records of a resource, and their bytes.
fn count(engine: &dyn Engine, collection: CollectionId) -> Result<Tally, EngineError> {
    let mut tally = Tally::default();
    engine.scan(Keyspace::Records(collection), &[], &mut |_, value| {
        tally.records += 1;
        tally.bytes += StoredRecord::json_bytes(value).unwrap_or(0);
        true
    })?;
    Ok(tally)
}
