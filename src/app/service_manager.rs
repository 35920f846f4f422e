//! A client of systemd's notify protocol (`sd_notify(3)`): datagrams of `NAME=VALUE` lines to the socket that
//! `$NOTIFY_SOCKET` names.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

/// How long a message may wait for room in the manager's queue; the thread that sends it also watches the supervisor.
const PATIENCE: Duration = Duration::from_secs(1);

/// The connection to the service manager that started the process.
#[derive(Debug)]
pub(super) struct ServiceManager {
    socket: UnixDatagram,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// The service manager that the environment names, if it names one.
    pub(super) fn of(var: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        let address = var("NOTIFY_SOCKET").filter(|address| !address.is_empty())?;
        match connect(address.as_bytes()) {
            Ok(socket) => Some(Self {
                socket,
                watchdog: watchdog(&var, std::process::id()),
            }),
            Err(error) => {
                tracing::warn!(?address, %error, "cannot connect to $NOTIFY_SOCKET: the service manager gets no reports");
                None
            }
        }
    }

    /// The time within which it expects [`alive`](Self::alive), if it expects that at all.
    pub(super) fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Reports that the daemon serves.
    pub(super) fn ready(&self) {
        self.tell("READY=1");
    }

    /// Reports that the daemon begins to stop.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// Sends the line that `systemctl status` shows.
    pub(super) fn status(&self, text: &str) {
        self.tell(&format!("STATUS={text}"));
    }

    /// Reports that the daemon lives.
    pub(super) fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    fn tell(&self, message: &str) {
        if let Err(error) = self.socket.send(message.as_bytes()) {
            tracing::warn!(message, %error, "a report to the service manager could not be sent");
        }
    }
}

/// A leading `@` stands for an abstract name, which has no file.
fn connect(address: &[u8]) -> io::Result<UnixDatagram> {
    let address = match address.split_first() {
        Some((b'@', name)) => unfiled(name)?,
        _ => SocketAddr::from_pathname(Path::new(std::ffi::OsStr::from_bytes(address)))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

#[cfg(target_os = "linux")]
fn unfiled(name: &[u8]) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt as _;
    SocketAddr::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn unfiled(_: &[u8]) -> io::Result<SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}

fn watchdog(var: impl Fn(&str) -> Option<OsString>, own_pid: u32) -> Option<Duration> {
    let number = |name: &str| var(name)?.to_str()?.parse::<u64>().ok();
    // A watchdog that is meant for another process does not concern this one.
    let ours = var("WATCHDOG_PID").is_none() || number("WATCHDOG_PID") == Some(own_pid.into());
    let usec = number("WATCHDOG_USEC").filter(|usec| ours && *usec > 0)?;
    Some(Duration::from_micros(usec))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<OsString> {
        move |wanted| {
            let found = pairs.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, value)| OsString::from(value))
        }
    }

    #[test]
    fn without_a_socket_there_is_nobody_to_tell() {
        assert!(ServiceManager::of(env(&[])).is_none());
        assert!(ServiceManager::of(env(&[("NOTIFY_SOCKET", "")])).is_none());
        assert!(ServiceManager::of(env(&[("NOTIFY_SOCKET", "/no/such/socket")])).is_none());
    }

    #[test]
    fn messages_arrive_one_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let heard = UnixDatagram::bind(&path).unwrap();
        let manager = ServiceManager::of(|name| {
            (name == "NOTIFY_SOCKET").then(|| path.clone().into_os_string())
        })
        .unwrap();
        manager.ready();
        manager.status("serving");
        manager.alive();
        manager.stopping();
        for message in ["READY=1", "STATUS=serving", "WATCHDOG=1", "STOPPING=1"] {
            let mut buffer = [0; 64];
            let length = heard.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], message.as_bytes());
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_name_without_a_file_is_found() {
        use std::os::linux::net::SocketAddrExt as _;
        let name = format!("perennial-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let heard = UnixDatagram::bind_addr(&address).unwrap();
        let told = format!("@{name}");
        let manager =
            ServiceManager::of(|name| (name == "NOTIFY_SOCKET").then(|| told.clone().into()));
        manager.unwrap().ready();
        let mut buffer = [0; 64];
        assert_eq!(heard.recv(&mut buffer).unwrap(), "READY=1".len());
    }

    #[test]
    fn a_watchdog_is_for_one_process() {
        let of = |pairs| watchdog(env(pairs), 7);
        let two = Some(Duration::from_secs(2));
        assert_eq!(of(&[("WATCHDOG_USEC", "2000000")]), two);
        assert_eq!(
            of(&[("WATCHDOG_USEC", "2000000"), ("WATCHDOG_PID", "7")]),
            two
        );
        assert_eq!(
            of(&[("WATCHDOG_USEC", "2000000"), ("WATCHDOG_PID", "8")]),
            None
        );
        assert_eq!(of(&[("WATCHDOG_USEC", "0")]), None);
        assert_eq!(of(&[("WATCHDOG_USEC", "soon")]), None);
        assert_eq!(of(&[]), None);
    }
}
