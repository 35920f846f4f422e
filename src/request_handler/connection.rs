//! A connection on its way from a listener to a handler, and what counts it.

use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit};

use crate::supervision::Message;
use crate::wire::Stream;

/// A socket that belongs to no thread yet. (A tokio stream belongs to the thread that made it.)
#[derive(Debug)]
pub(crate) enum Socket {
    /// TCP.
    Tcp(std::net::TcpStream),
    /// A unix socket.
    Unix(UnixStream),
}

impl Socket {
    /// The stream, on the thread that will serve it.
    pub(crate) fn into_stream(self) -> io::Result<Stream> {
        match self {
            Self::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                tokio::net::TcpStream::from_std(socket).map(Stream::Tcp)
            }
            Self::Unix(socket) => {
                socket.set_nonblocking(true)?;
                tokio::net::UnixStream::from_std(socket).map(Stream::Unix)
            }
        }
    }
}

/// How many connections one handler has.
#[derive(Debug, Default)]
pub(crate) struct HandlerLoad {
    living: AtomicUsize,
    changed: Notify,
}

impl HandlerLoad {
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
pub(crate) struct Ticket {
    load: Arc<HandlerLoad>,
    /// The place among all connections, given back with the ticket.
    place: Option<OwnedSemaphorePermit>,
}

impl Ticket {
    /// A ticket for this handler.
    pub(crate) fn new(load: &Arc<HandlerLoad>, place: OwnedSemaphorePermit) -> Self {
        load.living.fetch_add(1, Ordering::SeqCst);
        Self {
            load: Arc::clone(load),
            place: Some(place),
        }
    }

    /// The handler did not take it: the place is kept for another one.
    pub(crate) fn into_place(mut self) -> Option<OwnedSemaphorePermit> {
        self.place.take()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.load.living.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.load.changed.notify_waiters();
        }
    }
}

type Parcel = (Socket, Option<SocketAddr>, Ticket);

/// A connection as a message: taken out once, by the handler that serves it.
#[derive(Debug)]
pub(crate) struct Connection {
    parcel: Mutex<Option<Parcel>>,
}

impl Connection {
    /// A connection from `peer`.
    pub(crate) fn new(socket: Socket, peer: Option<SocketAddr>, ticket: Ticket) -> Self {
        Self {
            parcel: Mutex::new(Some((socket, peer, ticket))),
        }
    }

    /// Takes it out; `None` the second time.
    pub(crate) fn take(&self) -> Option<Parcel> {
        self.parcel
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl Message for Connection {
    fn kind(&self) -> &'static str {
        "connection"
    }

    fn redeliverable(&self) -> bool {
        self.parcel
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }
}
