//! A batch: commands of one message that go into one group.

use super::message::{Prepared, QueuedBatch, StoreMessage};
use super::reader_state::OpenEngine;
use super::staging::Staging;
use super::writer::{Writer, stage, targets, was_committed};
use crate::record::Conditions;
use crate::storage::{BatchWritten, StoreError, Written};
use crate::supervision::{Delivery, ReplyTo};

impl Writer {
    /// Stages what a message changes. Returns its answer, which is due when the group is durable; none if nobody waits for it
    /// any more, or if it changes nothing by its kind.
    pub(super) fn answer_for<'a>(
        &self,
        open: &OpenEngine,
        staging: &mut Staging<'_>,
        delivery: &'a Delivery<StoreMessage>,
    ) -> Option<WriteAnswer<'a>> {
        match &**delivery {
            StoreMessage::Write { write, reply } => {
                let written = self.evaluate(open, staging, delivery, write).transpose()?;
                Some(WriteAnswer::Write(reply, written))
            }
            StoreMessage::Batch { batch, reply } => {
                let written = self.evaluate_batch(open, staging, delivery, batch);
                Some(WriteAnswer::Batch(reply, written.transpose()?))
            }
            StoreMessage::Look { .. }
            | StoreMessage::Heal { .. }
            | StoreMessage::Indexes { .. }
            | StoreMessage::Adopt { .. }
            | StoreMessage::Applied { .. }
            | StoreMessage::Declare { .. } => None,
        }
    }

    /// Stages a batch. Returns its answer, which is due when the group is durable; `None` if nobody waits for it any more.
    /// After an error a part of it may be staged.
    fn evaluate_batch(
        &self,
        open: &OpenEngine,
        staging: &mut Staging<'_>,
        delivery: &Delivery<StoreMessage>,
        queued: &QueuedBatch,
    ) -> Result<Option<BatchWritten>, StoreError> {
        let batch = &queued.batch;
        if delivery.attempt() > 1 {
            let prepared = queued.prepared.lock().clone();
            if let Some(prepared) = prepared
                && was_committed(open, batch.origin, prepared.changes)?
            {
                return Ok(Some(prepared.written));
            }
        }
        if staging.full {
            self.holder.space.refused();
            return Err(StoreError::Full);
        }
        if !delivery.commit_to(self.holder.limits.now().flush_limit) {
            return Ok(None);
        }
        let before = staging.checked.last_seq;
        let collection = batch.collection;
        let mut results = Vec::with_capacity(batch.commands.len());
        for command in &batch.commands {
            let none = Conditions::default();
            let targets = targets(staging, collection, command, &[])?;
            let decided = self.decide(
                staging,
                (collection, &batch.schema),
                command,
                &none,
                targets,
            )?;
            let stage = |decided| stage(staging, collection, command, batch.origin, decided);
            results.push(decided.map(stage));
        }
        let last = staging.checked.last_seq;
        let written = BatchWritten { results, last };
        *queued.prepared.lock() = Some(Prepared {
            written: written.clone(),
            changes: before + 1..=last,
        });
        Ok(Some(written))
    }
}

/// The answer to a message that changes records, and whom it is for.
pub(super) enum WriteAnswer<'a> {
    Write(
        &'a ReplyTo<Written, StoreError>,
        Result<Written, StoreError>,
    ),
    Batch(
        &'a ReplyTo<BatchWritten, StoreError>,
        Result<BatchWritten, StoreError>,
    ),
}

impl WriteAnswer<'_> {
    /// Whether it is a batch that the store failed at. A part of it may be staged.
    pub(super) fn is_failed_batch(&self) -> bool {
        matches!(self, Self::Batch(_, Err(_)))
    }

    pub(super) fn give(self) {
        match self {
            Self::Write(reply, answer) => reply.settle(answer),
            Self::Batch(reply, answer) => reply.settle(answer),
        };
    }

    /// Answers with an error instead.
    pub(super) fn refuse(self, error: StoreError) {
        match self {
            Self::Write(reply, _) => reply.settle(Err(error)),
            Self::Batch(reply, _) => reply.settle(Err(error)),
        };
    }
}
