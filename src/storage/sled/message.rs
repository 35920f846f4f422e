//! What the writer can be told.

use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};

use super::engine::CollectionId;
use super::store::ListPage;
use crate::record::{Command, Conditions, Record, Refusal, Slice};
use crate::supervision::{Message, ReplyTo};

/// Why a write was not done. Nothing was changed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum WriteError {
    /// It may not be done as things are.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// What the write depends on can't be read.
    #[error("a stored record is damaged")]
    Damaged,
    /// There is no room on the disk.
    #[error("the disk is full: writes are refused until there is room, reads go on")]
    Full,
    /// The engine could not read.
    #[error("the store failed")]
    Failed,
}

/// What a write did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Written {
    /// There is a record more.
    Created(Record),
    /// There is another one in the place of one.
    Replaced(Record),
    /// These are gone.
    Removed(Vec<Record>),
}

/// A write on its way to the writer.
#[derive(Debug)]
pub(crate) struct Write {
    /// Where.
    pub collection: CollectionId,
    /// What.
    pub command: Command,
    /// On what it depends.
    pub conditions: Conditions,
    /// How much of the queue it takes, in bytes.
    pub bytes: usize,
    /// The answer that was due when the write was staged: at a second delivery it is given as it is, if the log says that the
    /// write was committed.
    prepared: Mutex<Option<Prepared>>,
}

/// An answer, and the numbers of the log's entries that say it was committed.
type Prepared = (Written, RangeInclusive<u64>);

impl Write {
    /// A write that was not staged yet.
    pub(crate) fn new(
        collection: CollectionId,
        command: Command,
        conditions: Conditions,
        bytes: usize,
    ) -> Self {
        Self {
            collection,
            command,
            conditions,
            bytes,
            prepared: Mutex::new(None),
        }
    }

    pub(super) fn prepare(&self, written: Written, changes: RangeInclusive<u64>) {
        *self.prepared.lock().unwrap_or_else(PoisonError::into_inner) = Some((written, changes));
    }

    pub(super) fn prepared(&self) -> Option<Prepared> {
        self.prepared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// One message to the writer.
#[derive(Debug)]
pub(crate) enum StoreMessage {
    /// Changes records.
    Write {
        /// How.
        write: Box<Write>,
        /// Where the answer goes.
        reply: ReplyTo<Written, WriteError>,
    },
    /// Reads a page between two groups, for a reader that was overtaken by writes again and again.
    Page {
        /// Where.
        collection: CollectionId,
        /// What.
        slice: Slice,
        /// Where the answer goes.
        reply: ReplyTo<Option<ListPage>, WriteError>,
    },
}

impl Message for StoreMessage {
    fn kind(&self) -> &'static str {
        match self {
            Self::Write { write, .. } => match write.command {
                Command::Create { .. } | Command::CreateNext { .. } => "create",
                Command::Replace { .. } => "replace",
                Command::Merge { .. } => "merge",
                Command::Delete { .. } | Command::DeleteMatching { .. } => "delete",
            },
            Self::Page { .. } => "page",
        }
    }

    fn size_bytes(&self) -> usize {
        let content = match self {
            Self::Write { write, .. } => size_of::<Write>() + write.bytes,
            Self::Page { .. } => 0,
        };
        size_of_val(self) + content
    }
}
