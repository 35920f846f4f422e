//! The history of a record: what it was, as far as the journal and its snapshots reach. Pure.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::journal::{JournalChange, JournalEffect};
use crate::record::{HistoryQuery, Revision, moment_text};

/// The most bytes of records in one answer, and one record more.
const HISTORY_BYTES_MAX: usize = 8 << 20;

/// A part of the history of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RecordHistory {
    /// The newest change first.
    pub(crate) changes: Vec<PastChange>,
    /// The oldest change that the journal has.
    pub(crate) first: u64,
    /// Whether there are older changes than these.
    pub(crate) more: bool,
    /// The mark of the store, for entity tags.
    pub(crate) mark: String,
}

/// A change of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PastChange {
    /// The number of the change: the revision of the record after it.
    pub(crate) seq: u64,
    /// The time of the change, in milliseconds since 1970.
    pub(crate) at_ms: u64,
    /// The text of the record after it; `None` if it was deleted.
    pub(crate) json: Option<Bytes>,
    /// The client that asked for it, if that is known.
    pub(crate) by: Option<Arc<str>>,
}

impl RecordHistory {
    /// The change before which the next part ends, if there is one.
    pub(crate) fn next(&self) -> Option<u64> {
        let last = self.changes.last().filter(|_| self.more);
        last.map(|change| change.seq)
    }

    /// A sentence about the changes that are not known any more, if there may be some.
    pub(crate) fn cut_off(&self) -> Option<String> {
        let first = self.first;
        (first > 1).then(|| {
            format!(
                "the journal begins with change {first}: of what was before, the oldest snapshot has only the last state"
            )
        })
    }

    /// Leaves out the states that are not for a client.
    pub(crate) fn keep_only(&mut self, keep: impl Fn(&[u8]) -> bool) {
        let is_kept = |change: &PastChange| change.json.as_ref().is_none_or(|json| keep(json));
        self.changes.retain(is_kept);
    }

    /// The changes as one JSON text.
    pub(crate) fn json(&self) -> Vec<u8> {
        let mut out = b"{\"changes\":[".to_vec();
        for (n, change) in self.changes.iter().enumerate() {
            if n > 0 {
                out.push(b',');
            }
            let (seq, at) = (change.seq, moment_text(change.at_ms));
            let by = change.by.as_deref().map_or(String::new(), |by| {
                format!(",\"by\":{}", serde_json::Value::from(by))
            });
            match &change.json {
                Some(record) => {
                    let etag = serde_json::Value::from(Revision(seq).etag(&self.mark));
                    let head = format!(
                        "{{\"change\":{seq},\"kind\":\"put\",\"at\":\"{at}\"{by},\"etag\":{etag},\"record\":"
                    );
                    out.extend_from_slice(head.as_bytes());
                    out.extend_from_slice(record);
                    out.push(b'}');
                }
                None => out.extend_from_slice(
                    format!("{{\"change\":{seq},\"kind\":\"delete\",\"at\":\"{at}\"{by}}}")
                        .as_bytes(),
                ),
            }
        }
        let end = serde_json::json!({
            "more": self.more,
            "journal_begins": self.first,
            "cut_off": self.cut_off(),
        });
        let end = end.to_string();
        out.extend_from_slice(b"],");
        out.extend_from_slice(end.strip_prefix('{').unwrap_or(&end).as_bytes());
        out
    }
}

/// The changes that are kept of those that are shown to it.
#[derive(Debug)]
pub(super) struct KeptChanges {
    query: HistoryQuery,
    /// The oldest first.
    kept: VecDeque<PastChange>,
    bytes: usize,
    more: bool,
}

impl KeptChanges {
    pub(super) fn new(query: HistoryQuery) -> Self {
        Self {
            query,
            kept: VecDeque::new(),
            bytes: 0,
            more: false,
        }
    }

    /// Whether older changes than those that were shown have a place.
    pub(super) fn wants_older(&self) -> bool {
        !self.more
    }

    /// Takes a change that is later than all before it.
    pub(super) fn add(&mut self, change: &JournalChange) {
        if let Some(change) = self.past(change) {
            self.bytes += change.bytes();
            self.kept.push_back(change);
        }
        while self.is_over() {
            let oldest = self.kept.pop_front();
            self.bytes -= oldest.as_ref().map_or(0, PastChange::bytes);
            self.more = true;
        }
    }

    /// Takes a change that is older than all before it.
    pub(super) fn add_older(&mut self, change: &JournalChange) {
        let Some(change) = self.past(change).filter(|_| !self.more) else {
            return;
        };
        self.bytes += change.bytes();
        self.kept.push_front(change);
        if self.is_over() {
            self.kept.pop_front();
            self.more = true;
        }
    }

    fn is_over(&self) -> bool {
        let count = self.kept.len();
        count > self.query.limit || count > 1 && self.bytes > HISTORY_BYTES_MAX
    }

    fn past(&self, change: &JournalChange) -> Option<PastChange> {
        let json = match &change.effect {
            JournalEffect::Numbers { .. } => return None,
            JournalEffect::Delete => None,
            // A copy, so that the rest of its frame is not kept.
            JournalEffect::Put { json, .. } => Some(Bytes::copy_from_slice(json)),
        };
        (change.seq < self.query.before).then_some(PastChange {
            seq: change.seq,
            at_ms: change.at_ms,
            json,
            by: change.by.clone(),
        })
    }

    pub(super) fn finish(self, first: u64, mark: String) -> RecordHistory {
        RecordHistory {
            changes: self.kept.into_iter().rev().collect(),
            first,
            more: self.more,
            mark,
        }
    }
}

impl PastChange {
    fn bytes(&self) -> usize {
        self.json.as_ref().map_or(0, Bytes::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervision::MessageId;

    fn change(seq: u64, json: Option<&[u8]>) -> JournalChange {
        let effect = json.map_or(JournalEffect::Delete, |json| JournalEffect::Put {
            created_ms: 0,
            json: Bytes::copy_from_slice(json),
        });
        JournalChange {
            seq,
            at_ms: seq * 1000,
            message: MessageId(0),
            collection: "books".to_owned(),
            key: b"dune".to_vec(),
            effect,
            by: None,
        }
    }

    /// The numbers of the changes that are told of 3 to 6 and, older, 2 and 1.
    fn told(limit: usize, before: u64) -> (Vec<u64>, bool) {
        let mut kept = KeptChanges::new(HistoryQuery { limit, before });
        for seq in 3..=6 {
            kept.add(&change(seq, None));
        }
        if kept.wants_older() {
            kept.add_older(&change(2, None));
            kept.add_older(&change(1, None));
        }
        let history = kept.finish(3, "m".to_owned());
        let seqs = history.changes.iter().map(|change| change.seq);
        (seqs.collect(), history.more)
    }

    #[test]
    fn the_newest_changes_are_told_first_and_the_rest_is_asked_for_by_the_oldest_of_them() {
        for (limit, before, changes, more) in [
            (2, u64::MAX, vec![6, 5], true),
            (2, 5, vec![4, 3], true),
            (2, 3, vec![2, 1], false),
            (9, u64::MAX, vec![6, 5, 4, 3, 2, 1], false),
            (4, u64::MAX, vec![6, 5, 4, 3], true),
            (5, u64::MAX, vec![6, 5, 4, 3, 2], true),
            (9, 1, vec![], false),
        ] {
            assert_eq!(told(limit, before), (changes, more), "{limit} {before}");
        }
    }

    #[test]
    fn an_answer_is_bounded_by_bytes_and_has_one_record_at_least() {
        let long = vec![b'x'; HISTORY_BYTES_MAX / 2 + 1];
        let query = HistoryQuery {
            limit: 9,
            before: 99,
        };
        let mut kept = KeptChanges::new(query);
        for seq in 1..=3 {
            kept.add(&change(seq, Some(&long)));
        }
        let history = kept.finish(1, String::new());
        assert_eq!((history.changes.len(), history.next()), (1, Some(3)));
    }

    #[test]
    fn the_text_says_what_each_change_was_and_what_was_cut_off() {
        let mut kept = KeptChanges::new(HistoryQuery {
            limit: 9,
            before: 99,
        });
        kept.add(&change(4, Some(b"{\"id\":\"dune\"}")));
        kept.add(&change(5, None));
        let history = kept.finish(4, "k3x9q2".to_owned());
        let json: serde_json::Value = serde_json::from_slice(&history.json()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "changes": [
                    {"change": 5, "kind": "delete", "at": "1970-01-01T00:00:05.000Z"},
                    {"change": 4, "kind": "put", "at": "1970-01-01T00:00:04.000Z", "etag": "\"4-k3x9q2\"",
                        "record": {"id": "dune"}},
                ],
                "more": false,
                "journal_begins": 4,
                "cut_off": "the journal begins with change 4: of what was before, the oldest snapshot has only the last state",
            })
        );
    }
}
