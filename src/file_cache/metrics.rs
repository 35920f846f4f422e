//! The metrics of the file cache.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Files;
use super::health::Condition;
use super::root_io::RootIo;
use crate::telemetry::{MetricSource, Rows};

/// Reads the figures of a file cache at each scrape.
#[derive(Debug)]
pub(crate) struct FileMetrics(pub Files);

type RootValue = fn(&RootIo) -> u64;

const ROOT_GAUGES: [(&str, &str, RootValue); 2] = [
    (
        "perennial_file_root_healthy",
        "1 while the folder of the route answers and can be read",
        |root| u64::from(root.condition() == Condition::Healthy),
    ),
    (
        "perennial_file_root_stuck_calls",
        "File calls that are overdue and have not come back",
        |root| u64::from(root.stuck()),
    ),
];

const ROOT_COUNTERS: [(&str, &str, RootValue); 2] = [
    (
        "perennial_file_root_stale_answers",
        "Answers with a copy in memory whose file could not be looked at",
        |root| read(&root.stale),
    ),
    (
        "perennial_file_root_refused",
        "Requests refused because too many waited for files of the route",
        |root| read(&root.refused),
    ),
];

impl MetricSource for FileMetrics {
    fn write(&self, rows: &mut Rows<'_>) {
        let each = |value: RootValue| {
            let roots = self.0.published.roots.iter();
            roots.map(move |root| ([("root", root.site.route.as_str())], value(root)))
        };
        for (name, help, value) in ROOT_GAUGES {
            rows.gauges(name, help, each(value));
        }
        for (name, help, value) in ROOT_COUNTERS {
            rows.counters(name, help, each(value));
        }
        let cache = &self.0.published.counters;
        for (name, help, value) in [
            (
                "perennial_file_cache_entries",
                "Files in memory",
                read(&cache.entries),
            ),
            (
                "perennial_file_cache_bytes",
                "Bytes of memory that they count for",
                read(&cache.bytes),
            ),
        ] {
            rows.gauge(name, help, value);
        }
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
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
