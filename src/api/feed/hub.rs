//! Wakes the feeds of one thread: when there are changes of their resource, and when their time has come. One task and one
//! timer do so for all of them, as long as there are any.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::super::routes::RouteTable;
use crate::storage::{ChangeSource, CollectionId, FeedStep, Following, LastChange};

/// A feed of a thread.
type FeedKey = (CollectionId, u64);

/// The feeds of one thread.
#[derive(Debug)]
pub(super) struct Hub {
    waiting: Mutex<WaitingFeeds>,
    seen: Mutex<SeenChanges>,
    /// Tells the task that a feed has to be woken earlier than all others.
    earlier: Arc<Notify>,
    task: Mutex<Option<AbortHandle>>,
    _following: Following,
}

/// The changes that a hub has seen, without a gap.
#[derive(Debug, Default)]
struct SeenChanges {
    first: u64,
    last: u64,
    /// The last one of each resource that had any.
    touched: BTreeMap<CollectionId, u64>,
}

impl SeenChanges {
    /// Adds those up to `last`; `None` if it is not known whose they are.
    fn add(&mut self, last: u64, touched: Option<&BTreeMap<CollectionId, u64>>) {
        if let Some(touched) = touched {
            self.touched.extend(touched);
        } else {
            self.first = last;
            self.touched.clear();
        }
        self.last = last;
    }

    /// The change up to which a resource has none after this one.
    fn quiet_until(&self, after: u64, collection: CollectionId) -> u64 {
        let touched = self.touched.get(&collection);
        if after >= self.first && touched.is_none_or(|last| *last <= after) {
            after.max(self.last)
        } else {
            after
        }
    }
}

#[derive(Debug, Default)]
struct WaitingFeeds {
    next: u64,
    feeds: BTreeMap<FeedKey, WaitingFeed>,
    /// The times at which feeds are looked at. A feed may have a later time by then.
    due: BTreeSet<(Instant, FeedKey)>,
}

#[derive(Debug)]
struct WaitingFeed {
    waker: Waker,
    due: Instant,
}

impl Drop for Hub {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut().take() {
            task.abort();
        }
    }
}

impl Hub {
    /// A hub for this thread, which must have a runtime.
    pub(super) fn begin(
        store: &Arc<dyn ChangeSource>,
        served: watch::Receiver<Option<Arc<RouteTable>>>,
    ) -> Arc<Self> {
        let mut last = store.last_change();
        let now = last.now();
        let seen = SeenChanges {
            first: now,
            last: now,
            touched: BTreeMap::new(),
        };
        let hub = Arc::new(Self {
            waiting: Mutex::default(),
            seen: Mutex::new(seen),
            earlier: Arc::default(),
            task: Mutex::new(None),
            _following: store.recent_changes().follow(),
        });
        let follower = Follower {
            hub: Arc::downgrade(&hub),
            earlier: Arc::clone(&hub.earlier),
            seen: now,
            last,
            store: Arc::clone(store),
            served,
        };
        let task = actix_rt::spawn(follower.run());
        *hub.task.lock() = Some(task.abort_handle());
        hub
    }

    fn wake_all(&self) {
        let waiting = self.waiting.lock();
        waiting
            .feeds
            .values()
            .for_each(|feed| feed.waker.wake_by_ref());
    }

    fn wake(&self, collection: CollectionId) {
        let waiting = self.waiting.lock();
        let of_it = waiting
            .feeds
            .range((collection, 0)..=(collection, u64::MAX));
        of_it.for_each(|(_, feed)| feed.waker.wake_by_ref());
    }

    /// Wakes the feeds whose time has come, and returns when the next one's comes.
    fn wake_due(&self, now: Instant) -> Option<Instant> {
        let waiting = &mut *self.waiting.lock();
        loop {
            let (at, key) = *waiting.due.first()?;
            if at > now {
                return Some(at);
            }
            waiting.due.pop_first();
            match waiting.feeds.get(&key) {
                Some(feed) if feed.due > now => {
                    waiting.due.insert((feed.due, key));
                }
                Some(feed) => feed.waker.wake_by_ref(),
                None => {}
            }
        }
    }
}

/// The part of a feed in the hub.
#[derive(Debug)]
pub(super) struct Subscription {
    hub: Arc<Hub>,
    collection: CollectionId,
    /// `None` until it waits for the first time.
    key: Option<FeedKey>,
}

impl Subscription {
    pub(super) fn new(hub: Arc<Hub>, collection: CollectionId) -> Self {
        Self {
            hub,
            collection,
            key: None,
        }
    }

    /// The change up to which the resource has none after this one, as far as the hub knows.
    pub(super) fn quiet_until(&self, after: u64) -> u64 {
        self.hub.seen.lock().quiet_until(after, self.collection)
    }

    /// Has the task woken at each change of the resource, and at `due`.
    pub(super) fn wait(&mut self, due: Instant, cx: &Context<'_>) {
        let waiting = &mut *self.hub.waiting.lock();
        let key = *self.key.get_or_insert_with(|| {
            waiting.next += 1;
            (self.collection, waiting.next)
        });
        let is_first = |waiting: &WaitingFeeds| waiting.due.first().is_none_or(|(at, _)| due < *at);
        if let Some(feed) = waiting.feeds.get_mut(&key) {
            if !feed.waker.will_wake(cx.waker()) {
                feed.waker.clone_from(cx.waker());
            }
            let before = std::mem::replace(&mut feed.due, due);
            // At the time before, if that is still to come, it is looked at again.
            if due >= before && waiting.due.contains(&(before, key)) {
                return;
            }
            waiting.due.remove(&(before, key));
        } else {
            let waker = cx.waker().clone();
            waiting.feeds.insert(key, WaitingFeed { waker, due });
        }
        if is_first(waiting) {
            self.hub.earlier.notify_one();
        }
        waiting.due.insert((due, key));
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let waiting = &mut *self.hub.waiting.lock();
            if let Some(feed) = waiting.feeds.remove(&key) {
                waiting.due.remove(&(feed.due, key));
            }
        }
    }
}

/// The reason for a turn of the task.
enum Woken {
    /// The number of the last change is another one.
    Changed(u64),
    /// Other routes are served.
    Served,
    /// The time of a feed has come, or the time that is waited for is another one.
    Time,
}

/// The task of a hub.
struct Follower {
    hub: Weak<Hub>,
    store: Arc<dyn ChangeSource>,
    last: LastChange,
    /// The change up to which feeds were woken.
    seen: u64,
    served: watch::Receiver<Option<Arc<RouteTable>>>,
    earlier: Arc<Notify>,
}

impl Follower {
    async fn run(mut self) {
        loop {
            let Some(next) = self.hub.upgrade().map(|hub| hub.wake_due(Instant::now())) else {
                return;
            };
            let due = async {
                match next {
                    Some(next) => sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            let woken = {
                let (mut due, mut last) = (pin!(due), pin!(self.last.next()));
                let mut served = pin!(self.served.changed());
                let mut earlier = pin!(self.earlier.notified());
                poll_fn(|cx| {
                    if let Poll::Ready(last) = last.as_mut().poll(cx) {
                        return Poll::Ready(last.map(Woken::Changed));
                    }
                    if let Poll::Ready(served) = served.as_mut().poll(cx) {
                        return Poll::Ready(served.ok().map(|()| Woken::Served));
                    }
                    let time =
                        earlier.as_mut().poll(cx).is_ready() || due.as_mut().poll(cx).is_ready();
                    if time {
                        Poll::Ready(Some(Woken::Time))
                    } else {
                        Poll::Pending
                    }
                })
                .await
            };
            match woken {
                Some(Woken::Changed(last)) => {
                    self.wake(last);
                    self.seen = last;
                }
                Some(Woken::Served) => {
                    if let Some(hub) = self.hub.upgrade() {
                        hub.wake_all();
                    }
                }
                Some(Woken::Time) => {}
                None => return,
            }
        }
    }

    /// Wakes the feeds of the resources that changed between two changes; all if that is not known.
    fn wake(&self, last: u64) {
        let Some(hub) = self.hub.upgrade() else {
            return;
        };
        let mut touched = BTreeMap::new();
        let (mut after, mut name, mut of) = (self.seen, String::new(), None);
        // Without a new change, the store was opened again.
        let mut known = self.seen < last;
        while known && after < last {
            if let FeedStep::Page(page) = self.store.feed(after) {
                for change in page.after(after) {
                    if change.resource() != name {
                        change.resource().clone_into(&mut name);
                        of = self.store.collection(&name);
                    }
                    touched.extend(of.map(|of| (of, change.seq())));
                }
                after = page.last();
            } else {
                known = false;
            }
        }
        let all = known.then_some(&touched);
        hub.seen.lock().add(last.max(after), all);
        if known {
            for collection in touched.into_keys() {
                hub.wake(collection);
            }
        } else {
            hub.wake_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_quiet_as_far_as_all_changes_since_were_seen() {
        let (books, films) = (CollectionId(0), CollectionId(1));
        let mut seen = SeenChanges {
            first: 10,
            last: 10,
            touched: BTreeMap::new(),
        };
        seen.add(15, Some(&BTreeMap::from([(books, 12)])));
        for (after, of, quiet) in [
            (10, films, 15),
            (9, films, 9),
            (10, books, 10),
            (12, books, 15),
            (20, books, 20),
        ] {
            assert_eq!(seen.quiet_until(after, of), quiet, "{after} {of:?}");
        }
        seen.add(30, None);
        assert_eq!(seen.quiet_until(15, films), 15, "nobody saw what came then");
        assert_eq!(seen.quiet_until(30, books), 30);
    }
}
