//! Reads one page of a resource in the order of ids.

use bytes::Bytes;

use super::engine::{Engine, Keyspace};
use super::read_error::ReadError;
use super::reader_state::ReaderState;
use super::stored_record::Damaged;
use super::value;
use crate::record::{Record, RecordId, Slice};
use crate::storage::{CollectionId, ListPage};

/// How many bytes of records are read on an event loop without a pause; a longer page is read elsewhere.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// Reads a page; `None` if it is longer than [`PAGE_BYTES_MAX`]. The caller makes sure that no group is applied meanwhile.
pub(super) fn read(
    engine: &dyn Engine,
    readers: &ReaderState,
    collection: CollectionId,
    slice: Slice,
) -> Result<Option<ListPage>, ReadError> {
    let stats = readers.stats(collection);
    let mut page = ListPage {
        records: Vec::new(),
        total: stats.records,
        seq: stats.applied,
    };
    if slice.limit() == 0 {
        return Ok(Some(page));
    }
    let mut skip = slice.start();
    let (mut wrong, mut bytes) = (None, 0);
    engine.scan(Keyspace::Records(collection), &[], &mut |key, value| {
        if skip > 0 {
            skip -= 1;
            return true;
        }
        match record(engine, collection, key, value) {
            Ok(record) => {
                bytes += record.json.len();
                page.records.push(record);
            }
            Err(error) => wrong = Some(error),
        }
        wrong.is_none() && bytes <= PAGE_BYTES_MAX && page.records.len() < slice.limit()
    })?;
    match wrong {
        Some(error) => Err(error),
        None => Ok((bytes <= PAGE_BYTES_MAX).then_some(page)),
    }
}

/// The record of a key and its value.
pub(super) fn record(
    engine: &dyn Engine,
    collection: CollectionId,
    key: &[u8],
    value: &[u8],
) -> Result<Record, ReadError> {
    let id = RecordId::from_key(key).ok_or_else(|| ReadError::from(Damaged).of_record(key))?;
    let value = Bytes::copy_from_slice(value);
    let found = value::whole(engine, None, collection, key, value)?;
    Ok(found.into_record(id))
}
