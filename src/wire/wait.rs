//! The current wait of a connection, for the search for connections that may be closed when there is no room.

use std::sync::atomic::{AtomicBool, Ordering};

/// The kinds of waiting of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientWait {
    /// The next request.
    Request,
    /// The rest of a head that has begun.
    RestOfHead,
    /// The rest of a handshake of TLS.
    Handshake,
    /// A body, or nothing: a request is answered.
    Other,
}

/// The current wait of one connection.
#[derive(Debug, Default)]
pub(crate) struct CurrentWait {
    request: AtomicBool,
    rest_of_head: AtomicBool,
    handshake: AtomicBool,
}

impl CurrentWait {
    pub(super) fn set(&self, wait: ClientWait) {
        let is = |other| wait == other;
        self.request
            .store(is(ClientWait::Request), Ordering::Relaxed);
        self.rest_of_head
            .store(is(ClientWait::RestOfHead), Ordering::Relaxed);
        self.handshake
            .store(is(ClientWait::Handshake), Ordering::Relaxed);
    }

    /// The last one that was set.
    pub(crate) fn get(&self) -> ClientWait {
        if self.request.load(Ordering::Relaxed) {
            ClientWait::Request
        } else if self.rest_of_head.load(Ordering::Relaxed) {
            ClientWait::RestOfHead
        } else if self.handshake.load(Ordering::Relaxed) {
            ClientWait::Handshake
        } else {
            ClientWait::Other
        }
    }
}
