//! Binds TCP sockets.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use rustix::net::sockopt::set_socket_reuseport;
use socket2::{Domain, Protocol, Socket, Type};

use super::listening::SharedListening;
use super::socket_error::SocketError;

/// The number of connections that the kernel keeps waiting; it cuts the number to its own limit (`net.core.somaxconn`).
pub(super) const BACKLOG: i32 = 4096;

/// Binds `address`; port 0 asks the kernel for one. If not `ipv6_only`, `[::]` takes the addresses of IPv4 too.
///
/// The sockets that are `going` do not stand in its way: `0.0.0.0` can follow `127.0.0.1` at the same port.
pub(crate) fn bind(
    address: SocketAddr,
    ipv6_only: bool,
    going: &[Arc<SharedListening>],
) -> Result<TcpListener, SocketError> {
    let socket = beside(going, address, |shared| {
        let socket = bound(address, ipv6_only, shared)?;
        // Binding and listening both look for others at the address.
        socket.listen(BACKLOG)?;
        set_socket_reuseport(&socket, false)?;
        Ok(socket)
    })?;
    Ok(socket.into())
}

/// The reason why `address` could not be bound now. No client notices.
pub(crate) fn try_bind(
    address: SocketAddr,
    ipv6_only: bool,
    going: &[Arc<SharedListening>],
) -> Result<(), SocketError> {
    beside(going, address, |shared| bound(address, ipv6_only, shared)).map(drop)
}

/// Opens a socket at an address at which others are `going`, which are shared meanwhile if they stand in the way.
fn beside(
    going: &[Arc<SharedListening>],
    address: SocketAddr,
    open: impl Fn(bool) -> io::Result<Socket>,
) -> Result<Socket, SocketError> {
    let same_port = |socket: &&Arc<SharedListening>| {
        let at = socket.address().and_then(Result::ok);
        !socket.inherited && at.is_some_and(|at| at.port() == address.port())
    };
    let going: Vec<_> = going.iter().filter(same_port).collect();
    let share = |shared| {
        let mut sockets = going.iter();
        sockets.try_for_each(|socket| set_socket_reuseport(&socket.socket, shared))
    };
    let opened = match open(false) {
        // Programs of the same user that ask for it could bind the port as well, until all sockets at it are closed.
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && !going.is_empty() => {
            let shared = share(true).map_err(io::Error::from);
            let shared = shared.and_then(|()| open(true));
            share(false).map_err(io::Error::from).and(shared)
        }
        opened => opened,
    };
    opened.map_err(|source| SocketError::Bind { address, source })
}

fn bound(address: SocketAddr, ipv6_only: bool, shared: bool) -> io::Result<Socket> {
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
    set_socket_reuseport(&socket, shared)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use rustix::net::sockopt::socket_reuseport;

    use super::*;

    #[test]
    fn what_is_accepted_sends_at_once() {
        let socket = bind(([127, 0, 0, 1], 0).into(), false, &[]).unwrap();
        let _client = std::net::TcpStream::connect(socket.local_addr().unwrap()).unwrap();
        socket.set_nonblocking(false).unwrap();
        let (accepted, _) = socket.accept().unwrap();
        assert!(accepted.nodelay().unwrap());
    }

    #[test]
    fn an_address_that_is_going_stands_in_nobodys_way_and_one_that_stays_does() {
        let old = bind(([127, 0, 0, 1], 0).into(), false, &[]).unwrap();
        let port = old.local_addr().unwrap().port();
        let old = SharedListening::new(old.into(), false);
        for address in [([0, 0, 0, 0], port), ([127, 0, 0, 1], port)] {
            let refused = bind(address.into(), false, &[]);
            assert!(matches!(refused, Err(SocketError::Bind { .. })));
            let refused = try_bind(address.into(), false, &[]);
            assert!(matches!(refused, Err(SocketError::Bind { .. })));
            try_bind(address.into(), false, &[Arc::clone(&old)]).unwrap();
            let new = bind(address.into(), false, &[Arc::clone(&old)]).unwrap();
            // Neither is shared from then on.
            assert!(!socket_reuseport(&old.socket).unwrap());
            assert!(!socket_reuseport(&new).unwrap());
            assert!(bind(address.into(), false, &[]).is_err());
        }
    }
}
