//! The counters of connections and of the limits that they reached; all handlers share them.

use std::sync::atomic::{AtomicU64, Ordering};

use super::buffered::{Buffered, no_room};
use super::http1::Fault;
use super::problem::Problem;
use crate::num::as_u64;
use crate::telemetry::Rows;

/// Counts one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// A counter for each rule, in the order of [`Fault::ALL`].
#[derive(Debug)]
pub(super) struct FaultCounters(pub(super) [AtomicU64; Fault::ALL.len()]);

impl Default for FaultCounters {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

/// Defines [`ConnectionCounters`] with the metric and the help text of each.
macro_rules! counters {
    ($($field:ident = $metric:literal, $help:literal;)+) => {
        /// Counters of connections and of the limits that they reached.
        #[derive(Debug, Default)]
        pub(crate) struct ConnectionCounters {
            $(pub $field: AtomicU64,)+
            /// The bytes that connections hold.
            pub(super) buffered: Buffered,
            /// Messages that were refused.
            pub(super) faults: FaultCounters,
        }

        impl ConnectionCounters {
            /// Writes all of them, for a scrape.
            pub(crate) fn write(&self, rows: &mut Rows<'_>) {
                $(rows.counter($metric, $help, self.$field.load(Ordering::Relaxed));)+
                rows.gauge(
                    "perennial_wire_buffered_bytes",
                    "Bytes of requests that were read and of answers that were not taken, as far as server.max_buffered counts them",
                    as_u64(self.buffered.bytes()),
                );
                let faults = Fault::ALL.iter().zip(&self.faults.0);
                rows.counters(
                    "perennial_http_messages_refused",
                    "Messages that break a rule of HTTP, by the rule",
                    faults.map(|(fault, counter)| {
                        ([("reason", fault.label())], counter.load(Ordering::Relaxed))
                    }),
                );
            }
        }
    };
}

impl ConnectionCounters {
    /// Counters of connections that may hold `most` bytes together.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            buffered: Buffered::new(most),
            ..Self::default()
        }
    }

    /// Changes the bytes that the connections may hold together.
    pub(crate) fn set_most_buffered(&self, most: usize) {
        self.buffered.set_most(most);
    }

    /// The bytes that one more answer may have.
    pub(crate) fn room(&self) -> usize {
        self.buffered.room()
    }

    /// Counts a request for which there is no room, and refuses it.
    pub(crate) fn no_room(&self) -> Problem {
        count(&self.buffered_full);
        no_room()
    }

    /// Counts a message that breaks a rule.
    pub(super) fn refused(&self, fault: Fault) {
        if matches!(fault, Fault::HeadTooLarge | Fault::TooManyFields) {
            count(&self.heads_too_large);
        }
        let mut faults = Fault::ALL.iter().zip(&self.faults.0);
        if let Some((_, counter)) = faults.find(|(known, _)| **known == fault) {
            count(counter);
        }
    }
}

counters! {
    connections = "perennial_http_connections", "Connections served";
    proxy_headers_refused = "perennial_http_proxy_headers_refused",
        "Connections of trusted proxies closed because they did not begin with a header of the PROXY protocol (server.proxy_protocol)";
    http2 = "perennial_http2_connections", "Connections served that speak HTTP/2";
    heads_too_large = "perennial_http_heads_too_large", "Heads over limits.headers: 431";
    heads_too_slow = "perennial_http_heads_too_slow", "Heads over limits.header_timeout: 408";
    idle = "perennial_http_connections_idle", "Connections closed after limits.idle_timeout";
    stalled = "perennial_http_connections_stalled",
        "Connections, or streams of HTTP/2, broken off after limits.stall_timeout";
    streams_full = "perennial_http2_streams_full",
        "Times a connection of HTTP/2 had as many streams as it may have, so that its client had to wait";
    begun_full = "perennial_http2_begun_full",
        "Times a request over HTTP/2 had to wait for its turn, because so many before it were not answered yet, or the client did not take their answers";
    heads_full = "perennial_http2_heads_full",
        "Requests over HTTP/2 refused because so many bytes of heads of their connection were not answered in time";
    unsent_full = "perennial_http2_unsent_full",
        "Times a piece of a large answer had to wait, because so much of its connection of HTTP/2 was not sent yet";
    buffered_full = "perennial_wire_buffered_full",
        "Times server.max_buffered left no room: a request got 503, a piece of a file had to be small, or a connection of HTTP/2 ended";
    lists_cut = "perennial_http_lists_cut",
        "Lists with fewer records than were asked for, since limits.list_records or 64 MiB were reached; they have a link to the rest";
    lists_again = "perennial_http_lists_again",
        "Lists answered from memory, since no record of their resource had changed";
    lists_dropped = "perennial_http_lists_dropped",
        "Kept answers to lists that were dropped since limits.kept_lists was reached, whether they were still right or not";
    relations_full = "perennial_http_relations_full",
        "Requests refused because _embed or _expand would have added too many records";
    floods = "perennial_http2_floods",
        "Connections of HTTP/2 ended because their clients sent too many frames that ask for nothing";
}
