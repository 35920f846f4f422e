//! The state of one request that its connection and the service share.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use tokio::time::Instant;

use super::http1::Fault;
use super::request_id::RequestId;
use super::thread::RequestRules;

/// One request as its connection and the service share it. It travels to the service in the request's extensions.
#[derive(Debug)]
pub(super) struct Link {
    /// Whether the request came by a listener with a loopback address.
    pub(super) on_loopback: bool,
    /// The rules of its edition.
    pub(super) rules: RequestRules,
    /// The time when its head was complete.
    pub(super) started: Instant,
    /// The number of the route's pattern, under which it is counted; the service sets it.
    pub(super) route_index: Cell<Option<usize>>,
    /// Its id in the answer, the log and the access log.
    pub(super) id: RequestId,
    /// The rule that its body breaks.
    pub(super) fault: Cell<Option<Fault>>,
    client_left: Cell<bool>,
}

impl Link {
    pub(super) fn new(on_loopback: bool, id: RequestId, rules: RequestRules) -> Rc<Self> {
        Rc::new(Self {
            on_loopback,
            rules,
            started: Instant::now(),
            route_index: Cell::new(None),
            id,
            fault: Cell::new(None),
            client_left: Cell::new(false),
        })
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
