//! Selects records of a resource that are shown one by one: the page of a query, or all that match an example.

use super::command::MATCHING_MAX;
use super::object::JsonObject;
use super::query::{ListQuery, SortKey};
use super::{Record, RecordId};
use crate::num::as_u64;

/// The most bytes of records that one selection keeps, whatever the query allows.
pub(crate) const SELECTED_BYTES_MAX: usize = 64 << 20;
/// Fewer records than these are not sorted before the end: it would save no memory worth mentioning.
const SORT_RECORDS_MIN: usize = 1024;

/// The page that a query asks for, while records are shown to it in the order of their ids.
#[derive(Debug)]
pub(crate) struct Selection {
    query: ListQuery,
    kept: Vec<(SortKey, Record)>,
    kept_bytes: usize,
    total: u64,
}

impl Selection {
    pub(crate) fn new(query: ListQuery) -> Self {
        Self {
            query,
            kept: Vec::new(),
            kept_bytes: 0,
            total: 0,
        }
    }

    /// Looks at a record. False if no more need to be shown.
    pub(crate) fn visit(&mut self, record: Record) -> bool {
        let object = if self.query.is_plain() {
            JsonObject::default()
        } else {
            // Records are stored as objects, and the check sum of this one was right.
            let Ok(object) = JsonObject::parse(&record.json) else {
                return true;
            };
            if !self.query.matches(object.members()) {
                return true;
            }
            object
        };
        let before = self.total;
        self.total += 1;
        let slice = self.query.slice();
        let key = self.query.sort_key(object.members());
        if self.query.is_sorted() {
            self.keep(key, record);
            self.sort_if_full();
        } else if before >= as_u64(slice.start()) && self.kept.len() < slice.limit() {
            self.keep(key, record);
        }
        self.kept_bytes <= self.query.bytes_max()
    }

    /// The page, and how many records match; `None` if the page has more bytes than the query allows.
    pub(crate) fn finish(mut self) -> Option<(Vec<Record>, u64)> {
        let slice = self.query.slice();
        let skip = if self.query.is_sorted() {
            self.sort();
            slice.start()
        } else {
            0
        };
        if self.kept_bytes > self.query.bytes_max() {
            return None;
        }
        let records = self.kept.into_iter().map(|(_, record)| record);
        let page = records.skip(skip).take(slice.limit());
        Some((page.collect(), self.total))
    }

    fn keep(&mut self, key: SortKey, record: Record) {
        self.kept_bytes += weight(&key, &record);
        self.kept.push((key, record));
    }

    /// Sorts, and drops the records that come after the page.
    fn sort(&mut self) {
        let query = &self.query;
        // The sort is stable: equal records stay in the order of ids.
        self.kept.sort_by(|(a, _), (b, _)| query.compare(a, b));
        self.kept.truncate(query.slice().end());
        let weights = self.kept.iter().map(|(key, record)| weight(key, record));
        self.kept_bytes = weights.sum();
    }

    /// Sorts whenever twice as many records are kept as needed: seldom enough to cost little for each record.
    fn sort_if_full(&mut self) {
        let most = self.query.slice().end().saturating_mul(2);
        if self.kept.len() > most.max(SORT_RECORDS_MIN) || self.kept_bytes > self.query.bytes_max()
        {
            self.sort();
        }
    }
}

fn weight(key: &SortKey, record: &Record) -> usize {
    key.bytes() + size_of::<Record>() + record.json.len()
}

/// The ids of the records that have all members of an example, while records are shown to it.
#[derive(Debug)]
pub(crate) struct Example {
    example: JsonObject,
    ids: Vec<RecordId>,
}

impl Example {
    pub(crate) fn new(example: JsonObject) -> Self {
        Self {
            example,
            ids: Vec::new(),
        }
    }

    /// Looks at a record. False if no more need to be shown.
    pub(crate) fn visit(&mut self, record: Record) -> bool {
        if JsonObject::parse(&record.json).is_ok_and(|object| object.is_like(&self.example)) {
            self.ids.push(record.id);
        }
        self.ids.len() <= MATCHING_MAX
    }

    /// The ids; `None` if there are more than [`MATCHING_MAX`].
    pub(crate) fn finish(self) -> Option<Vec<RecordId>> {
        (self.ids.len() <= MATCHING_MAX).then_some(self.ids)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Handling, Revision, schema::Schema};
    use super::*;

    #[test]
    fn a_selection_ends_where_it_has_more_bytes_than_the_query_allows() {
        for (bytes, whole) in [(10_000_000, true), (25_000, false)] {
            for sorted in ["", "_sort=a"] {
                let query = ListQuery::parse(sorted, &Schema::default(), Handling::Strict);
                let mut selection = Selection::new(query.unwrap().within(bytes));
                let visited = (0..100).take_while(|id| {
                    let text = "x".repeat(9000);
                    selection.visit(Record {
                        id: RecordId::parse(&id.to_string()).unwrap(),
                        revision: Revision(1),
                        created_ms: 0,
                        changed_ms: 0,
                        json: format!("{{\"id\":\"{id}\",\"a\":\"{text}\"}}").into(),
                    })
                });
                let visited = visited.count();
                assert!(if whole { visited == 100 } else { visited < 3 });
                assert_eq!(selection.finish().is_some(), whole);
            }
        }
    }
}
