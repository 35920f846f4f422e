//! Binds TCP sockets.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use super::socket_error::SocketError;

/// How many connections the kernel keeps waiting; it cuts the number to its own limit (`net.core.somaxconn`).
pub(super) const BACKLOG: i32 = 4096;

/// Binds `address`; port 0 asks the kernel for one. If not `ipv6_only`, `[::]` takes the addresses of IPv4 too.
pub(crate) fn bind(address: SocketAddr, ipv6_only: bool) -> Result<TcpListener, SocketError> {
    listen(address, ipv6_only).map_err(|source| SocketError::Bind { address, source })
}

fn listen(address: SocketAddr, ipv6_only: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A new process can bind the address while connections of the one before are still closing.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Accepted sockets have it from here, so that no connection costs a call for it.
    socket.set_tcp_nodelay(true)?;
    if address.is_ipv6() {
        // Whatever the machine's own default is (`net.ipv6.bindv6only`).
        socket.set_only_v6(ipv6_only)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_accepted_sends_at_once() {
        let socket = bind(([127, 0, 0, 1], 0).into(), false).unwrap();
        let _client = std::net::TcpStream::connect(socket.local_addr().unwrap()).unwrap();
        socket.set_nonblocking(false).unwrap();
        let (accepted, _) = socket.accept().unwrap();
        assert!(accepted.nodelay().unwrap());
    }
}
