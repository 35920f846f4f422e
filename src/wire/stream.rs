//! Sockets of the two kinds that are served: TCP and unix.

use std::io;

use tokio_util::either::Either;

/// Something that exists for TCP and for unix sockets: a connection, or a socket that listens.
#[derive(Debug)]
pub(crate) enum Transport<T, U> {
    /// TCP.
    Tcp(T),
    /// A unix socket.
    Unix(U),
}

/// A connection on the thread that serves it.
pub(crate) type Stream = Either<tokio::net::TcpStream, tokio::net::UnixStream>;

/// A connection that belongs to no thread yet. (A tokio stream belongs to the thread that made it.)
pub(crate) type Socket = Transport<std::net::TcpStream, std::os::unix::net::UnixStream>;

impl Socket {
    /// The stream, on the thread that will serve it.
    pub(crate) fn into_stream(self) -> io::Result<Stream> {
        match self {
            Self::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                tokio::net::TcpStream::from_std(socket).map(Either::Left)
            }
            Self::Unix(socket) => {
                socket.set_nonblocking(true)?;
                tokio::net::UnixStream::from_std(socket).map(Either::Right)
            }
        }
    }
}
