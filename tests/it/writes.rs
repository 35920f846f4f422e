//! Requests with a name (`Idempotency-Key`): each is carried out once, however often it is sent.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::batches::{JSON, send};
use crate::client::{Client, Response};
use crate::daemon::{BINARY, TestDaemon};
use crate::drills::{RandomDurations, count};

#[track_caller]
fn total(daemon: &TestDaemon, path: &str) -> u64 {
    let list = daemon.get(path).expect(200);
    list.header("x-total-count").unwrap().parse().unwrap()
}

/// What a repeated answer has in common with the first.
fn shown(answer: &Response) -> (u16, Option<&str>, Option<&str>, String) {
    let header = |name| answer.header(name);
    (
        answer.status,
        header("etag"),
        header("location"),
        answer.text(),
    )
}

#[track_caller]
fn check_data(daemon: &TestDaemon) {
    let mut check = Command::new(BINARY);
    check.arg("check").arg(daemon.config()).arg("--data");
    let out = check.output().unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stdout)
    );
}

#[test]
fn a_request_with_a_key_is_carried_out_once_and_answered_as_before() {
    let mut daemon = TestDaemon::start("[resource.typed.fields]\nn = { type = \"integer\" }\n");
    let key = ("idempotency-key", "\"c0ffee\"");
    let first = send(&daemon, "POST", "/books", &[key], "{\"n\":1}").expect(201);
    assert_eq!(first.header("idempotent-replayed"), None);
    let place = first.location().unwrap().to_owned();
    for round in 0..3 {
        if round == 1 {
            daemon.kill9();
            daemon.restart();
        }
        // Without quotes it is the same key.
        let bare = ("idempotency-key", "c0ffee");
        for key in [key, bare] {
            let again = send(&daemon, "POST", "/books", &[key], "{\"n\":1}");
            assert_eq!(again.header("idempotent-replayed"), Some("true"));
            let host = format!("http://{}", daemon.public());
            assert!(again.header("location").unwrap().starts_with(&host));
            assert_eq!(again.location(), Some(place.as_str()));
            assert_eq!((again.status, again.text()), (201, first.text()));
            assert_eq!(again.header("etag"), first.header("etag"));
        }
        for (method, path, body) in [
            ("POST", "/books", "{\"n\":2}"),
            ("POST", "/typed", "{\"n\":1}"),
            ("PATCH", place.as_str(), "{\"n\":1}"),
        ] {
            let other = send(&daemon, method, path, &[key], body);
            assert_eq!(other.expect_problem(422), "key_reused");
        }
        assert_eq!(total(&daemon, "/books"), 1);
    }
    // The same of changes and deletions, although the condition of the first does not hold any more.
    let etag = first.header("etag").unwrap().to_owned();
    let patch = [("idempotency-key", "p"), ("if-match", etag.as_str())];
    let patched = send(&daemon, "PATCH", &place, &patch, "{\"n\":5}").expect(200);
    let again = send(&daemon, "PATCH", &place, &patch, "{\"n\":5}");
    assert_eq!(shown(&again), shown(&patched));
    let gone = [("idempotency-key", "d")];
    let deleted = send(&daemon, "DELETE", &place, &gone, "").expect(200);
    let again = send(&daemon, "DELETE", &place, &gone, "");
    assert_eq!(shown(&again), shown(&deleted));
    assert_eq!(send(&daemon, "DELETE", &place, &[], "").status, 404);
    // What was refused has no effect, and may be sent again with the same key.
    let refused = ("idempotency-key", "r");
    send(&daemon, "POST", "/typed", &[refused], "{\"n\":\"x\"}").expect(422);
    send(&daemon, "POST", "/typed", &[refused], "{\"n\":7}").expect(201);
    for wrong in ["", "\"\"", "a b", &"k".repeat(256)] {
        let key = ("idempotency-key", wrong);
        let refused = send(&daemon, "POST", "/books", &[key], "{}");
        assert_eq!(refused.expect_problem(400), "invalid_key", "{wrong}");
    }
    let metrics = daemon.metrics();
    for line in [
        "perennial_storage_answers_total{event=\"refused\"} ",
        "perennial_storage_answers_total{event=\"replayed\"} ",
        "perennial_storage_kept_answers 4\n",
    ] {
        assert!(metrics.contains(line), "{line}{metrics}");
    }
    assert!(!metrics.contains("_answers\"}"), "no resource of its own");
    daemon.kill9();
    check_data(&daemon);
}

#[test]
fn a_dry_run_answers_as_if_and_changes_nothing() {
    let daemon = TestDaemon::start("[resource.counted]\nid = \"sequence\"\n");
    let dry = ("prefer", "tx=rollback");
    for _ in 0..2 {
        let tried = send(&daemon, "POST", "/counted", &[dry], "{\"n\":1}").expect(201);
        assert_eq!(tried.json(), json!({"id": 1, "n": 1}));
        assert_eq!(tried.header("preference-applied"), Some("tx=rollback"));
        assert_eq!(
            (tried.header("etag"), tried.header("location")),
            (None, None)
        );
    }
    send(&daemon, "POST", "/counted", &[], "{\"n\":1}").expect(201);
    let tried = send(&daemon, "PATCH", "/counted/1", &[dry], "{\"n\":2}").expect(200);
    assert_eq!(tried.json(), json!({"id": 1, "n": 2}));
    send(&daemon, "DELETE", "/counted/1", &[dry], "").expect(200);
    send(&daemon, "DELETE", "/counted/2", &[dry], "").expect(404);
    send(&daemon, "POST", "/counted", &[dry], "{\"id\":1}").expect(409);
    assert_eq!(daemon.get("/counted/1").json(), json!({"id": 1, "n": 1}));
    // A key of a dry run is not used up.
    let key = ("idempotency-key", "k");
    send(&daemon, "POST", "/counted", &[key, dry], "{}").expect(201);
    let done = send(&daemon, "POST", "/counted", &[key], "{}").expect(201);
    assert_eq!(done.header("idempotent-replayed"), None);
    assert_eq!(done.json()["id"], 2);
}

/// One request of a worker, and the tokens that it brings.
fn request(worker: usize, n: usize) -> (&'static str, Value, Vec<String>) {
    let token = |part: usize| format!("{worker}-{n}-{part}");
    let record = |part: usize| json!({"token": token(part)});
    let op = |part: usize| json!({"method": "POST", "path": "/books", "body": record(part)});
    let tokens = |parts| (0..parts).map(token).collect();
    match n % 4 {
        0 => ("/books", record(0), tokens(1)),
        1 => ("/books", (0..3).map(record).collect(), tokens(3)),
        2 => {
            let ops: Value = (0..3).map(op).collect();
            ("/_batch", json!({"mode": "atomic", "ops": ops}), tokens(3))
        }
        _ => {
            let ops: Value = (0..2).map(op).collect();
            ("/_batch", json!({"mode": "gather", "ops": ops}), tokens(2))
        }
    }
}

/// Whether an answer says that all was done; a `gather` may have been done in part.
fn is_done(answer: &Response) -> bool {
    if answer.status == 503 {
        return false;
    }
    if answer.status == 201 {
        return true;
    }
    let results = answer.clone().expect(200).json();
    let mut results = results["results"].as_array().unwrap().iter();
    results.all(|result| match result["status"].as_u64() {
        Some(201) => true,
        Some(503) => false,
        _ => panic!("{result}"),
    })
}

/// Sends requests, each until it has an answer, until `over`. Returns the tokens of those that were answered.
fn work(
    worker: usize,
    address: &Mutex<Option<SocketAddr>>,
    over: &AtomicBool,
) -> (Vec<String>, usize) {
    let (mut done, mut replayed) = (Vec::new(), 0);
    for n in 0.. {
        let (path, body, tokens) = request(worker, n);
        let key = format!("\"{worker}-{n}\"");
        let headers = [JSON, ("idempotency-key", key.as_str())];
        let body = body.to_string();
        loop {
            let now = *address.lock().unwrap();
            let answer = now.and_then(|now| {
                let mut client = Client::connect(now).ok()?;
                client
                    .send("POST", path, &headers, Some(body.as_bytes()))
                    .ok()
            });
            match answer {
                Some(answer) if is_done(&answer) => {
                    replayed += usize::from(answer.header("idempotent-replayed").is_some());
                    done.extend(tokens);
                    break;
                }
                Some(_) | None => {}
            }
            thread::sleep(Duration::from_millis(2));
        }
        if over.load(Ordering::SeqCst) {
            break;
        }
    }
    (done, replayed)
}

fn retry_through_kills(kills: u64) {
    let mut durations = RandomDurations::new();
    let mut daemon = TestDaemon::prepare("");
    let (address, over) = (Mutex::new(None), AtomicBool::new(false));
    let (mut done, mut replayed) = (Vec::new(), 0);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..6)
            .map(|worker| {
                scope.spawn({
                    let (address, over) = (&address, &over);
                    move || work(worker, address, over)
                })
            })
            .collect();
        for _ in 0..kills {
            daemon.restart();
            *address.lock().unwrap() = Some(daemon.public());
            thread::sleep(Duration::from_millis(20) + durations.below(Duration::from_millis(200)));
            *address.lock().unwrap() = None;
            daemon.kill9();
        }
        daemon.restart();
        over.store(true, Ordering::SeqCst);
        *address.lock().unwrap() = Some(daemon.public());
        for worker in workers {
            let (tokens, again) = worker.join().unwrap();
            done.extend(tokens);
            replayed += again;
        }
    });
    let mut kept: Vec<_> = Vec::new();
    let mut page = "/books?_limit=1000&_after=".to_owned();
    loop {
        let list = daemon.get(&page).expect(200);
        let tokens = list.json();
        let tokens = tokens.as_array().unwrap().iter();
        kept.extend(tokens.map(|record| record["token"].as_str().unwrap().to_owned()));
        let next = list.header("link").map(str::to_owned).unwrap_or_default();
        let next = next.split(", ").find(|link| link.contains("rel=\"next\""));
        let Some(next) = next else { break };
        let at = next.find("/books").unwrap();
        page = String::from(&next[at..next.find('>').unwrap()]);
    }
    kept.sort();
    done.sort();
    println!(
        "{kills} kills, {} operations answered, {replayed} answers given again, {} records",
        done.len(),
        kept.len()
    );
    assert_eq!(kept, done, "each operation once");
    assert!(kills == 0 || !done.is_empty());
    daemon.kill9();
    check_data(&daemon);
}

#[test]
fn a_client_that_retries_through_kill_9_has_each_operation_once() {
    retry_through_kills(20);
}

#[test]
#[ignore = "takes minutes: .ci/run runs it"]
fn a_client_that_retries_through_many_kills_has_each_operation_once() {
    retry_through_kills(count("DRILL_KILLS", 100).min(100));
}
