//! A part of a list.

/// The most records in one answer.
pub(crate) const PAGE_RECORDS_MAX: usize = 500;

/// The records of a list from `start` on, `limit` at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slice {
    start: usize,
    limit: usize,
}

impl Slice {
    /// A limit over [`PAGE_RECORDS_MAX`] is lowered to it.
    pub(crate) fn new(start: usize, limit: usize) -> Self {
        Self {
            start,
            limit: limit.min(PAGE_RECORDS_MAX),
        }
    }

    /// The number of records before it.
    pub(crate) fn start(self) -> usize {
        self.start
    }

    /// The position after its last record, if it is full.
    pub(crate) fn end(self) -> usize {
        self.start.saturating_add(self.limit)
    }

    /// The most records in it.
    pub(crate) fn limit(self) -> usize {
        self.limit
    }
}

impl Default for Slice {
    fn default() -> Self {
        Self::new(0, PAGE_RECORDS_MAX)
    }
}
