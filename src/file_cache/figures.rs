//! What the file cache counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// A moment of the cache. Hits are not here: counting them would make the handlers' threads share a cache line; each
/// handler counts its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg(test)]
pub(crate) struct Figures {
    /// Entries in memory.
    pub entries: u64,
    /// Bytes they count for, the overhead of each included.
    pub bytes: u64,
    /// Files read since the start of the process.
    pub reads_total: u64,
    /// Looks that found an entry unchanged.
    pub unchanged_total: u64,
    /// Entries that had to go because the budget was used up.
    pub evictions_total: u64,
    /// Entries dropped because their file was gone or could not be read any more.
    pub dropped_total: u64,
    /// Answers that were too large to be kept.
    pub large_total: u64,
    /// Attempts at reading that were repeated because the file changed meanwhile.
    pub rereads_total: u64,
}

/// The live counters behind [`Figures`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) entries: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) reads: AtomicU64,
    pub(crate) unchanged: AtomicU64,
    pub(crate) evictions: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) large: AtomicU64,
    pub(crate) rereads: AtomicU64,
}

impl Counters {
    #[cfg(test)]
    pub(crate) fn read(&self) -> Figures {
        Figures {
            entries: self.entries.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            reads_total: self.reads.load(Ordering::Relaxed),
            unchanged_total: self.unchanged.load(Ordering::Relaxed),
            evictions_total: self.evictions.load(Ordering::Relaxed),
            dropped_total: self.dropped.load(Ordering::Relaxed),
            large_total: self.large.load(Ordering::Relaxed),
            rereads_total: self.rereads.load(Ordering::Relaxed),
        }
    }
}

/// Counts one more.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
