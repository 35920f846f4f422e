//! The memory that a client costs which asks for much and reads nothing.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::daemon::TestDaemon;
use crate::drills::count;

/// The most that each client may cost.
const KIB_MAX: f64 = 256.0;
const STREAMS: u32 = 100;
/// The time after which memory is measured. What was needed for a moment has been given back by then.
const AFTER: Duration = Duration::from_secs(5);
/// The time for which a client tries to send more.
const PATIENCE: Duration = Duration::from_millis(20);
const SMALL_REQUESTS: usize = 8000;

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_STREAM_AND_HEADERS: u8 = 5;
const INITIAL_WINDOW_SIZE: u16 = 4;

/// The bytes of a frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The header block of a GET, for which no table is used.
fn block(path: &str) -> Vec<u8> {
    let fields = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
    ];
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            bytes.push(u8::try_from(text.len()).unwrap());
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

/// A connection of HTTP/2 that asks for a file on all its streams. Its windows are those of a client that says nothing, or as
/// wide as they can be.
fn over_http_2(path: &str, wide: bool) -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let mut settings = Vec::new();
    if wide {
        settings.extend(INITIAL_WINDOW_SIZE.to_be_bytes());
        settings.extend(0x7fff_ffff_u32.to_be_bytes());
    }
    bytes.extend(frame(SETTINGS, 0, 0, &settings));
    bytes.extend(frame(SETTINGS, ACK, 0, &[]));
    if wide {
        bytes.extend(frame(WINDOW_UPDATE, 0, 0, &0x7000_0000_u32.to_be_bytes()));
    }
    for number in 0..STREAMS {
        let stream = 2 * number + 1;
        bytes.extend(frame(HEADERS, END_STREAM_AND_HEADERS, stream, &block(path)));
    }
    bytes
}

/// A connection of HTTP/1.1 that asks for a file, and then for many pages.
fn over_http_1(path: &str) -> Vec<u8> {
    let ask = |path| format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    format!("{}{}", ask(path), ask("/").repeat(SMALL_REQUESTS)).into_bytes()
}

/// Sends all that the server takes.
fn send(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&address.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let _all_or_as_much_as_is_taken = stream.write_all(bytes);
    stream
}

pub(crate) fn resident_kib(daemon: &TestDaemon) -> f64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let mut words = line.unwrap().split_whitespace().skip(1);
    words.next().unwrap().parse().unwrap()
}

#[test]
#[ignore = "measures memory, so it needs a release build: .ci/run runs it"]
fn a_client_that_reads_nothing_costs_little_memory() {
    let clients = u32::try_from(count("DRILL_CLIENTS", 200)).unwrap();
    let mut over = Vec::new();
    for (name, size) in [("3.bin", 3_000_000), ("8.bin", 8_000_000)] {
        let path = format!("/{name}");
        for (how, bytes) in [
            ("HTTP/1.1", over_http_1(&path)),
            ("HTTP/2", over_http_2(&path, false)),
            ("HTTP/2, wide windows", over_http_2(&path, true)),
        ] {
            let daemon = TestDaemon::start("");
            fs::write(daemon.site(name), vec![7; size]).unwrap();
            for _ in 0..8 {
                assert_eq!(daemon.get(&path).expect(200).body.len(), size);
            }
            thread::sleep(AFTER);
            let before = resident_kib(&daemon);
            let held: Vec<_> = (0..clients)
                .map(|_| send(daemon.public(), &bytes))
                .collect();
            thread::sleep(AFTER);
            let each = (resident_kib(&daemon) - before) / f64::from(clients);
            let line = format!("{how}, {size} bytes: {each:.0} KiB for each of {clients} clients");
            println!("{line} (at most {KIB_MAX})");
            if each > KIB_MAX {
                over.push(line);
            }
            // The rest of the daemon is there for others.
            assert_eq!(daemon.get("/").expect(200).text(), "<h1>first</h1>");
            drop(held);
        }
    }
    assert!(over.is_empty(), "too much: {over:#?}");
}
