//! Reads one page of a resource in the order of ids.

use bytes::Bytes;

use super::engine::{Engine, Keyspace, OpenFault};
use super::holder::Holder;
use super::read_error::ReadError;
use super::reader_state::{OpenEngine, ReaderState};
use super::stored_record::{Damaged, StoredRecord};
use super::value;
use crate::num::as_u64;
use crate::record::{Record, RecordId, Slice};
use crate::storage::{CollectionId, ListPage};

/// How many bytes of records are read on an event loop without a pause; a longer page is read elsewhere.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// The most records of a chunk, and the bytes after which it ends: the writer may have to wait while it is read.
const CHUNK_RECORDS: usize = 500;
const CHUNK_BYTES: usize = 256 << 10;

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
        total: Some(tally.records),
        more: false,
        seq: tally.seq,
    };
    page.more = tally.records > as_u64(slice.start());
    if slice.limit() == 0 {
        return Ok(Some(page));
    }
    let mut bytes = 0;
    records(engine, collection, &[], slice.start(), |record| {
        bytes += record.json.len();
        page.records.push(record);
        bytes <= PAGE_BYTES_MAX && page.records.len() < slice.limit()
    })?;
    let end = slice.start().saturating_add(page.records.len());
    page.more = tally.records > as_u64(end);
    Ok((bytes <= PAGE_BYTES_MAX).then_some(page))
}

/// Shows the records of a resource from the key `from` on to `visit`, except the first `skip`, until it returns false.
pub(super) fn records(
    engine: &dyn Engine,
    collection: CollectionId,
    from: &[u8],
    skip: usize,
    mut visit: impl FnMut(Record) -> bool,
) -> Result<(), ReadError> {
    let mut named = Ok(());
    stored(engine, collection, from, skip, |key, record| {
        if let Some(id) = RecordId::from_key(key) {
            visit(record.into_record(id))
        } else {
            named = Err(ReadError::from(Damaged).of_record(key));
            false
        }
    })?;
    named
}

/// The same with the keys, and all that is stored of a record.
pub(super) fn stored(
    engine: &dyn Engine,
    collection: CollectionId,
    from: &[u8],
    mut skip: usize,
    mut visit: impl FnMut(&[u8], StoredRecord) -> bool,
) -> Result<(), ReadError> {
    let mut read = Ok(());
    engine.scan(Keyspace::Records(collection), from, &mut |key, value| {
        if skip > 0 {
            skip -= 1;
            return true;
        }
        let value = Bytes::copy_from_slice(value);
        match value::whole(engine, None, collection, key, value) {
            Ok(record) => visit(key, record),
            Err(error) => {
                read = Err(error);
                false
            }
        }
    })?;
    read
}

/// Keys, and what is stored at them.
type Chunk = Vec<(Vec<u8>, StoredRecord)>;

/// The next records of a resource, of one moment; none at the end. `None` if the store is not the one that was opened for
/// the `era`th time. For threads of their own: it may wait for the writer.
pub(super) fn chunk(
    holder: &Holder,
    era: u64,
    collection: CollectionId,
    from: &[u8],
) -> Result<Option<Chunk>, OpenFault> {
    let read = |open: &OpenEngine| {
        let (mut records, mut bytes) = (Vec::new(), 0);
        stored(&*open.engine, collection, from, 0, |key, record| {
            bytes += record.json.len();
            records.push((key.to_vec(), record));
            records.len() < CHUNK_RECORDS && bytes < CHUNK_BYTES
        })?;
        Ok::<_, OpenFault>(records)
    };
    let readers = &holder.readers;
    let found = holder.look(|open| {
        let quick = || readers.between_groups(open, || read(open));
        // A writer that is never idle would never leave the time. By now, all is in memory.
        let found = || quick().or_else(|| readers.before_next_group(open, || read(open)));
        (open.era == era).then(found)
    });
    found.flatten().flatten().transpose()
}
