//! The counters of the file cache, and its metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Files;
use super::health::Condition;
use super::root_io::RootIo;
use crate::telemetry::{MetricSource, Rows};

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

/// Reads the figures of a file cache at each scrape.
#[derive(Debug)]
pub(crate) struct FileMetrics(pub Files);

impl MetricSource for FileMetrics {
    fn write(&self, rows: &mut Rows<'_>) {
        write_roots(self.0.roots(), rows);
        write_cache(&self.0.published.counters, rows);
    }
}

fn write_roots(roots: &[Arc<RootIo>], rows: &mut Rows<'_>) {
    let each = |value: fn(&RootIo) -> u64| {
        let roots = roots.iter();
        roots.map(move |root| ([("root", root.site.route.as_str())], value(root)))
    };
    rows.gauges(
        "perennial_file_root_healthy",
        "1 while the folder of the route answers and can be read",
        each(|root| u64::from(root.condition() == Condition::Healthy)),
    );
    rows.gauges(
        "perennial_file_root_stuck_calls",
        "File calls that are overdue and have not come back",
        each(|root| u64::from(root.stuck())),
    );
    rows.counters(
        "perennial_file_root_stale_answers",
        "Answers with a copy in memory whose file could not be looked at",
        each(|root| read(&root.stale)),
    );
    rows.counters(
        "perennial_file_root_refused",
        "Requests refused because too many waited for files of the route",
        each(|root| read(&root.refused)),
    );
}

fn write_cache(cache: &CacheCounters, rows: &mut Rows<'_>) {
    rows.gauge(
        "perennial_file_cache_entries",
        "Files in memory",
        read(&cache.entries),
    );
    rows.gauge(
        "perennial_file_cache_bytes",
        "Bytes of memory that they count for",
        read(&cache.bytes),
    );
    for (name, help, value) in [
        (
            "perennial_file_cache_hits",
            "Answers out of memory",
            cache.hits.sum(),
        ),
        (
            "perennial_file_cache_misses",
            "Requests for which the file was looked at",
            read(&cache.misses),
        ),
        (
            "perennial_file_cache_reads",
            "Files read into memory",
            read(&cache.reads),
        ),
        (
            "perennial_file_cache_unchanged",
            "Looks that found a file in memory unchanged",
            read(&cache.unchanged),
        ),
        (
            "perennial_file_cache_evictions",
            "Files that left memory because file_cache.budget was used up",
            read(&cache.evictions),
        ),
        (
            "perennial_file_cache_dropped",
            "Files that left memory because they were gone or had become too large",
            read(&cache.dropped),
        ),
        (
            "perennial_file_cache_large",
            "Files opened to be streamed since they are larger than file_cache.max_file",
            read(&cache.large),
        ),
        (
            "perennial_file_cache_rereads",
            "Readings repeated because the file changed meanwhile",
            read(&cache.rereads),
        ),
    ] {
        rows.counter(name, help, value);
    }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
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
