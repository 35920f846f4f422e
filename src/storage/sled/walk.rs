//! Reading a whole collection, record by record, off the event loops.
//!
//! The walk goes in chunks. Each chunk is of one moment (no group was being applied while it was read); between two chunks
//! the store may change. The number that comes with the result is that of the moment before the first chunk.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::engine::{CollectionId, Keyspace};
use super::holder::Holder;
use super::page;
use super::store::{Store, StoreError, unread};
use crate::record::{Record, RecordId, Visitor};
use crate::supervision::RETRY_AFTER;

/// How many walks go on at once; more wait in line, up to their deadline.
const WALKS_MAX: usize = 4;
/// How many records a chunk has at most.
const CHUNK_RECORDS_MAX: usize = 500;
/// How many it has at least: small enough to fit between two groups.
const CHUNK_RECORDS_MIN: usize = 8;
/// How many records are read by id between two looks at other requests.
const PICK_RECORDS_MAX: usize = 32;

/// A place for a walk.
pub(super) fn walks() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(WALKS_MAX))
}

impl Store {
    /// Shows every record of a collection to `visitor`, and returns it with the sequence number from which the walk began.
    /// What was shown is durable when this returns.
    pub(crate) async fn walk<V: Visitor>(
        &self,
        collection: CollectionId,
        visitor: V,
    ) -> Result<(V, u64), StoreError> {
        let deadline = self.deadline_from_now();
        let unavailable = || StoreError::Unavailable {
            retry_after: RETRY_AFTER,
        };
        let place = Arc::clone(self.walks()).acquire_owned();
        let place = tokio::time::timeout_at(deadline, place).await;
        let place = place.map_err(|_| StoreError::Overloaded {
            retry_after: RETRY_AFTER,
        })?;
        self.readable(deadline).await?;
        let holder = Arc::clone(self.holder());
        let walk = tokio::task::spawn_blocking(move || {
            let _place = place;
            Walk::new(&holder, collection, deadline)?.go(visitor)
        });
        let (visitor, walked) = walk.await.map_err(|_| StoreError::Failed)??;
        let mut progress = self.holder().progress().subscribe();
        let settled = progress.wait_for(|p| p.era != walked.era || p.durable >= walked.need);
        match tokio::time::timeout_at(deadline, settled).await {
            Ok(Ok(now)) if now.era == walked.era => Ok((visitor, walked.seq)),
            Ok(Err(_)) => Err(StoreError::ShuttingDown),
            Ok(Ok(_)) | Err(_) => Err(unavailable()),
        }
    }
}

impl Store {
    /// Shows the records of these ids, in their order, to `visitor`; the rest is as with [`walk`](Self::walk). What is read
    /// between two looks at other requests is of one moment.
    pub(crate) async fn pick<V: Visitor>(
        &self,
        collection: CollectionId,
        ids: Vec<RecordId>,
        mut visitor: V,
    ) -> Result<(V, u64), StoreError> {
        let deadline = self.deadline_from_now();
        let mut first = None;
        for ids in ids.chunks(PICK_RECORDS_MAX) {
            let (records, seq) = self.several(collection, ids, deadline).await?;
            first.get_or_insert(seq);
            if !records.into_iter().all(|record| visitor.visit(record)) {
                break;
            }
            tokio::task::yield_now().await;
        }
        let seq = match first {
            Some(seq) => seq,
            None => self.several(collection, &[], deadline).await?.1,
        };
        Ok((visitor, seq))
    }
}

/// What a walk has to wait for, and what it is of.
struct Walked {
    era: u64,
    seq: u64,
    need: u64,
}

struct Walk<'a> {
    holder: &'a Holder,
    collection: CollectionId,
    deadline: Instant,
    era: u64,
    seq: u64,
}

/// What one chunk came to.
enum Chunk {
    /// Its records, and whether there may be more.
    Read(Vec<Record>, bool),
    /// A group was applied meanwhile.
    Overtaken,
}

impl<'a> Walk<'a> {
    fn new(
        holder: &'a Holder,
        collection: CollectionId,
        deadline: Instant,
    ) -> Result<Self, StoreError> {
        let reader = holder.reader();
        let reader = reader.as_deref().ok_or(StoreError::Unavailable {
            retry_after: RETRY_AFTER,
        })?;
        let figures = holder.figures.get(collection.0).ok_or(StoreError::Failed)?;
        Ok(Self {
            holder,
            collection,
            deadline,
            era: reader.era,
            seq: figures.applied.load(Ordering::SeqCst),
        })
    }

    fn go<V: Visitor>(self, mut visitor: V) -> Result<(V, Walked), StoreError> {
        let mut from = Vec::new();
        let mut records_max = CHUNK_RECORDS_MAX;
        'walk: loop {
            if Instant::now() >= self.deadline {
                return Err(StoreError::TooSlow);
            }
            let Chunk::Read(records, more) = self.chunk(&from, records_max)? else {
                records_max = (records_max / 2).max(CHUNK_RECORDS_MIN);
                std::thread::yield_now();
                continue;
            };
            if let Some(last) = records.last() {
                // The next key there can be.
                from = [&*last.id.key(), &[0]].concat();
            }
            for record in records {
                if !visitor.visit(record) {
                    break 'walk;
                }
            }
            if !more {
                break;
            }
        }
        let figures = self.holder.figures.get(self.collection.0);
        let need = figures.map_or(0, |f| f.staged.load(Ordering::SeqCst));
        let walked = Walked {
            era: self.era,
            seq: self.seq,
            need,
        };
        Ok((visitor, walked))
    }

    fn chunk(&self, from: &[u8], records_max: usize) -> Result<Chunk, StoreError> {
        let reader = self.holder.reader();
        let reader = reader.as_deref().filter(|reader| reader.era == self.era);
        let reader = reader.ok_or(StoreError::Unavailable {
            retry_after: RETRY_AFTER,
        })?;
        let before = self.holder.epoch.load(Ordering::SeqCst);
        if !before.is_multiple_of(2) {
            return Ok(Chunk::Overtaken);
        }
        let mut records = Vec::new();
        let (mut wrong, mut more) = (None, false);
        let mut visit = |key: &[u8], value: &[u8]| {
            if records.len() == records_max {
                more = true;
                return false;
            }
            match page::record(&*reader.engine, self.collection, key, value) {
                Ok(record) => records.push(record),
                Err(error) => wrong = Some(error),
            }
            wrong.is_none()
        };
        let tree = Keyspace::Records(self.collection);
        let scanned = reader.engine.scan(tree, from, &mut visit);
        match scanned {
            Ok(()) => {}
            // Reading may need room, too.
            Err(error) if error.is_full() && self.holder.space.release() => {
                return Ok(Chunk::Overtaken);
            }
            Err(error) => return Err(unread(error.into())),
        }
        if self.holder.epoch.load(Ordering::SeqCst) != before {
            return Ok(Chunk::Overtaken);
        }
        match wrong {
            Some(error) => Err(unread(error)),
            None => Ok(Chunk::Read(records, more)),
        }
    }
}
