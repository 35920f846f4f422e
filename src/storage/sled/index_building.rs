//! Indexes come and go while the store is used: the writer does a bounded part of the work between two groups, whenever a
//! thread in the background asks it to, and what it does is in the view like everything else.
//!
//! The same thread counts the keys of indexes and records, see [`block_counts`](super::block_counts).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::time::Instant;

use super::block_counts::count_block;
use super::engine::{EngineError, Group, Keyspace, following};
use super::healing::{HealingTask, TaskKind};
use super::holder::Holder;
use super::index_catalog::{IndexState, KeptIndex};
use super::index_declaring::TriedIndexes;
use super::message::StoreMessage;
use super::page::{self, CHUNK_BYTES, CHUNK_RECORDS};
use super::read_error::ReadError;
use super::reader_state::OpenEngine;
use super::store::SledStore;
use super::unique::{ToldIndexes, tell_repeated};
use super::writer::Writer;
use crate::num::as_u64;
use crate::record::{JsonObject, after_all};
use crate::storage::{CollectionId, TaskProgress};
use crate::supervision::{BoxError, ChildRef, contain};

/// The most keys that one step removes.
const STEP_KEYS: usize = 1_000;
/// The longest pause after a step: as long as the step, so that writes have half of the writer's time at least.
const PAUSE_MAX: Duration = Duration::from_millis(20);
/// The pause before work that can't be done now is tried again.
const LATER: Duration = Duration::from_secs(1);
/// The blocks of keys that are counted while the writer waits.
const BLOCKS_AT_ONCE: usize = 8;

/// The result of one step of the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IndexStep {
    /// There is more to do. Has the number of bytes of records that were added to an index.
    More {
        added: u64,
    },
    /// There is work that can't be done now.
    Later,
    Done,
}

/// The work on indexes that is done in the background: tells the thread there that there may be some.
#[derive(Debug, Default)]
pub(super) struct IndexWork {
    /// The indexes that were made to try a candidate.
    pub(super) tried: Mutex<TriedIndexes>,
    wanted: Mutex<Wanted>,
    changed: Condvar,
    /// Whether the last step could not read the view.
    failing: AtomicBool,
}

#[derive(Debug, Default, Clone, Copy)]
struct Wanted {
    work: bool,
    closed: bool,
}

impl IndexWork {
    /// There may be work.
    pub(super) fn wake(&self) {
        self.wanted.lock().work = true;
        self.changed.notify_all();
    }

    /// There is no more work for good.
    pub(super) fn close(&self) {
        self.wanted.lock().closed = true;
        self.changed.notify_all();
    }

    /// Notes that a step could not read the view.
    fn fails(&self, error: &EngineError) {
        if !self.failing.swap(true, Ordering::Relaxed) {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            tracing::error!(%error, cause, "an index can't be built or removed now: it is tried again each second; look at the disk");
        }
    }

    /// Whether the last step could not read the view.
    pub(super) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Notes that a step has read the view.
    fn reads(&self) {
        if self.failing.swap(false, Ordering::Relaxed) {
            tracing::info!("building and removing indexes works again");
        }
    }

    /// Waits for work. False if there is none any more.
    fn wait(&self) -> bool {
        let mut wanted = self.wanted.lock();
        let idle = |wanted: &mut Wanted| !wanted.work && !wanted.closed;
        self.changed.wait_while(&mut wanted, idle);
        wanted.work = false;
        !wanted.closed
    }

    /// Waits for as long as this. False if there is no work any more.
    pub(super) fn pause(&self, limit: Duration) -> bool {
        let mut wanted = self.wanted.lock();
        let open = |wanted: &mut Wanted| !wanted.closed;
        self.changed.wait_while_for(&mut wanted, open, limit);
        !wanted.closed
    }
}

/// Looks after the indexes of a store as long as it is used, on a thread of its own.
pub(super) fn in_background(store: &SledStore) {
    let (holder, writer) = (Arc::clone(&store.holder), store.writer.clone());
    let mut told = ToldIndexes::new();
    let work = move || {
        while holder.index_work.wait() {
            let work = || {
                change_indexes(&holder, &writer);
                tell_repeated(&holder, &mut told);
                count_keys(&holder);
            };
            if let Err(panic) = contain(work) {
                tracing::error!(%panic, "the thread that builds and counts indexes panicked");
            }
        }
    };
    let thread = std::thread::Builder::new().name("indexes".to_owned());
    if let Err(error) = thread.spawn(work) {
        tracing::warn!(%error, "no thread for indexes: those that are not complete are not used, and unique is not enforced for records that they lack; restart to have them built");
    }
}

/// Has the writer do one step after the other until all indexes are as they are declared.
fn change_indexes(holder: &Holder, writer: &ChildRef<StoreMessage>) {
    let mut task: Option<HealingTask<'_>> = None;
    loop {
        let begun = Instant::now();
        let (done, told) = mpsc::channel();
        let step = match writer.tell(StoreMessage::Indexes { done }) {
            Ok(()) => told.recv().unwrap_or(IndexStep::Later),
            Err(_) => IndexStep::Later,
        };
        let pause = match step {
            IndexStep::Done => return,
            IndexStep::Later => LATER,
            IndexStep::More { added } => {
                if added > 0 {
                    let task = task.get_or_insert_with(|| {
                        let task = holder.healing.begin(TaskKind::BuildIndexes).announced();
                        task.has_left(bytes_to_read(holder));
                        task
                    });
                    task.add(added);
                }
                begun.elapsed().min(PAUSE_MAX)
            }
        };
        if !holder.index_work.pause(pause) {
            return;
        }
    }
}

/// The bytes of the records that are to be read for indexes, as if none were read yet.
fn bytes_to_read(holder: &Holder) -> u64 {
    let bytes = holder.look(|open| {
        let indexes = open.indexes.load();
        let ids = (0..open.engine.collections().len()).map(CollectionId);
        let bytes = ids.map(|id| {
            let mut of = indexes.of(id).iter();
            let builds = of.any(|index| matches!(index.state, IndexState::Building(_)));
            if builds {
                holder.readers.tally(id).bytes
            } else {
                0
            }
        });
        bytes.sum()
    });
    bytes.unwrap_or(0)
}

/// Counts the keys that are not counted yet.
fn count_keys(holder: &Holder) {
    let Some(era) = holder.look(|open| open.era) else {
        return;
    };
    let counted = holder.look(|open| open.indexes.load().counted());
    for of in counted.unwrap_or_default() {
        loop {
            let count = |open: &OpenEngine| -> Result<bool, ReadError> {
                let indexes = open.indexes.load();
                let Some(counts) = indexes.counts(&of) else {
                    return Ok(true);
                };
                for _ in 0..BLOCKS_AT_ONCE {
                    count_block(&*open.engine, &of, counts)?;
                }
                Ok(counts.lock().are_complete())
            };
            let readers = &holder.readers;
            let complete = holder.look(|open| {
                let same = open.era == era;
                same.then(|| readers.before_next_group(open, || count(open)))
                    .flatten()
            });
            match complete.flatten() {
                Some(Ok(false)) => std::thread::yield_now(),
                Some(Ok(true)) => break,
                Some(Err(error)) => {
                    tracing::warn!(%error, "the keys of an index could not be counted");
                    return;
                }
                // The store was closed or opened again, which wakes this thread.
                None => return,
            }
        }
    }
}

impl Writer {
    /// Tells whoever asked for it how one step went.
    pub(super) fn tell_index_step(
        &self,
        open: &OpenEngine,
        done: &Sender<IndexStep>,
    ) -> Result<(), BoxError> {
        let step = self.index_step(open)?;
        // Whoever asked may be gone.
        let _gone = done.send(step);
        Ok(())
    }

    /// Ends a step that could not read the view. Nothing of it was written.
    fn not_read(&self, open: &OpenEngine, error: ReadError) -> Result<IndexStep, BoxError> {
        match error {
            ReadError::Engine(error @ EngineError::Io { .. }) => {
                if error.is_full() {
                    self.holder.space.release();
                }
                self.holder.index_work.fails(&error);
                Ok(IndexStep::Later)
            }
            ReadError::Engine(EngineError::Failed(_)) | ReadError::Damaged { .. } => {
                self.holder.files.doubt_view(&mut open.log.lock());
                self.holder.doubt();
                Err(format!("{error}: the view is made again").into())
            }
        }
    }

    /// Does a bounded part of what is to be done about the indexes.
    fn index_step(&self, open: &OpenEngine) -> Result<IndexStep, BoxError> {
        if self.holder.space.refuses() || self.holder.disk.trouble().is_some() {
            return Ok(IndexStep::Later);
        }
        if self.declare_indexes(open)? {
            return Ok(IndexStep::More { added: 0 });
        }
        let names = open.engine.collections();
        let catalog = open.indexes.load().of_resources(names.len());
        let mut group = Group::default();
        for (id, name) in (0..).map(CollectionId).zip(names.iter()) {
            for kept in catalog.of(id) {
                let mut next = catalog.clone();
                let read = match &kept.state {
                    IndexState::Complete => continue,
                    IndexState::Building(from) => build(open, id, kept, from, &mut group)
                        .map(|(state, added)| (Some(state), added.max(1))),
                    IndexState::Dropping => {
                        remove(open, id, kept, &mut group).map(|state| (state, 0))
                    }
                };
                let (state, added) = match read {
                    Ok(read) => read,
                    Err(error) => return self.not_read(open, error),
                };
                self.holder.index_work.reads();
                if state == Some(IndexState::Complete) {
                    tracing::info!(resource = %name, fields = %kept.index.fields(), "an index is complete");
                    self.holder.index_work.wake();
                }
                let resource = next.change(id).ok_or("a resource without indexes")?;
                let indexes = &mut resource.indexes;
                if let Some(state) = state {
                    let now = KeptIndex {
                        state,
                        ..kept.clone()
                    };
                    now.note(&mut group, name);
                    indexes.retain(|other| other.number != kept.number);
                    indexes.push(now);
                } else {
                    kept.forget(&mut group, name);
                    indexes.retain(|other| other.number != kept.number);
                    tracing::info!(resource = %name, fields = %kept.index.fields(), "an index was removed");
                }
                self.change_view(open, &group, next)?;
                return Ok(IndexStep::More { added });
            }
        }
        // Resources that were declared meanwhile are counted, too.
        open.indexes.store(Arc::new(catalog));
        Ok(IndexStep::Done)
    }
}

/// Adds the next records to an index. Returns its state after that, and the bytes of the records.
fn build(
    open: &OpenEngine,
    collection: CollectionId,
    kept: &KeptIndex,
    from: &[u8],
    group: &mut Group,
) -> Result<(IndexState, u64), ReadError> {
    let (mut records, mut bytes) = (0, 0);
    let mut next = None;
    page::stored(&*open.engine, collection, from, |key, record| {
        let object = JsonObject::parse(&record.json).unwrap_or_default();
        for entry in kept.index.entries(object.members()) {
            group.put(
                Keyspace::Index(collection),
                kept.key(&entry, key),
                Vec::new(),
            );
        }
        records += 1;
        bytes += record.json.len();
        let more = records < CHUNK_RECORDS && bytes < CHUNK_BYTES;
        if !more {
            next = Some(following(key));
        }
        more
    })?;
    let state = next.map_or(IndexState::Complete, IndexState::Building);
    Ok((state, as_u64(bytes)))
}

/// Removes some keys of an index. Returns its state after that; `None` if it has no more keys.
fn remove(
    open: &OpenEngine,
    collection: CollectionId,
    kept: &KeptIndex,
    group: &mut Group,
) -> Result<Option<IndexState>, ReadError> {
    let of = kept.keys(collection);
    let (mut keys, end) = (0, after_all(&of.beginning));
    let mut more = false;
    open.engine
        .scan(of.keyspace, &of.beginning, &mut |key, _| {
            if key >= end.as_slice() {
                return false;
            }
            more = keys == STEP_KEYS;
            if !more {
                keys += 1;
                group.remove(of.keyspace, key);
            }
            !more
        })?;
    Ok(more.then_some(IndexState::Dropping))
}
