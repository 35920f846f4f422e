//! TLS of the public listeners: the handshake of a connection, and its session, by the library rustls.
//!
//! `acceptor` has what all threads share: the certificates in force, which can be replaced, and the counters. `handshake` bounds
//! handshakes in time and number and tells why they failed (`failure`). `socket` is the session.

mod acceptor;
mod failure;
mod half_open;
mod handshake;
mod socket;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell, RefMut};
use std::sync::Arc;

pub(crate) use acceptor::TlsAcceptor;
use half_open::HalfOpenHandshakes;
pub(super) use handshake::{OpenedConnection, open};
pub(super) use socket::TlsSocket;
use socket::{PIECE_BYTES, RECORD_BYTES_MAX};

/// The protocol that clients of a listener speak.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// HTTP.
    #[default]
    Http,
    /// HTTP over TLS.
    Https,
}

impl Speaks {
    /// The scheme of its addresses.
    pub(crate) fn scheme(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// The state of TLS that all connections of one thread share.
pub(super) struct ThreadTls {
    acceptor: Arc<TlsAcceptor>,
    half_open: HalfOpenHandshakes,
    /// The place where all that arrives comes first, so that a connection that waits holds no buffer. It is made when the first one needs it.
    records: RefCell<Vec<u8>>,
    /// The buffer for what is sent next.
    sealed: Cell<Vec<u8>>,
    /// The buffer for parts that are encrypted as one.
    gathered: Cell<Vec<u8>>,
}

impl ThreadTls {
    pub(super) fn new(acceptor: Arc<TlsAcceptor>) -> Self {
        Self {
            acceptor,
            half_open: HalfOpenHandshakes::default(),
            records: RefCell::default(),
            sealed: Cell::default(),
            gathered: Cell::default(),
        }
    }

    /// The buffer for what is sent next. It is larger than a piece, by which `give_back` knows it.
    fn sealed(&self) -> Vec<u8> {
        let mut sealed = self.sealed.take();
        sealed.clear();
        sealed.reserve(PIECE_BYTES + RECORD_BYTES_MAX);
        sealed
    }

    /// Takes it back, also if another one was made meanwhile. What a session had for itself is dropped.
    fn give_back(&self, buffer: Vec<u8>) {
        if buffer.capacity() > PIECE_BYTES {
            self.sealed.set(buffer);
        }
    }

    /// The buffer for what arrives: room for a piece behind the beginning of a record.
    fn records(&self) -> RefMut<'_, Vec<u8>> {
        let mut records = self.records.borrow_mut();
        records.resize(RECORD_BYTES_MAX + PIECE_BYTES, 0);
        records
    }
}
