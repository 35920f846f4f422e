//! Reads one page of a resource in the order of ids.

use bytes::Bytes;
use parking_lot::Mutex;

use super::block_counts::{BlockCounts, CountedKeys, KeyAfter, OrderedKeys};
use super::checked::Tally;
use super::engine::{Engine, Keyspace, OpenFault};
use super::holder::Holder;
use super::read_error::ReadError;
use super::reader_state::OpenEngine;
use super::stored_record::{Damaged, StoredRecord};
use super::value;
use crate::num::{as_u64, as_usize};
use crate::record::{Record, RecordId, Slice};
use crate::storage::{CollectionId, ListPage};

/// How many bytes of records are read on an event loop without a pause; a longer page is read elsewhere.
pub(super) const PAGE_BYTES_MAX: usize = 1 << 20;

/// The most records of a chunk, and the bytes after which it ends: the writer may have to wait while it is read.
const CHUNK_RECORDS: usize = 500;
const CHUNK_BYTES: usize = 256 << 10;

/// The records of a resource, with the counts of their keys, as far as there are some.
pub(super) struct OrderedRecords<'a> {
    pub(super) engine: &'a dyn Engine,
    pub(super) collection: CollectionId,
    pub(super) counts: Option<&'a Mutex<BlockCounts>>,
}

impl OrderedRecords<'_> {
    fn keys(&self) -> OrderedKeys<'_> {
        OrderedKeys {
            engine: self.engine,
            of: CountedKeys::records(self.collection),
            counts: self.counts,
        }
    }
}

/// Reads a page in the order of ids, or in the reverse; `None` if it is longer than [`PAGE_BYTES_MAX`], or far behind while records are not counted yet. The caller makes sure that no group is applied meanwhile.
pub(super) fn read(
    from: &OrderedRecords<'_>,
    tally: Tally,
    slice: Slice,
    descending: bool,
) -> Result<Option<ListPage>, ReadError> {
    let mut page = ListPage {
        records: Vec::new(),
        total: Some(tally.records),
        more: false,
        seq: tally.seq,
    };
    page.more = tally.records > as_u64(slice.start());
    if slice.limit() == 0 || !page.more {
        return Ok(Some(page));
    }
    // In the reverse, the page is read from its end.
    let start = as_u64(slice.start());
    let end = as_u64(slice.end()).min(tally.records);
    let skip = if descending {
        tally.records - end
    } else {
        start
    };
    let first = match from.keys().after(&[], skip)? {
        KeyAfter::Key(key) => key,
        KeyAfter::None => return Ok(Some(page)),
        KeyAfter::Unknown => return Ok(None),
    };
    let mut bytes = 0;
    let wanted = as_usize(end - start);
    records(from.engine, from.collection, &first, |record| {
        bytes += record.json.len();
        page.records.push(record);
        bytes <= PAGE_BYTES_MAX && page.records.len() < wanted
    })?;
    if descending {
        page.records.reverse();
    }
    page.more = tally.records > end;
    Ok((bytes <= PAGE_BYTES_MAX).then_some(page))
}

/// Shows the records of a resource from the key `from` on to `visit`, until it returns false.
pub(super) fn records(
    engine: &dyn Engine,
    collection: CollectionId,
    from: &[u8],
    mut visit: impl FnMut(Record) -> bool,
) -> Result<(), ReadError> {
    let mut named = Ok(());
    stored(engine, collection, from, |key, record| {
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
    mut visit: impl FnMut(&[u8], StoredRecord) -> bool,
) -> Result<(), ReadError> {
    let mut read = Ok(());
    engine.scan(Keyspace::Records(collection), from, &mut |key, value| {
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
        stored(&*open.engine, collection, from, |key, record| {
            bytes += record.json.len();
            records.push((key.to_vec(), record));
            records.len() < CHUNK_RECORDS && bytes < CHUNK_BYTES
        })?;
        Ok::<_, OpenFault>(records)
    };
    at_one_moment(holder, era, read).transpose()
}

/// The result of a short `read` of one moment; `None` if the store is not the one that was opened for the `era`th time. For
/// threads of their own: it may wait for the writer.
pub(super) fn at_one_moment<T>(
    holder: &Holder,
    era: u64,
    read: impl Fn(&OpenEngine) -> T,
) -> Option<T> {
    let readers = &holder.readers;
    let found = holder.look(|open| {
        let quick = || readers.between_groups(open, || read(open));
        // A writer that is never idle would never leave the time. By now, all is in memory.
        let found = || quick().or_else(|| readers.before_next_group(open, || read(open)));
        (open.era == era).then(found)
    });
    found.flatten().flatten()
}
