//! A connection on its way from a listener to a handler.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;

use super::load::{HandlerLoad, LivingConnection};
use super::peers::PeerPlace;
use crate::supervision::Message;
use crate::wire::{Peer, Socket};

/// A connection that no handler serves yet.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// The socket.
    pub socket: Socket,
    /// The client.
    pub peer: Peer,
    /// Its place among the connections of its peer, if these have a bound.
    pub peer_place: Option<PeerPlace>,
    /// Its place among all connections.
    pub place: OwnedSemaphorePermit,
}

/// A connection as a message: taken out once, by the handler that serves it.
#[derive(Debug)]
pub(crate) struct Handover {
    accepted: Mutex<Option<(Accepted, LivingConnection)>>,
}

impl Handover {
    /// A connection on its way to the handler with this load.
    pub(crate) fn new(accepted: Accepted, load: &Arc<HandlerLoad>) -> Self {
        let living = LivingConnection::new(load);
        Self {
            accepted: Mutex::new(Some((accepted, living))),
        }
    }

    /// Takes it out, with its `LivingConnection` guard; `None` the second time.
    pub(crate) fn take(&self) -> Option<(Accepted, LivingConnection)> {
        self.accepted.lock().take()
    }
}

impl Message for Handover {
    fn kind(&self) -> &'static str {
        "connection"
    }

    fn redeliverable(&self) -> bool {
        self.accepted.lock().is_some()
    }
}
