//! Reads one page of a resource in the order of ids.

use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::block_counts::{BlockCounts, CountedKeys, KeyAfter, OrderedKeys};
use super::checked::Tally;
use super::engine::{Engine, EngineError, Keyspace, OpenFault, following};
use super::holder::Holder;
use super::index_reading::WalkedPage;
use super::read_error::ReadError;
use super::reader_state::OpenEngine;
use super::stored_record::{Damaged, StoredRecord};
use super::value;
use crate::num::{as_u64, as_usize};
use crate::record::{Record, RecordId, Slice};
use crate::storage::{CollectionId, ListPage};

/// The most bytes of records that are read on an event loop without a pause; a longer page is read elsewhere.
pub(super) const PAGE_BYTES_MAX: usize = 1 << 20;

/// The most records that are read at once, and the bytes after which that ends: about a millisecond's worth. An event loop is
/// busy meanwhile, or the writer may have to wait.
pub(super) const CHUNK_RECORDS: usize = 256;
pub(super) const CHUNK_BYTES: usize = 256 << 10;
/// The pause after a chunk, for whoever reads all records beside those who use the store.
pub(super) const CHUNK_PAUSE: Duration = Duration::from_millis(1);

/// The most records of a longer page whose ids are read there.
const PAGE_IDS_MAX: u64 = 4_096;

/// A page, as far as it is read without a pause.
#[derive(Debug)]
pub(super) enum PageRead {
    Page(ListPage),
    /// It has more bytes: these are its records.
    Long(WalkedPage),
    /// It has very many records, or is far behind while records are not counted yet.
    Unknown,
}

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

    /// The number of records up to the one with this id, or to where it was; `None` if they are too many to be counted now.
    fn before(
        &self,
        id: Option<&RecordId>,
        tally: Tally,
        descending: bool,
    ) -> Result<Option<u64>, EngineError> {
        let Some(id) = id else {
            return Ok(Some(0));
        };
        let key = id.key();
        if descending {
            let before = self.keys().count(&[], &key)?;
            return Ok(before.map(|before| tally.records.saturating_sub(before)));
        }
        self.keys().count(&[], &following(&key))
    }
}

/// Reads a page in the order of ids, or in the reverse, unless it is longer than [`PAGE_BYTES_MAX`]. The caller makes sure that no
/// group is applied meanwhile.
pub(super) fn read(
    from: &OrderedRecords<'_>,
    tally: Tally,
    slice: Slice,
    after: Option<&RecordId>,
    descending: bool,
) -> Result<PageRead, ReadError> {
    let mut page = ListPage {
        records: Vec::new(),
        total: Some(tally.records),
        more: false,
        seq: tally.seq,
        looked: 0,
    };
    let Some(before) = from.before(after, tally, descending)? else {
        return Ok(PageRead::Unknown);
    };
    let start = before + as_u64(slice.start());
    page.more = tally.records > start;
    if slice.limit() == 0 || !page.more {
        return Ok(PageRead::Page(page));
    }
    // In the reverse, the page is read from its end.
    let end = start
        .saturating_add(as_u64(slice.limit()))
        .min(tally.records);
    let skip = if descending {
        tally.records - end
    } else {
        start
    };
    let first = match skip {
        0 => KeyAfter::Key(Vec::new()),
        skip => from.keys().after(&[], skip)?,
    };
    let first = match first {
        KeyAfter::Key(key) => key,
        KeyAfter::None => return Ok(PageRead::Page(page)),
        KeyAfter::Unknown => return Ok(PageRead::Unknown),
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
    if bytes <= PAGE_BYTES_MAX {
        return Ok(PageRead::Page(page));
    }
    if end - start > PAGE_IDS_MAX {
        return Ok(PageRead::Unknown);
    }
    let mut ids = ids(from, &first, wanted)?;
    if descending {
        ids.reverse();
    }
    let total = tally.records;
    Ok(PageRead::Long(WalkedPage { ids, start, total }))
}

/// The ids of the records from the key `first` on, so many at most.
fn ids(from: &OrderedRecords<'_>, first: &[u8], wanted: usize) -> Result<Vec<RecordId>, ReadError> {
    let (mut ids, mut read) = (Vec::with_capacity(wanted), Ok(()));
    let keyspace = Keyspace::Records(from.collection);
    from.engine.scan(keyspace, first, &mut |key, _| {
        if let Some(id) = RecordId::from_key(key) {
            ids.push(id);
        } else {
            read = Err(ReadError::from(Damaged).of_record(key));
        }
        ids.len() < wanted && read.is_ok()
    })?;
    read.map(|()| ids)
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

/// The records of a part of a resource that are wanted, in the order of their ids.
#[derive(Default)]
pub(super) struct WantedRecords {
    /// Each with the number of those before it that were not, since the last one that was.
    pub(super) wanted: Vec<(u64, Record)>,
    /// The number of those behind the last one.
    pub(super) behind: u64,
    /// The number of all, and the key of the last of them.
    pub(super) read: usize,
    pub(super) last: Vec<u8>,
    /// Whether none follow.
    pub(super) is_last: bool,
    bytes: usize,
}

/// The records from the key `from` on that are wanted, among so many; their bytes are limited, too.
pub(super) fn wanted(
    engine: &dyn Engine,
    collection: CollectionId,
    from: &[u8],
    records_max: usize,
    mut wants: impl FnMut(&[u8]) -> bool,
) -> Result<WantedRecords, ReadError> {
    let (mut found, mut read) = (WantedRecords::default(), Ok(()));
    found.is_last = true;
    engine.scan(
        Keyspace::Records(collection),
        from,
        &mut |key, stored| match found.add(engine, collection, (key, stored), &mut wants) {
            Ok(()) => {
                found.is_last = found.read < records_max && found.bytes < CHUNK_BYTES;
                found.is_last
            }
            Err(error) => {
                read = Err(error);
                false
            }
        },
    )?;
    read.map(|()| found)
}

impl WantedRecords {
    fn add(
        &mut self,
        engine: &dyn Engine,
        collection: CollectionId,
        (key, stored): (&[u8], &[u8]),
        wants: &mut impl FnMut(&[u8]) -> bool,
    ) -> Result<(), ReadError> {
        let damaged = |error: Damaged| ReadError::from(error).of_record(key);
        self.read += 1;
        self.last.clear();
        self.last.extend_from_slice(key);
        let text = StoredRecord::text(stored).map_err(damaged)?;
        if let Some(text) = text
            && !wants(text)
        {
            self.bytes += text.len();
            self.behind += 1;
            return if RecordId::is_key(key) {
                Ok(())
            } else {
                Err(damaged(Damaged))
            };
        }
        let value = Bytes::copy_from_slice(stored);
        let record = value::whole(engine, None, collection, key, value)?;
        self.bytes += record.json.len();
        if text.is_none() && !wants(&record.json) {
            self.behind += 1;
            return Ok(());
        }
        let id = RecordId::from_key(key).ok_or_else(|| damaged(Damaged))?;
        let before = std::mem::take(&mut self.behind);
        self.wanted.push((before, record.into_record(id)));
        Ok(())
    }
}

/// Keys, and what is stored at them.
pub(super) type Chunk = Vec<(Vec<u8>, StoredRecord)>;

/// The next records of a resource from the key `from` on, of one moment; none at the end. `from` is moved behind them. `None` if
/// the store is not the one that was opened for the `era`th time. For threads of their own: it may wait for the writer.
pub(super) fn chunk(
    holder: &Holder,
    era: u64,
    collection: CollectionId,
    from: &mut Vec<u8>,
) -> Result<Option<Chunk>, OpenFault> {
    let read = |open: &OpenEngine| {
        let (mut records, mut bytes) = (Vec::new(), 0);
        stored(&*open.engine, collection, from.as_slice(), |key, record| {
            bytes += record.json.len();
            records.push((key.to_vec(), record));
            records.len() < CHUNK_RECORDS && bytes < CHUNK_BYTES
        })?;
        Ok::<_, OpenFault>(records)
    };
    let chunk = at_one_moment(holder, era, read).transpose()?;
    if let Some((last, _)) = chunk.as_ref().and_then(|chunk: &Chunk| chunk.last()) {
        *from = following(last);
    }
    Ok(chunk)
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
