//! A socket from which connections are accepted.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::net::{Shutdown, SocketFlags, acceptfrom_with, getsockname, shutdown};

use crate::wire::Socket;

/// The flags of every accepted socket, set by the call that accepts it.
const ACCEPTED: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

/// A socket that listens, TCP or unix, as all listeners of it share it. It does not block. The file of a unix socket is
/// removed by the app.
#[derive(Debug)]
pub(crate) struct SharedListening {
    pub(super) socket: OwnedFd,
    /// Whether somebody else has opened it and keeps it open, such as systemd.
    pub(super) inherited: bool,
    shut: AtomicBool,
}

impl SharedListening {
    /// A socket that this process has bound, or one that it has inherited.
    pub(crate) fn new(socket: OwnedFd, inherited: bool) -> Arc<Self> {
        Arc::new(Self {
            socket,
            inherited,
            shut: AtomicBool::new(false),
        })
    }

    /// Its address; a unix socket has none.
    pub(crate) fn address(&self) -> Option<io::Result<SocketAddr>> {
        let address = getsockname(&self.socket).map_err(io::Error::from);
        let address = address.map(|address| SocketAddr::try_from(address).ok());
        address.transpose()
    }

    /// Refuses new clients from now on. Those in the backlog are reset, so it has to be empty. A shut socket accepts nothing
    /// more.
    pub(super) fn shut(&self) {
        self.shut.store(true, Ordering::SeqCst);
        // It fails only if it is shut already.
        let _shut_before = shutdown(&self.socket, Shutdown::Both);
    }

    /// Whether it has been shut.
    pub(super) fn is_shut(&self) -> bool {
        self.shut.load(Ordering::SeqCst)
    }
}

/// The next connection of a socket that listens, and the address of its client; a client of a unix socket has none.
pub(super) fn accept(socket: &OwnedFd) -> io::Result<(Socket, Option<SocketAddr>)> {
    let (socket, peer) = acceptfrom_with(socket, ACCEPTED)?;
    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
    // A socket of `[::]` gives `::ffff:192.0.2.1` for a client that has an IPv4 address.
    let peer = peer.map(|peer| SocketAddr::new(peer.ip().to_canonical(), peer.port()));
    Ok((socket, peer))
}
