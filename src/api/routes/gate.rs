//! Limits how many requests a route answers at a time (`max_in_flight`). The others wait in the order of their arrival.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::table::RouteTable;
use crate::api::site::Site;
use crate::num::as_u64;
use crate::telemetry::{Counter, MetricSource, Rows};
use crate::wire::Editions;

/// The most requests that may wait at one route; more are refused.
pub(crate) const WAITING_MAX: usize = 1024;

/// The limit and the queue of one route. All handlers share it, and so do the editions of the route that have a limit.
#[derive(Debug)]
pub(crate) struct Gate {
    places: Arc<Semaphore>,
    /// The number of places, once the excess has been given back.
    size: Mutex<usize>,
    /// Places that go when whoever has them leaves.
    excess: AtomicUsize,
    /// Places in the queue.
    queue: Semaphore,
    /// The most requests that wait.
    pub(crate) waiting_max: usize,
    waited: Counter,
    refused: Counter,
}

impl Gate {
    /// A gate that lets `places` requests in at a time, while `waiting_max` more may wait.
    pub(crate) fn new(places: usize, waiting_max: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places)),
            size: Mutex::new(places),
            excess: AtomicUsize::new(0),
            queue: Semaphore::new(waiting_max),
            waiting_max,
            waited: Counter::default(),
            refused: Counter::default(),
        }
    }

    /// Waits until fewer than `max_in_flight` requests are being answered; `None` at once if the queue is full. Dropping the
    /// permit lets the next request in; dropping the future leaves the queue.
    pub(crate) async fn enter(&self) -> Option<OwnedSemaphorePermit> {
        // A returned permit goes to a waiting request first, so this overtakes none.
        while let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            if !self.take_excess() {
                return Some(place);
            }
            place.forget();
        }
        let Ok(_waiting) = self.queue.try_acquire() else {
            self.refused.inc();
            return None;
        };
        self.waited.inc();
        loop {
            let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
            if !self.take_excess() {
                return Some(place);
            }
            place.forget();
        }
    }

    /// From now on lets `places` requests in at a time. Those that are inside stay; if they are more, nobody is let in until
    /// enough of them have left.
    pub(crate) fn resize(&self, places: usize) {
        let mut size = self.size.lock();
        let before = std::mem::replace(&mut *size, places);
        self.excess
            .fetch_add(before.saturating_sub(places), Ordering::AcqRel);
        let more = places.saturating_sub(before);
        let still_there = (0..more).take_while(|_| self.take_excess()).count();
        self.places.add_permits(more - still_there);
    }

    /// Whether the place of whoever asks is one that goes.
    fn take_excess(&self) -> bool {
        let less = |excess: usize| excess.checked_sub(1);
        let (set, fetch) = (Ordering::AcqRel, Ordering::Acquire);
        self.excess.load(Ordering::Relaxed) > 0
            && self.excess.fetch_update(set, fetch, less).is_ok()
    }

    /// The most requests that are served at a time.
    pub(crate) fn most(&self) -> usize {
        *self.size.lock()
    }

    /// The number of waiting requests.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting_max - self.queue.available_permits()
    }
}

impl MetricSource for Arc<Editions<Site>> {
    fn write(&self, rows: &mut Rows<'_>) {
        self.current().responder.routes.write(rows);
    }
}

impl MetricSource for Arc<RouteTable> {
    fn write(&self, rows: &mut Rows<'_>) {
        let each = |value: fn(&Gate) -> u64| {
            self.all.iter().filter_map(move |route| {
                let gate = route.rules.gate.as_ref()?;
                Some(([("route", route.pattern.as_str())], value(gate)))
            })
        };
        rows.gauges(
            "perennial_http_queue_requests",
            "Requests that wait for their turn at a route with max_in_flight",
            each(|gate| as_u64(gate.waiting())),
        );
        rows.counters(
            "perennial_http_queue_waited",
            "Requests that had to wait for their turn at a route with max_in_flight",
            each(|gate| gate.waited.get()),
        );
        rows.counters(
            "perennial_http_queue_refused",
            "Requests refused with 503 because the queue of their route was full",
            each(|gate| gate.refused.get()),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Route, Target};
    use super::*;
    use crate::file_cache::RootHandle;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn one_is_let_in_and_the_next_ones_wait_in_order_until_the_queue_is_full() {
        let gate = Gate::new(1, 2);
        let inside = gate.enter().await.unwrap();
        let mut first = Box::pin(gate.enter());
        let mut second = Box::pin(gate.enter());
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        assert_eq!(gate.waiting(), 2);
        assert!(gate.enter().await.is_none());
        assert_eq!(gate.refused.get(), 1);
        drop(inside);
        assert!(second.as_mut().now_or_never().is_none(), "not its turn");
        let inside = first.await.unwrap();
        assert_eq!(gate.waiting(), 1);
        drop(inside);
        drop(second.await.unwrap());
        assert_eq!(gate.waiting(), 0);
    }

    #[tokio::test]
    async fn who_goes_away_leaves_the_queue() {
        let gate = Gate::new(1, 1);
        let inside = gate.enter().await.unwrap();
        let mut gone = Box::pin(gate.enter());
        assert!(gone.as_mut().now_or_never().is_none());
        drop(gone);
        assert_eq!(gate.waiting(), 0);
        let mut next = Box::pin(gate.enter());
        assert!(next.as_mut().now_or_never().is_none(), "there is room");
        drop(inside);
        assert!(next.await.is_some());
    }

    #[tokio::test]
    async fn a_smaller_gate_lets_nobody_in_until_enough_have_left() {
        let gate = Gate::new(3, 2);
        let mut inside = vec![gate.enter().await, gate.enter().await];
        gate.resize(1);
        let mut next = Box::pin(gate.enter());
        assert!(next.as_mut().now_or_never().is_none());
        inside.pop();
        assert!(next.as_mut().now_or_never().is_none(), "one is inside");
        inside.clear();
        let one = next.await.unwrap();
        assert!(Box::pin(gate.enter()).now_or_never().is_none());
        gate.resize(2);
        let two = gate.enter().await.unwrap();
        assert!(Box::pin(gate.enter()).now_or_never().is_none());
        drop((one, two));
    }

    #[tokio::test]
    async fn a_scrape_tells_who_waits_and_who_was_refused() {
        let gate = Arc::new(Gate::new(1, 0));
        let _inside = gate.enter().await.unwrap();
        assert!(gate.enter().await.is_none());
        let mut route = Route::plain("/slow", Target::Files(RootHandle::unused()));
        route.rules.gate = Some(Arc::clone(&gate));
        let scrape = crate::telemetry::exposed(Arc::new(RouteTable::new([route])));
        for line in [
            "perennial_http_queue_requests{route=\"/slow\"} 0",
            "perennial_http_queue_waited_total{route=\"/slow\"} 0",
            "perennial_http_queue_refused_total{route=\"/slow\"} 1",
        ] {
            assert!(scrape.contains(line), "{line} is not in\n{scrape}");
        }
    }
}
