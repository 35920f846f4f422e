//! The messages to the writer.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use parking_lot::Mutex;

use super::built_view::BuiltView;
use super::candidate::NextResources;
use super::declaring::Declaration;
use super::find::QueryLook;
use super::index_building::IndexStep;
use super::writer::GROUP;
use crate::record::{ListQuery, RecordId, WriteCommand};
use crate::storage::{
    BATCH_COMMANDS_MAX, BatchWritten, CollectionId, StoreError, Write, WriteBatch, Written,
};
use crate::supervision::{Message, ReplyTo};

/// A write in the writer's queue.
pub(super) struct QueuedWrite {
    pub(super) write: Write,
    /// The ids of the records that matched the example of a [`WriteCommand::DeleteMatching`]; empty for other commands.
    pub(super) matching: Vec<RecordId>,
    /// Set when the write is staged. If the writer dies and the write is delivered again, this answer is given again,
    /// provided that the log says that the write was committed.
    pub(super) prepared: Mutex<Option<Prepared<Written>>>,
}

/// A batch in the writer's queue.
pub(super) struct QueuedBatch {
    pub(super) batch: WriteBatch,
    /// As for a [`QueuedWrite`].
    pub(super) prepared: Mutex<Option<Prepared<BatchWritten>>>,
}

/// The answer to a message that was staged, and the numbers of its entries in the log.
#[derive(Clone)]
pub(super) struct Prepared<T> {
    pub(super) written: T,
    pub(super) changes: RangeInclusive<u64>,
}

/// One message to the writer.
pub(super) enum StoreMessage {
    /// Changes records.
    Write {
        write: Box<QueuedWrite>,
        reply: ReplyTo<Written, StoreError>,
    },
    /// Creates and replaces records.
    Batch {
        batch: Box<QueuedBatch>,
        reply: ReplyTo<BatchWritten, StoreError>,
    },
    /// Looks for the page of a query between two groups, for a reader that the writer has overtaken several times.
    Look {
        collection: CollectionId,
        query: Box<ListQuery>,
        reply: ReplyTo<QueryLook, StoreError>,
    },
    /// Answered once all groups before it are in the view.
    Applied { reply: ReplyTo<(), StoreError> },
    /// Declares other resources, unless records don't fit them.
    Declare {
        candidate: Arc<NextResources>,
        reply: ReplyTo<Declaration, StoreError>,
    },
    /// Does a part of what is to be done about the indexes, and tells whether there is more.
    Indexes { done: Sender<IndexStep> },
    /// Makes the view again: a record in it, as it was when the store was opened for the `era`th time, can't be read.
    Heal { era: u64 },
    /// Puts a view that was made beside in the place of the one in use.
    Adopt { view: Mutex<Option<Box<BuiltView>>> },
}

/// How much of the queue's bytes one id of [`QueuedWrite::matching`] takes: 1000 ids, the most there may be, take as much as
/// a whole group.
const MATCHING_BYTES: usize = 1024;
/// How much one command of a batch takes at least: the largest batch fills a group.
const COMMAND_BYTES: usize = GROUP.bytes / BATCH_COMMANDS_MAX;

impl Message for StoreMessage {
    fn kind(&self) -> &'static str {
        match self {
            Self::Write { write, .. } => match write.write.command {
                WriteCommand::Create { .. } | WriteCommand::CreateNumbered { .. } => "create",
                WriteCommand::Replace { .. } => "replace",
                WriteCommand::Merge { .. } => "merge",
                WriteCommand::Delete { .. } | WriteCommand::DeleteMatching { .. } => "delete",
            },
            Self::Batch { .. } => "batch",
            Self::Look { .. } => "page",
            Self::Indexes { .. } => "indexes",
            Self::Heal { .. } => "heal",
            Self::Adopt { .. } => "adopt",
            Self::Applied { .. } => "applied",
            Self::Declare { .. } => "declare",
        }
    }

    fn size_bytes(&self) -> usize {
        let content = match self {
            Self::Write { write, .. } => {
                size_of::<QueuedWrite>() + write.write.bytes + write.matching.len() * MATCHING_BYTES
            }
            Self::Batch { batch, .. } => {
                let batch = &batch.batch;
                batch.bytes.max(batch.commands.len() * COMMAND_BYTES)
            }
            Self::Look { .. }
            | Self::Indexes { .. }
            | Self::Heal { .. }
            | Self::Adopt { .. }
            | Self::Applied { .. }
            | Self::Declare { .. } => 0,
        };
        size_of_val(self) + content
    }
}
