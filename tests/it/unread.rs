//! The memory that a client costs which asks for much and reads nothing.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::daemon::{TestDaemon, metric};
use crate::drills::count;
use crate::frames::{ACK, END_HEADERS, END_STREAM, HEADERS, SETTINGS, WINDOW_UPDATE, block, frame};

/// The most that each client may cost.
const KIB_MAX: f64 = 256.0;
const STREAMS: u32 = 100;
/// The time after which memory is measured. What was needed for a moment has been given back by then.
const AFTER: Duration = Duration::from_secs(5);
/// The time for which a client tries to send more.
const PATIENCE: Duration = Duration::from_millis(20);
const SMALL_REQUESTS: usize = 8000;

const END_STREAM_AND_HEADERS: u8 = END_STREAM | END_HEADERS;
const INITIAL_WINDOW_SIZE: u16 = 4;

/// A cookie of 14 000 bytes, for which no table is used.
fn large_cookie() -> Vec<u8> {
    // The length has 7 bits in the first byte, and the rest in the next two.
    let mut bytes = b"\0\x06cookie\x7f".to_vec();
    let rest = 14_000 - 127_u16;
    bytes.extend([
        rest.to_le_bytes()[0] | 0x80,
        u8::try_from(rest >> 7).unwrap(),
    ]);
    bytes.extend([b'a'; 14_000]);
    bytes
}

/// A connection of HTTP/2 that asks for a file on all its streams. Its windows are those of a client that says nothing, or as
/// wide as they can be.
pub(crate) fn over_http_2(path: &str, streams: u32, wide: bool) -> Vec<u8> {
    with_fields(path, streams, wide, &[], END_STREAM_AND_HEADERS)
}

/// The same with more fields in each head, and these flags.
fn with_fields(path: &str, streams: u32, wide: bool, more: &[u8], flags: u8) -> Vec<u8> {
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
    for number in 0..streams {
        let stream = 2 * number + 1;
        let head = [block(path).as_slice(), more].concat();
        bytes.extend(frame(HEADERS, flags, stream, &head));
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
    let over: Vec<_> = thread::scope(|scope| {
        let both = [("3.bin", 3_000_000), ("8.bin", 8_000_000)];
        let measured =
            both.map(|(name, size)| scope.spawn(move || what_costs_too_much(name, size)));
        measured
            .into_iter()
            .flat_map(|measured| measured.join().unwrap())
            .collect()
    });
    assert!(over.is_empty(), "too much: {over:#?}");
}

/// The ways to ask for a file of `size` bytes that cost more than they may.
fn what_costs_too_much(name: &str, size: usize) -> Vec<String> {
    let clients = u32::try_from(count("DRILL_CLIENTS", 200)).unwrap();
    let path = format!("/{name}");
    let cookie = large_cookie();
    let ways = [
        ("HTTP/1.1", over_http_1(&path)),
        ("HTTP/2", over_http_2(&path, STREAMS, false)),
        ("HTTP/2, wide windows", over_http_2(&path, STREAMS, true)),
        (
            "HTTP/2, large heads",
            with_fields(&path, STREAMS, false, &cookie, END_STREAM_AND_HEADERS),
        ),
        (
            "HTTP/2, wide windows and large heads",
            with_fields(&path, STREAMS, true, &cookie, END_STREAM_AND_HEADERS),
        ),
        (
            "HTTP/2, large heads and bodies that do not come",
            with_fields(&path, STREAMS, true, &cookie, END_HEADERS),
        ),
    ];
    let mut over = Vec::new();
    for (how, bytes) in ways {
        let daemon = TestDaemon::start("[logging]\naccess = true\n");
        fs::write(daemon.site(name), vec![7; size]).unwrap();
        for _ in 0..8 {
            assert_eq!(daemon.get(&path).expect(200).body.len(), size);
        }
        thread::sleep(AFTER);
        let before = resident_kib(&daemon);
        let held: Vec<_> = (0..clients)
            .map(|_| send(daemon.public(), &bytes))
            .collect();
        daemon.wait_until("most answers are made", |daemon| {
            let made = metric(&daemon.metrics(), "perennial_http_requests_in_flight", "");
            made.is_some_and(|left| left <= f64::from(clients))
        });
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
    over
}
