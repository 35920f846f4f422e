//! A connection on its way from a listener to a handler, and what counts it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::crowd::{Crowd, GiveWay};
use crate::supervision::Message;
use crate::wire::{Peer, Socket};

/// The number of connections of one handler.
#[derive(Debug, Default)]
pub(crate) struct HandlerLoad {
    living: AtomicUsize,
    changed: Notify,
    crowd: Arc<Crowd>,
}

impl HandlerLoad {
    /// The load of a handler whose connections make room for newcomers like this.
    pub(crate) fn new(room: GiveWay) -> Self {
        Self {
            crowd: Arc::new(Crowd::new(room)),
            ..Self::default()
        }
    }

    /// Its connections by age.
    pub(crate) fn crowd(&self) -> &Arc<Crowd> {
        &self.crowd
    }

    /// Connections that are handed over or being served.
    pub(crate) fn living(&self) -> usize {
        self.living.load(Ordering::Relaxed)
    }

    /// Completes when there are none.
    pub(crate) async fn idle(&self) {
        loop {
            let changed = self.changed.notified();
            if self.living.load(Ordering::SeqCst) == 0 {
                return;
            }
            changed.await;
        }
    }
}

/// Counts one connection of one handler for as long as it lives.
#[derive(Debug)]
pub(crate) struct ConnectionPermit {
    load: Arc<HandlerLoad>,
    /// The place among all connections, given back at the end.
    permit: Option<OwnedSemaphorePermit>,
}

impl ConnectionPermit {
    /// Counts one more connection of this handler.
    pub(crate) fn new(load: &Arc<HandlerLoad>, permit: OwnedSemaphorePermit) -> Self {
        load.living.fetch_add(1, Ordering::SeqCst);
        Self {
            load: Arc::clone(load),
            permit: Some(permit),
        }
    }

    /// The handler did not take it: the place is kept for another handler.
    pub(crate) fn into_permit(mut self) -> Option<OwnedSemaphorePermit> {
        self.permit.take()
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        if self.load.living.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.load.changed.notify_waiters();
        }
    }
}

/// A socket that a listener hands over.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// The socket.
    pub socket: Socket,
    /// Who it is from.
    pub peer: Peer,
    /// Counts it.
    pub permit: ConnectionPermit,
}

/// A connection as a message: taken out once, by the handler that serves it.
#[derive(Debug)]
pub(crate) struct Handover {
    accepted: Mutex<Option<Accepted>>,
}

impl Handover {
    /// A connection on its way.
    pub(crate) fn new(accepted: Accepted) -> Self {
        Self {
            accepted: Mutex::new(Some(accepted)),
        }
    }

    /// Takes it out; `None` the second time.
    pub(crate) fn take(&self) -> Option<Accepted> {
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
