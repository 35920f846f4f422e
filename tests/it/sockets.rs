//! Several public addresses and a unix socket.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::client;
use crate::daemon::{self, TestDaemon};

/// Prepares a daemon that listens on two TCP addresses and a unix socket; returns the socket's path.
fn prepare() -> (TestDaemon, PathBuf) {
    let daemon = TestDaemon::prepare("");
    let path = daemon.folder().join("http.sock");
    let text = daemon::toml(daemon.folder(), "").replace(
        "listen = [\"127.0.0.1:0\"]",
        &format!(
            "listen = ['127.0.0.1:0', 'unix:{}', '127.0.0.1:0']",
            path.display()
        ),
    );
    fs::write(daemon.config(), text).unwrap();
    (daemon, path)
}

fn get(path: &Path) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn every_address_is_served_and_the_unix_socket_is_removed_at_the_stop() {
    let (mut daemon, path) = prepare();
    daemon.spawn();
    daemon.wait_ready();
    for address in daemon.listening() {
        client::get(address, "/").expect(200);
    }
    assert_eq!(daemon.listening().len(), 2);
    let answer = get(&path);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.ends_with("<h1>first</h1>"), "{answer}");
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(
        mode & 0o777,
        0o660,
        "readable and writable for the user and the group"
    );
    daemon.sigterm();
    assert!(daemon.wait_exit(Duration::from_secs(20)).success());
    assert!(!path.exists());
}

#[test]
fn a_unix_socket_is_reused_after_a_kill_but_not_taken_from_a_running_daemon() {
    let (mut daemon, path) = prepare();
    daemon.spawn();
    daemon.wait_ready();
    daemon.kill9();
    assert!(path.exists());
    daemon.restart();
    assert!(get(&path).starts_with("HTTP/1.1 200 "));
    let (mut second, own) = prepare();
    let text = fs::read_to_string(second.config()).unwrap();
    let (own, taken) = (own.display().to_string(), path.display().to_string());
    fs::write(second.config(), text.replace(&own, &taken)).unwrap();
    second.spawn();
    let status = second.wait_exit(Duration::from_secs(20));
    assert_eq!(status.code(), Some(69), "the second daemon cannot bind");
    assert!(
        get(&path).starts_with("HTTP/1.1 200 "),
        "the first daemon still serves"
    );
}

#[test]
fn a_removed_socket_file_is_told_once() {
    let (mut daemon, path) = prepare();
    daemon.spawn();
    daemon.wait_ready();
    fs::remove_file(&path).unwrap();
    let told = "the file of a unix socket was removed";
    daemon.wait_for_log(told);
    daemon.sigterm();
    assert!(daemon.wait_exit(Duration::from_secs(20)).success());
    let log = daemon.stderr_from("starting");
    assert_eq!(log.matches(told).count(), 1, "{log}");
}

#[test]
fn sockets_of_ipv6_alone_share_their_port_with_ipv4() {
    let mut daemon = TestDaemon::prepare("");
    let text = fs::read_to_string(daemon.config()).unwrap();
    let port = {
        let free = TcpListener::bind("[::]:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let listen = format!("listen = [\"[::]:{port}\", \"0.0.0.0:{port}\"]");
    let access = "path = \"/books\"\naccess = \"public\"";
    let text = text.replace("listen = [\"127.0.0.1:0\"]", &listen);
    let text = text.replace("path = \"/books\"", access);
    fs::write(daemon.config(), &text).unwrap();
    let check = |daemon: &TestDaemon| {
        let mut check = Command::new(daemon::BINARY);
        check.arg("check").arg(daemon.config()).output().unwrap()
    };
    let told = String::from_utf8(check(&daemon).stderr).unwrap();
    assert!(told.contains("can't be listened on beside [::]"), "{told}");
    assert!(told.contains("server.ipv6_only"), "{told}");
    let text = text.replace("[server]", "[server]\nipv6_only = true");
    fs::write(daemon.config(), text).unwrap();
    assert!(check(&daemon).status.success());
    daemon.spawn();
    daemon.wait_ready();
    for address in [format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        client::get(address.parse().unwrap(), "/").expect(200);
    }
}
