//! Reads a whole resource, record by record, on a thread that gives way to all others.
//!
//! The scan goes in chunks. No group is applied while a chunk is read, so each chunk is of one moment; between two chunks
//! the store may change.

// Decision: A list that no index serves gives way to everything else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::engine::following;
use super::holder::Holder;
use super::index_reading::IndexReader;
use super::index_sets;
use super::page::{self, CHUNK_BYTES, CHUNK_RECORDS, WantedRecords};
use super::read_error::ReadError;
use super::store::{SledStore, record};
use crate::num::as_u64;
use crate::record::{Record, RecordId, RecordSink};
use crate::storage::plan::{IndexPart, IndexSet};
use crate::storage::{CollectionId, ScanLimit, StoreError, Unserved};
use crate::supervision::contain;

/// The most scans that run at once; others wait, up to their deadline. They have one processor of two, so that reads of single
/// records and pages go on.
pub(super) fn scans_max() -> usize {
    std::thread::available_parallelism().map_or(1, |processors| (processors.get() / 2).clamp(1, 4))
}
/// The niceness of the threads of scans: beside a busy thread they get a tenth of its processor, so that they still end.
const NICENESS: i32 = 10;
/// The most times that a part of an index is read while groups are applied, before all records are read instead.
const GATHER_TRIES: u32 = 5;
/// The fault point at which a scan never ends, so that others wait for their turn.
pub(super) const HELD_SCAN: &str = "storage.held_scan";
/// The fewest records in a chunk: they can be read between two groups.
const CHUNK_RECORDS_MIN: usize = 8;

/// The number of scans that reached each limit.
#[derive(Debug, Default)]
pub(super) struct ScanLimitCounts([AtomicU64; ScanLimit::NAMES.len()]);

impl ScanLimitCounts {
    fn count(&self, limit: ScanLimit) {
        if let Some(count) = self.0.get(limit.place()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn read(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = ScanLimit::NAMES.into_iter().zip(&self.0);
        counts.map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }
}

/// The end of a scan that did not see all that it was to see.
#[derive(Debug, thiserror::Error)]
enum ScanFault {
    #[error("a scan reached a limit: {0:?}")]
    Limit(ScanLimit),
    #[error("nobody waits for the scan any more")]
    Left,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ReadError> for ScanFault {
    fn from(error: ReadError) -> Self {
        Self::Store(error.into())
    }
}

impl SledStore {
    /// Shows records of a resource to `sink`, in the order of ids, as long as it wants more. Returns it, and the resource's last
    /// change at the beginning. `why` says what would make the scan unnecessary.
    pub(super) async fn scan<T: RecordSink>(
        &self,
        collection: CollectionId,
        (source, why): (ScanSource, Unserved),
        sink: T,
    ) -> Result<(T, u64), StoreError> {
        let scanned = self.scan_within_limits(collection, source, sink);
        scanned.await.map_err(|fault| match fault {
            ScanFault::Limit(limit) => self.limited(why, limit),
            ScanFault::Store(error) => error,
            ScanFault::Left => StoreError::Failed,
        })
    }

    /// The error of a scan that reached a limit.
    pub(super) fn limited(&self, why: Unserved, limit: ScanLimit) -> StoreError {
        self.queries.limits.count(limit);
        StoreError::Unindexed { why, limit }
    }

    async fn scan_within_limits<T: RecordSink>(
        &self,
        collection: CollectionId,
        source: ScanSource,
        sink: T,
    ) -> Result<(T, u64), ScanFault> {
        let deadline = self.deadline_from_now();
        let permit = Arc::clone(&self.scans).acquire_owned();
        let permit = tokio::time::timeout_at(deadline, permit).await;
        let permit = permit.map_err(|_| ScanFault::Limit(ScanLimit::Turn))?;
        self.faults.hang(HELD_SCAN).await;
        self.readable(0, deadline).await?;
        let holder = Arc::clone(&self.holder);
        let (result, scanned) = oneshot::channel();
        let work = move || {
            let _permit = permit;
            let scan = contain(|| {
                let is_left = || result.is_closed();
                let scan = CollectionScan::new(&holder, collection, deadline, &is_left)?;
                let (from, among) = match source {
                    ScanSource::From(after) => (after, None),
                    ScanSource::Set { names, set } => (None, scan.gather(&names, &set)?),
                };
                let from = from.map_or_else(Vec::new, |id| following(&id.key()));
                let sink = match among {
                    Some(ids) => scan.run_among(&ids, sink)?,
                    None => scan.run(from, sink)?,
                };
                Ok((sink, scan.seq))
            });
            let scan = scan.unwrap_or_else(|panic| {
                tracing::error!(%panic, "reading a whole resource ended in a panic");
                Err(StoreError::Failed.into())
            });
            // Its client may have left.
            drop(result.send(scan));
        };
        on_nice_thread(work)?;
        scanned.await.map_err(|_| StoreError::Failed)?
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

/// Does work on a thread of its own, which gives way to all others. A thread can't be made less nice again, so it ends with the
/// work.
fn on_nice_thread(work: impl FnOnce() + Send + 'static) -> Result<(), StoreError> {
    let nice = move || {
        // On Linux this is about the thread. If it fails, the process was started nicer.
        if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
            tracing::debug!(%error, "a scan keeps the priority of the process");
        }
        work();
    };
    let thread = std::thread::Builder::new().name("scan".to_owned());
    match thread.spawn(nice) {
        Ok(_) => Ok(()),
        Err(error) => {
            tracing::warn!(%error, "no thread to read a whole resource");
            Err(StoreError::Overloaded)
        }
    }
}

/// The records that a scan looks at.
pub(super) enum ScanSource {
    /// Those that follow this id; all of them without one.
    From(Option<RecordId>),
    /// Those of a set whose indexes have these names.
    Set { names: Vec<String>, set: IndexSet },
}

/// A scan that is under way.
struct CollectionScan<'a> {
    holder: &'a Holder,
    collection: CollectionId,
    deadline: Instant,
    /// Whether nobody waits for it any more.
    is_left: &'a dyn Fn() -> bool,
    /// The most records that it may look at.
    records_max: u64,
    /// The resource's last change at the beginning.
    seq: u64,
}

impl<'a> CollectionScan<'a> {
    fn new(
        holder: &'a Holder,
        collection: CollectionId,
        deadline: Instant,
        is_left: &'a dyn Fn() -> bool,
    ) -> Result<Self, StoreError> {
        let open = holder.readers.engine();
        if open.is_none() {
            return Err(StoreError::Unavailable);
        }
        Ok(Self {
            holder,
            collection,
            deadline,
            is_left,
            records_max: holder.limits.now().scan_records,
            seq: holder.readers.tally(collection).seq,
        })
    }

    /// Looks whether it may look at more than the `seen` records.
    fn goes_on(&self, seen: u64) -> Result<(), ScanFault> {
        if (self.is_left)() {
            return Err(ScanFault::Left);
        }
        if Instant::now() >= self.deadline {
            return Err(ScanFault::Limit(ScanLimit::Time));
        }
        if seen > self.records_max {
            let most = self.records_max;
            return Err(ScanFault::Limit(ScanLimit::Records { most }));
        }
        Ok(())
    }

    fn run<T: RecordSink>(&self, mut from: Vec<u8>, mut sink: T) -> Result<T, ScanFault> {
        let (mut records_max, mut seen) = (CHUNK_RECORDS, 0);
        loop {
            self.goes_on(seen)?;
            let Some(chunk) = self.chunk(&from, records_max, &mut sink)? else {
                records_max = (records_max / 2).max(CHUNK_RECORDS_MIN);
                std::thread::yield_now();
                continue;
            };
            seen += as_u64(chunk.read);
            from = following(&chunk.last);
            for (before, record) in chunk.wanted {
                sink.pass(before);
                if !sink.visit(record) {
                    return Ok(sink);
                }
            }
            sink.pass(chunk.behind);
            if chunk.is_last {
                return Ok(sink);
            }
        }
    }

    /// The ids of the records of a set; `None` if an index is not there any more, or changes too fast.
    fn gather(
        &self,
        names: &[String],
        set: &IndexSet,
    ) -> Result<Option<Vec<RecordId>>, StoreError> {
        let open = self.holder.readers.engine();
        let open = open.as_deref().ok_or(StoreError::Unavailable)?;
        // An index may be removed meanwhile, so each try looks for it.
        let gather = || {
            let catalog = open.indexes.load();
            let reader = |part: &IndexPart| {
                let name = names.get(part.index)?;
                let mut kept = catalog.of(self.collection).iter();
                let kept = kept.find(|kept| kept.is_complete() && kept.index.name() == *name)?;
                Some(IndexReader::new(open, self.collection, kept))
            };
            index_sets::gather(set, &reader, usize::MAX)
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

    fn run_among<T: RecordSink>(&self, ids: &[RecordId], mut sink: T) -> Result<T, ScanFault> {
        for (at, ids) in ids.chunks(CHUNK_RECORDS).enumerate() {
            self.goes_on(as_u64(at * CHUNK_RECORDS))?;
            let open = self.holder.readers.engine();
            let open = open.as_deref().ok_or(StoreError::Unavailable)?;
            for id in ids {
                if let Some(record) = record(open, self.collection, id)?
                    && !sink.visit(record)
                {
                    return Ok(sink);
                }
            }
        }
        Ok(sink)
    }

    /// The next records; `None` if a group was applied meanwhile, or if room for reading had to be made.
    fn chunk(
        &self,
        from: &[u8],
        records_max: usize,
        sink: &mut impl RecordSink,
    ) -> Result<Option<WantedRecords>, StoreError> {
        let open = self.holder.readers.engine();
        let open = open.as_deref().ok_or(StoreError::Unavailable)?;
        let wants = |text: &[u8]| sink.wants(text);
        let read = || page::wanted(&*open.engine, self.collection, from, records_max, wants);
        match self.holder.readers.between_groups(open, read).transpose() {
            Err(error) if error.is_full() && self.holder.space.release() => Ok(None),
            chunk => Ok(chunk?),
        }
    }
}
