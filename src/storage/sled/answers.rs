//! The answers to requests with a name (`Idempotency-Key`): records of a resource of the store's own, which are put in the same
//! group as what the request changes. So the journal, snapshots and backups have them, and never one without the other.
//!
//! The resource holds no more of them than the settings allow: each new answer removes the oldest ones. Their order is kept in
//! memory and read anew by each incarnation of the writer.

// Decision: Kept answers are records.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use super::checked::Tally;
use super::deciding::Decided;
use super::engine::{EngineError, Keyspace};
use super::holder::Holder;
use super::limits::StoreLimits;
use super::reader_state::OpenEngine;
use super::staging::{Staging, WriteTarget};
use super::store::record;
use super::stored_answer::{RESULT_BYTES, StoredAnswer, record_bytes};
use super::stored_record::StoredRecord;
use crate::num::{as_millis, as_u64};
use crate::record::{
    BATCH_BYTES_MAX, CommandError, Decision, KeyVerdict, Record, RecordId, RequestKey,
};
use crate::storage::fit::ANSWERS;
use crate::storage::{BatchWritten, CollectionId, StoreError, Written, unix_ms};
use crate::supervision::MessageId;
use crate::telemetry::Rows;

/// The most old answers that are removed with a new one if there are too many.
const CROWDED_MAX: usize = 4;
/// The most answers that are removed to make room for a long one.
const REMOVED_MAX: usize = 1_000;

/// The answer of a record, as far as the request may have it: an error if another request had its name.
fn replayed(
    stored: Option<&Record>,
    key: &RequestKey,
    limits: &StoreLimits,
) -> Result<Option<BatchWritten>, StoreError> {
    let Some(record) = stored else {
        return Ok(None);
    };
    let unreadable = || {
        tracing::error!(id = %record.id, "a kept answer can't be read");
        StoreError::Failed
    };
    let stored = StoredAnswer::decode(&record.json).ok_or_else(unreadable)?;
    let keep_ms = as_millis(limits.answers_keep);
    match key.judge(Some(&stored.request), unix_ms(), keep_ms) {
        KeyVerdict::New => Ok(None),
        KeyVerdict::Other => Err(CommandError::KeyReused.into()),
        KeyVerdict::Same => Ok(Some(BatchWritten {
            results: stored.into_results().ok_or_else(unreadable)?,
            // The answer follows what it is about.
            last: record.revision.0.saturating_sub(1),
            replayed: true,
        })),
    }
}

impl Holder {
    /// The number of the resource that holds the answers.
    pub(super) fn answers(&self) -> CollectionId {
        // It is known from the beginning.
        let known = self.resources.known.load().any_id(ANSWERS);
        known.unwrap_or(CollectionId(usize::MAX))
    }

    /// The answer that a request of this name got before.
    pub(super) fn answered(
        &self,
        open: &OpenEngine,
        key: &RequestKey,
    ) -> Result<Option<BatchWritten>, StoreError> {
        let Some(id) = key.id() else {
            return Ok(None);
        };
        let stored = record(open, self.answers(), &id)?;
        let answered = replayed(stored.as_ref(), key, &self.limits.now());
        self.answer_counts.count(&answered);
        answered
    }
}

/// A kept answer: its id, the change that put it, and the time of that in milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeptAnswer {
    seq: u64,
    at_ms: u64,
    id: RecordId,
}

/// The kept answers, the oldest first.
#[derive(Debug, Default)]
pub(super) struct AnswerOrder(VecDeque<KeptAnswer>);

/// The changes of the order by a group.
#[derive(Debug, Default)]
pub(super) struct AnswerMoves {
    added: Vec<KeptAnswer>,
    /// The number of the oldest, with those that were added, that were removed.
    removed: usize,
}

impl AnswerOrder {
    pub(super) fn read(open: &OpenEngine, answers: CollectionId) -> Result<Self, EngineError> {
        let mut kept = Vec::new();
        let visit = &mut |key: &[u8], value: &[u8]| {
            // What is damaged is found and healed by those who look for that.
            if let (Some(id), Some((seq, at_ms))) =
                (RecordId::from_key(key), StoredRecord::moment(value))
            {
                kept.push(KeptAnswer { seq, at_ms, id });
            }
            true
        };
        open.engine.scan(Keyspace::Records(answers), &[], visit)?;
        kept.sort_by_key(|answer| answer.seq);
        Ok(Self(kept.into()))
    }

    /// Follows a group that was committed.
    pub(super) fn follow(&mut self, moves: AnswerMoves) {
        self.0.extend(moves.added);
        self.0.drain(..moves.removed.min(self.0.len()));
    }
}

/// The reason why the oldest answer has to go, if it has to: the answers are so many with the new one. Pure.
fn goes(oldest: &KeptAnswer, now_ms: u64, kept: Tally, limits: &StoreLimits) -> Option<Going> {
    if now_ms.saturating_sub(oldest.at_ms) > as_millis(limits.answers_keep) {
        Some(Going::Expired)
    } else if kept.records > limits.answers || kept.bytes > limits.answers_bytes {
        Some(Going::Crowded)
    } else {
        None
    }
}

/// The reason why an answer is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Going {
    /// Its time is over.
    Expired,
    /// There are too many.
    Crowded,
}

/// An answer that is about to be kept.
pub(super) struct AnswerPlace<'a> {
    key: &'a RequestKey,
    target: WriteTarget,
    /// The records of the oldest answers, with their reading done: nothing fails after the last command was staged.
    oldest: Vec<(KeptAnswer, Option<WriteTarget>)>,
    /// The bytes that the answer has at most, as far as its commands were decided.
    bytes: usize,
    /// The bytes of the oldest answers, and of an expired one of the same name.
    oldest_bytes: u64,
}

/// The room for an answer of so many bytes. Pure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AnswerRoom {
    Enough,
    /// If more of the oldest go.
    AfterMore,
    Never,
}

impl AnswerRoom {
    /// That beside `kept` bytes of answers, of which `removed` go; the setting may have been larger when they were kept.
    fn of(bytes: u64, kept: u64, removed: u64, limits: &StoreLimits) -> Self {
        let most = limits.answers_bytes.min(as_u64(BATCH_BYTES_MAX));
        if bytes > most {
            Self::Never
        } else if kept.saturating_sub(removed).saturating_add(bytes) <= limits.answers_bytes {
            Self::Enough
        } else {
            Self::AfterMore
        }
    }
}

impl AnswerPlace<'_> {
    /// Makes sure that there is room for the answer to one more command, before it is staged.
    pub(super) fn make_room(
        &mut self,
        staging: &Staging<'_>,
        holder: &Holder,
        order: &AnswerOrder,
        decided: &[Decided],
    ) -> Result<(), StoreError> {
        let records = decided.iter().filter(|it| it.is_named);
        let records = records.map(|it| match (&it.decision, &it.target.current) {
            (Decision::Put(json), _) => record_bytes(&it.target.id, json),
            (Decision::Remove, Some(old)) => record_bytes(&old.id, &old.json),
            (Decision::Remove, None) | (Decision::Keep, _) => 0,
        });
        self.bytes += RESULT_BYTES + records.sum::<usize>();
        let bytes = as_u64(self.bytes);
        let answers = holder.answers();
        let kept = staging.checked.tallies.get(answers.0);
        let kept = kept.map_or(0, |kept| kept.bytes);
        let limits = holder.limits.now();
        loop {
            match AnswerRoom::of(bytes, kept, self.oldest_bytes, &limits) {
                AnswerRoom::Enough => return Ok(()),
                AnswerRoom::AfterMore
                    if self.oldest.len() < REMOVED_MAX
                        && staging.read_oldest(answers, order, self)? => {}
                // There are more than may be kept by now, and they become fewer.
                AnswerRoom::AfterMore if self.oldest_bytes >= bytes => return Ok(()),
                AnswerRoom::AfterMore | AnswerRoom::Never => {
                    return Err(CommandError::AnswerTooLong { bytes }.into());
                }
            }
        }
    }
}

impl Staging<'_> {
    /// The answer that a request of this name got before, or the place for a new one.
    pub(super) fn answered<'a>(
        &self,
        holder: &Holder,
        order: &AnswerOrder,
        key: &'a RequestKey,
    ) -> Result<Result<BatchWritten, AnswerPlace<'a>>, StoreError> {
        let answers = holder.answers();
        let id = key.id().ok_or(StoreError::Failed)?;
        let target = self.target(answers, id)?;
        let known = replayed(target.current.as_ref(), key, &holder.limits.now());
        holder.answer_counts.count(&known);
        if let Some(known) = known? {
            return Ok(Ok(known));
        }
        let replaced = target.current.as_ref().map(|old| as_u64(old.json.len()));
        let mut place = AnswerPlace {
            key,
            target,
            oldest: Vec::new(),
            bytes: StoredAnswer::head_bytes(key.named(self.now_ms)),
            oldest_bytes: replaced.unwrap_or_default(),
        };
        while place.oldest.len() < CROWDED_MAX && self.read_oldest(answers, order, &mut place)? {}
        Ok(Err(place))
    }

    /// Reads the next one of the oldest answers. False if there is none.
    fn read_oldest(
        &self,
        answers: CollectionId,
        order: &AnswerOrder,
        place: &mut AnswerPlace<'_>,
    ) -> Result<bool, StoreError> {
        let skipped = self.answers.removed + place.oldest.len();
        let added = skipped.checked_sub(order.0.len());
        let next = match added {
            Some(added) => self.answers.added.get(added),
            None => order.0.get(skipped),
        };
        let Some(kept) = next else {
            return Ok(false);
        };
        let found = self.target(answers, kept.id.clone())?;
        let current = found.current.as_ref();
        let its = current.filter(|current| current.revision.0 == kept.seq);
        // An expired answer of the same name has another one in its place.
        let its = its.filter(|_| kept.id != place.target.id);
        let bytes = its.map(|its| as_u64(its.json.len()));
        place.oldest_bytes += bytes.unwrap_or_default();
        let found = bytes.is_some().then_some(found);
        place.oldest.push((kept.clone(), found));
        Ok(true)
    }

    /// Keeps an answer, and removes old ones.
    pub(super) fn keep_answer(
        &mut self,
        holder: &Holder,
        place: AnswerPlace<'_>,
        message: MessageId,
        results: &[Result<Written, CommandError>],
    ) {
        let answers = holder.answers();
        let limits = holder.limits.now();
        let origin = self.next(answers, message);
        let (seq, at_ms, id) = (origin.seq, origin.at_ms, place.target.id.clone());
        let answer = StoredAnswer::new(place.key.named(at_ms), results);
        let Some(json) = answer.encode() else {
            return;
        };
        self.put(origin, place.target, json);
        self.answers.added.push(KeptAnswer { seq, at_ms, id });
        holder.answer_counts.kept.fetch_add(1, Ordering::Relaxed);
        for (kept, target) in place.oldest {
            let tallies = &self.checked.tallies;
            let now = tallies.get(answers.0).copied().unwrap_or_default();
            let Some(going) = target
                .as_ref()
                .map_or(Some(Going::Expired), |_| goes(&kept, at_ms, now, &limits))
            else {
                break;
            };
            self.answers.removed += 1;
            if let Some(target) = target {
                let origin = self.next(answers, message);
                self.remove(origin, target);
                if going == Going::Crowded {
                    holder.answer_counts.crowded.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

/// The events of requests with a name.
#[derive(Debug, Default)]
pub(super) struct AnswerCounts {
    kept: AtomicU64,
    replayed: AtomicU64,
    refused: AtomicU64,
    crowded: AtomicU64,
}

impl AnswerCounts {
    fn count(&self, answered: &Result<Option<BatchWritten>, StoreError>) {
        let counter = match answered {
            Ok(Some(_)) => &self.replayed,
            Err(StoreError::Refused(_)) => &self.refused,
            Ok(None) | Err(_) => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn write(&self, rows: &mut Rows<'_>, kept: Tally) {
        let counts = [
            ("kept", &self.kept),
            ("replayed", &self.replayed),
            ("refused", &self.refused),
            ("crowded_out", &self.crowded),
        ];
        rows.counters(
            "perennial_storage_answers",
            "Answers to requests with an Idempotency-Key that were kept, given again (replayed), or removed before their time since there were too many (crowded_out); and requests refused since another had their key",
            counts.map(|(event, count)| ([("event", event)], count.load(Ordering::Relaxed))),
        );
        rows.gauge(
            "perennial_storage_kept_answers",
            "Answers to requests with an Idempotency-Key that are kept",
            kept.records,
        );
        rows.gauge(
            "perennial_storage_kept_answer_bytes",
            "Bytes of those answers",
            kept.bytes,
        );
    }
}

/// The figures of the resources whose records clients made.
pub(super) fn without_answers<'a>(
    names: &'a [String],
    tallies: &'a [Tally],
) -> impl Iterator<Item = Tally> + 'a {
    let both = names.iter().zip(tallies);
    both.filter(|(name, _)| *name != ANSWERS)
        .map(|(_, tally)| *tally)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::settings::Settings;

    #[test]
    fn there_is_room_for_an_answer_if_enough_of_the_oldest_go() {
        let limits = StoreLimits {
            answers_bytes: 100,
            ..StoreLimits::of(&Settings::default())
        };
        for (bytes, kept, removed, room) in [
            (100, 0, 0, AnswerRoom::Enough),
            (101, 0, 0, AnswerRoom::Never),
            (40, 60, 0, AnswerRoom::Enough),
            (40, 61, 0, AnswerRoom::AfterMore),
            (40, 61, 1, AnswerRoom::Enough),
            (40, 500, 439, AnswerRoom::AfterMore),
            (u64::MAX, 1, 1, AnswerRoom::Never),
        ] {
            let found = AnswerRoom::of(bytes, kept, removed, &limits);
            assert_eq!(found, room, "{bytes} {kept} {removed}");
        }
    }

    #[test]
    fn an_answer_goes_when_its_time_is_over_or_there_are_too_many() {
        let limits = StoreLimits {
            answers: 3,
            answers_bytes: 100,
            answers_keep: Duration::from_secs(5),
            ..StoreLimits::of(&Settings::default())
        };
        let oldest = KeptAnswer {
            seq: 7,
            at_ms: 1_000,
            id: RecordId::Number(1),
        };
        for (now_ms, records, bytes, going) in [
            (1_000, 3, 100, None),
            (6_000, 1, 10, None),
            (6_001, 1, 10, Some(Going::Expired)),
            (1_000, 4, 10, Some(Going::Crowded)),
            (1_000, 1, 101, Some(Going::Crowded)),
            (0, 1, 1, None),
        ] {
            let kept = Tally {
                records,
                bytes,
                seq: 9,
            };
            assert_eq!(
                goes(&oldest, now_ms, kept, &limits),
                going,
                "{now_ms} {kept:?}"
            );
        }
    }
}
