//! Connections that make room: where there are as many as there may be, old ones are closed for newcomers.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How long a connection is left alone, so that a client on a busy machine has time to send its request.
const GRACE: Duration = Duration::from_millis(50);

/// The connections that may be closed for a newcomer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum GiveWay {
    /// The oldest one that waits for its next request.
    #[default]
    Idle,
    /// The older half, whatever they do: nothing that is served there takes long.
    Any,
}

/// The living connections of one handler, by age.
#[derive(Debug, Default)]
pub(crate) struct Crowd {
    room: GiveWay,
    members: Mutex<BTreeMap<u64, TrackedConnection>>,
    entered: AtomicU64,
    closed: AtomicU64,
}

#[derive(Debug)]
struct TrackedConnection {
    since: Instant,
    idle: Arc<AtomicBool>,
    /// Dropped, it closes the connection.
    _open: oneshot::Sender<()>,
}

impl Crowd {
    pub(super) fn new(room: GiveWay) -> Self {
        Self {
            room,
            ..Self::default()
        }
    }

    /// Counts `connection` in for as long as it is polled to its end, and drops it early if it has to make room. `idle` is
    /// true while it waits for its next request.
    pub(super) fn join<F: Future<Output = ()>>(
        self: &Arc<Self>,
        connection: F,
        idle: Arc<AtomicBool>,
    ) -> impl Future<Output = ()> + use<F> {
        let id = self.entered.fetch_add(1, Ordering::Relaxed);
        let (open, closed) = oneshot::channel();
        let member = TrackedConnection {
            since: Instant::now(),
            idle,
            _open: open,
        };
        self.members.lock().insert(id, member);
        let crowd = Arc::clone(self);
        async move {
            let connection = std::pin::pin!(connection);
            futures_util::future::select(connection, closed).await;
            crowd.members.lock().remove(&id);
        }
    }

    /// Closes what may be closed for a newcomer.
    pub(crate) fn make_room(&self) {
        let mut members = self.members.lock();
        let many = match self.room {
            GiveWay::Idle => 1,
            // One at a time would let in one newcomer for each turn of the handler's thread, which may have much to do.
            GiveWay::Any => members.len().div_ceil(2),
        };
        let old = members
            .iter()
            .take_while(|(_, member)| member.since.elapsed() >= GRACE);
        let fit = old
            .filter(|(_, member)| self.room == GiveWay::Any || member.idle.load(Ordering::Relaxed));
        let chosen: Vec<u64> = fit.map(|(id, _)| *id).take(many).collect();
        for id in chosen {
            self.closed.fetch_add(1, Ordering::Relaxed);
            members.remove(&id);
        }
    }

    /// The number of connections that were closed to make room.
    pub(crate) fn closed(&self) -> u64 {
        self.closed.load(Ordering::Relaxed)
    }
}
