//! What is picked from a resource, record by record.

use super::command::MATCHING_MAX;
use super::object::JsonObject;
use super::query::{ListQuery, SortKey};
use super::{Record, RecordId};

/// What is shown records one after the other, in the order of their ids.
pub(crate) trait Visitor: Send + 'static {
    /// One more record. False ends the walk.
    fn visit(&mut self, record: Record) -> bool;
}

/// How many bytes of records one selection keeps at most.
pub(crate) const SELECTED_BYTES_MAX: usize = 64 << 20;
/// Sorting fewer than these in between saves no memory that counts.
const SORT_RECORDS_MIN: usize = 1024;

/// More than [`SELECTED_BYTES_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the records asked for are more than {} MiB; ask for fewer of them at once", SELECTED_BYTES_MAX >> 20)]
pub(crate) struct TooLarge;

/// The page that a query asks for.
#[derive(Debug)]
pub(crate) struct Selection {
    query: ListQuery,
    kept: Vec<(SortKey, Record)>,
    kept_bytes: usize,
    total: u64,
}

impl Selection {
    /// Nothing seen yet.
    pub(crate) fn new(query: ListQuery) -> Self {
        Self {
            query,
            kept: Vec::new(),
            kept_bytes: 0,
            total: 0,
        }
    }

    /// The page, and how many records match.
    pub(crate) fn finish(mut self) -> Result<(Vec<Record>, u64), TooLarge> {
        let slice = self.query.slice();
        let skip = if self.query.is_sorted() {
            self.sort();
            slice.start()
        } else {
            0
        };
        if self.kept_bytes > SELECTED_BYTES_MAX {
            return Err(TooLarge);
        }
        let records = self.kept.into_iter().map(|(_, record)| record);
        let page = records.skip(skip).take(slice.limit());
        Ok((page.collect(), self.total))
    }

    fn keep(&mut self, key: SortKey, record: Record) {
        self.kept_bytes += weight(&key, &record);
        self.kept.push((key, record));
    }

    /// Lets go of what is on no page any more.
    fn sort(&mut self) {
        let query = &self.query;
        // Stable: what is equal stays in the order of ids.
        self.kept.sort_by(|(a, _), (b, _)| query.compare(a, b));
        self.kept.truncate(query.slice().end());
        let weights = self.kept.iter().map(|(key, record)| weight(key, record));
        self.kept_bytes = weights.sum();
    }

    /// Sorts so seldom that sorting costs little for each record.
    fn sort_if_full(&mut self) {
        let most = self.query.slice().end().saturating_mul(2);
        if self.kept.len() > most.max(SORT_RECORDS_MIN) || self.kept_bytes > SELECTED_BYTES_MAX {
            self.sort();
        }
    }
}

fn weight(key: &SortKey, record: &Record) -> usize {
    key.bytes() + size_of::<Record>() + record.json.len()
}

impl Visitor for Selection {
    fn visit(&mut self, record: Record) -> bool {
        let object = if self.query.is_plain() {
            JsonObject::default()
        } else {
            // What is stored was an object when it came, and its check sum was right just now.
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
        let start = u64::try_from(slice.start()).unwrap_or(u64::MAX);
        let key = self.query.sort_key(object.members());
        if self.query.is_sorted() {
            self.keep(key, record);
            self.sort_if_full();
        } else if before >= start && self.kept.len() < slice.limit() {
            self.keep(key, record);
        }
        self.kept_bytes <= SELECTED_BYTES_MAX
    }
}

/// The records that are equal to an example in all its members.
#[derive(Debug)]
pub(crate) struct Example {
    example: JsonObject,
    ids: Vec<RecordId>,
}

impl Example {
    /// What one match weighs in the writer's queue, in bytes: as many as may match weigh as much as a whole group.
    pub(crate) const WEIGHT_BYTES: usize = 1024;

    /// Nothing seen yet.
    pub(crate) fn new(example: JsonObject) -> Self {
        Self {
            example,
            ids: Vec::new(),
        }
    }

    /// The example and the ids of what is like it; the bound, [`MATCHING_MAX`], if there are more.
    pub(crate) fn finish(self) -> Result<(JsonObject, Vec<RecordId>), usize> {
        if self.ids.len() > MATCHING_MAX {
            return Err(MATCHING_MAX);
        }
        Ok((self.example, self.ids))
    }
}

impl Visitor for Example {
    fn visit(&mut self, record: Record) -> bool {
        if JsonObject::parse(&record.json).is_ok_and(|object| object.is_like(&self.example)) {
            self.ids.push(record.id);
        }
        self.ids.len() <= MATCHING_MAX
    }
}
