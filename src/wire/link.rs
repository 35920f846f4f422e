//! The state of one request that its connection and the service share.

use std::cell::{Cell, OnceCell};
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use super::edition::RequestRules;
use super::hosts::Peer;
use super::identity::Identity;
use super::request_id::RequestId;
use super::tls::Speaks;

/// One request as its connection and the service share it. It travels to the service in the request's extensions.
#[derive(Debug)]
pub(super) struct Link {
    /// Whether the request came by a listener with a loopback address.
    pub(super) on_loopback: bool,
    /// Whether it came over the net, and not by a unix socket.
    pub(super) on_net: bool,
    /// The protocol of the listener.
    pub(super) speaks: Speaks,
    /// The rules of its edition.
    pub(super) rules: Rc<RequestRules>,
    /// The time when its head was complete.
    pub(super) started: Instant,
    /// The number of the route's pattern, under which it is counted; the service sets it.
    pub(super) route_index: Cell<Option<usize>>,
    /// Its id in the answer, the log and the access log.
    pub(super) id: RequestId,
    /// The reason why it was refused, or why its body could not be read, as the access log tells it.
    pub(super) fault: Cell<Option<&'static str>>,
    /// More about its client. Most requests have nothing, and no memory for it.
    client: OnceCell<Box<ClientNotes>>,
    client_left: Cell<bool>,
}

/// The requests that a client may still send to a route with a `rate`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RateLeft {
    /// So many at once.
    pub requests: u32,
    /// The seconds after which it may send all of them again.
    pub seconds: u32,
    /// The time that it has to wait, if this one is refused.
    pub wait: Option<Duration>,
}

/// The facts about the client of a request that are found out while it is answered.
#[derive(Debug, Default)]
pub(super) struct ClientNotes {
    /// The client itself, if the route asks who it is and it has shown it.
    pub(super) identity: OnceCell<Arc<Identity>>,
    /// Its address, if a trusted proxy names it.
    pub(super) address: Cell<Option<IpAddr>>,
    /// The rate of the route that counts it.
    pub(super) rate: Cell<Option<RateLeft>>,
}

impl Link {
    pub(super) fn new(peer: Peer, id: RequestId, rules: Rc<RequestRules>) -> Rc<Self> {
        let link = Self {
            on_loopback: peer.loopback,
            on_net: peer.address.is_some(),
            speaks: peer.speaks,
            rules,
            started: Instant::now(),
            route_index: Cell::new(None),
            id,
            fault: Cell::new(None),
            client: OnceCell::new(),
            client_left: Cell::new(false),
        };
        if peer.named.is_some() {
            link.client().address.set(peer.named);
        }
        Rc::new(link)
    }

    /// The notes about its client.
    pub(super) fn client(&self) -> &ClientNotes {
        self.client.get_or_init(Box::default)
    }

    /// Those that there are.
    pub(super) fn known_client(&self) -> Option<&ClientNotes> {
        self.client.get().map(AsRef::as_ref)
    }

    /// Notes that the client has closed its side.
    pub(super) fn leave(&self) {
        self.client_left.set(true);
    }

    /// The result of `work`; `None` if the client closes its side first. It registers no waker for that: the connection polls
    /// the service again after it has called `leave`.
    pub(super) async fn unless_left<W: Future>(&self, mut work: Pin<&mut W>) -> Option<W::Output> {
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if self.client_left.get() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }
}
