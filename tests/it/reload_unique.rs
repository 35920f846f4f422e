//! A field that becomes unique by a reload, while records are written: either the reload is refused with the records that have the
//! same value, or no two have one from then on.

use std::collections::BTreeMap;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};

use crate::chaos::UNLIMITED_RESTARTS;
use crate::client::{self, Client};
use crate::daemon::{TestDaemon, metric};
use crate::reload::{reload_command, rewrite, settings};

const ALBUMS: &str = "[resource.albums]\n";
const UNIQUE: &str = "[resource.albums]\nunique = ['isbn']\n";
/// Records that there are before, each with a value of its own: more than one step adds to an index.
const MADE: u64 = 600;

/// The settings, with fault points.
fn with_faults(albums: &str) -> String {
    format!("{UNLIMITED_RESTARTS}{albums}")
}

fn start() -> TestDaemon {
    let daemon = TestDaemon::start(&with_faults(ALBUMS));
    let mut client = Client::connect(daemon.public()).unwrap();
    for first in (0..MADE).step_by(100) {
        let records = (first..first + 100).map(|n| json!({ "isbn": n }));
        let records = Value::from(records.collect::<Vec<_>>());
        client.post("/albums", &records).unwrap().expect(201);
    }
    daemon
}

/// A `perennial reload` that makes the field unique, and is held while it reads the index.
struct HeldReload(JoinHandle<Output>);

impl HeldReload {
    fn begin(daemon: &TestDaemon) -> Self {
        rewrite(daemon, &with_faults(UNIQUE));
        daemon.chaos(&json!({ "point": "storage.held_comparison", "hits": 1_000_000 }));
        let reload = reloading(daemon);
        daemon.wait_until("the index is read", |daemon| {
            let task = r#"task="compare""#;
            metric(
                &daemon.metrics(),
                "perennial_storage_healing_done_bytes",
                task,
            ) > Some(0.0)
        });
        Self(reload)
    }

    fn end(self, daemon: &TestDaemon) -> (Option<i32>, String) {
        daemon.chaos(&json!({ "point": "storage.held_comparison", "hits": 1 }));
        outcome(self.0)
    }
}

/// Runs `perennial reload` beside.
fn reloading(daemon: &TestDaemon) -> JoinHandle<Output> {
    let mut command = reload_command(daemon, &[]);
    thread::spawn(move || command.output().unwrap())
}

fn outcome(reload: JoinHandle<Output>) -> (Option<i32>, String) {
    let output = reload.join().unwrap();
    let told = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(told).unwrap())
}

#[track_caller]
fn create(daemon: &TestDaemon, isbn: u64) -> String {
    let made = daemon.post("/albums", &json!({ "isbn": isbn })).expect(201);
    made.json()["id"].as_str().unwrap().to_owned()
}

#[track_caller]
fn change(daemon: &TestDaemon, id: &str, isbn: u64) {
    let mut client = Client::connect(daemon.public()).unwrap();
    let change = json!({ "isbn": isbn });
    client
        .json("PATCH", &format!("/albums/{id}"), &change)
        .unwrap()
        .expect(200);
}

/// The values that several records have, each with their ids.
fn twice(daemon: &TestDaemon) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut client = Client::connect(daemon.public()).unwrap();
    let mut path = "/albums?_sort=id&_limit=500".to_owned();
    loop {
        let page = client.get(&path).unwrap().expect(200);
        for record in page.json().as_array().unwrap() {
            let id = record["id"].as_str().unwrap().to_owned();
            all.entry(record["isbn"].to_string()).or_default().push(id);
        }
        let links = page.header("link").unwrap_or_default();
        let next = links
            .split(", ")
            .find(|link| link.ends_with("rel=\"next\""));
        let Some(next) = next else { break };
        let url = next.trim_start_matches('<').split_once('>').unwrap().0;
        url[url.find("/albums").unwrap()..].clone_into(&mut path);
    }
    all.retain(|_, ids| ids.len() > 1);
    all
}

/// Fails unless every value is refused that a record has.
#[track_caller]
fn assert_unique(daemon: &TestDaemon, values: &[u64]) {
    assert_eq!(twice(daemon), BTreeMap::new());
    for isbn in values {
        let taken = daemon.post("/albums", &json!({ "isbn": isbn }));
        assert_eq!(taken.expect_problem(409), "duplicate_value", "{isbn}");
    }
}

#[test]
fn a_value_that_is_written_twice_meanwhile_refuses_unique() {
    let daemon = start();
    let before = settings(&daemon);
    let held = HeldReload::begin(&daemon);
    let (old, new) = (create(&daemon, 7), create(&daemon, 7_000));
    let newer = create(&daemon, 7_000);
    let (code, told) = held.end(&daemon);
    assert_eq!(code, Some(78), "{told}");
    let expected =
        format!("would get unique = [isbn], but 2 records ({old}, {newer}) have the same");
    assert!(told.contains(&expected), "{told}");
    assert!(told.ends_with("nothing has changed\n"), "{told}");
    assert_eq!(settings(&daemon)["hash"], before["hash"]);
    // Nothing of it is left.
    daemon.wait_for_log("an index was removed");
    let more = create(&daemon, 7);

    // The same values stand against it when it is tried again. What is mended in time does not.
    let (code, told) = outcome(reloading(&daemon));
    assert_eq!(code, Some(78), "{told}");
    assert!(
        told.contains("but 3 records (") && told.contains(&old),
        "{told}"
    );
    for (id, isbn) in [(&old, 7_001), (&newer, 7_002), (&more, 7_003)] {
        change(&daemon, id, isbn);
    }
    let held = HeldReload::begin(&daemon);
    change(&daemon, &new, 3);
    let gone = create(&daemon, 7_001);
    change(&daemon, &new, 7_004);
    let path = format!("/albums/{gone}");
    client::send(daemon.public(), "DELETE", &path, &[], None).expect(200);
    let (code, told) = held.end(&daemon);
    assert_eq!(code, Some(0), "{told}");
    assert_unique(&daemon, &[0, 7, MADE - 1, 7_001, 7_004]);
}

/// Clients that create records with the same values until they are stopped; they return how many were made and refused.
fn writers(daemon: &TestDaemon, stop: &Arc<AtomicBool>) -> Vec<JoinHandle<[u32; 2]>> {
    let writer = |_| {
        let (host, stop) = (daemon.public(), Arc::clone(stop));
        thread::spawn(move || {
            let mut client = Client::connect(host).unwrap();
            let (mut seen, mut n) = ([0, 0], 0);
            while !stop.load(Ordering::Relaxed) {
                n += 1;
                let isbn = 10_000 + n;
                let answer = client.post("/albums", &json!({ "isbn": isbn })).unwrap();
                match answer.status {
                    201 => seen[0] += 1,
                    409 => seen[1] += 1,
                    _ => panic!("{}", answer.text()),
                }
            }
            seen
        })
    };
    (0..4).map(writer).collect()
}

#[test]
fn while_several_clients_write_the_same_values_unique_holds_for_all_records_or_is_refused() {
    let daemon = start();
    let stop = Arc::new(AtomicBool::new(false));
    let held = HeldReload::begin(&daemon);
    let running = writers(&daemon, &stop);
    daemon.wait_until("values are written twice", |daemon| {
        !twice(daemon).is_empty()
    });
    let (code, told) = held.end(&daemon);
    assert_eq!(code, Some(78), "{told}");
    assert!(told.contains("unique = [isbn], but"), "{told}");
    stop.store(true, Ordering::Relaxed);
    let of = running.into_iter().map(|writer| writer.join().unwrap());
    let refused: u32 = of.map(|[_, refused]| refused).sum();
    assert_eq!(refused, 0, "it was not in force");
    for id in twice(&daemon)
        .into_values()
        .flat_map(|ids| ids.into_iter().skip(1))
    {
        let path = format!("/albums/{id}");
        client::send(daemon.public(), "DELETE", &path, &[], None).expect(200);
    }
    // Once it is in force, of each value that they meet at one is made.
    let stop = Arc::new(AtomicBool::new(false));
    let (code, told) = outcome(reloading(&daemon));
    assert_eq!(code, Some(0), "{told}");
    let running = writers(&daemon, &stop);
    daemon.wait_until("writes are refused", |daemon| {
        let answers = daemon.metrics();
        let of = r#"route="/albums",method="POST",code="409""#;
        metric(&answers, "perennial_http_requests_total", of) > Some(50.0)
    });
    stop.store(true, Ordering::Relaxed);
    let of = running.into_iter().map(|writer| writer.join().unwrap());
    assert!(of.map(|[made, _]| made).sum::<u32>() > 0);
    assert_unique(&daemon, &[1, MADE - 1]);
}

#[test]
fn a_process_that_is_killed_meanwhile_has_the_old_rules_or_the_new_ones() {
    let mut daemon = start();
    let held = HeldReload::begin(&daemon);
    create(&daemon, 7_000);
    daemon.kill9();
    assert_ne!(held.0.join().unwrap().status.code(), Some(0));
    // By the old settings, nothing is left of the new ones.
    rewrite(&daemon, &with_faults(ALBUMS));
    daemon.restart();
    daemon.wait_for_log("an index was removed");
    let id = create(&daemon, 7_000);
    change(&daemon, &id, 7_001);
    // By the new settings, the start goes on with the index.
    let held = HeldReload::begin(&daemon);
    daemon.kill9();
    assert_ne!(held.0.join().unwrap().status.code(), Some(0));
    daemon.restart();
    daemon.wait_until("the index is complete", |daemon| {
        let storage = client::get(daemon.admin(), "/readyz/storage").text();
        !storage.contains("indexes")
    });
    assert_unique(&daemon, &[0, MADE - 1, 7_000, 7_001]);
}

#[test]
fn a_writer_that_dies_meanwhile_leaves_the_old_rules_or_the_new_ones() {
    let daemon = start();
    let points = ["writer.message", "writer.before_view", "writer.after_view"];
    for (isbn, point) in (7_000..).zip(points) {
        let before = settings(&daemon);
        let held = HeldReload::begin(&daemon);
        daemon.chaos(&json!({ "point": point, "hits": 1 }));
        let id = create(&daemon, isbn);
        let (code, told) = held.end(&daemon);
        let after = settings(&daemon);
        match code {
            Some(0) => assert_unique(&daemon, &[0, MADE - 1, isbn]),
            Some(_) => {
                assert_eq!(after["hash"], before["hash"], "{point}: {told}");
                let other = create(&daemon, isbn);
                change(&daemon, &other, isbn + 100);
            }
            None => panic!("{point}: {told}"),
        }
        rewrite(&daemon, &with_faults(ALBUMS));
        let (code, told) = outcome(reloading(&daemon));
        assert_eq!(code, Some(0), "{point}: {told}");
        let path = format!("/albums/{id}");
        daemon.get(&path).expect(200);
    }
    rewrite(&daemon, &with_faults(UNIQUE));
    let (code, told) = outcome(reloading(&daemon));
    assert_eq!(code, Some(0), "{told}");
    assert_unique(&daemon, &[0, 7_000, 7_002]);
}
