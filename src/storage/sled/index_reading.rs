//! Reads from an index: which records are on the page of a query, or which may match it. The caller makes sure that no group
//! is applied meanwhile.

use super::block_counts::{KeyAfter, OrderedKeys};
use super::engine::{Engine, EngineError, following};
use super::index_catalog::KeptIndex;
use super::read_error::ReadError;
use super::reader_state::OpenEngine;
use super::store::record;
use crate::num::as_u64;
use crate::record::{
    EncodedRange, IndexSection, JsonObject, ListQuery, Record, RecordId, after_all,
};
use crate::storage::plan::{IndexPart, entry_at};
use crate::storage::{CollectionId, StoreError};

/// The most records whose texts begin alike that are compared to find their order.
const ALIKE_MAX: usize = 1_000;

/// The most ranges of keys that are counted to know about how many records a part names, and that are read without a thread
/// of its own.
const SPANS_MAX: usize = 256;

/// An index while it is read.
pub(super) struct IndexReader<'a> {
    open: &'a OpenEngine,
    collection: CollectionId,
    kept: &'a KeptIndex,
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
type KeySpan = (Vec<u8>, Vec<u8>);

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

    fn keys(&self) -> OrderedKeys<'_> {
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
    fn scan(
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

    fn scan_back(
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
        let at = if part.descending {
            total - 1 - start
        } else {
            start
        };
        let KeyAfter::Key(key) = self.keys().after(&span.0, at)? else {
            return Ok(None);
        };
        let mut walk = IndexWalk {
            reader: self,
            query,
            ids: Vec::new(),
            alike: Vec::new(),
            group: Vec::new(),
            is_cut: false,
            enough: 0,
        };
        let skip = if part.descending {
            walk.back(&span, &key, total, start)?
        } else {
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
    fn group_of(&self, key: &[u8]) -> Option<(KeySpan, bool)> {
        let (number, entry) = key.split_at_checked(4)?;
        let entry = self.kept.index.split(entry)?;
        let from = [number, entry.group].concat();
        let to = after_all(&from);
        Some(((from, to), entry.is_cut))
    }
}

/// A page while it is read from an index.
struct IndexWalk<'a> {
    reader: &'a IndexReader<'a>,
    query: &'a ListQuery,
    /// Those that are found, in the order asked for.
    ids: Vec<RecordId>,
    /// Those of a group that is not complete yet.
    alike: Vec<RecordId>,
    group: Vec<u8>,
    is_cut: bool,
    /// The number of ids that are to be found.
    enough: usize,
}

impl IndexWalk<'_> {
    /// Reads on from `key`, which is the one at `start`. Returns how many of the first ids are not on the page; `None` if
    /// too many are alike.
    fn forth(
        &mut self,
        span: &KeySpan,
        mut key: Vec<u8>,
        start: u64,
    ) -> Result<Option<usize>, StoreError> {
        let Some((group, is_cut)) = self.reader.group_of(&key) else {
            return Err(ReadError::damaged("a key of an index").into());
        };
        let mut skip = 0;
        if is_cut {
            let Some(before) = self.reader.keys().count(&span.0, &group.0)? else {
                return Ok(None);
            };
            skip = usize::try_from(start - before.min(start)).unwrap_or(usize::MAX);
            key = group.0;
        }
        self.enough = self.query.slice().limit().saturating_add(skip);
        let mut failed = None;
        let reader = self.reader;
        reader.scan(&key, &span.1, |id, (group, is_cut)| {
            let step = id.map_err(StoreError::from).and_then(|id| {
                if !is_cut || self.group != group {
                    self.end_group(false)?;
                }
                if is_cut {
                    self.begin_group(group, true);
                    self.alike.push(id);
                    Ok(self.ids.len() < self.enough && self.alike.len() <= ALIKE_MAX)
                } else {
                    self.ids.push(id);
                    Ok(self.ids.len() < self.enough)
                }
            });
            step.unwrap_or_else(|error| {
                failed = Some(error);
                false
            })
        })?;
        self.end(failed, false).map(|fits| fits.then_some(skip))
    }

    /// The same from the end: `key` is the one that would be at `start` if records that are alike were reversed, too. There
    /// may be any number of records before it in its group, so they are not read, unless the group was cut.
    fn back(
        &mut self,
        span: &KeySpan,
        key: &[u8],
        total: u64,
        start: u64,
    ) -> Result<Option<usize>, StoreError> {
        let Some((first, is_cut)) = self.reader.group_of(key) else {
            return Err(ReadError::damaged("a key of an index").into());
        };
        // Records after those of the first group come before them.
        let Some(through) = self.reader.keys().count(&span.0, &first.1)? else {
            return Ok(None);
        };
        let before = total.saturating_sub(through);
        let skip = start.saturating_sub(before);
        let limit = self.query.slice().limit();
        if is_cut {
            let skip = usize::try_from(skip).unwrap_or(usize::MAX);
            self.enough = limit.saturating_add(skip);
            let fits = self.groups_back(&span.0, &first.1)?;
            return Ok(fits.then_some(skip));
        }
        let (begin, end) = first;
        let KeyAfter::Key(from) = self.reader.keys().after(&begin, skip)? else {
            return Ok(None);
        };
        self.enough = limit;
        self.add(&from, &end, limit)?;
        let fits = self.ids.len() == limit || self.groups_back(&span.0, &begin)?;
        Ok(fits.then_some(0))
    }

    /// Reads whole groups from the end, until there are enough records. False if too many are alike.
    fn groups_back(&mut self, from: &[u8], before: &[u8]) -> Result<bool, StoreError> {
        let (mut failed, mut many) = (None, None);
        let reader = self.reader;
        reader.scan_back(from, before, |id, (group, is_cut)| {
            let step = id.map_err(StoreError::from).and_then(|id| {
                if self.group != group {
                    self.end_group(true)?;
                    self.begin_group(group, is_cut);
                }
                self.alike.push(id);
                let missing = self.enough.saturating_sub(self.ids.len());
                if is_cut {
                    return Ok(missing > 0 && self.alike.len() <= ALIKE_MAX);
                }
                if self.alike.len() > missing {
                    many = Some((group.to_vec(), missing));
                }
                Ok(many.is_none())
            });
            step.unwrap_or_else(|error| {
                failed = Some(error);
                false
            })
        })?;
        if let Some((group, missing)) = many {
            // The first ones of a group are read from its beginning.
            self.alike.clear();
            let from = self.reader.kept.key(&group, &[]);
            let to = after_all(&from);
            self.add(&from, &to, missing)?;
        }
        self.end(failed, true)
    }

    /// Adds the first ids of these keys, so many at most.
    fn add(&mut self, from: &[u8], to: &[u8], most: usize) -> Result<(), ReadError> {
        let (mut left, mut read) = (most, Ok(()));
        self.reader.scan(from, to, |id, _| {
            match id {
                Ok(id) if left > 0 => self.ids.push(id),
                Ok(_) => {}
                Err(error) => read = Err(error),
            }
            left = left.saturating_sub(1);
            left > 0 && read.is_ok()
        })?;
        read
    }

    fn begin_group(&mut self, group: &[u8], is_cut: bool) {
        if self.alike.is_empty() {
            self.group = group.to_vec();
            self.is_cut = is_cut;
        }
    }

    /// Adds the records of the group that was read. They were `reversed` if it was read from its end.
    fn end_group(&mut self, reversed: bool) -> Result<(), StoreError> {
        let mut alike = std::mem::take(&mut self.alike);
        if reversed {
            alike.reverse();
        }
        if self.is_cut && alike.len() > 1 {
            let records = self.reader.records(&alike)?;
            let key = |record: &Record| {
                let object = JsonObject::parse(&record.json).unwrap_or_default();
                self.query.sort_key(object.members())
            };
            let mut keyed: Vec<_> = records.iter().map(|it| (key(it), it.id.clone())).collect();
            keyed.sort_by(|(a, _), (b, _)| self.query.compare(a, b));
            alike = keyed.into_iter().map(|(_, id)| id).collect();
        }
        self.ids.extend(alike);
        Ok(())
    }

    /// Ends the reading. False if too many records are alike.
    fn end(&mut self, failed: Option<StoreError>, reversed: bool) -> Result<bool, StoreError> {
        if let Some(error) = failed {
            return Err(error);
        }
        if self.alike.len() > ALIKE_MAX && self.is_cut {
            return Ok(false);
        }
        self.end_group(reversed)?;
        Ok(true)
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
