//! The state of one request that its connection and the service share.

use std::cell::{Cell, OnceCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::Poll;

use tokio::time::Instant;

use super::http1::Fault;
use super::request_id::RequestId;

/// One request as its connection and the service share it. It travels to the service in the request's extensions.
#[derive(Debug)]
pub(super) struct Link {
    /// Whether the request came by a listener with a loopback address.
    pub(super) on_loopback: bool,
    /// The time when its head was complete.
    pub(super) begun: Instant,
    /// The number of the route under which it is counted; the service sets it.
    pub(super) label: Cell<Option<usize>>,
    /// Its id in the answer, the log and the access log.
    pub(super) id: RequestId,
    /// The rule that its body breaks.
    pub(super) fault: Cell<Option<Fault>>,
    client_left: Cell<bool>,
    /// The most bytes that the next piece of the answer's body may have, if it is made piece by piece.
    piece: OnceCell<Arc<AtomicUsize>>,
}

impl Link {
    pub(super) fn new(on_loopback: bool, id: RequestId) -> Rc<Self> {
        Rc::new(Self {
            on_loopback,
            begun: Instant::now(),
            label: Cell::new(None),
            id,
            fault: Cell::new(None),
            client_left: Cell::new(false),
            piece: OnceCell::new(),
        })
    }

    /// The most bytes that the next piece of the answer's body may have, for a service that makes it piece by piece.
    pub(super) fn begin_pieces(&self) -> Arc<AtomicUsize> {
        let piece = || Arc::new(AtomicUsize::new(usize::MAX));
        Arc::clone(self.piece.get_or_init(piece))
    }

    /// The same for the connection; `None` if the answer's body is in memory.
    pub(super) fn piece(&self) -> Option<Arc<AtomicUsize>> {
        self.piece.get().map(Arc::clone)
    }

    /// Notes that the client has closed its side.
    pub(super) fn leave(&self) {
        self.client_left.set(true);
    }

    /// Completes when the client has closed its side. It registers no waker: the connection polls the service again after
    /// it has called `leave`.
    pub(super) async fn client_left(&self) {
        poll_fn(|_| {
            if self.client_left.get() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}
