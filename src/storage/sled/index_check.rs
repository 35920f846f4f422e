//! Compares the indexes of a view with its records.

use super::engine::{Engine, Keyspace};
use super::index_catalog::{IndexCatalog, KeptIndex};
use super::page;
use super::read_error::ReadError;
use crate::record::{JsonObject, after_all};
use crate::storage::CollectionId;

/// A difference of an index from the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IndexFault {
    /// It lacks a key of the record.
    Lacks,
    /// It has a key that is not the record's.
    Stray,
}

/// Shows every difference: the resource, the index, the key of the record, and the kind.
pub(super) fn compare(
    engine: &dyn Engine,
    mut found: impl FnMut(CollectionId, &KeptIndex, &[u8], IndexFault),
) -> Result<(), ReadError> {
    let catalog = IndexCatalog::read(engine)?;
    for id in (0..engine.collections().len()).map(CollectionId) {
        // The keys of one that is being removed are nobody's.
        for kept in catalog.of(id).iter().filter(|kept| !kept.is_dropping()) {
            let mut read = Ok(());
            page::stored(engine, id, &[], |key, record| {
                let object = JsonObject::parse(&record.json).unwrap_or_default();
                let entries = kept.index.entries(object.members());
                for entry in entries.iter().filter(|_| kept.covers(key)) {
                    match engine.get(Keyspace::Index(id), &kept.key(entry, key)) {
                        Ok(Some(_)) => {}
                        Ok(None) => found(id, kept, key, IndexFault::Lacks),
                        Err(error) => read = Err(ReadError::from(error)),
                    }
                }
                read.is_ok()
            })?;
            read?;
            strays(engine, id, kept, |key| {
                found(id, kept, key, IndexFault::Stray);
            })?;
        }
    }
    Ok(())
}

/// Shows the keys of the records whose keys in an index are not theirs.
fn strays(
    engine: &dyn Engine,
    collection: CollectionId,
    kept: &KeptIndex,
    mut found: impl FnMut(&[u8]),
) -> Result<(), ReadError> {
    let of = kept.keys(collection);
    let end = after_all(&of.beginning);
    let mut read = Ok(());
    engine.scan(of.keyspace, &of.beginning, &mut |key, _| {
        if key >= end.as_slice() {
            return false;
        }
        let entry = key.get(of.beginning.len()..).unwrap_or_default();
        let id = kept.index.split(entry).map(|entry| entry.id);
        let id = id.unwrap_or(key);
        let value = entry.get(..entry.len().saturating_sub(id.len()));
        match super::value::read(engine, None, collection, id) {
            Ok(record) => {
                let object = record.map(|record| JsonObject::parse(&record.json));
                let object = object.and_then(Result::ok).unwrap_or_default();
                let is_there =
                    value.is_some_and(|value| kept.index.entries(object.members()).contains(value));
                if !is_there {
                    found(id);
                }
            }
            Err(error) => read = Err(error),
        }
        read.is_ok()
    })?;
    read
}
