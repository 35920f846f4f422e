//! The answers to requests with a name (`Idempotency-Key`): records of a resource of the store's own, which are put in the same
//! group as what the request changes. So the journal, snapshots and backups have them, and never one without the other.
//!
//! The resource holds no more of them than the settings allow: each new answer removes the oldest ones. Their order is kept in
//! memory and read anew by each incarnation of the writer.

// Decision: Kept answers are records.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::checked::Tally;
use super::engine::{EngineError, Keyspace};
use super::holder::Holder;
use super::limits::StoreLimits;
use super::reader_state::OpenEngine;
use super::staging::{Staging, WriteTarget};
use super::store::record;
use super::stored_record::StoredRecord;
use crate::num::as_millis;
use crate::record::{
    CommandError, KeyVerdict, NamedRequest, Record, RecordId, RequestKey, Revision,
};
use crate::storage::{BatchWritten, CollectionId, StoreError, Written, unix_ms};
use crate::supervision::MessageId;
use crate::telemetry::Rows;

/// The name of the resource. No resource of the settings can have it: their names begin with a letter.
pub(in crate::storage) const ANSWERS: &str = "_answers";
/// The most old answers that are removed with a new one.
const REMOVED_MAX: usize = 4;

/// An answer as it is stored.
#[derive(Serialize, Deserialize)]
struct StoredAnswer {
    request: NamedRequest,
    results: Vec<StoredResult>,
}

/// The result of one command, with the records that it has.
#[derive(Serialize, Deserialize)]
struct StoredResult(String, Vec<StoredText>);

/// A record in an answer: id, revision, times of creation and change, text.
#[derive(Serialize, Deserialize)]
struct StoredText(Value, u64, u64, u64, String);

impl StoredResult {
    fn of(written: &Written) -> Self {
        let (kind, records) = written.parts();
        let text = |record: &Record| {
            let id = match &record.id {
                RecordId::Number(number) => Value::from(*number),
                RecordId::Text(text) => Value::from(&**text),
            };
            let json = String::from_utf8_lossy(&record.json).into_owned();
            let (created, changed) = (record.created_ms, record.changed_ms);
            StoredText(id, record.revision.0, created, changed, json)
        };
        Self(kind.to_owned(), records.iter().map(text).collect())
    }

    fn written(self) -> Option<Written> {
        let record = |StoredText(id, revision, created_ms, changed_ms, json)| {
            let id = match id.as_u64() {
                Some(number) => RecordId::Number(number),
                None => RecordId::parse(id.as_str()?).ok()?,
            };
            Some(Record {
                id,
                revision: Revision(revision),
                created_ms,
                changed_ms,
                json: Bytes::from(json),
            })
        };
        let records: Option<Vec<_>> = self.1.into_iter().map(record).collect();
        Written::of_parts(&self.0, records?)
    }
}

fn encode(request: NamedRequest, results: &[Result<Written, CommandError>]) -> Option<Bytes> {
    let results = results.iter().flatten().map(StoredResult::of).collect();
    let stored = StoredAnswer { request, results };
    serde_json::to_vec(&stored).ok().map(Bytes::from)
}

/// The answer of a record, as far as the request may have it: an error if another request had its name.
fn replayed(
    stored: Option<&Record>,
    key: &RequestKey,
    limits: &StoreLimits,
) -> Result<Option<BatchWritten>, StoreError> {
    let Some(record) = stored else {
        return Ok(None);
    };
    let stored: StoredAnswer = serde_json::from_slice(&record.json).map_err(|error| {
        tracing::error!(%error, "a kept answer can't be read");
        StoreError::Failed
    })?;
    let keep_ms = as_millis(limits.answers_keep);
    match key.judge(Some(&stored.request), unix_ms(), keep_ms) {
        KeyVerdict::New => Ok(None),
        KeyVerdict::Other => Err(CommandError::KeyReused.into()),
        KeyVerdict::Same => {
            let results = stored.results.into_iter().map(StoredResult::written);
            let results: Option<Vec<_>> = results.map(|result| result.map(Ok)).collect();
            Ok(Some(BatchWritten {
                results: results.ok_or(StoreError::Failed)?,
                last: record.revision.0,
                replayed: true,
            }))
        }
    }
}

impl Holder {
    /// The number of the resource that holds the answers.
    pub(super) fn answers(&self) -> CollectionId {
        // It is known from the beginning.
        let known = self.known.load().any_id(ANSWERS);
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

/// Whether the oldest answer has to go, if the answers are so many with the new one. Pure.
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
    /// The records of the oldest answers, with their reading done: nothing fails after something was staged.
    oldest: Vec<(KeptAnswer, Option<WriteTarget>)>,
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
        let order = order.0.iter().chain(&self.answers.added);
        let oldest = order.skip(self.answers.removed).take(REMOVED_MAX);
        let oldest = oldest.map(|kept| {
            let found = self.target(answers, kept.id.clone())?;
            let current = found.current.as_ref();
            let its = current.is_some_and(|current| current.revision.0 == kept.seq);
            // An expired answer of the same name has another one in its place.
            Ok((
                kept.clone(),
                its.then_some(found).filter(|_| kept.id != target.id),
            ))
        });
        let oldest = oldest.collect::<Result<_, StoreError>>()?;
        Ok(Err(AnswerPlace {
            key,
            target,
            oldest,
        }))
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
        let Some(json) = encode(place.key.named(at_ms), results) else {
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

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        let record = |id, json: &str| Record {
            id,
            revision: Revision(u64::MAX),
            created_ms: 5,
            changed_ms: 6,
            json: Bytes::from(json.to_owned()),
        };
        let one = record(RecordId::Number(7), r#"{"id":7,"n":1.50,"t":"\n\u00e4"}"#);
        let two = record(RecordId::parse("a-b").unwrap(), r#"{"id":"a-b"}"#);
        let results = [
            Written::Created(one.clone()),
            Written::Replaced(two.clone()),
            Written::Deleted(one.clone()),
            Written::DeletedMatching(vec![]),
            Written::DeletedMatching(vec![one, two]),
        ];
        let results: Vec<_> = results.into_iter().map(Ok).collect();
        let key = RequestKey::read(b"k", &[b"POST"]).unwrap();
        let kept = record(
            RecordId::Number(1),
            std::str::from_utf8(&encode(key.named(unix_ms()), &results).unwrap()).unwrap(),
        );
        let limits = StoreLimits::of(&Settings::default());
        let read = replayed(Some(&kept), &key, &limits).unwrap().unwrap();
        assert_eq!((read.results, read.replayed), (results, true));
        let other = RequestKey::read(b"k", &[b"PUT"]).unwrap();
        let refused = replayed(Some(&kept), &other, &limits);
        assert_eq!(refused, Err(StoreError::Refused(CommandError::KeyReused)));
    }
}
