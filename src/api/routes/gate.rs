//! Limits how many requests a route answers at a time (`max_in_flight`). The others wait in the order of their arrival.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::places::{Places, TakenPlace};
use crate::telemetry::Counter;

/// The most requests that may wait at one route; more are refused.
pub(crate) const WAITING_MAX: usize = 1024;

/// The limit and the queue of one route. All handlers share it, and so do the editions of the route that have a limit.
#[derive(Debug)]
pub(crate) struct Gate {
    places: Arc<Places>,
    /// Places in the queue.
    queue: Semaphore,
    /// The most requests that wait.
    pub(crate) waiting_max: usize,
    pub(super) waited: Counter,
    pub(super) refused: Counter,
}

impl Gate {
    /// A gate that lets `places` requests in at a time, while `waiting_max` more may wait.
    pub(crate) fn new(places: usize, waiting_max: usize) -> Self {
        Self {
            places: Places::new(places),
            queue: Semaphore::new(waiting_max),
            waiting_max,
            waited: Counter::default(),
            refused: Counter::default(),
        }
    }

    /// Waits until fewer than `max_in_flight` requests are being answered; `None` at once if the queue is full. Dropping the
    /// place lets the next request in; dropping the future leaves the queue.
    pub(crate) async fn enter(&self) -> Option<TakenPlace> {
        // A place that is given back goes to a waiting request first, so this overtakes none.
        if let Some(place) = self.places.try_take() {
            return Some(place);
        }
        let Ok(_waiting) = self.queue.try_acquire() else {
            self.refused.inc();
            return None;
        };
        self.waited.inc();
        Some(Arc::clone(&self.places).take().await)
    }

    /// From now on lets `places` requests in at a time. Those that are inside stay; if they are more, nobody is let in until
    /// enough of them have left.
    pub(crate) fn resize(&self, places: usize) {
        self.places.resize(places);
    }

    /// The most requests that are served at a time.
    pub(crate) fn most(&self) -> usize {
        self.places.size()
    }

    /// The number of waiting requests.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting_max - self.queue.available_permits()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Route, RouteTable, Target};
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
