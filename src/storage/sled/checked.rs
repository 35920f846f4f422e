//! The figures of a view: how far it is, and how much each resource has. They are stored in `meta` with each group.

use bytes::Bytes;

use super::engine::{Engine, Keyspace, OpenFault};
use super::log::{self, seq_of};
use super::read_error::ReadError;
use super::stored_record::Damaged;
use crate::storage::CollectionId;
use crate::storage::journal::StoreId;

/// The version of the view's format. 4: indexes are kept with the records; 3: without indexes, and otherwise the same; older
/// ones have no journal.
pub(super) const SCHEMA: u32 = 4;
/// The oldest version that is read.
pub(super) const SCHEMA_OLDEST: u32 = 3;

pub(super) const SCHEMA_KEY: &[u8] = b"schema";
pub(super) const STORE_KEY: &[u8] = b"store";
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
    /// The bytes of its records as they are served.
    pub(super) bytes: u64,
}

impl Tally {
    pub(super) fn encode(self) -> Vec<u8> {
        [self.records, self.seq, self.bytes]
            .map(u64::to_be_bytes)
            .concat()
    }

    fn decode(stored: &[u8]) -> Result<Self, Damaged> {
        let [records, seq, bytes] = [0, 8, 16].map(|from| stored.get(from..from + 8));
        let read = |field: Option<&[u8]>| field.ok_or(Damaged).and_then(seq_of);
        Ok(Self {
            records: read(records)?,
            seq: read(seq)?,
            bytes: read(bytes)?,
        })
    }
}

/// The figures of a whole view.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Checked {
    /// The number of the last change.
    pub(super) last_seq: u64,
    /// The oldest change that is still in the log of changes; `last_seq + 1` if it has none.
    pub(super) log_first: u64,
    /// One for each of the engine's resources.
    pub(super) tallies: Vec<Tally>,
}

impl From<Damaged> for OpenFault {
    fn from(damaged: Damaged) -> Self {
        Self::View(damaged.to_string())
    }
}

impl From<ReadError> for OpenFault {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Engine(error) => error.into(),
            damaged @ ReadError::Damaged { .. } => Self::View(damaged.to_string()),
        }
    }
}

/// The version of a view; `None` if it is empty.
pub(super) fn version(engine: &dyn Engine) -> Result<Option<u32>, OpenFault> {
    let Some(schema) = engine.get(Keyspace::Meta, SCHEMA_KEY)? else {
        return Ok(None);
    };
    let schema: [u8; 4] = schema.as_ref().try_into().map_err(|_| Damaged)?;
    Ok(Some(u32::from_be_bytes(schema)))
}

/// The store that a view is of, if it says so.
pub(super) fn store_of(engine: &dyn Engine) -> Result<Option<StoreId>, OpenFault> {
    let stored = engine.get(Keyspace::Meta, STORE_KEY)?;
    let id = stored.and_then(|stored| stored.as_ref().try_into().ok());
    Ok(id.map(|id| StoreId(u128::from_be_bytes(id))))
}

/// Reads the figures of a view of the store `store`; `None` if it is empty. A view of another store or another version is an
/// error.
pub(super) fn read(engine: &dyn Engine, store: StoreId) -> Result<Option<Checked>, OpenFault> {
    let Some(found) = version(engine)? else {
        return Ok(None);
    };
    if !(SCHEMA_OLDEST..=SCHEMA).contains(&found) {
        return Err(OpenFault::View(format!(
            "it has version {found}, not {SCHEMA}"
        )));
    }
    if store_of(engine)? != Some(store) {
        return Err(OpenFault::View("it is another store's".to_owned()));
    }
    let last_seq = number(engine.get(Keyspace::Meta, LAST_SEQ_KEY)?)?.unwrap_or(0);
    let mut tallies = Vec::new();
    for name in engine.collections().iter() {
        let stored = engine.get(Keyspace::Meta, &tally_key(name))?;
        let tally = stored.map_or(Ok(Tally::default()), |stored| Tally::decode(&stored));
        tallies.push(tally?);
    }
    Ok(Some(Checked {
        last_seq,
        log_first: log::first(engine)?.unwrap_or(last_seq + 1),
        tallies,
    }))
}

/// The next number that a resource gives to a record as its id, if it gave one before.
pub(super) fn next_number(
    engine: &dyn Engine,
    collection: CollectionId,
) -> Result<Option<u64>, ReadError> {
    let names = engine.collections();
    let Some(name) = names.get(collection.0) else {
        return Ok(None);
    };
    let stored = engine.get(Keyspace::Meta, &next_key(name))?;
    number(stored).map_err(|_| ReadError::damaged("the counter of ids"))
}

fn number(value: Option<Bytes>) -> Result<Option<u64>, Damaged> {
    value.as_deref().map(seq_of).transpose()
}
