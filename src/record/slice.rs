//! A part of a list.

/// How many records one answer holds at most.
pub(crate) const PAGE_RECORDS_MAX: usize = 500;

/// The records from `start` on, `limit` at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slice {
    start: usize,
    limit: usize,
}

impl Slice {
    /// `limit` is cut to [`PAGE_RECORDS_MAX`].
    pub(crate) fn new(start: usize, limit: usize) -> Self {
        Self {
            start,
            limit: limit.min(PAGE_RECORDS_MAX),
        }
    }

    /// How many records come before it.
    pub(crate) fn start(self) -> usize {
        self.start
    }

    /// How many records it and what comes before it have at most.
    pub(crate) fn end(self) -> usize {
        self.start.saturating_add(self.limit)
    }

    /// How many it holds at most.
    pub(crate) fn limit(self) -> usize {
        self.limit
    }
}

impl Default for Slice {
    fn default() -> Self {
        Self::new(0, PAGE_RECORDS_MAX)
    }
}
