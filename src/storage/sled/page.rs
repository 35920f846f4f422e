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
    let tally = readers.tally(collection);
    let mut page = ListPage {
        records: Vec::new(),
        total: tally.records,
        seq: tally.seq,
    };
    if slice.limit() == 0 {
        return Ok(Some(page));
    }
    let mut bytes = 0;
    records(engine, collection, &[], slice.start(), |record| {
        bytes += record.json.len();
        page.records.push(record);
        bytes <= PAGE_BYTES_MAX && page.records.len() < slice.limit()
    })?;
    Ok((bytes <= PAGE_BYTES_MAX).then_some(page))
}

/// Shows the records of a resource from the key `from` on to `visit`, except the first `skip`, until it returns false.
pub(super) fn records(
    engine: &dyn Engine,
    collection: CollectionId,
    from: &[u8],
    mut skip: usize,
    mut visit: impl FnMut(Record) -> bool,
) -> Result<(), ReadError> {
    let mut read = Ok(());
    engine.scan(Keyspace::Records(collection), from, &mut |key, value| {
        if skip > 0 {
            skip -= 1;
            return true;
        }
        match record(engine, collection, key, value) {
            Ok(record) => visit(record),
            Err(error) => {
                read = Err(error);
                false
            }
        }
    })?;
    read
}

/// The record of a key and its value.
fn record(
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
