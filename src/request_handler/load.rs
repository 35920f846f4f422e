//! The connections of one handler: their number, and the ones that are closed for newcomers when there is no place left.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::peers::{PeerKey, PeerPlace};
use crate::wire::{ClientWait, CurrentWait};

/// The time for which a connection is left alone, so that a client on a busy machine has time to send its request.
const AGE_MIN: Duration = Duration::from_millis(50);
/// The same for one whose handshake is not complete: the client is far away, perhaps, or the machine busy with many of them.
const HANDSHAKE_AGE_MIN: Duration = Duration::from_secs(1);

/// The connections that may be closed for a newcomer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum GiveWay {
    /// The oldest one that waits for the rest of a handshake, or else for its next request, or for the rest of a head.
    #[default]
    Unasked,
    /// The older half, busy or not; used by the admin listener, whose answers are quick.
    Any,
}

/// The connections of one handler.
#[derive(Debug, Default)]
pub(crate) struct HandlerLoad {
    give_way: GiveWay,
    living: AtomicUsize,
    changed: Notify,
    /// The connections that are being served, by age.
    served: Mutex<ServedConnections>,
    entered: AtomicU64,
}

/// The connections that are served, by their numbers.
type ServedConnections = BTreeMap<u64, TrackedConnection>;

#[derive(Debug)]
struct TrackedConnection {
    since: Instant,
    wait: Arc<CurrentWait>,
    /// The peer's place; a newcomer of the same peer takes it over.
    place: Option<PeerPlace>,
    /// Dropped, it closes the connection.
    _open: oneshot::Sender<()>,
}

impl HandlerLoad {
    /// The load of a handler whose connections give way to newcomers like this.
    pub(crate) fn new(give_way: GiveWay) -> Self {
        Self {
            give_way,
            ..Self::default()
        }
    }

    /// The number of connections that are handed over or being served.
    pub(crate) fn living(&self) -> usize {
        self.living.load(Ordering::Relaxed)
    }

    /// Completes when there are none.
    pub(crate) async fn drained(&self) {
        loop {
            let changed = self.changed.notified();
            if self.living.load(Ordering::SeqCst) == 0 {
                return;
            }
            changed.await;
        }
    }

    /// Serves `connection` to its end, or until it has to give way.
    pub(super) fn join<F: Future<Output = ()>>(
        self: &Arc<Self>,
        connection: F,
        wait: Arc<CurrentWait>,
        place: Option<PeerPlace>,
    ) -> impl Future<Output = ()> + use<F> {
        let id = self.entered.fetch_add(1, Ordering::Relaxed);
        let (open, closed) = oneshot::channel();
        let tracked = TrackedConnection {
            since: Instant::now(),
            wait,
            place,
            _open: open,
        };
        self.served.lock().insert(id, tracked);
        let entry = ServedEntry {
            load: Arc::clone(self),
            id,
        };
        async move {
            let _entry = entry;
            let connection = std::pin::pin!(connection);
            futures_util::future::select(connection, closed).await;
        }
    }

    /// The time at which the oldest connection that waits like this was opened: it is the next one to be closed for a new one.
    pub(crate) fn oldest(&self, wait: ClientWait, now: Instant) -> Option<Instant> {
        let served = self.served.lock();
        let (_, tracked) = self.giving_way(&served, wait, now).next()?;
        Some(tracked.since)
    }

    /// Closes the connections that give way to a newcomer now, of those that wait like this, and returns their number.
    pub(crate) fn make_room(&self, wait: ClientWait, now: Instant) -> usize {
        let mut served = self.served.lock();
        let many = match self.give_way {
            GiveWay::Unasked => 1,
            // One at a time would let in one newcomer for each turn of the handler's thread, which may have much to do.
            GiveWay::Any => served.len().div_ceil(2),
        };
        let fit = self.giving_way(&served, wait, now);
        let chosen: Vec<u64> = fit.map(|(id, _)| *id).take(many).collect();
        for id in &chosen {
            served.remove(id);
        }
        chosen.len()
    }

    /// The connections that give way, of those that wait like this, by age.
    fn giving_way<'a>(
        &self,
        served: &'a ServedConnections,
        wait: ClientWait,
        now: Instant,
    ) -> impl Iterator<Item = (&'a u64, &'a TrackedConnection)> + use<'a> {
        let any = self.give_way == GiveWay::Any;
        let age_min = match wait {
            ClientWait::Handshake => HANDSHAKE_AGE_MIN,
            ClientWait::Request | ClientWait::RestOfHead | ClientWait::Other => AGE_MIN,
        };
        aged(served, now, age_min).filter(move |(_, tracked)| any || tracked.wait.get() == wait)
    }

    /// Closes the oldest idle connection of a peer here, and returns the place that it had.
    pub(crate) fn give_up_place(&self, peer: PeerKey, now: Instant) -> Option<PeerPlace> {
        let mut served = self.served.lock();
        let (id, _) = aged(&served, now, AGE_MIN).find(|(_, tracked)| {
            let same = tracked.place.as_ref().is_some_and(|of| of.key == peer);
            same && tracked.wait.get() == ClientWait::Request
        })?;
        let id = *id;
        served.remove(&id)?.place
    }
}

/// The connections that are not left alone any more, by age.
fn aged(
    served: &ServedConnections,
    now: Instant,
    age_min: Duration,
) -> impl Iterator<Item = (&u64, &TrackedConnection)> {
    let by_age = served.iter();
    by_age.take_while(move |(_, tracked)| now.duration_since(tracked.since) >= age_min)
}

/// Keeps a connection among the served ones until it is dropped, be it by a panic.
struct ServedEntry {
    load: Arc<HandlerLoad>,
    id: u64,
}

impl Drop for ServedEntry {
    fn drop(&mut self) {
        self.load.served.lock().remove(&self.id);
    }
}

/// Counts one connection of a handler until it is dropped.
#[derive(Debug)]
pub(crate) struct LivingConnection(Arc<HandlerLoad>);

impl LivingConnection {
    pub(super) fn new(load: &Arc<HandlerLoad>) -> Self {
        load.living.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(load))
    }
}

impl Drop for LivingConnection {
    fn drop(&mut self) {
        if self.0.living.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_connection_is_forgotten_however_it_ends() {
        let load = Arc::new(HandlerLoad::default());
        load.join(async {}, Arc::default(), None).await;
        let panics = load.join(async { panic!("a connection") }, Arc::default(), None);
        assert!(
            std::panic::AssertUnwindSafe(panics)
                .catch_unwind()
                .await
                .is_err()
        );
        drop(load.join(std::future::pending(), Arc::default(), None));
        assert!(load.served.lock().is_empty());
    }
}
