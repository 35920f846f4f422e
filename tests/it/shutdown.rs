//! Orderly stops: SIGTERM drains requests and loses no write.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::{self, Client};
use crate::daemon::{TestDaemon, node};
use crate::load::{self, Acked, Promise, Traffic};

const TIMEOUT: Duration = Duration::from_secs(30);

/// The head of a POST whose body is sent later.
fn head_of(body: &str) -> String {
    let length = body.len();
    let kind = "content-type: application/json";
    format!("POST /books HTTP/1.1\r\nhost: localhost\r\n{kind}\r\ncontent-length: {length}\r\n\r\n")
}

#[test]
fn sigterm_under_load_exits_with_0_and_loses_no_write() {
    let mut daemon = TestDaemon::start("");
    let traffic = Traffic::start(daemon.public(), load::Mix::small());
    thread::sleep(Duration::from_millis(500));
    daemon.sigterm();
    assert_eq!(daemon.wait_exit(TIMEOUT).code(), Some(0));
    let outcome = traffic.stop();
    assert!(!outcome.acked.is_empty(), "no write was acknowledged");
    daemon.restart();
    let kept = load::tokens(daemon.public());
    load::assert_kept(&outcome.acked, &kept);
    load::assert_unchanged(daemon.public(), &outcome.acked);
}

#[test]
fn a_request_in_flight_at_sigterm_is_answered() {
    let mut daemon = TestDaemon::start("");
    let mut client = Client::connect(daemon.public()).unwrap();
    client.get("/").unwrap().expect(200);
    let body = json!({"token": "slow"}).to_string();
    let head = head_of(&body);
    let (first, second) = body.as_bytes().split_at(4);
    client.write(head.as_bytes()).unwrap();
    client.write(first).unwrap();
    thread::sleep(Duration::from_millis(200));
    daemon.sigterm();
    thread::sleep(Duration::from_millis(300));
    client.write(second).unwrap();
    let answer = client.read_answer(false).unwrap().expect(201);
    let promise = Promise::of(&answer).expect("an id and an ETag");
    assert_eq!(daemon.wait_exit(TIMEOUT).code(), Some(0));
    daemon.restart();
    let kept = load::tokens(daemon.public());
    load::assert_kept(&Acked::from([("slow".to_owned(), promise)]), &kept);
}

#[test]
fn a_client_that_comes_during_the_drain_is_refused_at_once() {
    let mut daemon = TestDaemon::start("");
    let body = json!({"token": "last"}).to_string();
    let mut client = Client::connect(daemon.public()).unwrap();
    client.write(head_of(&body).as_bytes()).unwrap();
    // Once this is answered, the head before it has been read as well.
    client::get(daemon.public(), "/").expect(200);
    daemon.sigterm();
    let until = Instant::now() + TIMEOUT;
    while Client::connect(daemon.public()).is_ok() {
        assert!(Instant::now() < until, "clients can still connect");
    }
    client.write(body.as_bytes()).unwrap();
    client.read_answer(false).unwrap().expect(201);
    assert_eq!(daemon.wait_exit(TIMEOUT).code(), Some(0));
}

#[test]
fn listeners_stop_first_and_the_writer_last() {
    let mut daemon = TestDaemon::start("");
    let body = json!({"token": "last"}).to_string();
    let head = head_of(&body);
    let mut slow = Client::connect(daemon.public()).unwrap();
    slow.write(head.as_bytes()).unwrap();
    thread::sleep(Duration::from_millis(200));
    daemon.sigterm();
    // While one request is drained the listeners are stopped, the writer runs, and the admin listener answers.
    let until = Instant::now() + TIMEOUT;
    while state(&daemon, "listener-0") == "running" {
        assert!(Instant::now() < until, "the listener is still running");
        thread::sleep(Duration::from_millis(5));
    }
    for child in ["writer", "file-cache", "admin-handler", "admin-listener"] {
        assert_eq!(state(&daemon, child), "running", "{child} while it drains");
    }
    client::get(daemon.admin(), "/livez").expect(200);
    client::get(daemon.admin(), "/readyz").expect_problem(503);
    client::get(daemon.admin(), "/readyz/storage").expect(200);
    // Whoever asks again learns what the stop waits for, and it goes on.
    daemon.sigterm();
    daemon.wait_for_log("SIGTERM: already stopping; requests in flight may take");
    let mut late = Client::connect_with(daemon.public(), Duration::from_millis(300));
    let answer = late.as_mut().map(|late| late.get("/").is_ok());
    assert!(
        !answer.is_ok_and(|answered| answered),
        "a new connection was served during the drain"
    );
    slow.write(body.as_bytes()).unwrap();
    slow.read_answer(false).unwrap().expect(201);
    assert_eq!(daemon.wait_exit(TIMEOUT).code(), Some(0));
}

fn state(daemon: &TestDaemon, child: &str) -> String {
    let tree = daemon.tree();
    let node = node(&tree, child).unwrap_or_else(|| panic!("no {child} in {tree}"));
    node["state"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn an_idle_connection_does_not_delay_the_stop() {
    let mut daemon = TestDaemon::start("");
    let mut client = Client::connect(daemon.public()).unwrap();
    client.get("/").unwrap().expect(200);
    daemon.sigterm();
    let status = daemon.wait_exit(Duration::from_secs(5));
    assert_eq!(status.code(), Some(0));
}
