//! What the edge holds of the store.
//!
//! Reads go to the engine on the caller's own thread. What they show is shown only once it is durable, so nobody sees
//! what a power cut could take back; usually it is, and nobody waits.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::engine::{CollectionId, EngineError, Tree};
use super::envelope::Envelope;
use super::holder::{Holder, Reader};
use super::message::{StoreMessage, WriteError};
use super::page;
use crate::record::{JsonObject, Record, RecordId, Revision, Slice};
use crate::supervision::{AskError, ChildRef, RETRY_AFTER};

/// How often a list is tried while groups are applied, before the writer is asked to read it between two groups.
const LIST_TRIES: u32 = 3;

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListPage {
    /// The records, by id.
    pub records: Vec<Record>,
    /// How many there are in all.
    pub total: u64,
    /// The sequence number of the collection's last change: equal numbers mean equal lists.
    pub seq: u64,
}

/// Why the store did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
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
    /// The engine failed.
    #[error("the store failed")]
    Failed,
    /// There is a record of this id.
    #[error("there is a record with the id {id} already")]
    Duplicate {
        /// The id.
        id: RecordId,
    },
}

/// The store, as its users hold it: cheap to clone, and the same through all lives of the writer.
#[derive(Debug, Clone)]
pub struct Store {
    holder: Arc<Holder>,
    writer: ChildRef<StoreMessage>,
    deadline: Duration,
}

impl Store {
    pub(crate) fn new(
        holder: Arc<Holder>,
        writer: ChildRef<StoreMessage>,
        deadline: Duration,
    ) -> Self {
        Self {
            holder,
            writer,
            deadline,
        }
    }

    /// The declared collection of this name.
    pub fn collection(&self, name: &str) -> Option<CollectionId> {
        self.holder
            .collections
            .iter()
            .position(|known| known == name)
            .map(CollectionId)
    }

    /// One record.
    pub async fn get(
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

    fn record(
        reader: &Reader,
        collection: CollectionId,
        id: &RecordId,
    ) -> Result<Option<Record>, StoreError> {
        let get = || reader.engine.get(Tree::Records(collection), id.as_bytes());
        let Some(mut value) = get().map_err(failed)? else {
            return Ok(None);
        };
        loop {
            if let Ok(envelope) = Envelope::decode(&value) {
                let revision = Revision(envelope.seq);
                return Ok(Some(Record {
                    id: id.clone(),
                    revision,
                    json: envelope.json,
                }));
            }
            // It is damage only if it is the same a second time.
            match get().map_err(failed)? {
                None => return Ok(None),
                Some(again) if again == value => {
                    tracing::error!(%id, "a stored record is damaged");
                    return Err(StoreError::Damaged);
                }
                Some(again) => value = again,
            }
        }
    }

    fn staged(&self, collection: CollectionId) -> u64 {
        self.holder
            .figures
            .get(collection.0)
            .map_or(0, |f| f.staged.load(Ordering::SeqCst))
    }

    /// A page of a collection, of one moment.
    pub async fn list(
        &self,
        collection: CollectionId,
        slice: Slice,
    ) -> Result<ListPage, StoreError> {
        let quick = self
            .read(|reader| {
                for _ in 0..LIST_TRIES {
                    let before = self.holder.epoch.load(Ordering::SeqCst);
                    if before.is_multiple_of(2) {
                        let page = page::read(&*reader.engine, &self.holder, collection, slice)
                            .map_err(failed)?;
                        if self.holder.epoch.load(Ordering::SeqCst) == before {
                            let need = page.seq;
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
                    Some(reader) => Some((look(reader)?, reader.era)),
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

    async fn readable(&self, deadline: Instant) -> Result<(), StoreError> {
        let mut progress = self.holder.progress().subscribe();
        match timeout_at(deadline, progress.wait_for(|p| p.readable)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(StoreError::ShuttingDown),
            Err(_) => Err(StoreError::Unavailable {
                retry_after: RETRY_AFTER,
            }),
        }
    }

    /// Makes a record and returns it when it is durable.
    pub async fn create(
        &self,
        collection: CollectionId,
        object: JsonObject,
        id: Option<RecordId>,
    ) -> Result<Record, StoreError> {
        let id = id.unwrap_or_else(|| RecordId::from_uuid(uuid::Uuid::now_v7()));
        let json = object.into_text(&id);
        let prepared = Mutex::new(None);
        self.ask(|reply| StoreMessage::Create {
            collection,
            id,
            json,
            prepared,
            reply,
        })
        .await
    }

    /// Removes a record and returns it when it is durably gone.
    pub async fn delete(
        &self,
        collection: CollectionId,
        id: &RecordId,
    ) -> Result<Option<Record>, StoreError> {
        let (id, prepared) = (id.clone(), Mutex::new(None));
        self.ask(|reply| StoreMessage::Delete {
            collection,
            id,
            prepared,
            reply,
        })
        .await
    }

    async fn ask<T: Send + 'static>(
        &self,
        message: impl FnOnce(crate::supervision::ReplyTo<T, WriteError>) -> StoreMessage,
    ) -> Result<T, StoreError> {
        self.writer
            .ask(message, self.deadline)
            .await
            .map_err(|error| match error {
                AskError::Answer(WriteError::Duplicate { id }) => StoreError::Duplicate { id },
                AskError::Answer(WriteError::Damaged) => StoreError::Damaged,
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
    pub fn ready(&self) -> bool {
        self.holder.progress().borrow().readable && self.writer.running()
    }

    /// Why the store was refused, if it was: the text says what to do.
    pub fn refusal(&self) -> Option<String> {
        self.holder.refusal()
    }

    /// Closes the engine: for whoever stops the daemon, after the writer has stopped. Blocks.
    pub fn close(&self) {
        self.holder.close();
    }
}

fn failed(error: EngineError) -> StoreError {
    tracing::error!(%error, "the store could not be read");
    StoreError::Failed
}
