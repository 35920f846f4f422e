//! The counters of connections and of the limits that they reached; all handlers share them.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::telemetry::Rows;

/// Counts one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Defines [`ConnectionCounters`] with the metric and the help text of each.
macro_rules! counters {
    ($($field:ident = $metric:literal, $help:literal;)+) => {
        /// Counters of connections and of the limits that they reached.
        #[derive(Debug, Default)]
        pub(crate) struct ConnectionCounters {
            $(pub $field: AtomicU64,)+
        }

        impl ConnectionCounters {
            /// Writes all of them, for a scrape.
            pub(crate) fn write(&self, rows: &mut Rows<'_>) {
                $(rows.counter($metric, $help, self.$field.load(Ordering::Relaxed));)+
            }
        }
    };
}

counters! {
    connections = "perennial_http_connections", "Connections served";
    http2 = "perennial_http2_connections", "Connections served that speak HTTP/2";
    heads_too_large = "perennial_http_heads_too_large", "Heads over limits.headers: 431";
    heads_too_slow = "perennial_http_heads_too_slow", "Heads over limits.header_timeout: 408";
    malformed = "perennial_http_heads_malformed", "Heads that were no HTTP: an empty 400";
    idle = "perennial_http_connections_idle", "Connections closed after limits.idle_timeout";
    stalled = "perennial_http_connections_stalled",
        "Connections, or streams of HTTP/2, broken off after limits.stall_timeout";
    streams_full = "perennial_http2_streams_full",
        "Times a connection of HTTP/2 had as many streams as it may have, so that its client had to wait";
}
