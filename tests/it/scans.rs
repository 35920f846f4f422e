//! Lists that no index serves, over HTTP: at each limit the answer says which index would help, and other requests are served.

use std::cell::RefCell;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::thread;

use serde_json::{Value, json};

use crate::client::{self, Client, Response};
use crate::daemon::{TestDaemon, metric};

/// So many records can't be read in the shortest deadline.
const RECORDS: u64 = 20_000;
const PAGE: usize = 1000;
const SETTINGS: &str = r#"
[chaos]
enabled = true
[resource.albums]
index = ["stock"]
[resource.albums.fields]
title = { type = "string" }
stock = { type = "integer" }
[supervision.children.storage]
"#;
/// The shortest deadline for a read.
const SHORT: &str = "deadline = \"10ms\"\n";

/// A daemon with albums, and with the shortest deadline.
fn with_albums() -> TestDaemon {
    let daemon = TestDaemon::start(SETTINGS);
    let albums: Vec<_> = (0..RECORDS)
        .map(|n| json!({"title": format!("t{n}"), "stock": n % 2}))
        .collect();
    let mut client = Client::connect(daemon.public()).unwrap();
    for page in albums.chunks(PAGE) {
        client
            .post("/albums", &Value::from(page))
            .unwrap()
            .expect(201);
    }
    daemon.wait_until("the index is complete", |daemon| {
        let all = daemon.get("/albums?stock_gte=0&_limit=1&_sort=stock");
        all.header("x-total-count") == Some("20000")
    });
    let text = std::fs::read_to_string(daemon.config()).unwrap();
    std::fs::write(daemon.config(), text + SHORT).unwrap();
    client::send(daemon.admin(), "POST", "/reload", &[], None).expect(200);
    daemon
}

fn limited(daemon: &TestDaemon, limit: &str) -> f64 {
    let name = "perennial_storage_limited_scans_total";
    metric(&daemon.metrics(), name, &format!("limit=\"{limit}\"")).unwrap()
}

/// Sends a request until it is its turn: a scan that was refused ends a moment after its answer.
fn in_turn(daemon: &TestDaemon, method: &str, path: &str, head: &[(&str, &str)]) -> Response {
    let last = RefCell::new(None);
    daemon.wait_until("it is the turn of this request", |daemon| {
        let answer = client::send(daemon.public(), method, path, head, None);
        let is_refused_for_others = answer.status == 503;
        last.replace(Some(answer));
        !is_refused_for_others
    });
    last.into_inner().unwrap()
}

/// Checks the refusal of a list, which names these indexes.
#[track_caller]
fn is_refused(answer: &Response, status: u16, detail: &str, index: &Value) {
    let told = answer.clone().expect(status).json();
    let text = told["detail"].as_str().unwrap();
    assert!(text.starts_with(detail), "{text}");
    assert_eq!(told["index"], *index, "{text}");
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
}

/// A list that no index serves.
const LIST: &str = "GET /albums?title=held HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// Holds all turns of what no index serves. Returns the clients that wait for the answers to these requests.
fn hold_all_turns(daemon: &TestDaemon, request: &str) -> Vec<TcpStream> {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let at_once = (processors / 2).clamp(1, 4);
    daemon.chaos(&json!({"point": "storage.held_scan", "hits": at_once}));
    let mut held: Vec<_> = (0..at_once)
        .map(|_| TcpStream::connect(daemon.public()).unwrap())
        .collect();
    for client in &mut held {
        client.write_all(request.as_bytes()).unwrap();
    }
    daemon.wait_until("each has its turn", |daemon| {
        let points = client::get(daemon.admin(), "/chaos").expect(200).json();
        points["points"]["storage.held_scan"] == 0
    });
    held
}

/// The beginning of the refusal of a list for which every record would have to be read.
const ALL: &str =
    "no index serves this query, so every record has to be read: that took too long; ";

#[test]
fn a_list_that_takes_too_long_is_refused_with_the_index_that_would_serve_it() {
    let daemon = with_albums();
    for (path, detail, index) in [
        ("/albums?title=t7", ALL, json!([["title"]])),
        (
            "/albums?stock=1&_sort=-title",
            "",
            json!([["stock", "title"]]),
        ),
        ("/albums?title_like=t7", ALL, json!([])),
        // The index is there, and half of all records are in it.
        (
            "/albums?stock=1&title_like=t7",
            "the index of stock names too many records for this query: that took too long; narrow the query",
            json!([]),
        ),
    ] {
        is_refused(&in_turn(&daemon, "GET", path, &[]), 504, detail, &index);
    }
    assert!(limited(&daemon, "time") >= 4.0);
    // A filter of a change looks at as much.
    let three = [("prefer", "max-affected=3")];
    let refused = in_turn(&daemon, "DELETE", "/albums?title=t7", &three);
    is_refused(&refused, 504, ALL, &json!([["title"]]));
    let served = daemon
        .get("/albums?stock=1&_limit=5&_sort=stock")
        .expect(200);
    assert_eq!(served.json().as_array().unwrap().len(), 5);
    let advice = std::process::Command::new(crate::daemon::BINARY)
        .args(["check", "--against-running", "--config"])
        .arg(daemon.config())
        .args(["--admin", &daemon.admin().to_string()])
        .output()
        .unwrap();
    let told = String::from_utf8(advice.stderr).unwrap();
    assert!(
        told.contains("index = [\"title\"] may make that unnecessary"),
        "{told}"
    );
}

#[test]
fn a_list_whose_turn_does_not_come_is_refused_with_the_index_that_would_serve_it() {
    let daemon = with_albums();
    let held = hold_all_turns(&daemon, LIST);
    let refused = daemon.get("/albums?title=t7");
    is_refused(
        &refused,
        503,
        "no index serves this query, so every record has to be read: too many such queries are being answered; the resource's setting index = [\"title\"]",
        &json!([["title"]]),
    );
    assert!(refused.header("retry-after").is_some());
    assert!(limited(&daemon, "turn") >= 1.0);
    // What needs no scan is served meanwhile.
    daemon.get("/albums?_limit=5").expect(200);
    daemon
        .get("/albums?stock=1&_limit=5&_sort=stock")
        .expect(200);
    drop(held);
}

#[test]
fn a_client_that_leaves_gives_up_its_turn() {
    let daemon = TestDaemon::start(SETTINGS);
    client::post(daemon.public(), "/albums", &json!({"title": "t7"})).expect(201);
    let post = |path: &str, body: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let operation = r#"{"method":"DELETE","path":"/albums?title=t7","max_affected":3}"#;
    let batch = |mode| {
        post(
            "/_batch",
            &format!(r#"{{"mode":"{mode}","ops":[{operation}]}}"#),
        )
    };
    let delete =
        "DELETE /albums?title=t7 HTTP/1.1\r\nhost: localhost\r\nprefer: max-affected=3\r\n\r\n";
    let requests = [
        (LIST.to_owned(), 499),
        (delete.to_owned(), 499),
        (batch("atomic"), 499),
        (batch("gather"), 200),
    ];
    for (request, status) in requests {
        for closes_one_side in [false, true] {
            let mut held = hold_all_turns(&daemon, &request);
            if closes_one_side {
                for client in &mut held {
                    client.shutdown(Shutdown::Write).unwrap();
                    let mut answer = String::new();
                    client.read_to_string(&mut answer).unwrap();
                    assert!(
                        answer.starts_with(&format!("HTTP/1.1 {status} ")),
                        "{answer}"
                    );
                    assert!(answer.contains(r#""code":"client_left""#), "{answer}");
                }
            }
            drop(held);
            let found = daemon.get("/albums?title=t7").expect(200).json();
            assert_eq!(found[0]["title"], "t7", "it is the turn of the next");
        }
    }
}
