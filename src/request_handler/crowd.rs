//! Connections that make room: where there are as many as there may be, the oldest ones are closed for newcomers.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How long a connection is left alone, so that a client on a busy machine has time to send its request.
const GRACE: Duration = Duration::from_millis(50);

/// The living connections of one handler, by age.
#[derive(Debug, Default)]
pub(crate) struct Crowd {
    members: Mutex<BTreeMap<u64, TrackedConnection>>,
    entered: AtomicU64,
    closed: AtomicU64,
}

#[derive(Debug)]
struct TrackedConnection {
    since: Instant,
    /// Dropped, it closes the connection.
    _open: oneshot::Sender<()>,
}

impl Crowd {
    /// Counts `connection` in for as long as it is polled to its end, and drops it early if it has to make room.
    pub(super) fn join<F: Future<Output = ()>>(
        self: &Arc<Self>,
        connection: F,
    ) -> impl Future<Output = ()> + use<F> {
        let id = self.entered.fetch_add(1, Ordering::Relaxed);
        let (open, closed) = oneshot::channel();
        let member = TrackedConnection {
            since: Instant::now(),
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

    /// Closes the older half of the connections, without those that are too young.
    ///
    /// One at a time would let in one newcomer for each turn of the handler's thread, which may have much to do.
    pub(crate) fn make_room(&self) {
        let mut members = self.members.lock();
        let half = members.len().div_ceil(2);
        for _ in 0..half {
            let Some(oldest) = members.first_entry() else {
                return;
            };
            if oldest.get().since.elapsed() < GRACE {
                return;
            }
            self.closed.fetch_add(1, Ordering::Relaxed);
            drop(oldest.remove());
        }
    }

    /// The number of connections that were closed to make room.
    pub(crate) fn closed(&self) -> u64 {
        self.closed.load(Ordering::Relaxed)
    }
}
