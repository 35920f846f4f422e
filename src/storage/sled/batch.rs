//! A batch: commands of one message that go into one group, with the answer that is kept for a request with a name.

use super::answers::AnswerOrder;
use super::deciding::Decided;
use super::matching::looked_at;
use super::message::{Prepared, QueuedBatch, StoreMessage};
use super::reader_state::OpenEngine;
use super::staging::Staging;
use super::writer::{Writer, stage, targets, was_committed};
use crate::record::{CommandError, Decision, RecordId, WriteCommand, try_batch};
use crate::storage::{BatchWritten, StoreError, Write};
use crate::supervision::{Delivery, ReplyTo};

/// The answer to a message that changes records, and whom it is for.
pub(super) struct WriteAnswer<'a> {
    reply: &'a ReplyTo<BatchWritten, StoreError>,
    pub(super) answer: Result<BatchWritten, StoreError>,
    /// Whether what was staged for it is kept. If not, the caller drops the group.
    pub(super) stays: bool,
}

impl WriteAnswer<'_> {
    pub(super) fn give(self) {
        self.reply.settle(self.answer);
    }

    /// Answers with an error instead.
    pub(super) fn refuse(self, error: StoreError) {
        self.reply.settle(Err(error));
    }
}

impl Writer {
    /// Stages what a message changes. Returns its answer, which is due when the group is durable; none if nobody waits for it
    /// any more, or if it changes nothing by its kind.
    pub(super) fn answer_for<'a>(
        &self,
        open: &OpenEngine,
        staging: &mut Staging<'_>,
        delivery: &'a Delivery<StoreMessage>,
    ) -> Option<WriteAnswer<'a>> {
        let StoreMessage::Write { batch, reply } = &**delivery else {
            return None;
        };
        let before = staging.changes.len();
        let evaluated = self.evaluate(open, staging, delivery, batch).transpose()?;
        let (answer, stays) = match evaluated {
            Ok((written, stays)) => (Ok(written), stays),
            Err(error) => (Err(error), false),
        };
        // What is only tried, or undone, stands against nothing.
        if stays {
            self.holder.note_misfits(staging, before);
        }
        Some(WriteAnswer {
            reply,
            answer,
            stays,
        })
    }

    /// Stages a batch. Returns its results, and whether what was staged stays; `None` if nobody waits for them any more.
    ///
    /// A batch of one stages nothing if it fails. Of others a part may be staged then.
    fn evaluate(
        &self,
        open: &OpenEngine,
        staging: &mut Staging<'_>,
        delivery: &Delivery<StoreMessage>,
        queued: &QueuedBatch,
    ) -> Result<Option<(BatchWritten, bool)>, StoreError> {
        let batch = &queued.batch;
        let origin = batch.origin.unwrap_or_else(|| delivery.id());
        if delivery.attempt() > 1 {
            let prepared = queued.prepared.lock().clone();
            if let Some(prepared) = prepared
                && was_committed(open, origin, &prepared.changes)?
            {
                return Ok(Some((prepared.written, true)));
            }
        }
        let none = AnswerOrder::default();
        let order = self.answers.as_ref().unwrap_or(&none);
        let key = batch.key.as_ref().filter(|_| !batch.dry_run);
        let mut place = match key.map(|key| staging.answered(&self.holder, order, key)) {
            Some(answered) => match answered? {
                Ok(known) => return Ok(Some((known, true))),
                Err(place) => Some(place),
            },
            None => None,
        };
        let deletes = || batch.writes.iter().all(|write| write.command.deletes());
        // An answer that is kept takes room, even that of a deletion.
        let takes_room = || place.is_some() || !deletes();
        if staging.full && (takes_room() || !self.holder.space.can_delete()) {
            self.holder.space.refused();
            return Err(StoreError::Full);
        }
        if !delivery.commit_to(self.holder.limits.now().flush_limit) {
            return Ok(None);
        }
        staging.by.clone_from(&batch.by);
        let before = staging.checked.last_seq;
        let is_alone = batch.writes.len() == 1;
        let mut looks = 0;
        let writes = batch.writes.iter().zip(&queued.matching);
        let end = try_batch::<_, _, StoreError>(batch.atomicity, writes, |(write, matching)| {
            let ids = match looked_at(staging, write, matching, is_alone, &mut looks) {
                Ok(ids) => ids,
                Err(refusal) => return Ok(Err(refusal)),
            };
            let decided = match self.decide_write(staging, write, ids)? {
                Ok(decided) => decided,
                Err(refusal) => return Ok(Err(refusal)),
            };
            if let Some(place) = &mut place {
                place.make_room(staging, &self.holder, order, &decided)?;
            }
            Ok(Ok(stage(staging, write, origin, decided)))
        })?;
        let stays = end.stays && !batch.dry_run;
        let last = staging.checked.last_seq;
        if let Some(place) = place
            && stays
            && end.results.iter().all(Result::is_ok)
        {
            staging.keep_answer(&self.holder, place, origin, &end.results);
        }
        let written = BatchWritten {
            results: end.results,
            last,
            replayed: false,
        };
        if stays {
            *queued.prepared.lock() = Some(Prepared {
                written: written.clone(),
                changes: before + 1..=staging.checked.last_seq,
            });
        }
        Ok(Some((written, stays)))
    }

    /// Decides one command about these records. All that is read is read here, before it is staged.
    fn decide_write(
        &self,
        staging: &Staging<'_>,
        write: &Write,
        ids: Vec<RecordId>,
    ) -> Result<Result<Vec<Decided>, CommandError>, StoreError> {
        let targets = targets(staging, write.collection, &write.command, ids)?;
        let mut decided = self.decide(staging, write, targets)?;
        if let (WriteCommand::Matching { most, .. }, Ok(all)) = (&write.command, &decided) {
            let matches = |it: &&Decided| it.is_named && it.decision != Decision::Keep;
            if all.iter().filter(matches).count() > *most {
                decided = Err(CommandError::TooManyMatches { most: *most });
            }
        }
        let puts = |it: &Decided| matches!(it.decision, Decision::Put(_));
        if staging.full && decided.as_ref().is_ok_and(|all| all.iter().any(puts)) {
            self.holder.space.refused();
            return Err(StoreError::Full);
        }
        Ok(decided)
    }
}
