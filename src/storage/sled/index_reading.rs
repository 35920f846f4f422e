//! Reads from an index: which records are on the page of a query, or which may match it. The caller makes sure that no group
//! is applied meanwhile.

use super::block_counts::{KeyAfter, OrderedKeys};
use super::engine::{Engine, EngineError, following};
use super::index_catalog::KeptIndex;
use super::index_walk::IndexWalk;
use super::read_error::ReadError;
use super::reader_state::OpenEngine;
use super::store::record;
use crate::num::as_u64;
use crate::record::{EncodedRange, IndexSection, ListQuery, Record, RecordId, after_all};
use crate::storage::plan::{IndexPart, entry_at};
use crate::storage::{CollectionId, StoreError};

/// The most ranges of keys that are counted to know about how many records a part names, and that are read without a thread
/// of its own.
const SPANS_MAX: usize = 256;

/// An index while it is read.
pub(super) struct IndexReader<'a> {
    open: &'a OpenEngine,
    collection: CollectionId,
    pub(super) kept: &'a KeptIndex,
}

/// The page of a query: ids in the order asked for, and the number of all that match.
#[derive(Debug)]
pub(super) struct WalkedPage {
    pub(super) ids: Vec<RecordId>,
    /// The number of matching records before the page.
    pub(super) start: u64,
    pub(super) total: u64,
}

/// Keys from the first one up to and without the second.
pub(super) type KeySpan = (Vec<u8>, Vec<u8>);

impl<'a> IndexReader<'a> {
    pub(super) fn new(open: &'a OpenEngine, collection: CollectionId, kept: &'a KeptIndex) -> Self {
        Self {
            open,
            collection,
            kept,
        }
    }

    fn engine(&self) -> &'a dyn Engine {
        &*self.open.engine
    }

    pub(super) fn keys(&self) -> OrderedKeys<'_> {
        OrderedKeys {
            engine: self.engine(),
            of: self.kept.keys(self.collection),
            counts: Some(&self.kept.counts),
        }
    }

    /// The keys of a range of values in a section.
    fn span(&self, section: IndexSection, range: &EncodedRange) -> KeySpan {
        let start = section.start();
        let from = self.kept.key(&start, &range.from);
        let to = if range.to.is_empty() {
            after_all(&self.kept.key(&start, &[]))
        } else {
            self.kept.key(&start, &range.to)
        };
        (from, to)
    }

    /// The keys that a search looks at: of records, of items of arrays, and of records that are always looked at.
    fn searched(&self, part: &IndexPart) -> Vec<KeySpan> {
        let mut spans = Vec::new();
        for section in [IndexSection::Sorted, IndexSection::Items] {
            if section == IndexSection::Sorted || part.searched {
                spans.extend(part.ranges.iter().map(|range| self.span(section, range)));
            }
        }
        if part.searched {
            spans.push(self.span(IndexSection::Whole, &EncodedRange::all()));
        }
        spans
    }

    /// About how many records a part names; `None` if that is not known.
    pub(super) fn size(&self, part: &IndexPart) -> Result<Option<u64>, EngineError> {
        let keys = self.keys();
        let spans = self.searched(part);
        let step = spans.len().div_ceil(SPANS_MAX).max(1);
        let mut size = 0;
        for (from, to) in spans.iter().step_by(step) {
            match keys.count(from, to)? {
                Some(count) => size += count * as_u64(step),
                None => return Ok(None),
            }
        }
        Ok(Some(size))
    }

    /// The ids of the records that a part names, sorted; `None` if they are more than `max`.
    pub(super) fn gather(
        &self,
        part: &IndexPart,
        max: usize,
    ) -> Result<Option<Vec<RecordId>>, ReadError> {
        let mut ids = Vec::new();
        let spans = self.searched(part);
        if spans.len() > max.max(SPANS_MAX) {
            return Ok(None);
        }
        for (from, to) in spans {
            let mut read = Ok(());
            self.scan(&from, &to, |id, _| match id {
                Ok(id) => {
                    ids.push(id);
                    ids.len() <= max
                }
                Err(error) => {
                    read = Err(error);
                    false
                }
            })?;
            read?;
            if ids.len() > max {
                return Ok(None);
            }
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(Some(ids))
    }

    /// Visits the ids of these keys with the part that orders them, and whether that was cut.
    pub(super) fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        mut visit: impl FnMut(Result<RecordId, ReadError>, (&[u8], bool)) -> bool,
    ) -> Result<(), ReadError> {
        let keyspace = self.kept.keys(self.collection).keyspace;
        self.engine().scan(keyspace, from, &mut |key, _| {
            key < to && self.visit(key, &mut visit)
        })?;
        Ok(())
    }

    pub(super) fn scan_back(
        &self,
        from: &[u8],
        before: &[u8],
        mut visit: impl FnMut(Result<RecordId, ReadError>, (&[u8], bool)) -> bool,
    ) -> Result<(), ReadError> {
        let keyspace = self.kept.keys(self.collection).keyspace;
        self.engine().scan_back(keyspace, before, &mut |key, _| {
            key >= from && self.visit(key, &mut visit)
        })?;
        Ok(())
    }

    fn visit(
        &self,
        key: &[u8],
        visit: &mut impl FnMut(Result<RecordId, ReadError>, (&[u8], bool)) -> bool,
    ) -> bool {
        let entry = key
            .split_at_checked(4)
            .and_then(|(_, key)| self.kept.index.split(key));
        let id = entry.and_then(|entry| RecordId::from_key(entry.id));
        let id = id.ok_or_else(|| ReadError::damaged("a key of an index"));
        let group = entry.map_or((&[][..], false), |entry| (entry.group, entry.is_cut));
        visit(id, group)
    }

    /// The page of a query whose matching records are those of a part; `None` if the index can't tell without a look at
    /// many records. `all` is the number of all records.
    pub(super) fn page(
        &self,
        part: &IndexPart,
        query: &ListQuery,
        all: u64,
    ) -> Result<Option<WalkedPage>, StoreError> {
        let [range] = part.ranges.as_slice() else {
            return Ok(None);
        };
        if part.searched && self.has_arrays(range)? {
            return Ok(None);
        }
        let span = self.span(IndexSection::Sorted, range);
        let total = if part.searched {
            self.keys().count(&span.0, &span.1)?
        } else {
            Some(all)
        };
        let Some(total) = total else {
            return Ok(None);
        };
        let Some(start) = self.start(part, range, query, &span, total)? else {
            return Ok(None);
        };
        if start >= total || query.slice().limit() == 0 {
            let ids = Vec::new();
            return Ok(Some(WalkedPage { ids, start, total }));
        }
        let mut walk = IndexWalk::new(self, query);
        let skip = if part.descending {
            let KeyAfter::Key(key) = self.keys().after(&span.0, total - 1 - start)? else {
                return Ok(None);
            };
            walk.back(&span, &key, total, start)?
        } else if start == 0 {
            walk.on(&span.0, &span.1, 0)?
        } else {
            let KeyAfter::Key(key) = self.keys().after(&span.0, start)? else {
                return Ok(None);
            };
            walk.forth(&span, key, start)?
        };
        let Some(skip) = skip else {
            return Ok(None);
        };
        let ids = walk.ids.into_iter().skip(skip);
        let ids = ids.take(query.slice().limit()).collect();
        Ok(Some(WalkedPage { ids, start, total }))
    }

    /// The number of records before the page of a query, among the `total` ones of a part; `None` if that can't be told without
    /// a look at many records.
    fn start(
        &self,
        part: &IndexPart,
        range: &EncodedRange,
        query: &ListQuery,
        (from, to): &KeySpan,
        total: u64,
    ) -> Result<Option<u64>, EngineError> {
        let skip = as_u64(query.slice().start());
        let Some(position) = query.after() else {
            return Ok(Some(skip));
        };
        let Some((entry, id)) = entry_at(&self.kept.index, part, range, query, position) else {
            return Ok(None);
        };
        let within = |key: Vec<u8>| key.clamp(from.clone(), to.clone());
        let alike = self.kept.key(&entry, &[]);
        let behind = within(following(&self.kept.key(&entry, &id.key())));
        let keys = self.keys();
        if !part.descending {
            let before = keys.count(from, &behind)?;
            return Ok(before.map(|before| before + skip));
        }
        // From the end, records with other values come first, and those with the same are in the order of ids.
        let through = keys.count(from, &within(after_all(&alike)))?;
        let passed = keys.count(&within(alike), &behind)?;
        let counted = through.zip(passed);
        Ok(counted.map(|(through, passed)| total.saturating_sub(through) + passed + skip))
    }

    /// Whether a search of this range may find records by items of arrays.
    fn has_arrays(&self, range: &EncodedRange) -> Result<bool, EngineError> {
        let keyspace = self.kept.keys(self.collection).keyspace;
        let spans = [
            self.span(IndexSection::Items, range),
            self.span(IndexSection::Whole, &EncodedRange::all()),
        ];
        // Both sections come last, and most indexes have neither.
        let first = self.kept.key(&IndexSection::Items.start(), &[]);
        let mut any = false;
        self.engine().scan(keyspace, &first, &mut |key, _| {
            any = self.kept.has(key);
            false
        })?;
        if !any {
            return Ok(false);
        }
        let mut found = false;
        for (from, to) in spans {
            self.engine().scan(keyspace, &from, &mut |key, _| {
                found |= key < to.as_slice();
                false
            })?;
        }
        Ok(found)
    }

    /// The keys of the group that a key belongs to, and whether it was cut.
    pub(super) fn group_of(&self, key: &[u8]) -> Option<(KeySpan, bool)> {
        let (number, entry) = key.split_at_checked(4)?;
        let entry = self.kept.index.split(entry)?;
        let from = [number, entry.group].concat();
        let to = after_all(&from);
        Some(((from, to), entry.is_cut))
    }
}

impl IndexReader<'_> {
    /// The records of these ids, which are there.
    pub(super) fn records(&self, ids: &[RecordId]) -> Result<Vec<Record>, StoreError> {
        let read = |id: &RecordId| {
            let found = record(self.open, self.collection, id)?;
            let lost = || {
                ReadError::damaged(format!(
                    "an index names the record {id}, which is not there: it"
                ))
            };
            Ok(found.ok_or_else(lost)?)
        };
        ids.iter().map(read).collect()
    }
}
