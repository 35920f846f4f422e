//! A client of systemd's notify protocol (`sd_notify(3)`): datagrams of `NAME=VALUE` lines to the socket that
//! `$NOTIFY_SOCKET` names.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

/// The longest time that a message may wait for room in the manager's queue; the thread that sends it also watches the
/// supervisor.
const PATIENCE: Duration = Duration::from_secs(1);

/// The connection to the service manager that started the process.
#[derive(Debug)]
pub(super) struct ServiceManager {
    socket: UnixDatagram,
    /// The time within which it expects `WATCHDOG=1`, if it expects that at all.
    pub(super) watchdog: Option<Duration>,
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

    /// Sends one assignment: `READY=1`, `STOPPING=1`, `WATCHDOG=1`, or the `STATUS=...` that `systemctl status` shows.
    pub(super) fn tell(&self, message: &str) {
        if let Err(error) = self.socket.send(message.as_bytes()) {
            tracing::warn!(message, %error, "a report to the service manager could not be sent");
        }
    }
}

/// A leading `@` stands for an abstract name, which has no file.
fn connect(address: &[u8]) -> io::Result<UnixDatagram> {
    let address = match address.split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(Path::new(std::ffi::OsStr::from_bytes(address)))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
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
        manager.tell("READY=1");
        manager.tell("STATUS=serving");
        manager.tell("WATCHDOG=1");
        manager.tell("STOPPING=1");
        for message in ["READY=1", "STATUS=serving", "WATCHDOG=1", "STOPPING=1"] {
            let mut buffer = [0; 64];
            let length = heard.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], message.as_bytes());
        }
    }

    #[test]
    fn a_name_without_a_file_is_found() {
        let name = format!("perennial-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let heard = UnixDatagram::bind_addr(&address).unwrap();
        let told = format!("@{name}");
        let manager =
            ServiceManager::of(|name| (name == "NOTIFY_SOCKET").then(|| told.clone().into()));
        manager.unwrap().tell("READY=1");
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
