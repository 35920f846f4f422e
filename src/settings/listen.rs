//! The addresses in `server.listen` and `server.admin`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// The prefix of the path of a unix socket.
const UNIX: &str = "unix:";
/// The longest path of a unix socket: what `sun_path` of `unix(7)` takes, less the NUL at its end.
const UNIX_PATH_BYTES_MAX: usize = 107;
/// The prefix of the name of an inherited socket.
const INHERITED: &str = "systemd:";

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub enum Listen {
    /// An address of this machine. Port 0 asks the kernel for one.
    Tcp(SocketAddr),
    /// A unix socket at this path.
    Unix(PathBuf),
    /// The sockets of this name that whoever started the process has passed to it.
    Inherited(String),
}

/// The error of a text that is not an address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotListen {
    /// It is not an address.
    #[error(
        "is not an address; write IP:PORT, such as \"127.0.0.1:3000\", or unix:PATH, or systemd:NAME"
    )]
    Address,
    /// It is not a path that a socket can have.
    #[error(
        "is not a place for a socket; write unix: and a path of up to {UNIX_PATH_BYTES_MAX} bytes"
    )]
    Path,
    /// It is not a name that systemd could give a socket.
    #[error("names no socket; write systemd: and the FileDescriptorName of a .socket unit")]
    Name,
}

impl TryFrom<String> for Listen {
    type Error = NotListen;

    fn try_from(text: String) -> Result<Self, NotListen> {
        text.parse()
    }
}

impl FromStr for Listen {
    type Err = NotListen;

    fn from_str(text: &str) -> Result<Self, NotListen> {
        if let Some(name) = text.strip_prefix(INHERITED) {
            let inherited = is_name(name).then(|| Self::Inherited(name.to_owned()));
            return inherited.ok_or(NotListen::Name);
        }
        if let Some(path) = text.strip_prefix(UNIX) {
            let fits = (1..=UNIX_PATH_BYTES_MAX).contains(&path.len()) && !path.contains('\0');
            return fits.then(|| Self::Unix(path.into())).ok_or(NotListen::Path);
        }
        text.parse().map(Self::Tcp).map_err(|_| NotListen::Address)
    }
}

/// The address of the admin listener.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub enum AdminListen {
    /// An address of this machine. Port 0 asks the kernel for one.
    Tcp(SocketAddr),
    /// A unix socket at this path, for the user of the daemon alone.
    Unix(PathBuf),
}

/// The error of a text that is not an address of the admin listener.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is not an address; write IP:PORT, such as \"127.0.0.1:3001\", or unix:PATH")]
pub struct NotAdminListen;

impl FromStr for AdminListen {
    type Err = NotAdminListen;

    fn from_str(text: &str) -> Result<Self, NotAdminListen> {
        match text.parse() {
            Ok(Listen::Tcp(address)) => Ok(Self::Tcp(address)),
            Ok(Listen::Unix(path)) => Ok(Self::Unix(path)),
            Ok(Listen::Inherited(_)) | Err(_) => Err(NotAdminListen),
        }
    }
}

impl TryFrom<String> for AdminListen {
    type Error = NotAdminListen;

    fn try_from(text: String) -> Result<Self, NotAdminListen> {
        text.parse()
    }
}

impl fmt::Display for AdminListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

/// Whether systemd accepts a text as the name of a descriptor (`FileDescriptorName=` in `systemd.socket(5)`).
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
            Self::Unix(_) => true,
            Self::Inherited(_) => false,
        }
    }

    /// Whether the second of two can't be had while the first one is: it is the same, or one of them means every address
    /// of this machine. (`[::]` takes the addresses of IPv4 too, if `server.ipv6_only` is false.)
    pub(super) fn collides(&self, other: &Self, ipv6_only: bool) -> bool {
        let (Self::Tcp(one), Self::Tcp(two)) = (self, other) else {
            return self == other;
        };
        let takes = |one: IpAddr, two: IpAddr| {
            one == two
                || one.is_unspecified()
                    && (one.is_ipv6() && !ipv6_only || one.is_ipv6() == two.is_ipv6())
        };
        let (a, b) = (one.ip(), two.ip());
        // The kernel gives each port 0 a port of its own.
        one.port() != 0 && one.port() == two.port() && (takes(a, b) || takes(b, a))
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
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
        for text in [
            "127.0.0.1:3000",
            "[::1]:0",
            "unix:/run/a.sock",
            "systemd:http",
        ] {
            assert_eq!(listen(text).to_string(), text);
        }
        assert_eq!("systemd:".parse::<Listen>(), Err(NotListen::Name));
        assert_eq!("unix:".parse::<Listen>(), Err(NotListen::Path));
        let long = format!("unix:/{}", "a".repeat(107));
        assert_eq!(long.parse::<Listen>(), Err(NotListen::Path));
        assert_eq!("systemd:a:b".parse::<Listen>(), Err(NotListen::Name));
        assert_eq!("localhost:80".parse::<Listen>(), Err(NotListen::Address));
    }

    #[test]
    fn places_collide_if_the_second_could_not_be_had() {
        for (a, b, only) in [
            ("[::]:80", "0.0.0.0:80", false),
            ("[::]:80", "127.0.0.1:80", false),
            ("[::]:80", "[::1]:80", true),
            ("0.0.0.0:80", "127.0.0.1:80", true),
        ] {
            assert_eq!(listen(a).collides(&listen(b), true), only, "{a} and {b}");
            assert_eq!(listen(b).collides(&listen(a), true), only, "{b} and {a}");
        }
        for (a, b, collide) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "0.0.0.0:80", true),
            ("127.0.0.1:80", "[::]:80", true),
            ("[::1]:80", "[::]:80", true),
            ("[::1]:80", "0.0.0.0:80", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
            ("unix:/a", "unix:/a", true),
            ("unix:/a", "unix:/b", false),
            ("systemd:a", "systemd:a", true),
            ("systemd:a", "127.0.0.1:80", false),
        ] {
            assert_eq!(
                listen(a).collides(&listen(b), false),
                collide,
                "{a} and {b}"
            );
            assert_eq!(
                listen(b).collides(&listen(a), false),
                collide,
                "{b} and {a}"
            );
        }
    }

    #[test]
    fn nobody_knows_who_can_reach_an_inherited_socket() {
        assert!(listen("127.0.0.1:80").is_local());
        assert!(!listen("0.0.0.0:80").is_local());
        assert!(!listen("systemd:http").is_local());
        assert!(listen("unix:/run/a.sock").is_local());
    }
}
