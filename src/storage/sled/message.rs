//! The messages to the writer.

use std::ops::RangeInclusive;

use parking_lot::Mutex;

use crate::record::{RecordId, Slice, WriteCommand};
use crate::storage::{CollectionId, ListPage, StoreError, Write, Written};
use crate::supervision::{Message, ReplyTo};

/// A write in the writer's queue.
pub(super) struct QueuedWrite {
    pub(super) write: Write,
    /// The ids of the records that matched the example of a [`WriteCommand::DeleteMatching`]; empty for other commands.
    pub(super) matching: Vec<RecordId>,
    /// Set when the write is staged. If the writer dies and the write is delivered again, this answer is given again,
    /// provided that the log says that the write was committed.
    pub(super) prepared: Mutex<Option<Prepared>>,
}

/// The answer to a write that was staged, and the numbers of its entries in the log.
#[derive(Clone)]
pub(super) struct Prepared {
    pub(super) written: Written,
    pub(super) changes: RangeInclusive<u64>,
}

/// One message to the writer.
pub(super) enum StoreMessage {
    /// Changes records.
    Write {
        write: Box<QueuedWrite>,
        reply: ReplyTo<Written, StoreError>,
    },
    /// Reads a page between two groups, for a reader that the writer has overtaken several times.
    Page {
        collection: CollectionId,
        slice: Slice,
        reply: ReplyTo<Option<ListPage>, StoreError>,
    },
    /// Makes the view again: a record in it, as it was when the store was opened for the `era`th time, can't be read.
    Heal { era: u64 },
}

/// How much of the queue's bytes one id of [`QueuedWrite::matching`] takes: 1000 ids, the most there may be, take as much as
/// a whole group.
const MATCHING_BYTES: usize = 1024;

impl Message for StoreMessage {
    fn kind(&self) -> &'static str {
        match self {
            Self::Write { write, .. } => match write.write.command {
                WriteCommand::Create { .. } | WriteCommand::CreateNumbered { .. } => "create",
                WriteCommand::Replace { .. } => "replace",
                WriteCommand::Merge { .. } => "merge",
                WriteCommand::Delete { .. } | WriteCommand::DeleteMatching { .. } => "delete",
            },
            Self::Page { .. } => "page",
            Self::Heal { .. } => "heal",
        }
    }

    fn size_bytes(&self) -> usize {
        let content = match self {
            Self::Write { write, .. } => {
                size_of::<QueuedWrite>() + write.write.bytes + write.matching.len() * MATCHING_BYTES
            }
            Self::Page { .. } | Self::Heal { .. } => 0,
        };
        size_of_val(self) + content
    }
}
