//! The daemon under a service manager, simulated: a datagram socket receives what systemd would receive, a descriptor is
//! passed as systemd passes its sockets, and `healthcheck` runs as a container engine would run it.

use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::client::{self, Client};
use crate::daemon::{BINARY, TestDaemon};

const TIMEOUT: Duration = Duration::from_secs(20);

/// Receives notifications until one begins with `last`; returns all of them.
#[track_caller]
fn datagrams_until(socket: &UnixDatagram, last: &str) -> Vec<String> {
    let until = Instant::now() + TIMEOUT;
    let mut received = Vec::<String>::new();
    let mut buffer = [0; 4096];
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    while !received.last().is_some_and(|text| text.starts_with(last)) {
        assert!(Instant::now() < until, "no {last} in {received:?}");
        let length = socket.recv(&mut buffer).expect(last);
        received.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
    }
    received
}

fn count(received: &[String], wanted: &str) -> usize {
    received.iter().filter(|text| *text == wanted).count()
}

#[test]
fn systemd_is_notified_of_start_watchdog_and_stop_in_order() {
    let mut daemon = TestDaemon::prepare("");
    let path = daemon.folder().join("notify");
    let receiver = UnixDatagram::bind(&path).unwrap();
    let socket = format!("NOTIFY_SOCKET={}", path.display());
    daemon.run_under(&["env", &socket, "WATCHDOG_USEC=400000"]);
    daemon.spawn();
    let start = datagrams_until(&receiver, "READY=1");
    assert_eq!(count(&start, "STATUS=serving"), 1, "{start:?}");
    assert_eq!(count(&start, "STOPPING=1"), 0, "{start:?}");
    for _ in 0..3 {
        datagrams_until(&receiver, "WATCHDOG=1");
    }
    daemon.sigterm();
    let stop = datagrams_until(&receiver, "STOPPING=1");
    assert_eq!(count(&stop, "READY=1"), 0, "{stop:?}");
    let status = stop.iter().find(|text| text.starts_with("STATUS=stopping"));
    assert!(status.is_some(), "{stop:?}");
    assert_eq!(daemon.wait_exit(TIMEOUT).code(), Some(0));
}

/// Prepares a daemon that inherits its public socket under the name `http`, as from systemd: descriptor 3 and three
/// environment variables.
fn prepare_with_socket(socket: &TcpListener) -> TestDaemon {
    let mut daemon = TestDaemon::prepare("access = \"public\"");
    let exec =
        "export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=http; exec \"$0\" \"$@\" 3<&0 </dev/null";
    daemon.run_under(&[
        "env",
        "PERENNIAL__SERVER__LISTEN=systemd:http",
        "sh",
        "-c",
        exec,
    ]);
    daemon.set_stdin(socket.try_clone().unwrap().into());
    daemon
}

#[test]
fn clients_wait_at_an_inherited_socket_while_no_daemon_runs() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut daemon = prepare_with_socket(&socket);
    let ask = || {
        let mut client = Client::connect(address).unwrap();
        let request = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
        client.write(request).unwrap();
        client
    };
    let mut early = ask();
    daemon.restart();
    assert_eq!(daemon.public(), address);
    early.read_answer(false).unwrap().expect(200);
    daemon.sigterm();
    assert_eq!(daemon.wait_exit(TIMEOUT).code(), Some(0));
    let mut between = ask();
    daemon.restart();
    between.read_answer(false).unwrap().expect(200);
}

#[test]
fn an_inherited_socket_comes_and_goes_by_reloads_and_its_clients_wait() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut daemon = prepare_with_socket(&socket);
    let exec =
        "export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=http; exec \"$0\" \"$@\" 3<&0 </dev/null";
    daemon.run_under(&["sh", "-c", exec]);
    let without = fs::read_to_string(daemon.config()).unwrap();
    let with = "listen = [\"systemd:http\", \"127.0.0.1:0\"]";
    let with = without.replace("listen = [\"127.0.0.1:0\"]", with);
    let reload = |daemon: &TestDaemon, text: &str| {
        fs::write(daemon.config(), text).unwrap();
        client::post(daemon.admin(), "/reload", &serde_json::Value::Null).expect(200);
    };
    let ask = || {
        let mut client = Client::connect(address).unwrap();
        let request = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
        client.write(request).unwrap();
        client
    };
    daemon.restart();
    let mut waiting = ask();
    for _ in 0..2 {
        reload(&daemon, &with);
        waiting.read_answer(false).unwrap().expect(200);
        reload(&daemon, &without);
        waiting.get("/").unwrap().expect(200);
        waiting = ask();
    }
}

#[test]
fn a_missing_inherited_socket_exits_with_69() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut daemon = prepare_with_socket(&socket);
    let exec = "export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=other; exec \"$0\" \"$@\" 3<&0 </dev/null";
    daemon.run_under(&[
        "env",
        "PERENNIAL__SERVER__LISTEN=systemd:http",
        "sh",
        "-c",
        exec,
    ]);
    daemon.spawn();
    assert_eq!(daemon.wait_exit(TIMEOUT).code(), Some(69));
    daemon.wait_for_log("no socket named http was passed to this process (other)");
}

#[test]
fn an_inherited_connection_is_refused_with_69() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut daemon = prepare_with_socket(&socket);
    let connection = std::net::TcpStream::connect(socket.local_addr().unwrap()).unwrap();
    daemon.set_stdin(connection.into());
    daemon.spawn();
    assert_eq!(daemon.wait_exit(TIMEOUT).code(), Some(69));
    daemon.wait_for_log("write ListenStream= and Accept=no");
}

fn healthcheck(daemon: &TestDaemon, admin: &str) -> Output {
    let mut command = Command::new(BINARY);
    command
        .arg("healthcheck")
        .arg("--config")
        .arg(daemon.config());
    command.env("PERENNIAL__SERVER__ADMIN", admin);
    command.output().unwrap()
}

#[test]
fn healthcheck_exits_with_1_and_prints_the_reason_when_not_ready() {
    let mut daemon = TestDaemon::start("");
    let admin = daemon.admin().to_string();
    let fine = healthcheck(&daemon, &admin);
    assert_eq!(fine.status.code(), Some(0), "{fine:?}");
    assert!(fine.stderr.is_empty(), "{fine:?}");
    // While the daemon drains it still answers, but it is not ready.
    let mut slow = Client::connect(daemon.public()).unwrap();
    let kind = "content-type: application/json";
    let head =
        format!("POST /books HTTP/1.1\r\nhost: localhost\r\n{kind}\r\ncontent-length: 2\r\n\r\n");
    slow.write(head.as_bytes()).unwrap();
    daemon.sigterm();
    daemon.wait_for_log("SIGTERM");
    let until = Instant::now() + TIMEOUT;
    let mut draining = healthcheck(&daemon, &admin);
    while draining.status.success() {
        assert!(
            Instant::now() < until,
            "healthcheck succeeds while the daemon drains"
        );
        draining = healthcheck(&daemon, &admin);
    }
    assert_eq!(draining.status.code(), Some(1), "{draining:?}");
    let stderr = String::from_utf8_lossy(&draining.stderr);
    assert!(
        stderr.contains("503") && stderr.contains("not ready: "),
        "{stderr}"
    );
    slow.write(b"{}").unwrap();
    slow.read_answer(false).unwrap().expect(201);
    assert_eq!(daemon.wait_exit(TIMEOUT).code(), Some(0));
    let gone = healthcheck(&daemon, &admin);
    assert_eq!(gone.status.code(), Some(1), "{gone:?}");
    let stderr = String::from_utf8_lossy(&gone.stderr);
    assert!(stderr.contains("nothing answers at "), "{stderr}");
    let wrong = healthcheck(&daemon, "nowhere");
    assert_eq!(wrong.status.code(), Some(1), "{wrong:?}");
    let stderr = String::from_utf8_lossy(&wrong.stderr);
    assert!(stderr.contains("\"nowhere\" is not an address"), "{stderr}");
}
