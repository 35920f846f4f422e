//! The messages to the writer.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use parking_lot::Mutex;

use super::built_view::BuiltView;
use super::candidate::NextResources;
use super::declaring::Declaration;
use super::index_building::IndexStep;
use super::query_look::QueryLook;
use super::writer::GROUP;
use crate::record::{ListQuery, WriteCommand};
use crate::storage::{BatchWritten, CollectionId, FoundIds, StoreError, WriteBatch};
use crate::supervision::{Message, ReplyTo};

/// A batch in the writer's queue.
pub(super) struct QueuedBatch {
    pub(super) batch: WriteBatch,
    /// For each command the records that were found to match.
    pub(super) matching: Vec<FoundIds>,
    /// Set when it is staged. If the writer dies and the batch is delivered again, this answer is given again, provided that
    /// the log of changes says that it was committed.
    pub(super) prepared: Mutex<Option<Prepared<BatchWritten>>>,
}

/// The answer to a message that was staged, and the numbers of its entries in the log of changes.
#[derive(Clone)]
pub(super) struct Prepared<T> {
    pub(super) written: T,
    pub(super) changes: RangeInclusive<u64>,
}

/// One message to the writer.
pub(super) enum StoreMessage {
    /// Changes records.
    Write {
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
    UseView { view: Mutex<Option<Box<BuiltView>>> },
}

/// The share of the queue's bytes that one id of [`QueuedBatch::matching`] takes: 1000 ids, the most there may be, take as much
/// as a whole group.
const MATCHING_BYTES: usize = 1024;
/// The least that one command of a batch takes: a batch of 128 fills a group.
const COMMAND_BYTES: usize = GROUP.bytes / GROUP.messages;

impl StoreMessage {
    /// Whether it can't go into a group that has something already: what is staged of it may have to go again.
    pub(super) fn begins_group(&self) -> bool {
        match self {
            Self::Write { batch, .. } => batch.batch.dry_run || batch.batch.writes.len() != 1,
            Self::Look { .. }
            | Self::Indexes { .. }
            | Self::Heal { .. }
            | Self::UseView { .. }
            | Self::Applied { .. }
            | Self::Declare { .. } => false,
        }
    }
}

impl Message for StoreMessage {
    fn kind(&self) -> &'static str {
        match self {
            Self::Write { batch, .. } => match batch.batch.writes.as_slice() {
                [write] => match write.command {
                    WriteCommand::Create { .. } | WriteCommand::CreateNumbered { .. } => "create",
                    WriteCommand::Replace { .. } => "replace",
                    WriteCommand::Patch { .. } => "patch",
                    WriteCommand::Delete { .. } => "delete",
                    WriteCommand::Matching { .. } => "matching",
                },
                _ => "batch",
            },
            Self::Look { .. } => "page",
            Self::Indexes { .. } => "indexes",
            Self::Heal { .. } => "heal",
            Self::UseView { .. } => "use_view",
            Self::Applied { .. } => "applied",
            Self::Declare { .. } => "declare",
        }
    }

    fn size_bytes(&self) -> usize {
        let content = match self {
            Self::Write { batch, .. } => {
                let (bytes, commands) = (batch.batch.bytes(), batch.batch.writes.len());
                let matching: usize = batch.matching.iter().map(|found| found.ids().len()).sum();
                let least = if commands == 1 {
                    0
                } else {
                    commands * COMMAND_BYTES
                };
                size_of::<QueuedBatch>() + bytes.max(least) + matching * MATCHING_BYTES
            }
            Self::Look { .. }
            | Self::Indexes { .. }
            | Self::Heal { .. }
            | Self::UseView { .. }
            | Self::Applied { .. }
            | Self::Declare { .. } => 0,
        };
        size_of_val(self) + content
    }
}
