//! The metrics of requests. Each handler has counters of its own, so that no two threads share a cache line on the way of a
//! request; a scrape adds them up.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use actix_web::http::Method;
use parking_lot::Mutex;

use super::counters::ConnectionCounters;
use super::problem::Code;
use super::route_patterns::RoutePatterns;
use crate::num::{as_f64, as_nanos};
use crate::telemetry::{Histogram, MetricSource, Rows};

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "other"];
/// Upper bounds in seconds.
const BUCKETS: [f64; 12] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0,
];
/// Upper bounds in bytes.
const SIZES: [f64; 8] = [
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
];
/// The route under which requests without a route are counted and logged.
pub(super) const OTHER: &str = "_other";

/// The statuses of answers that are no problems.
const SUCCESSES: [u16; 7] = [200, 201, 204, 206, 304, 307, 308];

/// Every status that is counted by itself, in order.
static STATUSES: LazyLock<Vec<u16>> = LazyLock::new(|| {
    let problems = Code::ALL.iter().map(|code| code.status());
    let mut all: Vec<_> = SUCCESSES.into_iter().chain(problems).collect();
    all.sort_unstable();
    all.dedup();
    all
});

/// The counters of one handler.
#[derive(Debug)]
pub(crate) struct HandlerMetrics {
    /// By the number of the route's pattern, made when the route is asked for the first time; the last one counts the requests
    /// without a route.
    pub(super) routes: Box<[OnceLock<Box<RouteCounters>>]>,
    pub(super) in_flight: AtomicI64,
    pub(super) panics: AtomicU64,
}

/// The counters of one route. Each list has one more counter than its bounds or statuses, for the rest.
#[derive(Debug)]
pub(super) struct RouteCounters {
    /// By method.
    requests: [Vec<AtomicU64>; METHODS.len()],
    pub(super) durations: [AtomicU64; BUCKETS.len() + 1],
    nanoseconds: AtomicU64,
    sizes: [AtomicU64; SIZES.len() + 1],
    bytes: AtomicU64,
}

impl RouteCounters {
    fn new() -> Self {
        let counters = || (0..=STATUSES.len()).map(|_| AtomicU64::new(0)).collect();
        Self {
            requests: std::array::from_fn(|_| counters()),
            durations: Default::default(),
            nanoseconds: AtomicU64::new(0),
            sizes: Default::default(),
            bytes: AtomicU64::new(0),
        }
    }
}

fn add(counter: Option<&AtomicU64>, more: u64) {
    if let Some(counter) = counter {
        counter.fetch_add(more, Ordering::Relaxed);
    }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// The counter of the first bound that `value` does not exceed, or the last one.
fn bucket<'a>(counters: &'a [AtomicU64], bounds: &[f64], value: f64) -> Option<&'a AtomicU64> {
    counters.get(bounds.partition_point(|bound| *bound < value))
}

/// A request that has begun: when it is dropped, answered or not, it is no longer in flight.
pub(crate) struct InFlight<'a>(&'a AtomicI64);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl HandlerMetrics {
    /// Counters for this many routes.
    pub(crate) fn new(routes: usize) -> Self {
        let counters = (0..=routes).map(|_| OnceLock::new());
        Self {
            routes: counters.collect(),
            in_flight: AtomicI64::new(0),
            panics: AtomicU64::new(0),
        }
    }

    /// Counts a request as in flight.
    pub(crate) fn begin(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(&self.in_flight)
    }

    /// Counts an answer.
    pub(crate) fn answered(
        &self,
        route: Option<usize>,
        method: &Method,
        code: u16,
        took: Duration,
        bytes: u64,
    ) {
        let other = self.routes.len().saturating_sub(1);
        let Some(route) = self.routes.get(route.unwrap_or(other)) else {
            return;
        };
        let route = route.get_or_init(|| Box::new(RouteCounters::new()));
        let known = METHODS.iter().position(|known| *known == method.as_str());
        let requests = route.requests.get(known.unwrap_or(METHODS.len() - 1));
        let known = STATUSES.iter().position(|known| *known == code);
        let code = known.unwrap_or(STATUSES.len());
        add(requests.and_then(|codes| codes.get(code)), 1);
        add(bucket(&route.durations, &BUCKETS, took.as_secs_f64()), 1);
        add(Some(&route.nanoseconds), as_nanos(took));
        add(bucket(&route.sizes, &SIZES, as_f64(bytes)), 1);
        add(Some(&route.bytes), bytes);
    }

    /// The counters of one route, or those of no route.
    pub(super) fn route(&self, number: Option<usize>) -> Option<&RouteCounters> {
        let other = self.routes.len().saturating_sub(1);
        let counters = self.routes.get(number.unwrap_or(other))?.get();
        counters.map(|counters| &**counters)
    }

    /// A request panicked.
    pub(crate) fn panicked(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }
}

/// The counters of all handlers that there are or were, by their numbers. A handler goes on with those of the one that had its
/// number before, so that no sum goes back.
#[derive(Debug)]
pub(crate) struct HandlerCounters {
    routes: usize,
    all: Mutex<Vec<Arc<HandlerMetrics>>>,
}

impl HandlerCounters {
    /// For handlers that count this many routes.
    pub(crate) fn new(routes: usize) -> Arc<Self> {
        Arc::new(Self {
            routes,
            all: Mutex::default(),
        })
    }

    /// Those of one handler, for a test.
    #[cfg(test)]
    pub(crate) fn only(counters: &Arc<HandlerMetrics>) -> Arc<Self> {
        Arc::new(Self {
            routes: 0,
            all: Mutex::new(vec![Arc::clone(counters)]),
        })
    }

    /// Those of the handler of this number.
    pub(crate) fn of(&self, number: usize) -> Arc<HandlerMetrics> {
        let mut all = self.all.lock();
        loop {
            if let Some(counters) = all.get(number) {
                return Arc::clone(counters);
            }
            all.push(Arc::new(HandlerMetrics::new(self.routes)));
        }
    }
}

/// The counters of all handlers, for a scrape.
#[derive(Debug)]
pub(crate) struct HttpMetrics {
    /// The patterns of all routes.
    pub patterns: Arc<RoutePatterns>,
    /// Of each handler.
    pub handlers: Arc<HandlerCounters>,
    /// Of all connections.
    pub connections: Arc<ConnectionCounters>,
}

/// The counters of all handlers at the time of one scrape.
struct HttpScrape<'a> {
    patterns: &'a RoutePatterns,
    handlers: Vec<Arc<HandlerMetrics>>,
}

impl HttpScrape<'_> {
    /// The sum of one counter of a route over all handlers.
    fn sum(
        &self,
        route: Option<usize>,
        counter: impl Fn(&RouteCounters) -> Option<&AtomicU64>,
    ) -> u64 {
        let handlers = self.handlers.iter();
        let routes = handlers.filter_map(|handler| handler.route(route));
        routes.filter_map(counter).map(read).sum()
    }

    /// All patterns with their numbers, and what stands for no route.
    fn routes(&self) -> impl Iterator<Item = (Option<usize>, &str)> {
        let numbered = self.patterns.all().enumerate();
        let numbered = numbered.map(|(number, pattern)| (Some(number), pattern));
        numbered.chain([(None, OTHER)])
    }

    fn requests(&self) -> Vec<([(&'static str, String); 3], u64)> {
        let mut rows = Vec::new();
        for (route, pattern) in self.routes() {
            for (m, method) in METHODS.iter().enumerate() {
                for c in 0..=STATUSES.len() {
                    let count = self.sum(route, |counters| counters.requests.get(m)?.get(c));
                    if count > 0 {
                        let code = STATUSES.get(c).map_or("other".to_owned(), u16::to_string);
                        let (route, method) = (pattern.to_owned(), (*method).to_owned());
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
        counters: fn(&RouteCounters) -> &[AtomicU64],
        sum: impl Fn(Option<usize>) -> f64 + 'a,
    ) -> impl Iterator<Item = ([(&'static str, &'a str); 1], Histogram)> {
        self.routes().filter_map(move |(route, pattern)| {
            let bounds = bounds.iter().copied().chain([f64::INFINITY]).enumerate();
            let count = |b| self.sum(route, |route| counters(route).get(b));
            let buckets: Vec<_> = bounds.map(|(b, bound)| (bound, count(b))).collect();
            let asked = buckets.iter().any(|(_, count)| *count > 0);
            let sum = sum(route);
            asked.then_some(([("route", pattern)], Histogram { sum, buckets }))
        })
    }
}

impl MetricSource for HttpMetrics {
    fn write(&self, rows: &mut Rows<'_>) {
        let scrape = HttpScrape {
            patterns: &self.patterns,
            handlers: self.handlers.all.lock().clone(),
        };
        rows.counters(
            "perennial_http_requests",
            "Requests answered, by the configured route",
            scrape.requests(),
        );
        let seconds = |route| {
            let nanos = scrape.sum(route, |route| Some(&route.nanoseconds));
            Duration::from_nanos(nanos).as_secs_f64()
        };
        rows.histograms(
            "perennial_http_request_duration_seconds",
            "Time from the end of a request's head to the beginning of its answer",
            scrape.histograms(&BUCKETS, |route| &route.durations, seconds),
        );
        let bytes = |route| as_f64(scrape.sum(route, |route| Some(&route.bytes)));
        rows.histograms(
            "perennial_http_response_size_bytes",
            "Bytes of answered bodies",
            scrape.histograms(&SIZES, |route| &route.sizes, bytes),
        );
        self.connections.write(rows);
        rows.metric(
            "perennial_http_routes_uncounted",
            "Routes that came by reloads and are counted as _other, because there is no room for more patterns",
            &self.patterns.refused,
        );
        rows.counter(
            "perennial_http_panics",
            "Requests that panicked and were answered 500",
            scrape
                .handlers
                .iter()
                .map(|handler| read(&handler.panics))
                .sum::<u64>(),
        );
        let in_flight: i64 = scrape
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
        let handlers = HandlerCounters::new(1);
        // The second one of a number goes on where the first one was.
        for number in [1, 1] {
            let handler = handlers.of(number);
            let _in_flight = handler.begin();
            let took = Duration::from_millis(2);
            handler.answered(Some(0), &Method::GET, 200, took, 5_000_000_000);
        }
        handlers
            .of(0)
            .answered(None, &Method::TRACE, 418, Duration::ZERO, 0);
        let patterns = Arc::new(RoutePatterns::with_room(1));
        patterns.number("/books");
        let metrics = HttpMetrics {
            patterns,
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
            "perennial_http_messages_refused_total{reason=\"host_twice\"} 0",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
