//! Reads the page of a query from an index, forward or from its end.

use super::block_counts::KeyAfter;
use super::index_reading::{IndexReader, KeySpan};
use super::read_error::ReadError;
use crate::num::as_usize;
use crate::record::{JsonObject, ListQuery, Record, RecordId, after_all};
use crate::storage::StoreError;

/// The most records whose texts begin alike that are compared to find their order.
const ALIKE_MAX: usize = 1_000;

/// A page while it is read from an index.
pub(super) struct IndexWalk<'a> {
    reader: &'a IndexReader<'a>,
    query: &'a ListQuery,
    /// Those that are found, in the order asked for.
    pub(super) ids: Vec<RecordId>,
    /// Those of a group that is not complete yet.
    alike: Vec<RecordId>,
    group: Vec<u8>,
    is_cut: bool,
    /// The number of ids that are to be found.
    enough: usize,
}

impl<'a> IndexWalk<'a> {
    pub(super) fn new(reader: &'a IndexReader<'a>, query: &'a ListQuery) -> Self {
        Self {
            reader,
            query,
            ids: Vec::new(),
            alike: Vec::new(),
            group: Vec::new(),
            is_cut: false,
            enough: 0,
        }
    }

    /// Reads on from `key`, which is the one at `start`. Returns how many of the first ids are not on the page; `None` if
    /// too many are alike.
    pub(super) fn forth(
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
            skip = as_usize(start - before.min(start));
            key = group.0;
        }
        self.on(&key, &span.1, skip)
    }

    /// Reads on from the key `from` up to and without `to`, of whose records the first `skip` are not on the page.
    pub(super) fn on(
        &mut self,
        from: &[u8],
        to: &[u8],
        skip: usize,
    ) -> Result<Option<usize>, StoreError> {
        self.enough = self.query.slice().limit().saturating_add(skip);
        let mut failed = None;
        let reader = self.reader;
        reader.scan(from, to, |id, (group, is_cut)| {
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
    pub(super) fn back(
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
            let skip = as_usize(skip);
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
