//! The end of a daemon that is asked to end.

use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::client::Client;
use crate::daemon::TestDaemon;
use crate::load::{self, Acked, Promise, Traffic};

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn sigterm_under_load_ends_with_zero_and_keeps_every_write() {
    let mut daemon = TestDaemon::start("");
    let traffic = Traffic::start(daemon.public(), load::Mix::small());
    thread::sleep(Duration::from_millis(500));
    daemon.sigterm();
    assert_eq!(daemon.wait_exit(PATIENCE).code(), Some(0));
    let outcome = traffic.stop();
    assert!(!outcome.acked.is_empty(), "nothing was written");
    daemon.restart();
    let kept = load::tokens(daemon.public());
    load::assert_kept(&outcome.acked, &kept);
    load::assert_unchanged(daemon.public(), &outcome.acked);
}

#[test]
fn a_request_that_is_under_way_is_answered() {
    let mut daemon = TestDaemon::start("");
    let mut client = Client::connect(daemon.public()).unwrap();
    client.get("/").unwrap().expect(200);
    let body = json!({"token": "slow"}).to_string();
    let head = format!(
        "POST /books HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let (first, second) = body.as_bytes().split_at(4);
    client.write(head.as_bytes()).unwrap();
    client.write(first).unwrap();
    thread::sleep(Duration::from_millis(200));
    daemon.sigterm();
    thread::sleep(Duration::from_millis(300));
    client.write(second).unwrap();
    let answer = client.read_answer(false).unwrap().expect(201);
    let promise = Promise::of(&answer).expect("an id and an ETag");
    assert_eq!(daemon.wait_exit(PATIENCE).code(), Some(0));
    daemon.restart();
    let kept = load::tokens(daemon.public());
    load::assert_kept(&Acked::from([("slow".to_owned(), promise)]), &kept);
}

#[test]
fn an_idle_connection_does_not_hold_the_stop() {
    let mut daemon = TestDaemon::start("");
    let mut client = Client::connect(daemon.public()).unwrap();
    client.get("/").unwrap().expect(200);
    daemon.sigterm();
    let status = daemon.wait_exit(Duration::from_secs(5));
    assert_eq!(status.code(), Some(0));
}
