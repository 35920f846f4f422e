//! What outlives every life of one listener: its socket, and what it has accepted and not handed over.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::least_loaded::{Candidate, least_loaded};
use super::listening::Listening;
use crate::request_handler::{Connection, HandlerLoad, Socket, Ticket};
use crate::supervision::{ChildRef, Faults};

/// A request handler, as a listener knows it.
#[derive(Debug, Clone)]
pub(crate) struct HandlerRef {
    /// Where connections go.
    pub handler: ChildRef<Connection>,
    /// How many it has.
    pub load: Arc<HandlerLoad>,
}

/// An accepted socket with its place among all connections.
pub(super) type Arrival = (Socket, Option<SocketAddr>, OwnedSemaphorePermit);

/// How often a listener could not do as its clients wished.
#[derive(Debug, Default)]
pub(crate) struct DoorCounters {
    /// Connections that were accepted.
    pub accepted: AtomicU64,
    /// Times accepting stopped because every place was taken (`server.max_connections`).
    pub full: AtomicU64,
    /// Times no handler took a connection, so that it had to wait.
    pub refused: AtomicU64,
    /// Times the system refused to accept, for want of descriptors or memory.
    pub failed: AtomicU64,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// What outlives every incarnation of one listener.
#[derive(Debug)]
pub(crate) struct Door {
    /// Bound by the app, once.
    pub socket: Listening,
    /// Who serves.
    pub targets: Vec<HandlerRef>,
    /// Places for connections, shared by all public listeners.
    pub places: Arc<Semaphore>,
    /// Faults to pass.
    pub faults: Faults,
    /// What is counted.
    pub counters: DoorCounters,
    /// What has been accepted and not handed over: no death drops it.
    in_hand: Mutex<Option<Arrival>>,
}

impl Door {
    /// A door that nobody stands at yet.
    pub(crate) fn new(
        socket: impl Into<Listening>,
        targets: Vec<HandlerRef>,
        places: Arc<Semaphore>,
        faults: Faults,
    ) -> Arc<Self> {
        Arc::new(Self {
            socket: socket.into(),
            targets,
            places,
            faults,
            counters: DoorCounters::default(),
            in_hand: Mutex::new(None),
        })
    }

    fn in_hand(&self) -> MutexGuard<'_, Option<Arrival>> {
        self.in_hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what has just been accepted.
    pub(super) fn take_in(&self, arrival: Arrival) {
        count(&self.counters.accepted);
        *self.in_hand() = Some(arrival);
    }

    /// Whether something waits to be handed over.
    pub(super) fn holds(&self) -> bool {
        self.in_hand().is_some()
    }

    /// Hands over what is in hand, to the best handler that takes it. False if none does now.
    pub(super) fn hand_over(&self, rotation: usize) -> bool {
        let mut in_hand = self.in_hand();
        let mut targets: Vec<_> = self.targets.iter().collect();
        while let Some((socket, peer, place)) = in_hand.take() {
            let candidates: Vec<_> = targets.iter().map(|target| candidate(target)).collect();
            let Some(chosen) = least_loaded(&candidates, rotation) else {
                *in_hand = Some((socket, peer, place));
                count(&self.counters.refused);
                return false;
            };
            // Whatever happens below, the socket is either told or back in hand.
            let target = targets.swap_remove(chosen);
            let ticket = Ticket::new(&target.load, place);
            if let Err(refused) = target.handler.tell(Connection::new(socket, peer, ticket)) {
                let back = refused.message.take();
                *in_hand = back
                    .and_then(|(socket, peer, ticket)| Some((socket, peer, ticket.into_place()?)));
            }
        }
        true
    }
}

fn candidate(target: &HandlerRef) -> Candidate {
    Candidate {
        running: target.handler.running(),
        connections: target.load.living(),
        queue: target.handler.queue_messages(),
    }
}
