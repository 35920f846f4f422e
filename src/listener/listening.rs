//! A socket from which connections are accepted.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::net::{SocketFlags, accept_with, acceptfrom_with};

use crate::wire::Socket;

/// A socket that listens. It does not block. The file of a unix socket is removed by the app.
#[derive(Debug)]
pub(crate) enum Listening {
    /// TCP.
    Tcp(TcpListener),
    /// A unix socket.
    Unix(UnixListener),
}

/// The flags of every accepted socket, set by the call that accepts it.
const ACCEPTED: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

impl Listening {
    /// The same socket once more, for one incarnation of a listener.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(socket) => socket.try_clone().map(Self::Tcp),
            Self::Unix(socket) => socket.try_clone().map(Self::Unix),
        }
    }

    /// Its address; a unix socket has none.
    pub(crate) fn address(&self) -> Option<io::Result<SocketAddr>> {
        match self {
            Self::Tcp(socket) => Some(socket.local_addr()),
            Self::Unix(_) => None,
        }
    }

    /// The next connection, and the address of its client; a unix socket has none.
    pub(crate) fn accept(&self) -> io::Result<(Socket, Option<SocketAddr>)> {
        match self {
            Self::Tcp(socket) => {
                let (socket, peer) = acceptfrom_with(socket, ACCEPTED)?;
                // A socket of `[::]` gives `::ffff:192.0.2.1` for a client that has an IPv4 address.
                let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
                let peer = peer.map(|peer| SocketAddr::new(peer.ip().to_canonical(), peer.port()));
                Ok((socket, peer))
            }
            Self::Unix(socket) => Ok((accept_with(socket, ACCEPTED)?, None)),
        }
    }
}

/// A socket that listens, as all listeners of it share it.
#[derive(Debug)]
pub(crate) struct SharedListening {
    socket: Listening,
    /// Whether somebody else has opened it and keeps it open, such as systemd.
    inherited: bool,
    shut: AtomicBool,
}

impl SharedListening {
    /// A socket that this process has bound, or one that it has inherited.
    pub(crate) fn new(socket: Listening, inherited: bool) -> Self {
        Self {
            socket,
            inherited,
            shut: AtomicBool::new(false),
        }
    }

    /// The socket.
    pub(crate) fn socket(&self) -> &Listening {
        &self.socket
    }

    /// Whether it belongs to somebody else, who keeps it open.
    pub(crate) fn is_inherited(&self) -> bool {
        self.inherited
    }

    /// Refuses new clients from now on. Those in the backlog are reset, so it has to be empty. A shut socket accepts nothing
    /// more.
    pub(crate) fn shut(&self) {
        self.shut.store(true, Ordering::SeqCst);
        // It fails only if it is shut already.
        let _shut_before = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
    }

    /// Whether it has been shut.
    pub(crate) fn is_shut(&self) -> bool {
        self.shut.load(Ordering::SeqCst)
    }
}

impl AsFd for Listening {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

impl AsRawFd for Listening {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Tcp(socket) => socket.as_raw_fd(),
            Self::Unix(socket) => socket.as_raw_fd(),
        }
    }
}

impl From<TcpListener> for Listening {
    fn from(socket: TcpListener) -> Self {
        Self::Tcp(socket)
    }
}

impl From<UnixListener> for Listening {
    fn from(socket: UnixListener) -> Self {
        Self::Unix(socket)
    }
}
