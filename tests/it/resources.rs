//! Resources over HTTP: create, read, list, delete, and the problems for wrong requests.

use serde_json::{Value, json};

use crate::client::{self, Client};
use crate::daemon::TestDaemon;

#[test]
fn a_posted_record_can_be_read_again_and_deleted_once() {
    let daemon = TestDaemon::start("");
    let made = daemon.post("/books", &json!({"title": "Dune"})).expect(201);
    let record = made.json();
    let id = record["id"].as_str().expect("an id in the body");
    let path = format!("/books/{id}");
    let location = made.location().expect("a Location");
    assert!(location.ends_with(&path), "{location}");
    let etag = made.header("etag").expect("an ETag").to_owned();
    assert_eq!(record["title"], "Dune");

    let read = daemon.get(&path).expect(200);
    assert_eq!(read.json(), record);
    assert_eq!(read.header("etag"), Some(etag.as_str()));

    let head = [("if-none-match", etag.as_str())];
    let unchanged = client::send(daemon.public(), "GET", &path, &head, None).expect(304);
    assert!(unchanged.body.is_empty());

    let deleted = client::send(daemon.public(), "DELETE", &path, &[], None).expect(200);
    assert_eq!(deleted.json(), record);
    daemon.get(&path).expect_problem(404);
    client::send(daemon.public(), "DELETE", &path, &[], None).expect_problem(404);
}

#[test]
fn a_list_is_sliced_and_has_the_total_count() {
    let daemon = TestDaemon::start("");
    let mut client = Client::connect(daemon.public()).unwrap();
    for number in 0..25 {
        let record = json!({ "number": number });
        client.post("/books", &record).unwrap().expect(201);
    }
    let slice = client.get("/books?_start=5&_end=12").unwrap().expect(200);
    assert_eq!(slice.header("x-total-count"), Some("25"));
    let numbers: Vec<_> = slice.json().as_array().unwrap().clone();
    let numbers: Vec<_> = numbers.iter().map(|r| r["number"].as_i64()).collect();
    assert_eq!(numbers, (5..12).map(Some).collect::<Vec<_>>());
    let beyond = client.get("/books?_start=25&_end=30").unwrap().expect(200);
    assert_eq!(beyond.json(), json!([]));
    assert_eq!(beyond.header("x-total-count"), Some("25"));
}

#[test]
fn an_unchanged_list_is_not_sent_again_and_a_changed_one_is() {
    let daemon = TestDaemon::start("");
    let made = daemon.post("/books", &json!({"title": "Kallocain"}));
    let id = made.expect(201).json()["id"].clone();
    let mut client = Client::connect(daemon.public()).unwrap();
    let list = client.get("/books").unwrap().expect(200);
    let etag = list.header("etag").expect("an ETag").to_owned();
    let known = [("if-none-match", etag.as_str())];
    let mut ask = |method: &str, path: &str| client.send(method, path, &known, None).unwrap();
    assert!(ask("GET", "/books").expect(304).body.is_empty());
    let head = ask("HEAD", "/books");
    assert!(head.status == 304 || head.header("x-total-count") == Some("1"));
    let path = format!("/books/{}", id.as_str().unwrap());
    client::send(daemon.public(), "DELETE", &path, &[], None).expect(200);
    let changed = ask("GET", "/books").expect(200);
    assert_eq!(changed.json(), json!([]));
    assert_eq!(changed.header("x-total-count"), Some("0"));
    assert_ne!(changed.header("etag"), Some(etag.as_str()));
}

#[test]
fn records_survive_a_restart() {
    let mut daemon = TestDaemon::start("");
    let made = daemon.post("/books", &json!({"title": "Solaris"}));
    let record = made.expect(201).json();
    daemon.sigterm();
    assert_eq!(daemon.wait_exit(TIMEOUT).code(), Some(0));
    daemon.restart();
    let id = record["id"].as_str().unwrap();
    let read = daemon.get(&format!("/books/{id}")).expect(200);
    assert_eq!(read.json(), record);
}

const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(20);

#[test]
fn a_method_that_is_not_allowed_is_answered_with_those_that_are() {
    let daemon = TestDaemon::start("");
    let answer = client::send(daemon.public(), "PUT", "/books", &[], None);
    let allow = answer.header("allow").unwrap_or_default().to_owned();
    answer.expect_problem(405);
    assert!(allow.contains("GET") && allow.contains("POST"), "{allow:?}");
}

#[test]
fn a_wrong_body_is_answered_with_a_problem_and_the_connection_stays_open() {
    let daemon = TestDaemon::start("");
    let mut client = Client::connect(daemon.public()).unwrap();
    let json_type = [("content-type", "application/json")];
    let text_type = [("content-type", "text/plain")];
    for broken in ["{\"title\":", "", "[1, 2", "{} {}", "nul"] {
        let body = Some(broken.as_bytes());
        let answer = client.send("POST", "/books", &json_type, body).unwrap();
        answer.expect_problem(400);
    }
    let body = Some(&b"{}"[..]);
    let answer = client.send("POST", "/books", &text_type, body).unwrap();
    answer.expect_problem(415);
    let record: Value = json!({"title": "after"});
    client.post("/books", &record).unwrap().expect(201);
}

#[test]
fn a_body_over_the_limit_is_refused() {
    let daemon = TestDaemon::start("");
    let mut client = Client::connect(daemon.public()).unwrap();
    let head = "POST /books HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    let length = "content-length: 8000000000\r\n\r\n";
    client
        .write(format!("{head}{length}{{").as_bytes())
        .unwrap();
    client.read_answer(false).unwrap().expect_problem(413);
}

#[test]
fn a_missing_record_or_page_is_a_problem() {
    let daemon = TestDaemon::start("");
    let missing = "/books/01890000-0000-7000-8000-000000000000";
    for path in [missing, "/books/no-such-id", "/no-such-page"] {
        daemon.get(path).expect_problem(404);
    }
}
