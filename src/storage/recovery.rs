//! What is checked when a store is opened, and what is put right.
//!
//! A group is applied tree by tree: `log`, the collections, `meta` last. So a group that was cut off by an I/O error can
//! be told from a whole one: `meta.last_seq` is behind the log. Nobody was told that such a group is done, so both
//! outcomes are right for each of its commands; but the log must say which. For each entry of the torn tail the record
//! decides: is its effect there, the entry stays; is it not, the entry goes.
//!
//! Anything else that does not fit together is damage, and is refused.

use std::collections::HashMap;

use super::engine::{CollectionId, CommitError, Engine, EngineError, Group, Tree};
use super::envelope::{Change, Damaged, Envelope, What, seq_key, seq_of};

/// The version of what is in the trees.
pub(crate) const SCHEMA: u32 = 1;

pub(crate) const SCHEMA_KEY: &[u8] = b"schema";
pub(crate) const LAST_SEQ_KEY: &[u8] = b"last_seq";

/// The key of a collection's [`Tally`] in `meta`.
pub(crate) fn tally_key(collection: &str) -> Vec<u8> {
    [b"tally/", collection.as_bytes()].concat()
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

/// Checks a store that was just opened, puts a torn tail right, and makes the result durable.
pub(crate) fn check(engine: &dyn Engine, collections: &[String]) -> Result<Checked, CheckError> {
    let mut repair = Group::default();
    match engine.get(Tree::Meta, SCHEMA_KEY)? {
        None => repair.put(Tree::Meta, SCHEMA_KEY, SCHEMA.to_be_bytes().to_vec()),
        Some(bytes) => {
            let found = bytes
                .as_ref()
                .try_into()
                .map(u32::from_be_bytes)
                .map_err(|_| Damaged)?;
            if found > SCHEMA {
                return Err(CheckError::Newer { found });
            }
        }
    }
    let last_seq = match engine.get(Tree::Meta, LAST_SEQ_KEY)? {
        Some(bytes) => seq_of(&bytes)?,
        None => 0,
    };
    let log_last = match engine.last(Tree::Log)? {
        Some((key, _)) => seq_of(&key)?,
        None => 0,
    };
    if log_last < last_seq {
        return Err(CheckError::Damaged(format!(
            "the log ends at change {log_last}, but change {last_seq} was acknowledged"
        )));
    }
    let torn = log_last > last_seq;
    let after = if torn {
        settle_tail(engine, collections, last_seq, &mut repair)?
    } else {
        last_seq
    };
    let mut checked = Checked {
        last_seq: after,
        log_first: after + 1,
        tallies: Vec::new(),
    };
    engine.scan(Tree::Log, &[], &mut |key, _| {
        checked.log_first = seq_of(key).unwrap_or(checked.log_first);
        false
    })?;
    for (index, name) in collections.iter().enumerate() {
        let told = match engine.get(Tree::Meta, &tally_key(name))? {
            Some(bytes) => Tally::decode(&bytes)?,
            None => Tally::default(),
        };
        let found = count(engine, CollectionId(index))?;
        let tally = if torn { found } else { told };
        if told.records != found.records && !torn {
            return Err(CheckError::Damaged(format!(
                "resource {name} has {} records, but {} were acknowledged",
                found.records, told.records
            )));
        }
        if torn {
            repair.put(
                Tree::Meta,
                tally_key(name),
                Tally {
                    seq: after,
                    ..tally
                }
                .encode(),
            );
        }
        checked.tallies.push(if torn {
            Tally {
                seq: after,
                ..tally
            }
        } else {
            tally
        });
    }
    if torn {
        repair.put(Tree::Meta, LAST_SEQ_KEY, seq_key(after).to_vec());
        tracing::warn!(
            last_seq,
            log_last,
            after,
            "settled the tail of a group that was cut off"
        );
    }
    if !repair.is_empty() {
        match engine.commit(&repair, &|| true) {
            Ok(()) => {}
            Err(CommitError::Engine(error)) => return Err(error.into()),
            Err(CommitError::Fenced) => {
                return Err(CheckError::Damaged("the repair was not allowed".to_owned()));
            }
        }
    }
    engine.durable_flush()?;
    Ok(checked)
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
    engine.scan(Tree::Log, &seq_key(last_seq + 1), &mut |key, value| {
        match seq_of(key).and_then(|seq| Ok((seq, Change::decode(value)?))) {
            Ok(entry) => tail.push(entry),
            Err(error) => damaged = Some(error),
        }
        damaged.is_none()
    })?;
    if let Some(damaged) = damaged {
        return Err(damaged.into());
    }
    // Later entries of the tail may have overtaken earlier ones: what counts for an id is its newest write.
    let mut present = HashMap::new();
    for (_, change) in &tail {
        let Some(index) = collections
            .iter()
            .position(|name| *name == change.collection)
        else {
            continue;
        };
        let found = engine.get(Tree::Records(CollectionId(index)), &change.id)?;
        let seq = found
            .map(|value| Envelope::decode(&value))
            .transpose()?
            .map(|found| found.seq);
        present.insert((change.collection.clone(), change.id.clone()), seq);
    }
    let mut after = last_seq;
    for (seq, change) in tail {
        after = seq;
        // A collection that is not declared any more can't be looked into: its entry stays.
        let Some(found) = present.get(&(change.collection, change.id)).copied() else {
            continue;
        };
        let happened = match change.what {
            What::Put => found.is_some_and(|found| found >= seq),
            What::Delete => found.is_none_or(|found| found > seq),
        };
        if !happened {
            repair.remove(Tree::Log, seq_key(seq));
        }
    }
    // The numbers of removed entries are not given out again: `last_seq` itself must stay in the log.
    if let Some(None) = repair.get(Tree::Log, &seq_key(after)) {
        let change = Change {
            what: What::Delete,
            message: crate::supervision::MessageId(0),
            at_ms: 0,
            collection: String::new(),
            id: Vec::new(),
        };
        repair.put(Tree::Log, seq_key(after), change.encode());
    }
    Ok(after)
}

fn count(engine: &dyn Engine, collection: CollectionId) -> Result<Tally, EngineError> {
    let mut tally = Tally::default();
    engine.scan(Tree::Records(collection), &[], &mut |_, _| {
        tally.records += 1;
        true
    })?;
    Ok(tally)
}
