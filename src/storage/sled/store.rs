//! What the edge holds of the store.
//!
//! Reads go to the engine on the caller's own thread. What they show is shown only once it is durable, so nobody sees
//! what a power cut could take back; usually it is, and nobody waits.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::engine::{CollectionId, EngineError};
use super::holder::{Holder, Reader};
use super::message::{StoreMessage, Write, WriteError, Written};
use super::page::{self, PageError};
use super::value;
use super::walk::walks;
use crate::record::{Command, Conditions, Record, RecordId, Refusal, Revision, Slice};
use crate::supervision::{AskError, ChildRef, RETRY_AFTER};

/// How often a list is tried while groups are applied, before the writer is asked to read it between two groups.
const LIST_TRIES: u32 = 3;

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListPage {
    /// The records, by id.
    pub records: Vec<Record>,
    /// How many there are in all.
    pub total: u64,
    /// The sequence number of the collection's last change: equal numbers mean equal lists.
    pub seq: u64,
}

/// What is measured of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Measures {
    /// Room on its disk, if the file system says.
    pub available_bytes: Option<u64>,
    /// Below this much room writes are refused.
    pub reserve_bytes: Option<u64>,
    /// How many writes were refused for lack of room.
    pub refused_total: u64,
    /// The number of the last change that is on the disk.
    pub durable_seq: u64,
}

/// Why the store did not do it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum StoreError {
    /// The store is being opened, or its writer grows back.
    #[error("the store is not available right now")]
    Unavailable {
        /// When a retry makes sense.
        retry_after: Duration,
    },
    /// Too many writes wait.
    #[error("too many writes are waiting")]
    Overloaded {
        /// When a retry makes sense.
        retry_after: Duration,
    },
    /// The deadline passed before the write was begun: it was not done.
    #[error("the deadline passed before the write was begun; it was not done")]
    Expired,
    /// Reading everything that had to be looked at took too long.
    #[error("reading the whole resource took too long; ask for less of it")]
    TooSlow,
    /// The writer died of it, twice.
    #[error("the writer failed on this write; it was not done")]
    Crashed,
    /// The write was begun, and its outcome is not known.
    #[error("the write was begun, but its outcome is not known; read before trying again")]
    OutcomeUnknown,
    /// The daemon is stopping.
    #[error("the store is closed")]
    ShuttingDown,
    /// A stored record is not what was written.
    #[error("a stored record is damaged")]
    Damaged,
    /// There is no room on the disk.
    #[error("the disk is full: writes are refused until there is room, reads go on")]
    Full,
    /// The engine failed.
    #[error("the store failed")]
    Failed,
    /// The write may not be done as things are.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// The store, as its users hold it: cheap to clone, and the same through all lives of the writer.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    holder: Arc<Holder>,
    writer: ChildRef<StoreMessage>,
    deadline: Duration,
    flush_limit: Duration,
    walks: Arc<Semaphore>,
}

impl Store {
    pub(crate) fn new(
        holder: Arc<Holder>,
        writer: ChildRef<StoreMessage>,
        (deadline, flush_limit): (Duration, Duration),
    ) -> Self {
        Self {
            holder,
            writer,
            deadline,
            flush_limit,
            walks: walks(),
        }
    }

    pub(super) fn holder(&self) -> &Arc<Holder> {
        &self.holder
    }

    pub(super) fn walks(&self) -> &Arc<Semaphore> {
        &self.walks
    }

    pub(super) fn deadline_from_now(&self) -> Instant {
        Instant::now() + self.deadline
    }

    /// The declared collection of this name.
    pub(crate) fn collection(&self, name: &str) -> Option<CollectionId> {
        self.holder
            .collections
            .iter()
            .position(|known| known == name)
            .map(CollectionId)
    }

    /// One record.
    pub(crate) async fn get(
        &self,
        collection: CollectionId,
        id: &RecordId,
    ) -> Result<Option<Record>, StoreError> {
        self.read(|reader| {
            let found = Self::record(reader, collection, id)?;
            // A miss may be the work of a delete that is not durable yet.
            let need = match &found {
                Some(record) => record.revision.0,
                None => self.staged(collection),
            };
            Ok((found, need))
        })
        .await
    }

    /// The records of these ids, as they were at one moment, and the sequence number of that moment.
    pub(super) async fn several(
        &self,
        collection: CollectionId,
        ids: &[RecordId],
        deadline: Instant,
    ) -> Result<(Vec<Record>, u64), StoreError> {
        loop {
            let quick = self
                .read(|reader| {
                    let before = self.holder.epoch.load(Ordering::SeqCst);
                    let seq = self.applied(collection);
                    let mut records = Vec::with_capacity(ids.len());
                    for id in ids {
                        records.extend(Self::record(reader, collection, id)?);
                    }
                    let after = self.holder.epoch.load(Ordering::SeqCst);
                    let whole = before == after && before.is_multiple_of(2);
                    Ok((whole.then_some((records, seq)), if whole { seq } else { 0 }))
                })
                .await?;
            if let Some(found) = quick {
                return Ok(found);
            }
            if Instant::now() >= deadline {
                return Err(StoreError::TooSlow);
            }
            tokio::task::yield_now().await;
        }
    }

    fn record(
        reader: &Reader,
        collection: CollectionId,
        id: &RecordId,
    ) -> Result<Option<Record>, StoreError> {
        match value::read(&*reader.engine, None, collection, &id.key()).map_err(failed)? {
            None => Ok(None),
            Some(Ok(envelope)) => Ok(Some(Record {
                id: id.clone(),
                revision: Revision(envelope.seq),
                json: envelope.json,
            })),
            Some(Err(_)) => {
                tracing::error!(%id, "a stored record is damaged");
                Err(StoreError::Damaged)
            }
        }
    }

    fn staged(&self, collection: CollectionId) -> u64 {
        let figures = self.holder.figures.get(collection.0);
        figures.map_or(0, |f| f.staged.load(Ordering::SeqCst))
    }

    fn applied(&self, collection: CollectionId) -> u64 {
        let figures = self.holder.figures.get(collection.0);
        figures.map_or(0, |f| f.applied.load(Ordering::SeqCst))
    }

    /// A page of a collection, of one moment; `None` if it is so long that it must be [walked](Self::walk) to.
    pub(crate) async fn list(
        &self,
        collection: CollectionId,
        slice: Slice,
    ) -> Result<Option<ListPage>, StoreError> {
        let quick = self
            .read(|reader| {
                for _ in 0..LIST_TRIES {
                    let before = self.holder.epoch.load(Ordering::SeqCst);
                    if before.is_multiple_of(2) {
                        let page = page::read(&*reader.engine, &self.holder, collection, slice);
                        if self.holder.epoch.load(Ordering::SeqCst) == before {
                            let page = page.map_err(unread)?;
                            let need = page.as_ref().map_or(0, |page| page.seq);
                            return Ok((Some(page), need));
                        }
                    }
                    std::thread::yield_now();
                }
                Ok((None, 0))
            })
            .await?;
        match quick {
            Some(page) => Ok(page),
            None => {
                self.ask(|reply| StoreMessage::Page {
                    collection,
                    slice,
                    reply,
                })
                .await
            }
        }
    }

    /// Reads, waiting for a reader before and for durability after.
    async fn read<T>(
        &self,
        look: impl Fn(&Reader) -> Result<(T, u64), StoreError>,
    ) -> Result<T, StoreError> {
        let deadline = Instant::now() + self.deadline;
        loop {
            let seen = {
                let reader = self.holder.reader();
                match reader.as_deref() {
                    Some(reader) => match look(reader) {
                        // Reading may need room, too.
                        Err(StoreError::Full) if self.holder.space.release() => continue,
                        seen => Some((seen?, reader.era)),
                    },
                    None => None,
                }
            };
            let Some(((found, need), era)) = seen else {
                self.readable(deadline).await?;
                continue;
            };
            let now = *self.holder.progress().borrow();
            if now.era == era && now.durable >= need {
                return Ok(found);
            }
            let mut progress = self.holder.progress().subscribe();
            let settled = progress.wait_for(|p| p.era != era || p.durable >= need);
            match timeout_at(deadline, settled).await {
                Ok(Ok(now)) if now.era == era => return Ok(found),
                // Another era: what was seen may not have come to be. Look again.
                Ok(Ok(_)) => {}
                Ok(Err(_)) => return Err(StoreError::ShuttingDown),
                Err(_) => {
                    return Err(StoreError::Unavailable {
                        retry_after: RETRY_AFTER,
                    });
                }
            }
        }
    }

    pub(super) async fn readable(&self, deadline: Instant) -> Result<(), StoreError> {
        let mut progress = self.holder.progress().subscribe();
        match timeout_at(deadline, progress.wait_for(|p| p.readable)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(StoreError::ShuttingDown),
            Err(_) => Err(StoreError::Unavailable {
                retry_after: RETRY_AFTER,
            }),
        }
    }

    /// Carries out a command, which takes `bytes` of the writer's queue, and returns when what it did is durable.
    pub(crate) async fn write(
        &self,
        collection: CollectionId,
        command: Command,
        conditions: Conditions,
        bytes: usize,
    ) -> Result<Written, StoreError> {
        let write = Box::new(Write::new(collection, command, conditions, bytes));
        self.ask(|reply| StoreMessage::Write { write, reply }).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        message: impl FnOnce(crate::supervision::ReplyTo<T, WriteError>) -> StoreMessage,
    ) -> Result<T, StoreError> {
        self.writer
            .ask(message, self.deadline)
            .await
            .map_err(|error| match error {
                AskError::Answer(WriteError::Refused(refusal)) => StoreError::Refused(refusal),
                AskError::Answer(WriteError::Damaged) => StoreError::Damaged,
                AskError::Answer(WriteError::Full) => StoreError::Full,
                AskError::Answer(WriteError::Failed) | AskError::Lost => StoreError::Failed,
                AskError::Overloaded { retry_after } => StoreError::Overloaded { retry_after },
                AskError::Expired if self.writer.running() => StoreError::Expired,
                AskError::Expired => StoreError::Unavailable {
                    retry_after: RETRY_AFTER,
                },
                AskError::Crashed { .. } => StoreError::Crashed,
                AskError::Hung { .. } | AskError::OutcomeUnknown => StoreError::OutcomeUnknown,
                AskError::ShuttingDown => StoreError::ShuttingDown,
            })
    }

    /// Whether reads and writes are served now.
    pub(crate) fn ready(&self) -> bool {
        self.holder.progress().borrow().readable && self.writer.running()
    }

    /// For how long a commit has been under way, if it is longer than `storage.flush_limit`: no other life of the writer
    /// could do better, since the engine's lock is held.
    pub(crate) fn overdue(&self) -> Option<Duration> {
        let age = self.holder.commit_age();
        age.filter(|age| *age > self.flush_limit)
    }

    /// What is measured of the store.
    pub(crate) fn measure(&self) -> Measures {
        let space = &self.holder.space;
        let room = space.measure().ok();
        Measures {
            available_bytes: room.map(|(disk, _)| disk.available),
            reserve_bytes: room.map(|(_, reserve)| reserve),
            refused_total: space.refused_total(),
            durable_seq: self.holder.progress().borrow().durable,
        }
    }

    /// Why the store was refused, if it was: the text says what to do.
    pub(crate) fn refusal(&self) -> Option<String> {
        self.holder.refusal()
    }

    /// Closes the engine: for whoever stops the daemon, after the writer has stopped. Blocks.
    pub(crate) fn close(&self) {
        self.holder.close();
    }
}

/// A page that could not be read, as callers hear of it.
pub(super) fn unread(error: PageError) -> StoreError {
    match error {
        PageError::Engine(error) => failed(error),
        PageError::Damaged { id } => {
            tracing::error!(%id, "a stored record is damaged");
            StoreError::Damaged
        }
    }
}

fn failed(error: EngineError) -> StoreError {
    if error.is_full() {
        return StoreError::Full;
    }
    tracing::error!(%error, "the store could not be read");
    StoreError::Failed
}
