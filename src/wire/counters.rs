//! What connections count, the same for all handlers: how often a limit has bitten.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::telemetry::Rows;

/// Counters of reached limits.
#[derive(Debug, Default)]
pub(crate) struct ConnectionCounters {
    /// Connections served.
    pub connections: AtomicU64,
    /// Those of them that speak HTTP/2.
    pub http2: AtomicU64,
    /// Heads over the limit: 431.
    pub heads_too_large: AtomicU64,
    /// Heads that took too long: 408.
    pub heads_too_slow: AtomicU64,
    /// Heads that were no HTTP: an empty 400.
    pub malformed: AtomicU64,
    /// Connections that were idle too long.
    pub idle: AtomicU64,
    /// Bodies and answers that made no progress.
    pub stalled: AtomicU64,
    /// Times a connection of HTTP/2 had as many streams as it may have.
    pub streams_full: AtomicU64,
}

/// Counts one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

type Row = (
    &'static str,
    &'static str,
    fn(&ConnectionCounters) -> &AtomicU64,
);

const ROWS: [Row; 8] = [
    (
        "perennial_http_connections",
        "Connections served",
        |counters| &counters.connections,
    ),
    (
        "perennial_http2_connections",
        "Connections served that speak HTTP/2",
        |counters| &counters.http2,
    ),
    (
        "perennial_http_heads_too_large",
        "Heads over limits.headers: 431",
        |counters| &counters.heads_too_large,
    ),
    (
        "perennial_http_heads_too_slow",
        "Heads over limits.header_timeout: 408",
        |counters| &counters.heads_too_slow,
    ),
    (
        "perennial_http_heads_malformed",
        "Heads that were no HTTP: an empty 400",
        |counters| &counters.malformed,
    ),
    (
        "perennial_http_connections_idle",
        "Connections closed after limits.idle_timeout",
        |counters| &counters.idle,
    ),
    (
        "perennial_http_connections_stalled",
        "Connections, or streams of HTTP/2, broken off after limits.stall_timeout",
        |counters| &counters.stalled,
    ),
    (
        "perennial_http2_streams_full",
        "Times a connection of HTTP/2 had as many streams as it may have, so that its client had to wait",
        |counters| &counters.streams_full,
    ),
];

impl ConnectionCounters {
    /// Writes all of them, for a scrape.
    pub(crate) fn write(&self, rows: &mut Rows<'_>) {
        for (name, help, counter) in ROWS {
            rows.counter(name, help, counter(self).load(Ordering::Relaxed));
        }
    }
}
