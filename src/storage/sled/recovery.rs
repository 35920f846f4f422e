//! What is checked when a store is opened, and what is put right.
//!
//! A group is applied tree by tree: `log`, the collections, `meta` last. So a group that was cut off by an I/O error can
//! be told from a whole one: `meta.last_seq` is behind the log. Nobody was told that such a group is done, so both
//! outcomes are right for each of its commands; but the log must say which. For each entry of the torn tail the record
//! decides: is its effect there, the entry stays; is it not, the entry goes.
//!
//! Anything else that does not fit together is damage, and is refused.

use std::collections::HashMap;

use super::engine::{CollectionId, CommitError, Engine, EngineError, Group, Keyspace};
use super::envelope::{Change, Damaged, What, seq_key, seq_of};
use super::value;
use crate::record::RecordId;

/// The version of what is in the trees. 2: long bodies are kept in chunks; a store of version 1 has none yet.
pub(crate) const SCHEMA: u32 = 2;

pub(crate) const SCHEMA_KEY: &[u8] = b"schema";
pub(crate) const LAST_SEQ_KEY: &[u8] = b"last_seq";

/// The key of a collection's [`Tally`] in `meta`.
pub(crate) fn tally_key(collection: &str) -> Vec<u8> {
    [b"tally/", collection.as_bytes()].concat()
}

/// The key of the next number a collection gives out as an id, in `meta`.
pub(crate) fn next_key(collection: &str) -> Vec<u8> {
    [b"next/", collection.as_bytes()].concat()
}

/// What `meta` says of one collection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// How many records it has.
    pub(crate) records: u64,
    /// The sequence number of its last change.
    pub(crate) seq: u64,
}

impl Tally {
    pub(crate) fn encode(self) -> Vec<u8> {
        [self.records.to_be_bytes(), self.seq.to_be_bytes()].concat()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Damaged> {
        let (records, seq) = bytes.split_at_checked(8).ok_or(Damaged)?;
        Ok(Self {
            records: seq_of(records)?,
            seq: seq_of(seq)?,
        })
    }
}

/// A store whose parts fit together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Checked {
    /// The last sequence number that was given out.
    pub(crate) last_seq: u64,
    /// The first one the log still has; past `last_seq` if it has none.
    pub(crate) log_first: u64,
    /// For each collection, in order.
    pub(crate) tallies: Vec<Tally>,
}

/// Why a store was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    #[error("version {found} is newer than {SCHEMA}")]
    Newer { found: u32 },
    #[error("{0}")]
    Damaged(String),
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl From<Damaged> for CheckError {
    fn from(damaged: Damaged) -> Self {
        Self::Damaged(damaged.to_string())
    }
}

/// Checks a store that was just opened, puts a torn tail right, and makes the result durable. `acknowledged` is the number
/// of the last change that somebody was told of; `None` if nobody knows of the store yet.
pub(crate) fn check(
    engine: &dyn Engine,
    collections: &[String],
    acknowledged: Option<u64>,
) -> Result<Checked, CheckError> {
    let mut repair = Group::default();
    check_schema(engine, acknowledged, &mut repair)?;
    let acknowledged = acknowledged.unwrap_or(0);
    let number = |bytes: Option<&[u8]>| bytes.map_or(Ok(0), seq_of);
    let last_seq = number(engine.get(Keyspace::Meta, LAST_SEQ_KEY)?.as_deref())?;
    let log_last = number(
        engine
            .last(Keyspace::Log)?
            .as_ref()
            .map(|(key, _)| key.as_slice()),
    )?;
    if log_last < last_seq {
        return Err(CheckError::Damaged(format!(
            "the log ends at change {log_last}, but change {last_seq} was acknowledged"
        )));
    }
    if last_seq < acknowledged {
        return Err(CheckError::Damaged(format!(
            "it ends at change {last_seq}, but change {acknowledged} was acknowledged"
        )));
    }
    let torn = log_last > last_seq;
    let mut checked = Checked {
        last_seq,
        log_first: last_seq + 1,
        tallies: Vec::new(),
    };
    if torn {
        checked.last_seq = settle_tail(engine, collections, last_seq, &mut repair)?;
        repair.put(
            Keyspace::Meta,
            LAST_SEQ_KEY,
            seq_key(checked.last_seq).to_vec(),
        );
        let after = checked.last_seq;
        tracing::warn!(
            last_seq,
            log_last,
            after,
            "settled the tail of a group that was cut off"
        );
    }
    engine.scan(Keyspace::Log, &[], &mut |key, _| {
        checked.log_first = seq_of(key).unwrap_or(checked.log_first);
        false
    })?;
    for (index, name) in collections.iter().enumerate() {
        let tally = if torn {
            let records = count(engine, CollectionId(index))?;
            let tally = Tally {
                records,
                seq: checked.last_seq,
            };
            repair.put(Keyspace::Meta, tally_key(name), tally.encode());
            tally
        } else {
            check_tally(engine, CollectionId(index), name, last_seq)?
        };
        checked.tallies.push(tally);
    }
    if !repair.is_empty() {
        engine
            .commit(&repair, &|| true)
            .map_err(|error| match error {
                CommitError::Engine(error) => CheckError::Engine(error),
                CommitError::Fenced => CheckError::Damaged("the repair was not allowed".to_owned()),
            })?;
    }
    engine.durable_flush()?;
    Ok(checked)
}

fn check_schema(
    engine: &dyn Engine,
    acknowledged: Option<u64>,
    repair: &mut Group,
) -> Result<(), CheckError> {
    let Some(bytes) = engine.get(Keyspace::Meta, SCHEMA_KEY)? else {
        if let Some(change) = acknowledged {
            return Err(CheckError::Damaged(format!(
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
        return Err(CheckError::Newer { found });
    }
    if found < SCHEMA {
        repair.put(Keyspace::Meta, SCHEMA_KEY, SCHEMA.to_be_bytes().to_vec());
    }
    Ok(())
}

/// What `meta` says must be true; a collection of which it says nothing is new, or was not declared when a tail was settled.
fn check_tally(
    engine: &dyn Engine,
    collection: CollectionId,
    name: &str,
    last_seq: u64,
) -> Result<Tally, CheckError> {
    let told = engine.get(Keyspace::Meta, &tally_key(name))?;
    let found = count(engine, collection)?;
    let Some(told) = told else {
        return Ok(Tally {
            records: found,
            seq: last_seq,
        });
    };
    let told = Tally::decode(&told)?;
    if told.records == found {
        return Ok(told);
    }
    Err(CheckError::Damaged(format!(
        "resource {name} has {found} records, but {} were acknowledged",
        told.records
    )))
}

/// Decides entry by entry what of a torn tail happened. Returns the last sequence number in use.
fn settle_tail(
    engine: &dyn Engine,
    collections: &[String],
    last_seq: u64,
    repair: &mut Group,
) -> Result<u64, CheckError> {
    let mut tail = Vec::new();
    let mut damaged = None;
    engine.scan(Keyspace::Log, &seq_key(last_seq + 1), &mut |key, value| {
        match seq_of(key).and_then(|seq| Ok((seq, Change::decode(value)?))) {
            Ok(entry) => tail.push(entry),
            Err(error) => damaged = Some(error),
        }
        damaged.is_none()
    })?;
    if let Some(damaged) = damaged {
        return Err(damaged.into());
    }
    // A group holds one change for each key: its last. So what became of the last entry of an id became of all of them.
    let mut happened = HashMap::new();
    for (seq, change) in &tail {
        let declared = collections
            .iter()
            .position(|name| *name == change.collection);
        let Some(index) = declared else {
            // A collection that is not declared any more can't be looked into: its entries stay, and it is counted when it
            // is declared again.
            repair.remove(Keyspace::Meta, tally_key(&change.collection));
            continue;
        };
        let collection = CollectionId(index);
        let found = value::read(engine, None, collection, &change.id)?;
        let found = found.transpose()?.map(|found| found.seq);
        for stray in value::strays(engine, collection, &change.id, found)? {
            repair.remove(Keyspace::OldChunks(collection), stray);
        }
        let there = match change.what {
            What::Put => found.is_some_and(|found| found >= *seq),
            What::Delete => found.is_none_or(|found| found > *seq),
        };
        happened.insert((change.collection.clone(), change.id.clone()), there);
    }
    let mut after = last_seq;
    for (seq, change) in tail {
        after = seq;
        raise_next(engine, &change, repair)?;
        if happened.get(&(change.collection, change.id)) == Some(&false) {
            repair.remove(Keyspace::Log, seq_key(seq));
        }
    }
    // The numbers of removed entries are not given out again: `last_seq` itself must stay in the log.
    if let Some(None) = repair.get(Keyspace::Log, &seq_key(after)) {
        let change = Change {
            what: What::Delete,
            message: crate::supervision::MessageId(0),
            at_ms: 0,
            collection: String::new(),
            id: Vec::new(),
        };
        repair.put(Keyspace::Log, seq_key(after), change.encode());
    }
    Ok(after)
}

/// A number that may have been seen as an id is not given out again, whatever became of its record.
fn raise_next(engine: &dyn Engine, change: &Change, repair: &mut Group) -> Result<(), CheckError> {
    let Some(RecordId::Number(number)) = RecordId::from_key(&change.id) else {
        return Ok(());
    };
    let key = next_key(&change.collection);
    let known = match repair.get(Keyspace::Meta, &key) {
        Some(staged) => staged.map(seq_of).transpose()?,
        None => engine
            .get(Keyspace::Meta, &key)?
            .as_deref()
            .map(seq_of)
            .transpose()?,
    };
    if known.unwrap_or(1) <= number {
        repair.put(Keyspace::Meta, key, seq_key(number + 1).to_vec());
    }
    Ok(())
}

/// How many records a collection has.
fn count(engine: &dyn Engine, collection: CollectionId) -> Result<u64, EngineError> {
    let mut records = 0;
    engine.scan(Keyspace::Records(collection), &[], &mut |_, _| {
        records += 1;
        true
    })?;
    Ok(records)
}
