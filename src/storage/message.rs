//! What the writer can be told.

use std::sync::Mutex;

use bytes::Bytes;

use super::engine::CollectionId;
use super::store::ListPage;
use crate::record::{Record, RecordId, Slice};
use crate::supervision::{Message, ReplyTo};

/// Why a write was not done. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// There is a record of this id.
    #[error("there is a record with the id {id} already")]
    Duplicate {
        /// The id.
        id: RecordId,
    },
    /// What the write depends on can't be read.
    #[error("a stored record is damaged")]
    Damaged,
    /// The engine could not read.
    #[error("the store failed")]
    Failed,
}

/// What a write answers.
pub(crate) type Created = Result<Record, WriteError>;
/// The record that was deleted; `None` if there was none.
pub(crate) type Deleted = Result<Option<Record>, WriteError>;

/// One message to the writer. `prepared` is the answer that was due when the write was staged: at a second delivery it
/// is given as it is, if the log says that the write was committed.
#[derive(Debug)]
pub enum StoreMessage {
    /// Makes a record.
    Create {
        /// Where.
        collection: CollectionId,
        /// Its id.
        id: RecordId,
        /// Its text, the id included.
        json: Bytes,
        /// The answer, once it is staged.
        prepared: Mutex<Option<Record>>,
        /// Where the answer goes.
        reply: ReplyTo<Record, WriteError>,
    },
    /// Removes a record.
    Delete {
        /// Where.
        collection: CollectionId,
        /// Which.
        id: RecordId,
        /// The answer, once it is staged.
        prepared: Mutex<Option<Record>>,
        /// Where the answer goes.
        reply: ReplyTo<Option<Record>, WriteError>,
    },
    /// Reads a page between two groups, for a reader that was overtaken by writes again and again.
    Page {
        /// Where.
        collection: CollectionId,
        /// What.
        slice: Slice,
        /// Where the answer goes.
        reply: ReplyTo<ListPage, WriteError>,
    },
}

impl Message for StoreMessage {
    fn kind(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Delete { .. } => "delete",
            Self::Page { .. } => "page",
        }
    }

    fn size_bytes(&self) -> usize {
        let body = match self {
            Self::Create { json, .. } => json.len(),
            Self::Delete { .. } | Self::Page { .. } => 0,
        };
        size_of_val(self) + body
    }
}
