//! Limits on one client: each has its own answer and its own counter, and other clients are still served.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::client::{self, Client};
use crate::daemon::{TestDaemon, metric};

const LIMITS: &str = "
[limits]
headers = \"1 KiB\"
body = \"1 KiB\"
header_timeout = \"300ms\"
idle_timeout = \"300ms\"
stall_timeout = \"300ms\"
";
/// A limit for every wait, long enough for a busy machine.
const TIMEOUT: Duration = Duration::from_secs(10);

fn connect(daemon: &TestDaemon) -> TcpStream {
    let stream = TcpStream::connect(daemon.public()).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream
}

/// Reads until the connection ends.
fn rest(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    // A reset after the last byte also ends the connection.
    let _end = stream.read_to_end(&mut all);
    String::from_utf8_lossy(&all).into_owned()
}

/// Waits until a counter has reached `at_least`.
fn wait_for_counter(daemon: &TestDaemon, name: &str, at_least: u64) {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let text = client::get(daemon.admin(), "/metrics").expect(200).text();
        let line = text
            .lines()
            .find(|line| line.starts_with(name))
            .expect("the metric exists")
            .to_owned();
        let value: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        if value >= f64::from(u32::try_from(at_least).unwrap()) {
            return;
        }
        assert!(Instant::now() < deadline, "{line}");
        std::thread::yield_now();
    }
}

#[test]
fn a_head_that_takes_too_long_is_answered_408() {
    let daemon = TestDaemon::start(LIMITS);
    let mut stream = connect(&daemon);
    stream.write_all(b"GET / HTTP/1.1\r\nhost").unwrap();
    let answer = rest(&mut stream);
    assert!(
        answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"head_timeout\""),
        "{answer}"
    );
    wait_for_counter(&daemon, "perennial_http_heads_too_slow_total", 1);
}

#[test]
fn a_head_over_the_limit_is_answered_431_in_one_piece_and_in_many() {
    let daemon = TestDaemon::start(LIMITS);
    let head = format!(
        "GET / HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n",
        "y".repeat(2000)
    );
    for piece in [head.len(), 100] {
        let mut stream = connect(&daemon);
        for part in head.as_bytes().chunks(piece) {
            // The server may refuse the head before all of it is sent.
            if stream.write_all(part).is_err() {
                break;
            }
        }
        let answer = rest(&mut stream);
        assert!(
            answer.starts_with("HTTP/1.1 431 ") && answer.contains("\"head_too_large\""),
            "{answer}"
        );
    }
    wait_for_counter(&daemon, "perennial_http_heads_too_large_total", 2);
}

#[test]
fn an_idle_connection_is_closed_without_an_answer() {
    let daemon = TestDaemon::start(LIMITS);
    assert_eq!(
        rest(&mut connect(&daemon)),
        "",
        "a connection without any request"
    );
    let mut answered = connect(&daemon);
    answered
        .write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .unwrap();
    assert!(
        rest(&mut answered).ends_with("<h1>first</h1>"),
        "a connection after one answer"
    );
    wait_for_counter(&daemon, "perennial_http_connections_idle_total", 2);
}

#[test]
fn a_stalled_body_ends_its_connection_and_delays_no_other_client() {
    let daemon = TestDaemon::start(LIMITS);
    let mut stalled = connect(&daemon);
    let head = "POST /books HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{";
    stalled.write_all(head.as_bytes()).unwrap();
    client::get(daemon.public(), "/").expect(200);
    rest(&mut stalled);
    wait_for_counter(&daemon, "perennial_http_connections_stalled_total", 1);
}

#[test]
fn a_client_that_does_not_read_is_disconnected() {
    let daemon = TestDaemon::start(LIMITS);
    // More than the kernel keeps for the two ends of a connection.
    let large = std::fs::File::create(daemon.site("large.bin")).unwrap();
    large.set_len(64 << 20).unwrap();
    let mut stream = connect(&daemon);
    stream
        .write_all(b"GET /large.bin HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .unwrap();
    wait_for_counter(&daemon, "perennial_http_connections_stalled_total", 1);
}

#[test]
fn a_large_file_is_streamed_completely() {
    let daemon = TestDaemon::start("");
    let bytes: Vec<u8> = (0..6_u32 << 20)
        .map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[2])
        .collect();
    std::fs::write(daemon.site("large.bin"), &bytes).unwrap();
    let mut client = Client::connect(daemon.public()).unwrap();
    let answer = client.get("/large.bin").unwrap();
    let etag = answer.header("etag").unwrap().to_owned();
    assert_eq!(
        answer.header("content-length"),
        Some(bytes.len().to_string().as_str())
    );
    assert!(answer.body == bytes, "every byte");
    let again = client
        .send(
            "GET",
            "/large.bin",
            &[("if-none-match", etag.as_str())],
            None,
        )
        .unwrap();
    again.expect(304);
}

#[test]
fn a_chunked_body_over_the_limit_is_answered_413() {
    let daemon = TestDaemon::start(LIMITS);
    let mut stream = connect(&daemon);
    let head = "POST /books HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    stream
        .write_all(format!("800\r\n{}\r\n0\r\n\r\n", " ".repeat(0x800)).as_bytes())
        .unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let answer = rest(&mut stream);
    assert!(
        answer.starts_with("HTTP/1.1 413 ") && answer.contains("\"body_too_large\""),
        "{answer}"
    );
}

#[test]
fn a_connection_over_max_connections_waits_and_is_then_served() {
    let mut daemon = TestDaemon::prepare(LIMITS);
    daemon.run_under(&["env", "PERENNIAL__SERVER__MAX_CONNECTIONS=4"]);
    daemon.spawn();
    daemon.wait_ready();
    // Four connections stay open until their idle timeout; then the fifth is served, and none is refused.
    let held: Vec<_> = (0..4).map(|_| connect(&daemon)).collect();
    let mut client = Client::connect(daemon.public()).unwrap();
    client.get("/").unwrap().expect(200);
    drop(held);
}

#[test]
fn without_free_descriptors_clients_wait_and_the_admin_listener_still_answers() {
    let mut daemon = TestDaemon::prepare("");
    daemon.run_under(&["sh", "-c", "ulimit -n 80 && exec \"$@\"", "sh"]);
    daemon.spawn();
    daemon.wait_ready();
    let mut held: Vec<_> = (0..100)
        .map(|_| Client::connect(daemon.public()).unwrap())
        .collect();
    held[0].get("/").unwrap().expect(200);
    client::get(daemon.admin(), "/livez").expect(200);
    let counter = |name: &str| metric(&daemon.metrics(), name, "");
    assert!(counter("perennial_listener_full_total") >= Some(1.0));
    assert_eq!(counter("perennial_listener_failed_total"), Some(0.0));
    drop(held);
    client::get(daemon.public(), "/").expect(200);
}

/// A daemon whose clients may hold this much together.
fn start_bounded(more: &str, most: &str) -> TestDaemon {
    let mut daemon = TestDaemon::prepare(more);
    let most = format!("PERENNIAL__SERVER__MAX_BUFFERED={most}");
    daemon.run_under(&["env", &most]);
    daemon.spawn();
    daemon.wait_ready();
    daemon
}

/// Records of 1 MB, so many that the kernel can't take a list of them from the daemon while its client reads nothing.
const LARGE_RECORDS: usize = 12;
/// The clients that read nothing are not broken off before the test is over.
const PATIENT: &str = "delete_matching = true\n[limits]\nstall_timeout = \"120s\"\n";

fn post_large_records(daemon: &TestDaemon) {
    let record = serde_json::json!({"kind": "large", "text": "x".repeat(1_000_000)});
    for _ in 0..LARGE_RECORDS {
        client::post(daemon.public(), "/books", &record).expect(201);
    }
}

/// Sends a request and reads nothing.
fn ask(daemon: &TestDaemon, request: &str) -> TcpStream {
    let mut stream = connect(daemon);
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

fn wait_until_nothing_is_held(daemon: &TestDaemon) {
    let deadline = Instant::now() + TIMEOUT;
    while metric(&daemon.metrics(), "perennial_wire_buffered_bytes", "") != Some(0.0) {
        assert!(Instant::now() < deadline, "bytes are still held");
        std::thread::yield_now();
    }
}

#[test]
fn lists_that_nobody_reads_have_one_bound_and_the_next_is_answered_503() {
    const FIT: usize = 3;
    let daemon = start_bounded(PATIENT, "40 MiB");
    post_large_records(&daemon);
    let list = || client::get(daemon.public(), "/books");
    let bytes = list().expect(200).body.len();
    wait_until_nothing_is_held(&daemon);
    let request = "GET /books HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let unread: Vec<_> = (0..FIT).map(|_| ask(&daemon, request)).collect();
    let held = u64::try_from(FIT * bytes).unwrap();
    wait_for_counter(&daemon, "perennial_wire_buffered_bytes", held);
    let refused = list();
    assert!(refused.header("retry-after").is_some());
    assert_eq!(refused.expect_problem(503), "overloaded");
    wait_for_counter(&daemon, "perennial_wire_buffered_full_total", 1);
    // What is small is read and written all the same.
    client::get(daemon.public(), "/books?_limit=0").expect(200);
    let small = serde_json::json!({"kind": "small"});
    client::post(daemon.public(), "/books", &small).expect(201);
    drop(unread);
    wait_until_nothing_is_held(&daemon);
    list().expect(200);
}

#[test]
fn the_answer_to_a_write_is_held_past_the_bound_and_no_write_is_begun_until_it_is_gone() {
    let daemon = start_bounded(PATIENT, "4 MiB");
    post_large_records(&daemon);
    let example = "{\"kind\": \"large\"}";
    let request = format!(
        "DELETE /books HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{example}",
        example.len()
    );
    let unread = ask(&daemon, &request);
    let held = u64::try_from(LARGE_RECORDS * 1_000_000).unwrap();
    wait_for_counter(&daemon, "perennial_wire_buffered_bytes", held);
    let small = serde_json::json!({"kind": "small"});
    let post = || client::post(daemon.public(), "/books", &small);
    let refused = post();
    assert!(refused.header("retry-after").is_some());
    assert_eq!(refused.expect_problem(503), "overloaded");
    let left = client::get(daemon.public(), "/books").expect(200);
    assert_eq!(left.json(), serde_json::json!([]));
    drop(unread);
    wait_until_nothing_is_held(&daemon);
    post().expect(201);
}

#[test]
fn bodies_past_what_all_clients_may_hold_are_answered_503_and_small_ones_are_served() {
    let daemon = start_bounded("", "64 KiB");
    let body = format!("{{\"t\": \"{}\"}}", "x".repeat(50_000));
    let (begin, end) = body.split_at(49_000);
    let mut holder = connect(&daemon);
    let head = format!(
        "POST /books HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{begin}",
        body.len()
    );
    holder.write_all(head.as_bytes()).unwrap();
    wait_for_counter(&daemon, "perennial_wire_buffered_bytes", 40_000);
    let json = [("content-type", "application/json")];
    let post = || {
        client::send(
            daemon.public(),
            "POST",
            "/books",
            &json,
            Some(body.as_bytes()),
        )
    };
    let refused = post();
    assert!(refused.header("retry-after").is_some());
    assert_eq!(refused.expect_problem(503), "overloaded");
    wait_for_counter(&daemon, "perennial_wire_buffered_full_total", 1);
    let small = serde_json::json!({"t": "small"});
    client::post(daemon.public(), "/books", &small).expect(201);
    holder.write_all(end.as_bytes()).unwrap();
    let answer = rest(&mut holder);
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    // There is room again.
    post().expect(201);
    wait_until_nothing_is_held(&daemon);
}
