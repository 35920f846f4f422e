//! Files that are larger than what is cached, as clients of HTTP/1 get them.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::daemon::{self, TestDaemon, metric};

const PATIENCE: Duration = Duration::from_secs(20);
/// Larger than what the sockets of both sides hold.
const LENGTH: usize = 30_000_001;

/// Content no two pages of which are the same.
fn content() -> Vec<u8> {
    let numbers = (0_u64..).flat_map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
    numbers.take(LENGTH).collect()
}

#[test]
fn a_large_file_arrives_whole_however_it_is_asked_for() {
    let mut daemon = TestDaemon::prepare("");
    let socket = daemon.folder().join("http.sock");
    let listen = format!(
        "listen = ['127.0.0.1:0', 'unix:{}']",
        socket.to_str().unwrap()
    );
    let text = daemon::toml(daemon.folder(), "");
    let text = text.replace("listen = [\"127.0.0.1:0\"]", &listen);
    fs::write(daemon.config(), text).unwrap();
    daemon.restart();
    let content = content();
    fs::write(daemon.site("film.mp4"), &content).unwrap();
    let clients = [
        Client::connect(daemon.public()).unwrap(),
        Client::connect_unix(&socket).unwrap(),
    ];
    for mut client in clients {
        let head = client.send("HEAD", "/film.mp4", &[], None).unwrap();
        let head = head.expect(200);
        let length = LENGTH.to_string();
        assert_eq!(head.header("content-length"), Some(length.as_str()));
        for _ in 0..2 {
            let answer = client.get("/film.mp4").unwrap().expect(200);
            assert!(answer.keep_alive && answer.body == content);
            let tag = answer.header("etag").unwrap().to_owned();
            let same = [("if-none-match", tag.as_str())];
            let same = client.send("GET", "/film.mp4", &same, None).unwrap();
            same.expect(304);
            let small = client.get("/").unwrap().expect(200);
            assert_eq!(small.text(), "<h1>first</h1>");
        }
        let close = [("connection", "close")];
        let last = client.send("GET", "/film.mp4", &close, None).unwrap();
        assert!(!last.keep_alive && last.body == content);
    }
    let old = "GET /film.mp4 HTTP/1.0\r\nhost: localhost\r\n\r\n";
    let mut stream = TcpStream::connect(daemon.public()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(old.as_bytes()).unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    assert!(all.ends_with(&content));
    // A client that takes it slowly, in pieces of all sizes.
    let mut stream = TcpStream::connect(daemon.public()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = "GET /film.mp4 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let (mut all, mut piece) = (Vec::new(), vec![0; 700_000]);
    for n in (1..).step_by(997) {
        let read = stream.read(&mut piece[..n % 700_000]).unwrap();
        if read == 0 {
            break;
        }
        all.extend_from_slice(&piece[..read]);
        thread::sleep(Duration::from_micros(100));
    }
    assert!(all.ends_with(&content), "{} bytes", all.len());
}

/// Asks for the film, and reads nothing.
fn ask(daemon: &TestDaemon) -> TcpStream {
    let mut stream = TcpStream::connect(daemon.public()).unwrap();
    stream
        .write_all(b"GET /film.mp4 HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .unwrap();
    stream
}

/// A film without content.
fn empty_film(daemon: &TestDaemon) {
    let film = File::create(daemon.site("film.mp4")).unwrap();
    film.set_len(64 << 20).unwrap();
}

fn gauge(daemon: &TestDaemon, name: &str) -> f64 {
    metric(&daemon.metrics(), name, "").unwrap()
}

#[test]
fn a_client_that_reads_nothing_costs_no_memory() {
    const CLIENTS: u32 = 200;
    let daemon = TestDaemon::start("");
    empty_film(&daemon);
    let before = gauge(&daemon, "process_resident_memory_bytes");
    let clients: Vec<_> = (0..CLIENTS).map(|_| ask(&daemon)).collect();
    for client in &clients {
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        assert!(client.peek(&mut [0]).unwrap() > 0, "the answer has begun");
    }
    // It rests when all sockets are full.
    let mut spent = gauge(&daemon, "process_cpu_seconds_total");
    let begun = Instant::now();
    loop {
        thread::sleep(Duration::from_millis(300));
        let now = gauge(&daemon, "process_cpu_seconds_total");
        if now - spent < 0.015 {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "it does not come to rest");
        spent = now;
    }
    let after = gauge(&daemon, "process_resident_memory_bytes");
    let each = (after - before) / f64::from(CLIENTS) / 1024.0;
    assert!(each < 64.0, "{each} KiB for each client");
    drop(clients);
}

#[test]
fn a_client_that_takes_nothing_of_a_large_file_is_disconnected_in_time() {
    let daemon = TestDaemon::start("[limits]\nstall_timeout = '300ms'\n");
    empty_film(&daemon);
    let mut client = ask(&daemon);
    let stalled = || gauge(&daemon, "perennial_http_connections_stalled_total");
    let begun = Instant::now();
    while stalled() < 1.0 {
        assert!(begun.elapsed() < PATIENCE, "the client is still served");
        thread::sleep(Duration::from_millis(20));
    }
    let mut all = Vec::new();
    // The end may be a reset.
    let end = client.read_to_end(&mut all);
    assert!(end.is_err() || all.len() < 64 << 20, "{end:?}");
    let log = daemon.stderr();
    assert!(!log.contains("was broken off"), "the file is whole:\n{log}");
}
