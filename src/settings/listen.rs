//! Where clients come in, as it is written in `server.listen`.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// How the name of an inherited socket begins.
const INHERITED: &str = "systemd:";

/// Where clients come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// An address of this machine. Port 0 asks the kernel for one.
    Tcp(SocketAddr),
    /// The sockets of this name that whoever started the process has passed to it.
    Inherited(String),
}

/// A text that says nothing about where clients come in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotListen {
    /// It is no address.
    #[error("is not an address; write IP:PORT, such as \"127.0.0.1:3000\", or systemd:NAME")]
    Address,
    /// It is no name that systemd could give a socket.
    #[error("names no socket; write systemd: and the FileDescriptorName of a .socket unit")]
    Name,
}

impl FromStr for Listen {
    type Err = NotListen;

    fn from_str(text: &str) -> Result<Self, NotListen> {
        if let Some(name) = text.strip_prefix(INHERITED) {
            return if is_name(name) {
                Ok(Self::Inherited(name.to_owned()))
            } else {
                Err(NotListen::Name)
            };
        }
        text.parse().map(Self::Tcp).map_err(|_| NotListen::Address)
    }
}

/// What systemd takes for the name of a descriptor (`FileDescriptorName=` in `systemd.socket(5)`).
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_graphic() && c != ':';
    (1..=255).contains(&name.len()) && name.chars().all(plain)
}

impl Listen {
    /// Whether only this machine can connect, as far as that can be known: what an inherited socket is bound to is not
    /// known before the process has it.
    pub(super) fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Inherited(_) => false,
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Inherited(name) => write!(f, "{INHERITED}{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(text: &str) -> Listen {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_written_is_shown_again() {
        for text in ["127.0.0.1:3000", "[::1]:0", "systemd:http"] {
            assert_eq!(listen(text).to_string(), text);
        }
        assert_eq!("systemd:".parse::<Listen>(), Err(NotListen::Name));
        assert_eq!("systemd:a:b".parse::<Listen>(), Err(NotListen::Name));
        assert_eq!("localhost:80".parse::<Listen>(), Err(NotListen::Address));
    }

    #[test]
    fn nobody_knows_who_can_reach_an_inherited_socket() {
        assert!(listen("127.0.0.1:80").is_local());
        assert!(!listen("0.0.0.0:80").is_local());
        assert!(!listen("systemd:http").is_local());
    }
}
