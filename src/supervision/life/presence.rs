//! Waits for a fenced incarnation to end, and counts it as left behind if it does not.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::supervision::tree::Node;

/// The time that a fenced incarnation has to go. One that is still there then is left behind with its thread: as long as a
/// thread may be busy on a loaded machine without being stuck.
pub(crate) const GOING_LIMIT: Duration = Duration::from_secs(5);

/// Kept by an incarnation as long as anything of it is there.
#[derive(Debug)]
pub(super) struct Presence {
    _dropped_at_the_end: oneshot::Sender<Infallible>,
}

/// Tells whether an incarnation is gone.
pub(super) type Gone = oneshot::Receiver<Infallible>;

impl Presence {
    pub(super) fn new() -> (Self, Gone) {
        let (sender, gone) = oneshot::channel();
        let presence = Self {
            _dropped_at_the_end: sender,
        };
        (presence, gone)
    }
}

/// The last incarnation of a child, until it was killed.
pub(super) struct Present {
    node: Arc<Node>,
    gone: Mutex<Option<Gone>>,
}

impl Present {
    /// None has begun yet.
    pub(super) fn new(node: &Arc<Node>) -> Self {
        Self {
            node: Arc::clone(node),
            gone: Mutex::new(None),
        }
    }

    pub(super) fn begun(&self, gone: Gone) {
        *self.gone.lock() = Some(gone);
    }

    /// A future that waits until the fenced incarnation is gone. It gives false, and notes that in the tree, if the
    /// incarnation is still there after [`GOING_LIMIT`].
    pub(super) fn going(&self) -> Option<impl Future<Output = bool> + use<>> {
        let gone = self.gone.lock().take()?;
        let node = Arc::clone(&self.node);
        Some(async move {
            let in_time = timeout(GOING_LIMIT, gone).await.is_ok();
            if !in_time {
                tracing::error!(child = %node.name, limit = ?GOING_LIMIT,
                    "an incarnation does not end: it is left behind with its thread");
                node.left_behind();
            }
            in_time
        })
    }
}
