//! Counters of the file cache.

use std::sync::atomic::{AtomicU64, Ordering};

/// The counters of the cache.
#[derive(Debug, Default)]
pub(crate) struct CacheCounters {
    /// Answers out of memory, without a message to the child.
    pub(crate) hits: Striped,
    /// Requests that asked the child.
    pub(crate) misses: AtomicU64,
    /// Entries in memory.
    pub(crate) entries: AtomicU64,
    /// Bytes they count for, the overhead of each included.
    pub(crate) bytes: AtomicU64,
    /// Files read.
    pub(crate) reads: AtomicU64,
    /// Looks that found an entry unchanged.
    pub(crate) unchanged: AtomicU64,
    /// Entries that had to go because the budget was used up.
    pub(crate) evictions: AtomicU64,
    /// Entries dropped because their file was gone, or is no file to be kept any more.
    pub(crate) dropped: AtomicU64,
    /// Answers that were too large to be kept.
    pub(crate) large: AtomicU64,
    /// Attempts at reading that were repeated because the file changed meanwhile.
    pub(crate) rereads: AtomicU64,
}

/// Counts one more.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The number of parts of a [`Striped`] counter.
const STRIPES: usize = 16;

/// A counter that all threads increment often. It has several parts, so that threads mostly write to different cache lines.
#[derive(Debug, Default)]
pub(crate) struct Striped([Stripe; STRIPES]);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe(AtomicU64);

thread_local! {
    /// Its address tells one thread from another, without a lock or a name.
    static HERE: u8 = const { 0 };
}

impl Striped {
    /// Counts one more.
    pub(crate) fn count(&self) {
        let address = HERE.with(|here| std::ptr::from_ref(here).addr());
        // Thread-local memory of two threads lies pages apart.
        let stripe = (address >> 12) % STRIPES;
        if let Some(Stripe(counter)) = self.0.get(stripe) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The sum of all parts.
    pub(crate) fn sum(&self) -> u64 {
        let parts = self.0.iter();
        parts
            .map(|Stripe(counter)| counter.load(Ordering::Relaxed))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_count_of_any_thread_is_lost() {
        let counter = Striped::default();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..1000).for_each(|_| counter.count()));
            }
        });
        assert_eq!(counter.sum(), 8000);
    }
}
