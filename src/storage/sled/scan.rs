//! Reads a whole resource, record by record, on a thread for blocking work.
//!
//! The scan goes in chunks. No group is applied while a chunk is read, so each chunk is of one moment; between two chunks
//! the store may change.

use std::sync::Arc;

use tokio::time::Instant;

use super::holder::Holder;
use super::page;
use super::read_error::ReadError;
use super::store::SledStore;
use crate::record::{Record, RecordId};
use crate::storage::{CollectionId, StoreError};

/// The most scans that run at once; others wait, up to their deadline.
pub(super) const SCANS_MAX: usize = 4;
/// The most records in a chunk.
const CHUNK_RECORDS_MAX: usize = 500;
/// The fewest records in a chunk: they can be read between two groups.
const CHUNK_RECORDS_MIN: usize = 8;
/// How much is read at once on an event loop, for a caller that reads on: about a millisecond's worth.
const STRETCH_RECORDS: usize = 256;
/// The same in bytes; the record that reaches it is still part of what is read.
const STRETCH_BYTES: usize = 256 * 1024;

impl SledStore {
    /// Shows every record of a resource to `visit`, in the order of ids, until it returns false. Returns what `visit` made of
    /// `state`, and the resource's last change at the beginning.
    pub(super) async fn scan<T: Send + 'static>(
        &self,
        collection: CollectionId,
        state: T,
        visit: fn(&mut T, Record) -> bool,
    ) -> Result<(T, u64), StoreError> {
        self.scan_from(collection, None, state, visit).await
    }

    /// The same from the record on that follows the id `after`.
    pub(super) async fn scan_from<T: Send + 'static>(
        &self,
        collection: CollectionId,
        after: Option<&RecordId>,
        state: T,
        visit: fn(&mut T, Record) -> bool,
    ) -> Result<(T, u64), StoreError> {
        let from = after.map_or_else(Vec::new, |id| next_key(&id.key()));
        let deadline = self.deadline_from_now();
        let permit = Arc::clone(&self.scans).acquire_owned();
        let permit = tokio::time::timeout_at(deadline, permit).await;
        let permit = permit.map_err(|_| StoreError::Overloaded)?;
        self.readable(0, deadline).await?;
        let holder = Arc::clone(&self.holder);
        let scan = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let scan = CollectionScan::new(&holder, collection, deadline)?;
            Ok((scan.run(from, state, visit)?, scan.seq))
        });
        scan.await.map_err(|_| StoreError::Failed)?
    }

    /// Some records that follow the id `after`, of one moment; none at the end.
    pub(super) async fn stretch(
        &self,
        collection: CollectionId,
        after: Option<&RecordId>,
    ) -> Result<Vec<Record>, StoreError> {
        let from = after.map_or_else(Vec::new, |id| next_key(&id.key()));
        let deadline = self.deadline_from_now();
        let mut records_max = STRETCH_RECORDS;
        loop {
            let quick = self.read(|open| {
                let read = || {
                    let (mut records, mut bytes) = (Vec::new(), 0);
                    page::records(&*open.engine, collection, &from, 0, |record| {
                        bytes += record.json.len();
                        records.push(record);
                        records.len() < records_max && bytes < STRETCH_BYTES
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

/// The next key that is possible.
fn next_key(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
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
        let mut records_max = CHUNK_RECORDS_MAX;
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
                from = next_key(&last.id.key());
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

    /// The next records; `None` if a group was applied meanwhile, or if room for reading had to be made.
    fn chunk(&self, from: &[u8], records_max: usize) -> Result<Option<Vec<Record>>, StoreError> {
        let open = self.holder.readers.engine();
        let open = open.as_deref().ok_or(StoreError::Unavailable)?;
        let engine = &*open.engine;
        let read = || {
            let mut records = Vec::new();
            page::records(engine, self.collection, from, 0, |record| {
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
