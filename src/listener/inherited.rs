//! Sockets that another program, such as systemd, had opened before it started this process. Clients wait in their backlog
//! while the daemon is not running.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use listenfd::ListenFd;
use socket2::SockRef;

use super::listening::SharedListening;
use super::socket_error::SocketError;

/// The name that systemd gives to a socket without a name.
const NAMELESS: &str = "unknown";

/// The sockets this process was started with, by name.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<(String, Arc<SharedListening>)>,
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
                Ok(socket) => sockets.push((name, SharedListening::new(socket, true))),
                Err(source) => return Err(SocketError::Unfit(name, source)),
            }
        }
        Ok(Self { sockets })
    }

    /// The sockets of this name: a `.socket` unit may have several. They stay open when nobody accepts from them.
    pub(crate) fn named(&self, name: &str) -> Result<Vec<Arc<SharedListening>>, SocketError> {
        let all = self.sockets.iter();
        let found: Vec<_> = all
            .filter(|(of, _)| of == name)
            .map(|(_, socket)| Arc::clone(socket))
            .collect();
        if found.is_empty() {
            let others = self.names_besides(|_| false);
            let others = others.unwrap_or_else(|| "none".to_owned());
            return Err(SocketError::Absent(name.to_owned(), others));
        }
        Ok(found)
    }

    /// The names of the sockets that are not `taken`, as a text, if there are any.
    pub(crate) fn names_besides(&self, taken: impl Fn(&str) -> bool) -> Option<String> {
        let names = self.sockets.iter().map(|(name, _)| name.as_str());
        let names: Vec<_> = names.filter(|name| !taken(name)).collect();
        (!names.is_empty()).then(|| names.join(", "))
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
            (
                (*name).to_owned(),
                SharedListening::new(socket.into(), true),
            )
        };
        Inherited {
            sockets: names.iter().map(socket).collect(),
        }
    }

    #[test]
    fn all_sockets_of_a_name_are_had_again_and_again() {
        let passed = inherited(&["http", "other", "http"]);
        for _ in 0..2 {
            assert_eq!(passed.named("http").unwrap().len(), 2);
        }
        let rest = passed.names_besides(|name| name == "http");
        assert_eq!(rest.as_deref(), Some("other"));
        let error = passed.named("https").unwrap_err().to_string();
        assert!(
            error.contains("no socket named https was passed to this process (http, other, http)"),
            "{error}"
        );
    }

    #[test]
    fn a_process_without_any_says_none() {
        let error = Inherited::default().named("http").unwrap_err().to_string();
        assert!(error.contains("(none)"), "{error}");
        let none = Inherited::of(ListenFd::empty(), "http").unwrap();
        assert_eq!(none.names_besides(|_| false), None);
    }
}
