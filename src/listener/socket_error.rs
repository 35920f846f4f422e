//! The reasons why a socket can't be had.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A socket that can't be had.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// An address could not be bound.
    #[error("cannot listen on {address}{}", hint(source))]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// Another program listens at this path.
    #[error("cannot listen on unix:{}; another program does", .0.display())]
    InUse(PathBuf),
    /// At this path there is another kind of file, which the daemon must not remove.
    #[error("cannot listen on unix:{}; there is a file that is no socket: move it away", .0.display())]
    NoSocket(PathBuf),
    /// The system refused to listen at this path.
    #[error("cannot listen on unix:{}; does the folder exist, and may this user write to it?", .0.display())]
    Refused(PathBuf, #[source] io::Error),
    /// No socket of this name was passed to this process, but these.
    #[error(
        "no socket named {0} was passed to this process ({1}); start it by a .socket unit with FileDescriptorName={0}"
    )]
    Absent(String, String),
    /// The socket of this name that was passed to this process is not one that clients can connect to.
    #[error(
        "the socket named {0} that was passed to this process accepts no connections; write ListenStream= and Accept=no"
    )]
    Unfit(String, #[source] io::Error),
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
            let text = SocketError::Bind { address, source }.to_string();
            assert!(text.contains(advice), "{text}");
        }
    }
}
