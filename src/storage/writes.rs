//! Writes on their way to a store, and their results.

use std::sync::Arc;

use super::store::CollectionId;
use super::store_error::StoreError;
use crate::record::{
    Atomicity, CommandError, Conditions, Record, RequestKey, Schema, WriteCommand,
};
use crate::supervision::MessageId;

/// The most commands of a [`WriteBatch`].
pub(crate) const BATCH_COMMANDS_MAX: usize = 128;

/// A command on its way to the store.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub(crate) collection: CollectionId,
    /// The rules of the settings that the request began with.
    pub(crate) schema: Arc<Schema>,
    pub(crate) command: WriteCommand,
    pub(crate) conditions: Conditions,
    /// The length of the text that it came from: the queue of writes is bounded by it.
    pub(crate) bytes: usize,
}

/// Commands that become one group of changes, with one command or many of several resources.
#[derive(Debug, Clone)]
pub(crate) struct WriteBatch {
    /// [`BATCH_COMMANDS_MAX`] at most.
    pub(crate) writes: Vec<Write>,
    pub(crate) atomicity: Atomicity,
    /// Whether it is only tried out: nothing is changed.
    pub(crate) dry_run: bool,
    /// The name of the request. If it was carried out before, its answer is given again; otherwise the answer is kept with what
    /// it changes, so that one is never without the other. Only whole successes are kept.
    pub(crate) key: Option<RequestKey>,
    /// The client that asks for it, if it had to show who it is. The journal tells it with each change.
    pub(crate) by: Option<Arc<str>>,
    /// All its changes have this id, by which its sender finds them again; without one, an id of their own.
    pub(crate) origin: Option<MessageId>,
}

impl WriteBatch {
    /// Some writes, all or none.
    pub(crate) fn all(writes: Vec<Write>) -> Self {
        Self {
            writes,
            atomicity: Atomicity::All,
            dry_run: false,
            key: None,
            by: None,
            origin: None,
        }
    }

    /// The length of the texts that it came from.
    pub(crate) fn bytes(&self) -> usize {
        self.writes.iter().map(|write| write.bytes).sum()
    }
}

/// The results of a batch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BatchWritten {
    /// One for each command: an error of the store is none of them, but makes the batch fail as a whole.
    pub(crate) results: Vec<Result<Written, CommandError>>,
    /// The number of the store's last change after it.
    pub(crate) last: u64,
    /// Whether it was carried out before, and this is the answer of then.
    pub(crate) replayed: bool,
}

impl BatchWritten {
    /// The result of a batch of one.
    pub(crate) fn only(self) -> Result<Written, StoreError> {
        let result = self.results.into_iter().next();
        Ok(result.ok_or(StoreError::Failed)??)
    }
}

/// The result of a write: the records as they are now, or as they were before they were deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Written {
    /// A record was created.
    Created(Record),
    /// A record got a new text.
    Replaced(Record),
    /// A record was deleted.
    Deleted(Record),
    /// All records that match were deleted.
    DeletedMatching(Vec<Record>),
    /// All records that match were patched.
    PatchedMatching(Vec<Record>),
}

impl Written {
    /// Its records.
    pub(crate) fn records(&self) -> &[Record] {
        self.parts().1
    }

    /// The name of its kind, and its records.
    pub(super) fn parts(&self) -> (&'static str, &[Record]) {
        match self {
            Self::Created(record) => ("created", std::slice::from_ref(record)),
            Self::Replaced(record) => ("replaced", std::slice::from_ref(record)),
            Self::Deleted(record) => ("deleted", std::slice::from_ref(record)),
            Self::DeletedMatching(records) => ("deleted_matching", records),
            Self::PatchedMatching(records) => ("patched_matching", records),
        }
    }

    /// The record, if it is one.
    pub(crate) fn record(self) -> Option<Record> {
        match self {
            Self::Created(record) | Self::Replaced(record) | Self::Deleted(record) => Some(record),
            Self::DeletedMatching(_) | Self::PatchedMatching(_) => None,
        }
    }

    /// The same from its parts; `None` if they are no one's.
    pub(super) fn of_parts(kind: &str, mut records: Vec<Record>) -> Option<Self> {
        match kind {
            "deleted_matching" => return Some(Self::DeletedMatching(records)),
            "patched_matching" => return Some(Self::PatchedMatching(records)),
            _ => {}
        }
        let record = records.pop().filter(|_| records.is_empty())?;
        match kind {
            "created" => Some(Self::Created(record)),
            "replaced" => Some(Self::Replaced(record)),
            "deleted" => Some(Self::Deleted(record)),
            _ => None,
        }
    }
}
