//! Selects records of a resource that are shown one by one: the page of a query, or all that match an example.

use super::object::JsonObject;
use super::query::{ListQuery, SortKey};
use super::{Record, RecordId};
use crate::num::as_u64;

/// The most bytes of records that one selection keeps, whatever the query allows.
pub(crate) const SELECTED_BYTES_MAX: usize = 64 << 20;
/// Fewer records than these are not sorted before the end: it would save no memory worth mentioning.
const SORT_RECORDS_MIN: usize = 1024;

/// Takes records that are shown to it one by one.
pub(crate) trait RecordSink: Send + 'static {
    /// Whether a record with this text is to be shown. Of most records of a long scan this says no, so that nothing else has to be
    /// made of them.
    fn wants(&mut self, text: &[u8]) -> bool;

    /// Notes that so many records were not shown.
    fn pass(&mut self, records: u64);

    /// Looks at a record. False if no more need to be shown.
    fn visit(&mut self, record: Record) -> bool;
}

/// The page that a query asks for, while records are shown to it in the order of their ids.
#[derive(Debug)]
pub(crate) struct Selection {
    query: ListQuery,
    /// The members of a record that the query looks at; `None` if it looks at all.
    names: Option<Vec<String>>,
    /// Those of the record that was looked at last.
    members: JsonObject,
    kept: Vec<(SortKey, Record)>,
    kept_bytes: usize,
    /// The most records that are kept: more of them had too many bytes.
    kept_max: usize,
    /// The number of matching records, and of those after the position where the page begins.
    total: u64,
    following: u64,
    /// The number of records that were looked at.
    looked: u64,
    /// Whether the records that have to be kept have too many bytes.
    overflowed: bool,
}

/// The records that were selected.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Selected {
    /// The page.
    pub(crate) records: Vec<Record>,
    /// The number of all matching records, if the query wants it.
    pub(crate) total: Option<u64>,
    /// Whether others follow.
    pub(crate) more: bool,
    /// The number of records that were looked at for them.
    pub(crate) looked: u64,
}

impl Selection {
    pub(crate) fn new(query: ListQuery) -> Self {
        let kept_max = if query.is_sorted() {
            query.slice().end()
        } else {
            query.slice().limit()
        };
        Self {
            names: query.names(),
            members: JsonObject::default(),
            query,
            kept: Vec::new(),
            kept_bytes: 0,
            kept_max,
            total: 0,
            following: 0,
            looked: 0,
            overflowed: false,
        }
    }

    /// Reads the members that the query looks at, and compares them with it.
    fn matches(&mut self, text: &[u8]) -> bool {
        let read = match &self.names {
            Some(names) => self.members.read_some(text, names),
            None => JsonObject::parse(text).map(|object| self.members = object),
        };
        // Records are stored as objects, and the check sum of this one was right.
        read.is_ok() && self.query.matches(self.members.members())
    }

    /// Looks at a record. False if no more need to be shown.
    pub(crate) fn visit(&mut self, record: Record) -> bool {
        self.looked += 1;
        if !self.matches(&record.json) {
            return true;
        }
        self.total += 1;
        let key = self.query.sort_key(self.members.members());
        if self.query.is_before(&key, &record.id) {
            return true;
        }
        let before = self.following;
        self.following += 1;
        if self.query.is_sorted() {
            self.keep(key, record);
            self.sort_if_full();
        } else if before >= as_u64(self.query.slice().start()) && self.kept.len() < self.kept_max {
            self.keep(key, record);
            self.shorten(1);
        }
        // Without a total, one more record says that there are more.
        let enough = !self.query.is_sorted() && !self.query.wants_total() && self.has_more();
        !self.overflowed && !enough
    }

    /// The page; `None` if it takes more bytes than there is room for.
    pub(crate) fn finish(mut self) -> Option<Selected> {
        let slice = self.query.slice();
        if self.query.is_sorted() {
            self.sort();
        }
        if self.overflowed {
            return None;
        }
        let more = self.has_more();
        let skip = if self.query.is_sorted() {
            slice.start()
        } else {
            0
        };
        let records = self.kept.into_iter().map(|(_, record)| record);
        Some(Selected {
            records: records.skip(skip).collect(),
            total: self.query.wants_total().then_some(self.total),
            more,
            looked: self.looked,
        })
    }

    /// Whether matching records follow those that are kept.
    fn has_more(&self) -> bool {
        let start = self.query.slice().start();
        let end = if self.query.is_sorted() {
            self.kept.len().max(start)
        } else {
            start.saturating_add(self.kept.len())
        };
        self.following > as_u64(end)
    }

    fn keep(&mut self, key: SortKey, record: Record) {
        self.kept_bytes += weight(&key, &record);
        self.kept.push((key, record));
    }

    /// Drops the last records as long as they have too many bytes, and keeps no more from then on: a page has no gaps. At least
    /// `least` are kept.
    fn shorten(&mut self, least: usize) {
        if let Some(room) = self.query.room() {
            self.overflowed |= self.kept_bytes > room;
            return;
        }
        while self.kept_bytes > SELECTED_BYTES_MAX {
            if self.kept.len() <= least {
                self.overflowed |= least > 1;
                return;
            }
            if let Some((key, record)) = self.kept.pop() {
                self.kept_bytes -= weight(&key, &record);
            }
            self.kept_max = self.kept.len();
        }
    }

    /// Sorts, and drops the records that come after the page.
    fn sort(&mut self) {
        let query = &self.query;
        // The sort is stable: equal records stay in the order of ids.
        self.kept.sort_by(|(a, _), (b, _)| query.compare(a, b));
        self.kept.truncate(self.kept_max);
        let weights = self.kept.iter().map(|(key, record)| weight(key, record));
        self.kept_bytes = weights.sum();
        let start = self.query.slice().start();
        self.shorten(start.saturating_add(1));
    }

    /// Sorts whenever twice as many records are kept as needed: seldom enough to cost little for each record.
    fn sort_if_full(&mut self) {
        let most = self.kept_max.saturating_mul(2);
        let bytes_max = self.query.room().unwrap_or(SELECTED_BYTES_MAX);
        if self.kept.len() > most.max(SORT_RECORDS_MIN) || self.kept_bytes > bytes_max {
            self.sort();
        }
    }
}

impl RecordSink for Selection {
    fn wants(&mut self, text: &[u8]) -> bool {
        self.query.selects_all() || self.matches(text)
    }

    fn pass(&mut self, records: u64) {
        self.looked += records;
    }

    fn visit(&mut self, record: Record) -> bool {
        Self::visit(self, record)
    }
}

fn weight(key: &SortKey, record: &Record) -> usize {
    key.bytes() + size_of::<Record>() + record.json.len()
}

/// The ids of the records that have all members of an example, while records are shown to it.
#[derive(Debug)]
pub(crate) struct Example {
    like: JsonObject,
    names: Vec<String>,
    ids: Vec<RecordId>,
    most: usize,
}

impl Example {
    /// Looks for `most` records at most.
    pub(crate) fn new(example: JsonObject, most: usize) -> Self {
        Self {
            names: example.members().keys().cloned().collect(),
            like: example,
            ids: Vec::new(),
            most,
        }
    }

    /// Looks at a record. False if no more need to be shown.
    pub(crate) fn visit(&mut self, record: Record) -> bool {
        if self.is_like(&record.json) {
            self.ids.push(record.id);
        }
        self.ids.len() <= self.most
    }

    fn is_like(&self, text: &[u8]) -> bool {
        let object = JsonObject::parse_some(text, &self.names);
        object.is_ok_and(|object| object.is_like(&self.like))
    }

    /// The ids; `None` if there are more than that.
    pub(crate) fn finish(self) -> Option<Vec<RecordId>> {
        (self.ids.len() <= self.most).then_some(self.ids)
    }
}

impl RecordSink for Example {
    fn wants(&mut self, text: &[u8]) -> bool {
        self.is_like(text)
    }

    fn pass(&mut self, _: u64) {}

    fn visit(&mut self, record: Record) -> bool {
        Self::visit(self, record)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Handling, Revision, schema::Schema};
    use super::*;

    /// Shows a hundred records of some 9 kB; `None` if there is no room, else how many were selected, and whether there are
    /// more.
    fn select(query: ListQuery) -> (usize, Option<(usize, bool)>) {
        let mut selection = Selection::new(query);
        let visited = (0..100).take_while(|id| {
            let text = "x".repeat(9000);
            selection.visit(Record {
                id: RecordId::parse(&format!("{id:02}")).unwrap(),
                revision: Revision(1),
                created_ms: 0,
                changed_ms: 0,
                json: format!("{{\"id\":\"{id:02}\",\"a\":\"{text}\"}}").into(),
            })
        });
        let visited = visited.count();
        let selected = selection.finish();
        (
            visited,
            selected.map(|selected| (selected.records.len(), selected.more)),
        )
    }

    fn query(text: &str) -> ListQuery {
        ListQuery::parse(text, &Schema::default(), Handling::Strict).unwrap()
    }

    #[test]
    fn a_selection_ends_where_there_is_no_room() {
        for (bytes, whole) in [(10_000_000, true), (25_000, false)] {
            for sorted in ["", "_sort=a"] {
                let (visited, selected) = select(query(sorted).within(bytes));
                assert!(if whole { visited == 100 } else { visited < 3 });
                assert_eq!(selected.is_some(), whole);
            }
        }
    }

    #[test]
    fn a_selection_without_a_total_ends_behind_its_page() {
        assert_eq!(select(query("_limit=10")), (100, Some((10, true))));
        assert_eq!(select(query("_limit=10&_after=")), (10, Some((10, true))));
        assert_eq!(
            select(query("_limit=100&_after=")),
            (100, Some((100, false)))
        );
        assert_eq!(
            select(query("_limit=10&_after=&_sort=a")),
            (100, Some((10, true)))
        );
        assert_eq!(
            select(query("_limit=10&_after=&_count=exact")),
            (100, Some((10, true)))
        );
        assert_eq!(select(query("").at_most(30)), (100, Some((30, true))));
    }

    #[test]
    fn a_page_with_too_many_bytes_is_cut() {
        for sorted in [false, true] {
            let text = if sorted {
                "_sort=a&_limit=10000"
            } else {
                "_limit=10000"
            };
            let mut selection = Selection::new(query(text));
            let long = "x".repeat(SELECTED_BYTES_MAX / 4);
            for id in 0..10 {
                let seen = selection.visit(Record {
                    id: RecordId::Number(id),
                    revision: Revision(1),
                    created_ms: 0,
                    changed_ms: 0,
                    json: format!("{{\"id\":{id},\"a\":{},\"b\":\"{long}\"}}", 9 - id).into(),
                });
                assert!(seen);
            }
            let selected = selection.finish().unwrap();
            let ids = selected.records.iter().map(|record| record.id.to_string());
            let ids: Vec<_> = ids.collect();
            let first = if sorted {
                ["9", "8", "7"]
            } else {
                ["0", "1", "2"]
            };
            assert_eq!(
                (ids, selected.total, selected.more),
                (first.map(str::to_owned).to_vec(), Some(10), true)
            );
        }
    }
}
