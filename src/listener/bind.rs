//! Binds TCP sockets.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// How many connections the kernel keeps waiting; it cuts the number to its own limit (`net.core.somaxconn`).
pub(super) const BACKLOG: i32 = 4096;

/// An address that can't be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}{}", hint(source))]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// The system's error.
    #[source]
    pub source: io::Error,
}

/// Advice to the operator about an error of binding.
fn hint(error: &io::Error) -> &'static str {
    let kind = error.kind();
    if kind == io::ErrorKind::PermissionDenied {
        "; a port below 1024 needs a right: let systemd open it (a .socket unit, and listen = [\"systemd:NAME\"]), \
         give the program the capability (AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit, or \
         setcap cap_net_bind_service=+ep), or choose a port from 1024 on"
    } else if kind == io::ErrorKind::AddrInUse {
        "; another program listens there: stop it, or choose another port"
    } else if kind == io::ErrorKind::AddrNotAvailable {
        "; no network interface of this machine has that address"
    } else {
        ""
    }
}

/// Binds `address`; port 0 asks the kernel for one. If not `ipv6_only`, `[::]` takes the addresses of IPv4 too.
pub(crate) fn bind(address: SocketAddr, ipv6_only: bool) -> Result<TcpListener, BindError> {
    listen(address, ipv6_only).map_err(|source| BindError { address, source })
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
    fn an_error_names_the_right_way_out() {
        for (kind, advice) in [
            (io::ErrorKind::PermissionDenied, "systemd:NAME"),
            (io::ErrorKind::PermissionDenied, "CAP_NET_BIND_SERVICE"),
            (io::ErrorKind::AddrInUse, "another program listens there"),
            (io::ErrorKind::AddrNotAvailable, "no network interface"),
        ] {
            let address = ([127, 0, 0, 1], 80).into();
            let source = kind.into();
            let text = BindError { address, source }.to_string();
            assert!(text.contains(advice), "{text}");
        }
    }

    #[test]
    fn what_is_accepted_sends_at_once() {
        let socket = bind(([127, 0, 0, 1], 0).into(), false).unwrap();
        let _client = std::net::TcpStream::connect(socket.local_addr().unwrap()).unwrap();
        socket.set_nonblocking(false).unwrap();
        let (accepted, _) = socket.accept().unwrap();
        assert!(accepted.nodelay().unwrap());
    }
}
