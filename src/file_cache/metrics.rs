//! The counters of the file cache, and its metrics.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::Gauge;

use super::Files;
use super::health::Condition;
use super::root_io::RootIo;
use crate::num::as_u64;
use crate::telemetry::{Counter, MetricSource, Rows, metrics};

metrics! {
    /// The counters of the cache.
    pub(crate) struct CacheCounters {
        entries: Gauge<u64, AtomicU64> = "perennial_file_cache_entries", "Files in memory";
        bytes: Gauge<u64, AtomicU64> = "perennial_file_cache_bytes", "Bytes of memory that they count for";
        /// Without a message to the child.
        hits: Striped = "perennial_file_cache_hits", "Answers out of memory";
        misses: Counter = "perennial_file_cache_misses", "Requests for which the file was looked at";
        reads: Counter = "perennial_file_cache_reads", "Files read into memory";
        unchanged: Counter = "perennial_file_cache_unchanged", "Looks that found a file in memory unchanged";
        evictions: Counter = "perennial_file_cache_evictions",
            "Files that left memory because file_cache.budget was used up";
        dropped: Counter = "perennial_file_cache_dropped",
            "Files that left memory because they were gone or had become too large";
        large: Counter = "perennial_file_cache_large",
            "Files opened to be streamed since they are larger than file_cache.max_file";
        large_full: Counter = "perennial_file_cache_large_full",
            "Requests refused since too many large files were open: raise the limit of open files";
        roots_full: Counter = "perennial_file_cache_roots_full",
            "Folders refused since as many were in use, or had calls that hang, as there may be";
        memory_files_full: Counter = "perennial_file_cache_memory_files_full",
            "Large files kept on the heap since there were as many memory files as there may be";
        compressed: Counter = "perennial_file_cache_compressed", "Files that were compressed, each once for each coding";
        encoded_bytes: Counter = "perennial_file_cache_encoded_bytes",
            "Bytes of compressed contents that were made or read";
        encoding_late: Counter = "perennial_file_cache_encoding_late",
            "Compressed contents that took so long that clients got the file as it is meanwhile";
        encoding_full: Counter = "perennial_file_cache_encoding_full",
            "Compressed contents that were not made or not kept, since too many were being made or file_cache.budget is too small";
        stale_siblings: Counter = "perennial_file_cache_stale_siblings",
            "Readings of a file beside which a compressed file is older, and so is not sent";
        listings: Counter = "perennial_file_cache_listings", "Folders that were read for a list of their files";
        ranges_ignored: Counter = "perennial_file_ranges_ignored",
            "Answers with a whole file to a request for too many ranges of it, or for more bytes than it has";
        rereads: Counter = "perennial_file_cache_rereads", "Readings repeated because the file changed meanwhile";
    }
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
}

impl EncodeMetric for Striped {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        let parts = self.0.iter();
        let sum: u64 = parts.map(|Stripe(part)| part.load(Ordering::Relaxed)).sum();
        ConstCounter::new(sum).encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

impl MetricSource for Files {
    fn write(&self, rows: &mut Rows<'_>) {
        let roots = self.roots();
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
            each(|root| root.stale.get()),
        );
        rows.counters(
            "perennial_file_root_refused",
            "Requests refused because too many waited for files of the route",
            each(|root| root.refused.get()),
        );
        self.published.counters.write(rows);
        rows.gauge(
            "perennial_file_cache_memory_files",
            "Files in memory that the kernel sends without a copy",
            as_u64(self.published.memory_files.count()),
        );
    }
}
