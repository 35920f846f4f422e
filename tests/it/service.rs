//! The daemon under a service manager, without one: a datagram socket that hears what systemd would hear, a descriptor
//! that it is given as systemd gives its sockets, and the question a container engine asks.

use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::daemon::{BINARY, TestDaemon};

const PATIENCE: Duration = Duration::from_secs(20);

/// What is told, until one of it begins with `last`.
#[track_caller]
fn told_until(heard: &UnixDatagram, last: &str) -> Vec<String> {
    let until = Instant::now() + PATIENCE;
    let mut told = Vec::<String>::new();
    let mut buffer = [0; 4096];
    heard.set_read_timeout(Some(PATIENCE)).unwrap();
    while !told.last().is_some_and(|told| told.starts_with(last)) {
        assert!(Instant::now() < until, "no {last} in {told:?}");
        let length = heard.recv(&mut buffer).expect(last);
        told.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
    }
    told
}

fn count(told: &[String], wanted: &str) -> usize {
    told.iter().filter(|told| *told == wanted).count()
}

#[test]
fn systemd_is_told_of_start_life_and_stop_in_order() {
    let mut daemon = TestDaemon::prepare("");
    let path = daemon.folder().join("notify");
    let heard = UnixDatagram::bind(&path).unwrap();
    let socket = format!("NOTIFY_SOCKET={}", path.display());
    daemon.run_by(&["env", &socket, "WATCHDOG_USEC=400000"]);
    daemon.spawn();
    let start = told_until(&heard, "READY=1");
    assert_eq!(count(&start, "STATUS=serving"), 1, "{start:?}");
    assert_eq!(count(&start, "STOPPING=1"), 0, "{start:?}");
    for _ in 0..3 {
        told_until(&heard, "WATCHDOG=1");
    }
    daemon.sigterm();
    let stop = told_until(&heard, "STOPPING=1");
    assert_eq!(count(&stop, "READY=1"), 0, "{stop:?}");
    let status = stop.iter().find(|told| told.starts_with("STATUS=stopping"));
    assert!(status.is_some(), "{stop:?}");
    assert_eq!(daemon.wait_exit(PATIENCE).code(), Some(0));
}

/// A daemon whose one public socket is given to it as `http`, as systemd gives one: descriptor 3, and three variables.
fn behind(socket: &TcpListener) -> TestDaemon {
    let mut daemon = TestDaemon::prepare("access = \"public\"");
    let exec =
        "export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=http; exec \"$0\" \"$@\" 3<&0 </dev/null";
    daemon.run_by(&[
        "env",
        "PERENNIAL__SERVER__LISTEN=systemd:http",
        "sh",
        "-c",
        exec,
    ]);
    daemon.give(socket.try_clone().unwrap().into());
    daemon
}

#[test]
fn clients_wait_at_an_inherited_socket_while_nobody_is_there() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut daemon = behind(&socket);
    let ask = || {
        let mut client = Client::connect(address).unwrap();
        let request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
        client.write(request).unwrap();
        client
    };
    let mut early = ask();
    daemon.restart();
    assert_eq!(daemon.public(), address);
    early.read_answer(false).unwrap().expect(200);
    daemon.sigterm();
    assert_eq!(daemon.wait_exit(PATIENCE).code(), Some(0));
    let mut between = ask();
    daemon.restart();
    between.read_answer(false).unwrap().expect(200);
}

#[test]
fn a_socket_that_nobody_gave_is_an_address_that_cannot_be_had() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut daemon = behind(&socket);
    let exec = "export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=other; exec \"$0\" \"$@\" 3<&0 </dev/null";
    daemon.run_by(&[
        "env",
        "PERENNIAL__SERVER__LISTEN=systemd:http",
        "sh",
        "-c",
        exec,
    ]);
    daemon.spawn();
    assert_eq!(daemon.wait_exit(PATIENCE).code(), Some(69));
    daemon.wait_said("no socket named http was passed to this process (other)");
}

#[test]
fn a_connection_is_no_socket_to_listen_on() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut daemon = behind(&socket);
    let connection = std::net::TcpStream::connect(socket.local_addr().unwrap()).unwrap();
    daemon.give(connection.into());
    daemon.spawn();
    assert_eq!(daemon.wait_exit(PATIENCE).code(), Some(69));
    daemon.wait_said("write ListenStream= and Accept=no");
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
fn healthcheck_says_with_its_code_whether_it_is_ready_and_on_stderr_why_not() {
    let mut daemon = TestDaemon::start("");
    let admin = daemon.admin().to_string();
    let fine = healthcheck(&daemon, &admin);
    assert_eq!(fine.status.code(), Some(0), "{fine:?}");
    assert!(fine.stderr.is_empty(), "{fine:?}");
    // While it drains it answers, and is not ready.
    let mut slow = Client::connect(daemon.public()).unwrap();
    let kind = "content-type: application/json";
    let head = format!("POST /books HTTP/1.1\r\nhost: x\r\n{kind}\r\ncontent-length: 2\r\n\r\n");
    slow.write(head.as_bytes()).unwrap();
    daemon.sigterm();
    daemon.wait_said("SIGTERM");
    let until = Instant::now() + PATIENCE;
    let mut draining = healthcheck(&daemon, &admin);
    while draining.status.success() {
        assert!(Instant::now() < until, "ready while it drains");
        draining = healthcheck(&daemon, &admin);
    }
    assert_eq!(draining.status.code(), Some(1), "{draining:?}");
    let said = String::from_utf8_lossy(&draining.stderr);
    assert!(
        said.contains("503") && said.contains("not ready: "),
        "{said}"
    );
    slow.write(b"{}").unwrap();
    slow.read_answer(false).unwrap().expect(201);
    assert_eq!(daemon.wait_exit(PATIENCE).code(), Some(0));
    let gone = healthcheck(&daemon, &admin);
    assert_eq!(gone.status.code(), Some(1), "{gone:?}");
    let said = String::from_utf8_lossy(&gone.stderr);
    assert!(said.contains("nobody answers at "), "{said}");
    let wrong = healthcheck(&daemon, "nowhere");
    assert_eq!(wrong.status.code(), Some(1), "{wrong:?}");
    let said = String::from_utf8_lossy(&wrong.stderr);
    assert!(said.contains("\"nowhere\" is not an address"), "{said}");
}
