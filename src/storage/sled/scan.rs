//! Reads a whole resource, record by record, on a thread for blocking work.
//!
//! The scan goes in chunks. No group is applied while a chunk is read, so each chunk is of one moment; between two chunks
//! the store may change.

use std::sync::Arc;

use tokio::time::Instant;

use super::engine::following;
use super::holder::Holder;
use super::index_reading::IndexReader;
use super::page::{self, CHUNK_BYTES, CHUNK_RECORDS};
use super::read_error::ReadError;
use super::store::{SledStore, record};
use crate::record::{Record, RecordId};
use crate::storage::plan::IndexPart;
use crate::storage::{CollectionId, StoreError};

/// The most scans that run at once; others wait, up to their deadline. They have one processor of two, so that reads of single
/// records and pages go on.
pub(super) fn scans_max() -> usize {
    std::thread::available_parallelism().map_or(1, |processors| (processors.get() / 2).clamp(1, 4))
}
/// How often a part of an index is read while groups are applied, before all records are read instead.
const GATHER_TRIES: u32 = 5;
/// The fewest records in a chunk: they can be read between two groups.
const CHUNK_RECORDS_MIN: usize = 8;

impl SledStore {
    /// Shows every record of a resource to `visit`, in the order of ids, until it returns false. Returns what `visit` made of
    /// `state`, and the resource's last change at the beginning.
    pub(super) async fn scan<T: Send + 'static>(
        &self,
        collection: CollectionId,
        state: T,
        visit: fn(&mut T, Record) -> bool,
    ) -> Result<(T, u64), StoreError> {
        let source = ScanSource::From(None);
        self.scan_from(collection, source, state, visit).await
    }

    /// The same of some of the records.
    pub(super) async fn scan_from<T: Send + 'static>(
        &self,
        collection: CollectionId,
        source: ScanSource,
        state: T,
        visit: fn(&mut T, Record) -> bool,
    ) -> Result<(T, u64), StoreError> {
        let deadline = self.deadline_from_now();
        let permit = Arc::clone(&self.scans).acquire_owned();
        let permit = tokio::time::timeout_at(deadline, permit).await;
        let permit = permit.map_err(|_| StoreError::Overloaded)?;
        self.readable(0, deadline).await?;
        let holder = Arc::clone(&self.holder);
        let scan = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let scan = CollectionScan::new(&holder, collection, deadline)?;
            let (from, among) = match source {
                ScanSource::From(after) => (after, None),
                ScanSource::Part { index, part } => (None, scan.gather(&index, &part)?),
            };
            let from = from.map_or_else(Vec::new, |id| following(&id.key()));
            let state = match among {
                Some(ids) => scan.run_among(&ids, state, visit)?,
                None => scan.run(from, state, visit)?,
            };
            Ok((state, scan.seq))
        });
        scan.await.map_err(|_| StoreError::Failed)?
    }

    /// Some records that follow the id `after`, of one moment; none at the end.
    pub(super) async fn stretch(
        &self,
        collection: CollectionId,
        after: Option<&RecordId>,
    ) -> Result<Vec<Record>, StoreError> {
        let from = after.map_or_else(Vec::new, |id| following(&id.key()));
        let deadline = self.deadline_from_now();
        let mut records_max = CHUNK_RECORDS;
        loop {
            let quick = self.read(|open| {
                let read = || {
                    let (mut records, mut bytes) = (Vec::new(), 0);
                    page::records(&*open.engine, collection, &from, |record| {
                        bytes += record.json.len();
                        records.push(record);
                        records.len() < records_max && bytes < CHUNK_BYTES
                    })?;
                    Ok::<_, ReadError>(records)
                };
                Ok(self.holder.readers.between_groups(open, read).transpose()?)
            });
            if let Some(records) = quick.await? {
                return Ok(records);
            }
            if Instant::now() >= deadline {
                return Err(StoreError::TooSlow);
            }
            records_max = (records_max / 2).max(CHUNK_RECORDS_MIN);
            tokio::task::yield_now().await;
        }
    }
}

/// The records that a scan looks at.
pub(super) enum ScanSource {
    /// Those that follow this id; all of them without one.
    From(Option<RecordId>),
    /// Those that a part of the index of this name names.
    Part { index: String, part: IndexPart },
}

/// A scan that is under way.
struct CollectionScan<'a> {
    holder: &'a Holder,
    collection: CollectionId,
    deadline: Instant,
    /// The resource's last change at the beginning.
    seq: u64,
}

impl<'a> CollectionScan<'a> {
    fn new(
        holder: &'a Holder,
        collection: CollectionId,
        deadline: Instant,
    ) -> Result<Self, StoreError> {
        let open = holder.readers.engine();
        if open.is_none() {
            return Err(StoreError::Unavailable);
        }
        Ok(Self {
            holder,
            collection,
            deadline,
            seq: holder.readers.tally(collection).seq,
        })
    }

    fn run<T>(
        &self,
        mut from: Vec<u8>,
        mut state: T,
        visit: fn(&mut T, Record) -> bool,
    ) -> Result<T, StoreError> {
        let mut records_max = CHUNK_RECORDS;
        loop {
            if Instant::now() >= self.deadline {
                return Err(StoreError::TooSlow);
            }
            let Some(chunk) = self.chunk(&from, records_max)? else {
                records_max = (records_max / 2).max(CHUNK_RECORDS_MIN);
                std::thread::yield_now();
                continue;
            };
            let more = chunk.len() == records_max;
            if let Some(last) = chunk.last() {
                from = following(&last.id.key());
            }
            for record in chunk {
                if !visit(&mut state, record) {
                    return Ok(state);
                }
            }
            if !more {
                return Ok(state);
            }
        }
    }

    /// The ids of the records that a part of an index names; `None` if the index is not there any more, or changes too fast.
    fn gather(&self, name: &str, part: &IndexPart) -> Result<Option<Vec<RecordId>>, StoreError> {
        let open = self.holder.readers.engine();
        let open = open.as_deref().ok_or(StoreError::Unavailable)?;
        // The index may be removed meanwhile, so each try looks for it.
        let gather = || {
            let catalog = open.indexes.load();
            let mut kept = catalog.of(self.collection).iter();
            let kept = kept.find(|kept| kept.is_complete() && kept.index.name() == name);
            let reader = kept.map(|kept| IndexReader::new(open, self.collection, kept));
            reader.map_or(Ok(None), |reader| reader.gather(part, usize::MAX))
        };
        // Beside the writer, a record could move from what is not read yet to what was.
        for _ in 0..GATHER_TRIES {
            if let Some(ids) = self.holder.readers.between_groups(open, gather) {
                return Ok(ids?);
            }
            std::thread::yield_now();
        }
        Ok(None)
    }

    fn run_among<T>(
        &self,
        ids: &[RecordId],
        mut state: T,
        visit: fn(&mut T, Record) -> bool,
    ) -> Result<T, StoreError> {
        for ids in ids.chunks(CHUNK_RECORDS) {
            if Instant::now() >= self.deadline {
                return Err(StoreError::TooSlow);
            }
            let open = self.holder.readers.engine();
            let open = open.as_deref().ok_or(StoreError::Unavailable)?;
            for id in ids {
                if let Some(record) = record(open, self.collection, id)?
                    && !visit(&mut state, record)
                {
                    return Ok(state);
                }
            }
        }
        Ok(state)
    }

    /// The next records; `None` if a group was applied meanwhile, or if room for reading had to be made.
    fn chunk(&self, from: &[u8], records_max: usize) -> Result<Option<Vec<Record>>, StoreError> {
        let open = self.holder.readers.engine();
        let open = open.as_deref().ok_or(StoreError::Unavailable)?;
        let engine = &*open.engine;
        let read = || {
            let mut records = Vec::new();
            page::records(engine, self.collection, from, |record| {
                records.push(record);
                records.len() < records_max
            })?;
            Ok::<_, ReadError>(records)
        };
        match self.holder.readers.between_groups(open, read).transpose() {
            Err(error) if error.is_full() && self.holder.space.release() => Ok(None),
            chunk => Ok(chunk?),
        }
    }
}
