//! The state of a listener that outlives restarts: its socket, and an accepted connection that was not handed over yet.

// Decision: An accepted socket is always owned.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::least_loaded::{Candidate, choose};
use super::listening::{self, SharedListening};
use super::metrics::ListenerCounters;
use super::{HANGING_START, PAUSE, has_client, make_room};
use crate::places::{Places, TakenPlace};
use crate::request_handler::{Accepted, HandlerLoad, HandlerRef, Handlers, Handover, PeerBound};
use crate::supervision::Faults;
use crate::wire::{Peer, Socket, Speaks};

/// The bounds of connections, shared by all public listeners.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionBounds {
    /// A place for each connection.
    pub places: Arc<Places>,
    /// The bound of the connections of each peer.
    pub peers: Arc<PeerBound>,
}

/// The state of one listener that outlives its incarnations.
#[derive(Debug)]
pub(crate) struct ListenerState {
    /// Bound by the app, once.
    pub socket: Arc<SharedListening>,
    /// The request handlers.
    pub handlers: Arc<Handlers>,
    /// The load of the handler on the listener's own thread.
    near: Option<Arc<HandlerLoad>>,
    pub bounds: ConnectionBounds,
    /// The fault points that a drill may arm.
    pub faults: Faults,
    /// Whether only programs of this machine can reach the socket.
    loopback: bool,
    /// The protocol of its clients.
    speaks: Speaks,
    /// The counters that it shares with the other public listeners.
    pub counters: ListenerCounters,
    /// A socket that was accepted and not yet handed over; a restart does not drop it.
    waiting: Mutex<Option<Accepted>>,
}

impl ListenerState {
    /// The state of a new listener: no connection waits.
    pub(crate) fn new(
        socket: &Arc<SharedListening>,
        speaks: Speaks,
        handlers: Arc<Handlers>,
        near: Option<Arc<HandlerLoad>>,
        bounds: ConnectionBounds,
        faults: Faults,
        counters: ListenerCounters,
    ) -> Arc<Self> {
        let address = socket.address().and_then(Result::ok);
        faults.register("listener.accepted");
        faults.register(HANGING_START);
        Arc::new(Self {
            loopback: address.is_some_and(|address| address.ip().to_canonical().is_loopback()),
            speaks,
            socket: Arc::clone(socket),
            handlers,
            near,
            bounds,
            faults,
            counters,
            waiting: Mutex::new(None),
        })
    }

    /// Keeps a connection that was just accepted from this address, or closes it if its peer has too many.
    pub(super) fn keep(&self, socket: Socket, address: Option<SocketAddr>, place: TakenPlace) {
        self.counters.accepted.inc();
        let handlers = self.handlers.load();
        let now = Instant::now();
        let peer_place = self.bounds.peers.admit(address, now, |peer| {
            let mut handlers = handlers.iter();
            let place = handlers.find_map(|handler| handler.load.give_up_place(peer, now));
            if place.is_some() {
                self.counters.gave_way.inc();
            }
            place
        });
        let peer_place = match peer_place {
            Ok(place) => place,
            Err(full) => {
                self.counters.over_peer_limit.inc();
                return self.bounds.peers.warn(full);
            }
        };
        let peer = Peer {
            named: None,
            address,
            loopback: self.loopback,
            speaks: self.speaks,
        };
        *self.waiting.lock() = Some(Accepted {
            socket,
            peer,
            peer_place,
            place,
        });
    }

    /// Accepts the clients in the backlog, and refuses later ones. It waits until `until` for places and for handlers; clients
    /// that have none by then are refused. A socket that somebody else has opened stays as it is.
    pub(super) async fn close(&self, until: Instant) {
        // Another listener may have shut the socket before this one has handed over what it had accepted.
        self.hand_over_until(until).await;
        if self.socket.inherited {
            return;
        }
        while !self.accept_all() && Instant::now() < until {
            make_room(self);
            sleep(PAUSE).await;
        }
        self.socket.shut();
    }

    /// Accepts the clients in the backlog, as far as there are places and handlers for them. False if more wait for these.
    fn accept_all(&self) -> bool {
        let mut rotation = 0_usize;
        while !self.has_waiting() || self.hand_over(rotation) {
            rotation = rotation.wrapping_add(1);
            if self.socket.is_shut() {
                return true;
            }
            let Some(place) = self.bounds.places.try_take() else {
                return !has_client(&self.socket.socket);
            };
            let Ok((socket, address)) = listening::accept(&self.socket.socket) else {
                return true;
            };
            self.keep(socket, address, place);
        }
        false
    }

    /// Hands the waiting connection over, if a handler takes it by then.
    pub(super) async fn hand_over_until(&self, until: Instant) {
        let mut rotation = 0_usize;
        while self.has_waiting() && !self.hand_over(rotation) && Instant::now() < until {
            rotation = rotation.wrapping_add(1);
            sleep(PAUSE).await;
        }
    }

    /// Whether a connection waits to be handed over.
    pub(super) fn has_waiting(&self) -> bool {
        self.waiting.lock().is_some()
    }

    /// Hands the waiting connection to the best handler that takes it. False if none does now.
    pub(super) fn hand_over(&self, rotation: usize) -> bool {
        let mut waiting = self.waiting.lock();
        let all = self.handlers.load();
        let is_near = |handler: &HandlerRef| {
            let near = self.near.as_ref();
            near.is_some_and(|near| Arc::ptr_eq(near, &handler.load))
        };
        let mut near = all.iter().position(is_near);
        let mut tried = Vec::new();
        while let Some(accepted) = waiting.take() {
            let handlers = all.iter().enumerate();
            let left = handlers.filter(|(index, _)| !tried.contains(index));
            let candidates = left.map(|(index, handler)| (index, candidate(handler)));
            let chosen = choose(candidates, near.take(), rotation);
            let Some(handler) = chosen.and_then(|chosen| all.get(chosen)) else {
                *waiting = Some(accepted);
                self.counters.refused.inc();
                return false;
            };
            // A connection that is not handed over stays here.
            if let Err(refused) = handler.child.tell(Handover::new(accepted, &handler.load)) {
                tried.extend(chosen);
                *waiting = refused.message.take().map(|(accepted, _)| accepted);
            }
        }
        true
    }
}

fn candidate(handler: &HandlerRef) -> Candidate {
    Candidate {
        running: handler.child.running(),
        connections: handler.load.living(),
        queue: handler.child.queue_messages(),
    }
}
