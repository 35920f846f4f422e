//! A disk that hangs or fails for some time under the running daemon: pages and records are served meanwhile, writes are answered
//! in time, nothing that was acknowledged is lost, and afterwards all is well without anybody's help.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client;
use crate::daemon::{TestDaemon, metric, restarts};
use crate::file_faults::HungMount;

/// How long the disk fails in seconds, if another time is wanted.
const SECONDS: &str = "DISK_FAULT_SECONDS";
const SETTINGS: &str = r#"
[chaos]
enabled = true
[storage]
flush_limit = "1s"
[supervision.children.storage]
deadline = "1s"
"#;
/// The time within which an answer is there at once, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(1);

#[test]
fn while_the_disk_hangs_everything_but_writes_is_served() {
    let mut daemon = TestDaemon::start(SETTINGS);
    let first = daemon.post("/books", &json!({ "n": 1 })).expect(201);
    let first = first.location().unwrap().to_owned();
    // It hangs for longer than storage.flush_limit.
    daemon.chaos(&json!({ "point": "storage.hanging_sync", "hits": 40 }));
    let host = daemon.public();
    let begun = thread::spawn(move || client::post(host, "/books", &json!({ "n": 2 })));
    daemon.wait_until("the hanging commit is told of", |daemon| {
        let told = client::get(daemon.admin(), "/readyz/storage");
        told.status == 503 && told.text().contains("a commit has been under way for")
    });
    let asked = Instant::now();
    daemon.get("/").expect(200);
    assert_eq!(daemon.get(&first).expect(200).json()["n"], 1);
    let refused = daemon.post("/books", &json!({ "n": 3 })).expect(503);
    assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
    assert!(
        refused.text().contains("this one was not begun"),
        "{}",
        refused.text()
    );
    assert!(refused.header("retry-after").is_some());
    let unknown = begun.join().unwrap().expect(503);
    assert!(unknown.text().contains("outcome_unknown"));
    daemon.wait_until("the commit has ended", |daemon| {
        client::get(daemon.admin(), "/readyz").status == 200
    });
    daemon.post("/books", &json!({ "n": 4 })).expect(201);
    let listed = daemon.get("/books").expect(200).json();
    let numbers: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|book| &book["n"])
        .collect();
    assert_eq!(numbers, [1, 2, 4]);
    assert_eq!(daemon.exited(), None, "{}", daemon.stderr());
}

/// The values of `n` of all records.
fn numbers(daemon: &TestDaemon) -> BTreeSet<u64> {
    let listed = daemon.get("/books?_limit=100000").expect(200).json();
    let listed = listed.as_array().unwrap().iter();
    listed.map(|book| book["n"].as_u64().unwrap()).collect()
}

#[test]
fn while_the_disk_fails_writes_are_refused_and_nothing_restarts() {
    let seconds = std::env::var(SECONDS).map_or(3, |text| text.parse().unwrap());
    let failing = Duration::from_secs(seconds);
    let mut daemon = TestDaemon::start(SETTINGS);
    let first = daemon.post("/books", &json!({ "n": 0 })).expect(201);
    let first = first.header("location").unwrap().to_owned();
    let (acknowledged, unknown) = (Mutex::new(BTreeSet::from([0])), Mutex::new(BTreeSet::new()));
    let (ended, next) = (AtomicBool::new(false), AtomicU64::new(1));
    let works_again = thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let answer = client::post(daemon.public(), "/books", &json!({ "n": n }));
                    match answer.status {
                        201 => drop(acknowledged.lock().unwrap().insert(n)),
                        503 if answer.text().contains("outcome_unknown") => {
                            unknown.lock().unwrap().insert(n);
                        }
                        503 => assert!(answer.header("retry-after").is_some()),
                        other => panic!("{other}: {}", answer.text()),
                    }
                }
            });
        }
        let many = || acknowledged.lock().unwrap().len();
        daemon.wait_until("some writes", |_| many() > 20);
        daemon.chaos(&json!({ "point": "storage.failing_sync", "hits": 1_000_000 }));
        let begun = Instant::now();
        daemon.wait_until("the failing disk is told of", |daemon| {
            let told = client::get(daemon.admin(), "/readyz/storage");
            told.status == 503 && told.text().contains("the disk has failed for")
        });
        let written = many();
        while begun.elapsed() < failing {
            daemon.get("/").expect(200);
            assert_eq!(daemon.get(&first).expect(200).json()["n"], 0);
            daemon.get("/books?_limit=5").expect(200);
        }
        assert_eq!(many(), written, "nothing was acknowledged meanwhile");
        // One hit is left, for a probe or a first attempt.
        daemon.chaos(&json!({ "point": "storage.failing_sync", "hits": 1 }));
        let back = Instant::now();
        daemon.wait_until("writes go on", |_| many() > written + 20);
        ended.store(true, Ordering::Relaxed);
        back.elapsed()
    });
    assert!(works_again < Duration::from_secs(5), "{works_again:?}");
    let stored = numbers(&daemon);
    let acknowledged = acknowledged.into_inner().unwrap();
    let lost: Vec<_> = acknowledged.difference(&stored).collect();
    assert!(lost.is_empty(), "{lost:?}");
    let unknown = unknown.into_inner().unwrap();
    let others = stored.difference(&acknowledged).copied().collect();
    assert!(unknown.is_superset(&others), "{others:?}");
    let metrics = client::get(daemon.admin(), "/metrics").text();
    assert!(metrics.contains("perennial_storage_disk_failing 0\n"));
    assert_eq!(restarts(&daemon.tree(), "writer"), 0);
    let told = client::get(daemon.admin(), "/incidents").expect(200);
    assert!(told.text().contains("failed_write"), "{}", told.text());
    assert_eq!(daemon.exited(), None, "{}", daemon.stderr());
    daemon.kill9();
    daemon.restart();
    assert!(numbers(&daemon).is_superset(&acknowledged));
}

/// A health check that waits for the disk says nothing of it.
#[test]
fn a_data_folder_that_hangs_stops_no_answer_of_the_admin_listener() {
    let daemon = TestDaemon::start("");
    daemon.post("/books", &json!({ "n": 1 })).expect(201);
    let Some(hung) = HungMount::over(&daemon.folder().join("data")) else {
        return;
    };
    // By the time of the answer whatever looks at the disk once a second hangs, too.
    let refused = daemon.post("/books", &json!({ "n": 2 }));
    assert!([503, 504].contains(&refused.status), "{}", refused.text());
    for path in [
        "/livez",
        "/readyz",
        "/metrics",
        "/supervisor",
        "/incidents",
        "/",
    ] {
        let asked = Instant::now();
        client::get(daemon.admin(), path);
        let took = asked.elapsed();
        assert!(took < Duration::from_secs(1), "{path}: {took:?}");
    }
    drop(hung);
    daemon.wait_until("the store works again", TestDaemon::is_open);
    daemon.post("/books", &json!({ "n": 3 })).expect(201);
}

#[test]
fn a_data_folder_that_hangs_is_told_of_though_nobody_writes() {
    let daemon = TestDaemon::start("");
    let first = daemon.post("/books", &json!({ "n": 1 })).expect(201);
    let first = first.location().unwrap().to_owned();
    let failing =
        |daemon: &TestDaemon| metric(&daemon.metrics(), "perennial_storage_disk_failing", "");
    let Some(hung) = HungMount::over(&daemon.folder().join("data")) else {
        return;
    };
    daemon.wait_until("it is told of", |daemon| !daemon.is_open());
    let told = client::get(daemon.admin(), "/readyz/storage").expect(503);
    assert!(
        told.text().contains("no answer of the file system"),
        "{}",
        told.text()
    );
    daemon.wait_for_log("the disk fails: writes are refused");
    assert_eq!(failing(&daemon), Some(1.0));
    let asked = Instant::now();
    daemon.post("/books", &json!({ "n": 2 })).expect(503);
    daemon.get(&first).expect(200);
    daemon.get("/").expect(200);
    assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
    drop(hung);
    daemon.wait_until("the store works again", TestDaemon::is_open);
    daemon.post("/books", &json!({ "n": 3 })).expect(201);
    assert_eq!(failing(&daemon), Some(0.0));
    let told = client::get(daemon.admin(), "/incidents").expect(200);
    assert!(
        told.text().contains("no answer of the file system"),
        "{}",
        told.text()
    );
}
