//! A socket from which connections are accepted.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixListener;

use crate::wire::{Socket, Transport};

/// A socket that listens. It does not block. The file of a unix socket is removed by the app.
pub(crate) type Listening = Transport<TcpListener, UnixListener>;

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
                let (stream, peer) = socket.accept()?;
                // A socket of `[::]` gives `::ffff:192.0.2.1` for a client that has an IPv4 address.
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                Ok((Socket::Tcp(stream), Some(peer)))
            }
            Self::Unix(socket) => {
                let (stream, _) = socket.accept()?;
                Ok((Socket::Unix(stream), None))
            }
        }
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
