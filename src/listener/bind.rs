//! Binding a socket, once, by the app.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// How many connections the kernel keeps waiting; it cuts the number to its own limit (`net.core.somaxconn`).
pub(super) const BACKLOG: i32 = 4096;

/// An address that can't be had.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address}; is another program there, or is the address not this machine's?"
)]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// The system's error.
    #[source]
    pub source: io::Error,
}

/// Binds `address`; port 0 asks the kernel for one.
pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    listen(address).map_err(|source| BindError { address, source })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restart need not wait for connections of the process before.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Accepted sockets have it from here, so that no connection costs a call for it.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_accepted_sends_at_once() {
        let socket = bind(([127, 0, 0, 1], 0).into()).unwrap();
        let _client = std::net::TcpStream::connect(socket.local_addr().unwrap()).unwrap();
        socket.set_nonblocking(false).unwrap();
        let (accepted, _) = socket.accept().unwrap();
        assert!(accepted.nodelay().unwrap());
    }
}
