//! Sockets that another program, such as systemd, had opened before it started this process. Clients wait in their backlog
//! while the daemon is not running.

use std::io;
use std::os::fd::OwnedFd;

use listenfd::ListenFd;
use socket2::SockRef;

use super::socket_error::SocketError;

/// The name that systemd gives to a socket without a name.
const NAMELESS: &str = "unknown";

/// The sockets this process was started with, by name.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<(String, OwnedFd)>,
}

impl Inherited {
    /// Takes the sockets of the process; a second call finds none. Call it before there are threads that read the
    /// environment, since it removes the variables that name the sockets from it.
    pub fn take() -> Result<Self, SocketError> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        Self::of(ListenFd::from_env(), &names)
    }

    fn of(mut passed: ListenFd, names: &str) -> Result<Self, SocketError> {
        let mut names = names.split(':').filter(|name| !name.is_empty());
        let mut sockets = Vec::with_capacity(passed.len());
        for at in 0..passed.len() {
            let name = names.next().unwrap_or(NAMELESS).to_owned();
            match listening(&mut passed, at) {
                Ok(socket) => sockets.push((name, socket)),
                Err(source) => return Err(SocketError::Unfit(name, source)),
            }
        }
        Ok(Self { sockets })
    }

    /// Takes the sockets of this name: a `.socket` unit may have several.
    pub(crate) fn named(&mut self, name: &str) -> Result<Vec<OwnedFd>, SocketError> {
        let found = self.sockets.extract_if(.., |(of, _)| of == name);
        let found: Vec<_> = found.map(|(_, socket)| socket).collect();
        if found.is_empty() {
            return Err(SocketError::Absent(name.to_owned(), self.names()));
        }
        Ok(found)
    }

    /// The names of the sockets that have not been taken, as a text.
    pub(crate) fn names(&self) -> String {
        if self.sockets.is_empty() {
            return "none".to_owned();
        }
        let names: Vec<_> = self.sockets.iter().map(|(name, _)| name.as_str()).collect();
        names.join(", ")
    }

    /// Whether all sockets have been taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }
}

fn listening(passed: &mut ListenFd, at: usize) -> io::Result<OwnedFd> {
    let gone = || io::Error::from(io::ErrorKind::NotFound);
    let socket: OwnedFd = match passed.take_tcp_listener(at) {
        Ok(socket) => {
            let socket = socket.ok_or_else(gone)?;
            SockRef::from(&socket).set_tcp_nodelay(true)?;
            socket.into()
        }
        Err(_no_tcp) => passed.take_unix_listener(at)?.ok_or_else(gone)?.into(),
    };
    let socket_ref = SockRef::from(&socket);
    socket_ref.set_nonblocking(true)?;
    // Accept=yes passes a connection, from which nobody could ever be accepted.
    if socket_ref.peer_addr().is_ok() {
        return Err(io::Error::other("it is a connection"));
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn inherited(names: &[&str]) -> Inherited {
        let socket = |name: &&str| {
            let socket = TcpListener::bind("127.0.0.1:0").unwrap();
            ((*name).to_owned(), socket.into())
        };
        Inherited {
            sockets: names.iter().map(socket).collect(),
        }
    }

    #[test]
    fn all_sockets_of_a_name_are_taken_once() {
        let mut passed = inherited(&["http", "other", "http"]);
        assert_eq!(passed.named("http").unwrap().len(), 2);
        assert_eq!(passed.names(), "other");
        assert!(!passed.is_empty());
        let error = passed.named("http").unwrap_err().to_string();
        assert!(
            error.contains("no socket named http was passed to this process (other)"),
            "{error}"
        );
    }

    #[test]
    fn a_process_without_any_says_none() {
        let error = Inherited::default().named("http").unwrap_err().to_string();
        assert!(error.contains("(none)"), "{error}");
        assert!(Inherited::of(ListenFd::empty(), "http").unwrap().is_empty());
    }
}
