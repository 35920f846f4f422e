//! A part of a list.

/// The records of a list from `start` on, `limit` at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slice {
    start: usize,
    limit: usize,
}

impl Slice {
    pub(crate) fn new(start: usize, limit: usize) -> Self {
        Self { start, limit }
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
