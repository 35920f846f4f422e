//! What is counted of requests. Each handler has counters of its own, so that no two threads share a cache line on the way of a
//! request; a scrape adds them up.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use actix_web::http::Method;

use super::counters::ConnectionCounters;
use super::problem::Code;
use crate::num::as_f64;
use crate::telemetry::{Histogram, MetricSource, Rows};

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "other"];
/// Upper bounds in seconds.
const BUCKETS: [f64; 12] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0,
];
/// Upper bounds in bytes.
const SIZES: [u64; 8] = [
    256,
    1 << 10,
    4 << 10,
    16 << 10,
    64 << 10,
    256 << 10,
    1 << 20,
    4 << 20,
];
/// The same as numbers of the exposition format, which knows only floating-point ones.
const SIZE_BOUNDS: [f64; SIZES.len()] = [
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
];
/// The label of what leads nowhere.
const OTHER: &str = "_other";

/// The statuses of answers that are no problems.
const SUCCESSES: [u16; 5] = [200, 201, 204, 304, 307];

/// Every status that is counted by itself, in order.
fn statuses() -> Vec<u16> {
    let problems = Code::ALL.iter().map(|code| code.status());
    let mut all: Vec<_> = SUCCESSES.into_iter().chain(problems).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// The counters of one handler.
#[derive(Debug)]
pub(crate) struct HandlerMetrics {
    /// For each route, the last being what leads nowhere: for each method, for each code and one for the rest.
    requests: Vec<AtomicU64>,
    /// For each route: the buckets and one for the rest.
    durations: Vec<AtomicU64>,
    /// For each route, in nanoseconds.
    duration_sums: Vec<AtomicU64>,
    /// For each route: the buckets and one for the rest.
    sizes: Vec<AtomicU64>,
    /// For each route, in bytes.
    size_sums: Vec<AtomicU64>,
    /// The statuses that are counted by themselves.
    statuses: Vec<u16>,
    in_flight: AtomicI64,
    panics: AtomicU64,
}

fn cells(count: usize) -> Vec<AtomicU64> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

fn add(cells: &[AtomicU64], at: usize, more: u64) {
    if let Some(cell) = cells.get(at) {
        cell.fetch_add(more, Ordering::Relaxed);
    }
}

fn read(cells: &[AtomicU64], at: usize) -> u64 {
    cells.get(at).map_or(0, |cell| cell.load(Ordering::Relaxed))
}

impl HandlerMetrics {
    /// Counters for this many routes.
    pub(crate) fn new(routes: usize) -> Self {
        let rows = routes + 1;
        let statuses = statuses();
        Self {
            requests: cells(rows * METHODS.len() * (statuses.len() + 1)),
            statuses,
            durations: cells(rows * (BUCKETS.len() + 1)),
            duration_sums: cells(rows),
            sizes: cells(rows * (SIZES.len() + 1)),
            size_sums: cells(rows),
            in_flight: AtomicI64::new(0),
            panics: AtomicU64::new(0),
        }
    }

    fn other(&self) -> usize {
        self.duration_sums.len().saturating_sub(1)
    }

    /// A request has begun.
    pub(crate) fn begun(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// A request has been answered.
    pub(crate) fn answered(
        &self,
        route: Option<usize>,
        method: &Method,
        code: u16,
        took: Duration,
        bytes: u64,
    ) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        let route = route.unwrap_or_else(|| self.other());
        let known = METHODS.iter().position(|known| *known == method.as_str());
        let method = known.unwrap_or(METHODS.len() - 1);
        let code = self
            .statuses
            .iter()
            .position(|known| *known == code)
            .unwrap_or(self.statuses.len());
        add(
            &self.requests,
            (route * METHODS.len() + method) * (self.statuses.len() + 1) + code,
            1,
        );
        let seconds = took.as_secs_f64();
        let bucket = BUCKETS
            .iter()
            .position(|bound| seconds <= *bound)
            .unwrap_or(BUCKETS.len());
        add(&self.durations, route * (BUCKETS.len() + 1) + bucket, 1);
        add(
            &self.duration_sums,
            route,
            u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
        );
        let bucket = SIZES
            .iter()
            .position(|bound| bytes <= *bound)
            .unwrap_or(SIZES.len());
        add(&self.sizes, route * (SIZES.len() + 1) + bucket, 1);
        add(&self.size_sums, route, bytes);
    }

    /// A request was dropped before it was answered: its client has gone.
    pub(crate) fn dropped(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Requests that are being answered.
    #[cfg(test)]
    pub(crate) fn in_flight(&self) -> i64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Requests that panicked.
    pub(crate) fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// A request panicked.
    pub(crate) fn panicked(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }
}

/// The counters of all handlers, for a scrape.
#[derive(Debug)]
pub(crate) struct HttpMetrics {
    /// The pattern of each route, by label.
    pub labels: Vec<String>,
    /// One for each handler.
    pub handlers: Vec<Arc<HandlerMetrics>>,
    /// Of all connections.
    pub connections: Arc<ConnectionCounters>,
}

impl HttpMetrics {
    fn sum(&self, what: impl Fn(&HandlerMetrics) -> u64) -> u64 {
        self.handlers.iter().map(|handler| what(handler)).sum()
    }

    fn routes(&self) -> impl Iterator<Item = (usize, &str)> {
        self.labels
            .iter()
            .map(String::as_str)
            .chain([OTHER])
            .enumerate()
    }

    fn requests(&self) -> Vec<([(&'static str, String); 3], u64)> {
        let (mut rows, statuses) = (Vec::new(), statuses());
        for (route, label) in self.routes() {
            for (m, method) in METHODS.iter().enumerate() {
                for c in 0..=statuses.len() {
                    let at = (route * METHODS.len() + m) * (statuses.len() + 1) + c;
                    let count = self.sum(|handler| read(&handler.requests, at));
                    if count > 0 {
                        let code = statuses.get(c).map_or("other".to_owned(), u16::to_string);
                        let (route, method) = (label.to_owned(), (*method).to_owned());
                        let labels = [("route", route), ("method", method), ("code", code)];
                        rows.push((labels, count));
                    }
                }
            }
        }
        rows
    }

    /// One histogram for each route that has been asked.
    fn histograms<'a>(
        &'a self,
        bounds: &'a [f64],
        cells: fn(&HandlerMetrics) -> &[AtomicU64],
        sum: impl Fn(usize) -> f64 + 'a,
    ) -> impl Iterator<Item = ([(&'static str, &'a str); 1], Histogram)> {
        self.routes().filter_map(move |(route, label)| {
            let row = |b: usize| {
                let at = route * (bounds.len() + 1) + b;
                self.sum(|handler| read(cells(handler), at))
            };
            let bounds = bounds.iter().copied().chain([f64::INFINITY]);
            let buckets: Vec<_> = bounds
                .enumerate()
                .map(|(b, bound)| (bound, row(b)))
                .collect();
            let asked = buckets.iter().any(|(_, count)| *count > 0);
            let sum = sum(route);
            asked.then_some(([("route", label)], Histogram { sum, buckets }))
        })
    }
}

impl MetricSource for HttpMetrics {
    fn write(&self, rows: &mut Rows<'_>) {
        rows.counters(
            "perennial_http_requests",
            "Requests answered, by the configured route",
            self.requests(),
        );
        let seconds = |route| {
            let nanos = self.sum(|handler| read(&handler.duration_sums, route));
            Duration::from_nanos(nanos).as_secs_f64()
        };
        rows.histograms(
            "perennial_http_request_duration_seconds",
            "Time from the end of a request's head to the beginning of its answer",
            self.histograms(&BUCKETS, |handler| &handler.durations, seconds),
        );
        let bytes = |route| as_f64(self.sum(|handler| read(&handler.size_sums, route)));
        rows.histograms(
            "perennial_http_response_size_bytes",
            "Bytes of answered bodies",
            self.histograms(&SIZE_BOUNDS, |handler| &handler.sizes, bytes),
        );
        self.connections.write(rows);
        rows.counter(
            "perennial_http_panics",
            "Requests that panicked and were answered 500",
            self.sum(HandlerMetrics::panics),
        );
        let in_flight: i64 = self
            .handlers
            .iter()
            .map(|handler| handler.in_flight.load(Ordering::Relaxed))
            .sum();
        rows.gauge(
            "perennial_http_requests_in_flight",
            "Requests that are being answered",
            in_flight,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_handlers_counted_is_added_up_under_the_route() {
        let handlers: Vec<_> = (0..2).map(|_| Arc::new(HandlerMetrics::new(1))).collect();
        for handler in &handlers {
            handler.begun();
            let took = Duration::from_millis(2);
            handler.answered(Some(0), &Method::GET, 200, took, 5_000_000_000);
        }
        handlers[0].begun();
        handlers[0].answered(None, &Method::TRACE, 418, Duration::ZERO, 0);
        let metrics = HttpMetrics {
            labels: vec!["/books".to_owned()],
            handlers,
            connections: Arc::default(),
        };
        let text = crate::telemetry::exposed(metrics);
        for line in [
            "perennial_http_requests_total{route=\"/books\",method=\"GET\",code=\"200\"} 2",
            "perennial_http_requests_total{route=\"_other\",method=\"other\",code=\"other\"} 1",
            "perennial_http_request_duration_seconds_bucket{le=\"0.0025\",route=\"/books\"} 2",
            "perennial_http_request_duration_seconds_sum{route=\"/books\"} 0.004",
            "perennial_http_response_size_bytes_bucket{le=\"4194304.0\",route=\"/books\"} 0",
            "perennial_http_response_size_bytes_bucket{le=\"+Inf\",route=\"/books\"} 2",
            "perennial_http_response_size_bytes_sum{route=\"/books\"} 10000000000.0",
            "perennial_http_response_size_bytes_bucket{le=\"256.0\",route=\"_other\"} 1",
            "perennial_http_requests_in_flight 0",
            "perennial_http_heads_malformed_total 0",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn both_tables_of_sizes_are_the_same() {
        for (bytes, bound) in SIZES.iter().zip(SIZE_BOUNDS) {
            assert!((as_f64(*bytes) - bound).abs() < 0.5);
        }
    }
}
