//! Change feeds: streams of events (WHATWG HTML, section 9.2), and requests that wait for changes.
//!
//! A feed reads: it holds its position, and takes what follows from the pages that all feeds share when its client has taken
//! what it was sent. So a client that is slow costs no memory. [`hub`] wakes the feeds of a thread, [`reader`] goes from change to
//! change, [`event`] has the texts, [`stream`] and [`poll`] are the two bodies.

mod event;
mod hub;
mod poll;
mod reader;
mod stream;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread::ThreadId;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::routes::{Route, RouteTable, Target};
use crate::storage::ChangeSource;
use crate::telemetry::{MetricSource, Rows};
use crate::wire::{Code, Problem};
use hub::{Hub, Subscription};
pub(super) use poll::{JsonPage, WaitingPoll};
pub(super) use reader::FeedReader;
pub(super) use stream::EventStream;

/// All feeds of the daemon.
#[derive(Debug)]
pub(crate) struct Feeds {
    store: Arc<dyn ChangeSource>,
    open: AtomicUsize,
    counts: FeedCounts,
    /// One for each thread that has feeds.
    hubs: Mutex<HashMap<ThreadId, Weak<Hub>>>,
    /// The routes of the last reload; `None` before the first one.
    served: watch::Sender<Option<Arc<RouteTable>>>,
}

/// Tells whether a resource is served as it was when a feed of it began.
#[derive(Debug)]
struct LastCompared {
    route: Arc<Route>,
    routes: watch::Receiver<Option<Arc<RouteTable>>>,
    /// The answer for the routes that were seen last.
    known: bool,
}

impl LastCompared {
    fn new(served: &watch::Sender<Option<Arc<RouteTable>>>, route: &Arc<Route>) -> Self {
        let mut routes = served.subscribe();
        // The route may be from a table before this one.
        routes.mark_changed();
        Self {
            route: Arc::clone(route),
            routes,
            known: true,
        }
    }

    /// Compares once for each reload.
    fn is_as_before(&mut self) -> bool {
        if self.routes.has_changed().unwrap_or(false) {
            let routes = self.routes.borrow_and_update();
            self.known = routes
                .as_ref()
                .is_none_or(|routes| has_as_before(routes, &self.route));
        }
        self.known
    }
}

/// Whether these routes have the resource of this one with the same settings, for the same clients.
fn has_as_before(routes: &RouteTable, route: &Arc<Route>) -> bool {
    let Some(now) = routes.resource(&route.pattern) else {
        return false;
    };
    let same_clients = now.rules.access == route.rules.access;
    match (&now.target, &route.target) {
        _ if Arc::ptr_eq(now, route) => true,
        (Target::Resource(now), Target::Resource(then)) => {
            same_clients && now.collection == then.collection && now.settings == then.settings
        }
        _ => false,
    }
}

/// The counters of feeds.
#[derive(Debug, Default)]
struct FeedCounts {
    events: AtomicU64,
    resets: AtomicU64,
    refused: AtomicU64,
}

impl Feeds {
    /// The feeds of this store.
    pub(crate) fn new(store: Arc<dyn ChangeSource>) -> Arc<Self> {
        Arc::new(Self {
            store,
            open: AtomicUsize::new(0),
            counts: FeedCounts::default(),
            hubs: Mutex::default(),
            served: watch::Sender::new(None),
        })
    }

    /// Ends the feeds of resources that these routes do not have, or have with other settings.
    pub(crate) fn follow(&self, routes: &Arc<RouteTable>) {
        self.served.send_replace(Some(Arc::clone(routes)));
    }

    /// A place for one more feed, of which there may be `most`.
    pub(super) fn place(self: &Arc<Self>, most: usize) -> Result<FeedPlace, Problem> {
        let place = FeedPlace(Arc::clone(self));
        if self.open.fetch_add(1, Ordering::Relaxed) < most {
            return Ok(place);
        }
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
        let detail = "as many change feeds are open as feed.subscribers allows; try again later";
        Err(Problem::new(Code::Overloaded).detail(detail))
    }

    /// The hub of this thread.
    fn hub(self: &Arc<Self>) -> Arc<Hub> {
        let mut hubs = self.hubs.lock();
        let here = std::thread::current().id();
        if let Some(hub) = hubs.get(&here).and_then(Weak::upgrade) {
            return hub;
        }
        hubs.retain(|_, hub| hub.strong_count() > 0);
        let hub = Hub::begin(&self.store, self.served.subscribe());
        hubs.insert(here, Arc::downgrade(&hub));
        hub
    }
}

/// The place of one feed. It is free again when this is dropped.
#[derive(Debug)]
pub(super) struct FeedPlace(Arc<Feeds>);

impl Drop for FeedPlace {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl MetricSource for Arc<Feeds> {
    fn write(&self, rows: &mut Rows<'_>) {
        let open = i64::try_from(self.open.load(Ordering::Relaxed));
        rows.gauge(
            "perennial_feed_subscribers",
            "Change feeds, and requests that wait for changes, that are open",
            open.unwrap_or(i64::MAX),
        );
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        rows.counter(
            "perennial_feed_events",
            "Changes that were sent to feeds",
            read(&self.counts.events),
        );
        rows.counter(
            "perennial_feed_resets",
            "Feeds that were told to read the list again, since they were too far behind or came from another store",
            read(&self.counts.resets),
        );
        rows.counter(
            "perennial_feed_refused",
            "Feeds that were refused at feed.subscribers",
            read(&self.counts.refused),
        );
    }
}

#[cfg(test)]
mod tests;
