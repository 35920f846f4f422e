//! Change feeds: events, positions, filters, requests that wait; through deaths of children and of the process.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::backup::{expect, run, text};
use crate::chaos::UNLIMITED_RESTARTS;
use crate::client::{self, Client};
use crate::daemon::{TestDaemon, metric};

const EVENTS: (&str, &str) = ("accept", "text/event-stream");

/// A client that reads events as the standard says.
struct Events {
    client: Client,
    text: String,
    /// The position of the last block.
    last: Option<String>,
}

/// An event: its name and its data.
type Event = (String, Value);

impl Events {
    fn open(host: SocketAddr, query: &str, last: Option<&str>) -> io::Result<Self> {
        let mut client = Client::connect(host)?;
        let mut headers = vec![EVENTS];
        headers.extend(last.map(|last| ("last-event-id", last)));
        let head = client.begin(&format!("/books/_changes{query}"), &headers)?;
        if head.status != 200 {
            return Err(io::Error::other(format!("status {}", head.status)));
        }
        assert_eq!(head.header("content-type"), Some("text/event-stream"));
        assert_eq!(head.header("x-accel-buffering"), Some("no"));
        Ok(Self {
            client,
            text: String::new(),
            last: last.map(str::to_owned),
        })
    }

    /// The next event; `None` at the end.
    fn next(&mut self) -> io::Result<Option<Event>> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                let (mut name, mut data) = (String::new(), String::new());
                for line in block.lines() {
                    match line.split_once(": ") {
                        Some(("id", id)) => self.last = Some(id.to_owned()),
                        Some(("event", event)) => event.clone_into(&mut name),
                        Some(("data", more)) => data.push_str(more),
                        _ => assert!(line.starts_with(':'), "{line:?}"),
                    }
                }
                if !data.is_empty() {
                    return Ok(Some((name, serde_json::from_str(&data).unwrap())));
                }
            }
            match self.client.chunk()? {
                Some(chunk) => self.text.push_str(std::str::from_utf8(&chunk).unwrap()),
                None => return Ok(None),
            }
        }
    }

    #[track_caller]
    fn expect(&mut self, name: &str, id: &str) -> Value {
        let (found, data) = self.next().unwrap().expect("an event");
        assert_eq!((found.as_str(), &data["id"]), (name, &json!(id)), "{data}");
        data
    }

    /// Reads until the client knows its position.
    fn begin(&mut self) {
        while self.last.is_none() {
            let chunk = self.client.chunk().unwrap().unwrap();
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
            if let Some(id) = self.text.strip_prefix("id: ") {
                self.last = Some(id.trim_end().to_owned());
            }
        }
    }
}

fn put(daemon: &TestDaemon, id: &str, year: u32) {
    let body = json!({"title": id, "year": year});
    let create = [("content-type", "application/json")];
    let path = format!("/books/{id}");
    let body = body.to_string();
    let answer = client::send(
        daemon.public(),
        "PUT",
        &path,
        &create,
        Some(body.as_bytes()),
    );
    assert!([200, 201].contains(&answer.status), "{}", answer.text());
}

fn delete(daemon: &TestDaemon, id: &str) {
    client::send(
        daemon.public(),
        "DELETE",
        &format!("/books/{id}"),
        &[],
        None,
    )
    .expect(200);
}

/// Settings under which a PUT creates.
const UPSERT: &str = "upsert = true\nid = \"client\"\n";

#[test]
fn a_feed_tells_each_change_once_and_goes_on_where_its_client_was() {
    let daemon = TestDaemon::start(UPSERT);
    put(&daemon, "before", 1900);
    let mut feed = Events::open(daemon.public(), "", None).unwrap();
    feed.begin();
    put(&daemon, "dune", 1965);
    put(&daemon, "dune", 1966);
    delete(&daemon, "dune");
    let created = feed.expect("create", "dune");
    assert_eq!(created["record"]["year"], 1965);
    let position = feed.last.clone();
    let updated = feed.expect("update", "dune");
    assert!(updated["revision"].as_u64() > created["revision"].as_u64());
    assert_eq!(feed.expect("delete", "dune")["record"], Value::Null);
    drop(feed);
    let mut again = Events::open(daemon.public(), "", position.as_deref()).unwrap();
    assert_eq!(again.expect("update", "dune")["record"]["year"], 1966);
    again.expect("delete", "dune");
    // From the beginning, and only what matches: what does not match any more is told as deleted.
    put(&daemon, "new", 2020);
    put(&daemon, "new", 1920);
    let mut old = Events::open(daemon.public(), "?_since=0&year_lt=1966", None).unwrap();
    old.expect("create", "before");
    old.expect("create", "dune");
    old.expect("delete", "dune");
    old.expect("delete", "dune");
    old.expect("update", "new");
    // A part of the record, over a filter in the other dialect.
    let query = "?_since=0&_fields=year&filter=%7B%22year%22%3A1900%7D";
    let mut part = Events::open(daemon.public(), query, None).unwrap();
    assert_eq!(
        part.expect("create", "before")["record"],
        json!({"id": "before", "year": 1900})
    );
    let metrics = daemon.metrics();
    assert!(metric(&metrics, "perennial_feed_subscribers", "").unwrap() >= 3.0);
    assert!(metric(&metrics, "perennial_feed_events_total", "").unwrap() >= 9.0);
    // The client of a position of another store, or of the future, is told.
    for foreign in ["5-zzzzzz", "999999", "x"] {
        let mut feed = Events::open(daemon.public(), "", Some(foreign)).unwrap();
        let (name, _) = feed.next().unwrap().unwrap();
        assert_eq!(name, "reset", "{foreign}");
        put(&daemon, "after", 1);
        assert_eq!(feed.next().unwrap().unwrap().1["id"], "after", "it goes on");
    }
    // Wrong requests.
    for (path, status) in [
        ("/books/_changes?_sort=year", 400),
        ("/books/_changes?_since=abc", 400),
        ("/books/_changes?_wait=2h", 400),
        ("/nothing/_changes", 404),
    ] {
        daemon.get(path).expect_problem(status);
    }
    client::send(daemon.public(), "POST", "/books/_changes", &[], None).expect(405);
    let html = [("accept", "text/html")];
    client::send(daemon.public(), "GET", "/books/_changes", &html, None).expect(406);
    let head = client::send(daemon.public(), "HEAD", "/books/_changes", &[], None).expect(200);
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
}

#[test]
fn a_request_waits_for_changes_from_position_to_position() {
    let daemon = TestDaemon::start(UPSERT);
    let json = [("accept", "application/json")];
    let ask = |query: &str| {
        client::send(
            daemon.public(),
            "GET",
            &format!("/books/_changes{query}"),
            &json,
            None,
        )
    };
    let now = ask("").expect(200).json();
    assert_eq!((&now["changes"], &now["more"]), (&json!([]), &json!(false)));
    let next = now["next"].as_str().unwrap().to_owned();
    let begun = Instant::now();
    let none = ask(&format!("?_since={next}&_wait=300ms"))
        .expect(200)
        .json();
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_eq!(
        (&none["changes"], &none["next"]),
        (&json!([]), &json!(next))
    );
    let waiting = thread::spawn({
        let (host, next) = (daemon.public(), next.clone());
        move || {
            let path = format!("/books/_changes?_since={next}&_wait=30");
            client::get(host, &path).expect(200).json()
        }
    });
    daemon.wait_until("it waits", |daemon| {
        metric(&daemon.metrics(), "perennial_feed_subscribers", "") == Some(1.0)
    });
    for n in 1..=3 {
        put(&daemon, &format!("b{n}"), n);
    }
    let one = waiting.join().unwrap();
    assert_eq!(one["changes"][0]["event"], "create");
    assert_eq!(one["changes"][0]["id"], "b1");
    let mut ids = Vec::new();
    let mut since = next;
    loop {
        let page = ask(&format!("?_since={since}&_limit=2")).expect(200).json();
        let changes = page["changes"].as_array().unwrap();
        ids.extend(
            changes
                .iter()
                .map(|change| change["id"].as_str().unwrap().to_owned()),
        );
        page["next"].as_str().unwrap().clone_into(&mut since);
        if page["more"] == false {
            break;
        }
    }
    assert_eq!(ids, ["b1", "b2", "b3"]);
    let gone = ask("?_since=1-zzzzzz").expect(410);
    assert_eq!(gone.json()["next"].as_str(), Some(since.as_str()));
    assert_eq!(gone.expect_problem(410), "history_gone");
    assert!(daemon.metrics().contains("perennial_feed_resets_total 1"));
}

#[test]
fn a_reader_that_is_too_far_behind_is_told_and_costs_nothing() {
    let daemon = TestDaemon::start(&format!(
        "{UPSERT}\n[feed]\nhistory = 60\nsubscribers = 2\n"
    ));
    let mut slow = Events::open(daemon.public(), "", None).unwrap();
    slow.begin();
    slow.client.keep_little_unread().unwrap();
    let other = Events::open(daemon.public(), "", None).unwrap();
    let refused = daemon.get("/books/_changes").expect(503);
    assert!(refused.header("retry-after").is_some());
    assert!(daemon.metrics().contains("perennial_feed_refused_total 1"));
    drop(other);
    // More than the sockets hold.
    let body = json!({"filling": "x".repeat(500_000)}).to_string();
    let head = [("content-type", "application/json")];
    for n in 0..40 {
        let path = format!("/books/large{n}");
        client::send(daemon.public(), "PUT", &path, &head, Some(body.as_bytes())).expect(201);
    }
    for n in 0..100 {
        put(&daemon, &format!("b{n}"), n);
    }
    let mut names = Vec::new();
    while let Some((name, _)) = slow.next().unwrap() {
        names.push(name);
    }
    assert_eq!(names.pop().as_deref(), Some("reset"), "then the end");
    assert!(names.len() < 140 && names.iter().all(|name| name == "create"));
    // It goes on from there, which may be in the middle of them: it was told as soon as it was too far behind.
    let mut again = Events::open(daemon.public(), "", slow.last.as_deref()).unwrap();
    put(&daemon, "last", 1);
    let mut next = again.next().unwrap().unwrap().1["id"].clone();
    if next != "last" {
        let first = (0..100).find(|n| next == format!("b{n}")).unwrap();
        for n in first + 1..100 {
            again.expect("create", &format!("b{n}"));
        }
        next = again.next().unwrap().unwrap().1["id"].clone();
    }
    assert_eq!(next, "last");
    assert!(daemon.metrics().contains("perennial_feed_resets_total 1"));
}

#[test]
fn feeds_end_when_their_resource_goes_and_when_the_daemon_stops() {
    let pens = "\n[resource.pens]\n";
    let mut daemon = TestDaemon::start(&format!("{UPSERT}{pens}"));
    let mut pens_feed = Client::connect(daemon.public()).unwrap();
    pens_feed.begin("/pens/_changes", &[EVENTS]).unwrap();
    pens_feed.chunk().unwrap();
    let mut feed = Events::open(daemon.public(), "", None).unwrap();
    feed.begin();
    let text = std::fs::read_to_string(daemon.config()).unwrap();
    std::fs::write(
        daemon.config(),
        text.replace(pens, "\n[feed]\nheartbeat = \"200ms\"\n"),
    )
    .unwrap();
    client::send(daemon.admin(), "POST", "/reload", &[], None).expect(200);
    assert_eq!(pens_feed.chunk().unwrap(), None, "it ends");
    put(&daemon, "dune", 1965);
    feed.expect("create", "dune");
    let mut beating = Client::connect(daemon.public()).unwrap();
    beating.begin("/books/_changes", &[EVENTS]).unwrap();
    beating.chunk().unwrap();
    assert_eq!(beating.chunk().unwrap().unwrap(), b":\n", "a comment");
    let begun = Instant::now();
    daemon.sigterm();
    assert_eq!(feed.next().unwrap(), None, "it ends in order");
    assert!(daemon.wait_exit(Duration::from_secs(10)).success());
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn a_batch_is_told_whole_and_in_the_order_of_its_operations() {
    let daemon = TestDaemon::start(UPSERT);
    put(&daemon, "a", 1);
    let mut feeds = ["", "?year_gte=2"].map(|query| {
        let mut feed = Events::open(daemon.public(), query, None).unwrap();
        feed.begin();
        feed
    });
    let op = |method: &str, id: &str, body: Value| json!({"method": method, "path": format!("/books/{id}"), "body": body});
    let batch = json!({"ops": [
        op("PUT", "b", json!({"year": 2})),
        op("PATCH", "a", json!({"year": 3})),
        op("PATCH", "b", json!({"year": 1})),
        op("DELETE", "a", Value::Null),
        op("PUT", "a", json!({"year": 4})),
    ]});
    let refused = json!({"ops": [op("PUT", "c", json!({})), op("DELETE", "none", Value::Null)]});
    client::post(daemon.public(), "/_batch", &refused).expect(404);
    let done = client::post(daemon.public(), "/_batch", &batch).expect(200);
    let last = done.json()["change"].as_u64().unwrap();
    let told = [
        ("create", "b", 2),
        ("update", "a", 3),
        ("update", "b", 1),
        ("delete", "a", 0),
        ("create", "a", 4),
    ];
    for (feed, is_filtered) in feeds.iter_mut().zip([false, true]) {
        for (number, (name, id, year)) in (last - 4..).zip(told) {
            // One that does not match any more is told as deleted.
            let name = if is_filtered && year == 1 {
                "delete"
            } else {
                name
            };
            let data = feed.expect(name, id);
            assert_eq!(data["revision"], number, "{data}");
            let year = Some(year).filter(|_| name != "delete");
            assert_eq!(data["record"]["year"].as_i64(), year, "{data}");
        }
    }
    // A page that may not have them all is cut between two operations, and the next one goes on.
    let mut since = format!("{}", last - 5);
    let mut seen = Vec::new();
    for limit in [2, 1, 5] {
        let path = format!("/books/_changes?_since={since}&_limit={limit}&_wait=0");
        let page = daemon.get(&path).expect(200).json();
        let changes = page["changes"].as_array().unwrap().iter();
        seen.extend(changes.map(|change| change["revision"].as_u64().unwrap()));
        page["next"].as_str().unwrap().clone_into(&mut since);
    }
    assert!(seen.iter().copied().eq(last - 4..=last), "{seen:?}");
}

#[test]
fn after_a_restore_a_client_with_a_position_of_before_is_told() {
    let daemon = TestDaemon::start(UPSERT);
    put(&daemon, "dune", 1965);
    let mut feed = Events::open(daemon.public(), "?_since=0", None).unwrap();
    feed.expect("create", "dune");
    let folder = tempfile::tempdir().unwrap();
    let [backup, into] = ["a.backup", "into"].map(|name| folder.path().join(name));
    expect(&run(&daemon, &["backup", text(&backup)]), 0);
    put(&daemon, "dune", 1966);
    feed.expect("update", "dune");
    expect(
        &run(&daemon, &["restore", text(&backup), "--into", text(&into)]),
        0,
    );
    drop(daemon);
    let mut restored = TestDaemon::prepare_on(&into, UPSERT);
    restored.spawn();
    restored.wait_ready();
    // The restored store gives numbers again that the client has seen, for other changes.
    put(&restored, "emma", 1815);
    let mut again = Events::open(restored.public(), "", feed.last.as_deref()).unwrap();
    assert_eq!(again.next().unwrap().unwrap().0, "reset");
    put(&restored, "sula", 1973);
    again.expect("create", "sula");
    let path = format!("/books/_changes?_wait=0&_since={}", feed.last.unwrap());
    restored.get(&path).expect_problem(410);
    let mut whole = Events::open(restored.public(), "", again.last.as_deref()).unwrap();
    put(&restored, "ulysses", 1922);
    whole.expect("create", "ulysses");
}

/// A subscriber that comes back with its last position whenever its feed ends.
fn follow(
    host: &Arc<Mutex<SocketAddr>>,
    stop: &Arc<AtomicBool>,
    query: &str,
) -> Vec<(u64, String)> {
    let (mut seen, mut last) = (Vec::new(), Some("0".to_owned()));
    loop {
        let now = *host.lock().unwrap();
        let Ok(mut feed) = Events::open(now, query, last.as_deref()) else {
            thread::sleep(Duration::from_millis(5));
            continue;
        };
        while let Ok(Some((name, data))) = feed.next() {
            assert_eq!(name, "create", "{data}");
            let id = data["id"].as_str().unwrap().to_owned();
            if id == "end" && stop.load(Ordering::Relaxed) {
                return seen;
            }
            seen.push((data["revision"].as_u64().unwrap(), id));
        }
        last = feed.last;
    }
}

/// A writer that goes on over a new connection when one breaks.
struct FeedWriter {
    goes_on: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    thread: JoinHandle<WrittenIds>,
}

/// The ids that a writer has written, and those of which it does not know.
#[derive(Default)]
struct WrittenIds {
    acknowledged: Vec<String>,
    unknown: Vec<String>,
    last: u64,
}

impl FeedWriter {
    /// The writes that are acknowledged between two deaths.
    const STEP: usize = 5;

    fn start(host: SocketAddr, last: u64) -> Self {
        let goes_on = Arc::new(AtomicBool::new(true));
        let acknowledged = Arc::<AtomicUsize>::default();
        let (is_wanted, count) = (Arc::clone(&goes_on), Arc::clone(&acknowledged));
        let thread = thread::spawn(move || {
            let mut written = WrittenIds {
                last,
                ..WrittenIds::default()
            };
            let mut client = None;
            while is_wanted.load(Ordering::Relaxed) {
                let Some(connected) = &mut client else {
                    client = Client::connect(host).ok();
                    continue;
                };
                written.last += 1;
                let id = format!("n{}", written.last);
                let record = json!({"id": id, "odd": written.last % 2 == 1});
                match connected.post("/books", &record) {
                    Ok(answer) if answer.status == 201 => {
                        written.acknowledged.push(id);
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    _ => {
                        written.unknown.push(id);
                        client = None;
                    }
                }
            }
            written
        });
        Self {
            goes_on,
            acknowledged,
            thread,
        }
    }

    fn wait_for_more(&self, daemon: &TestDaemon) {
        let before = self.acknowledged.load(Ordering::Relaxed);
        daemon.wait_until("more is written", |_| {
            self.acknowledged.load(Ordering::Relaxed) >= before + Self::STEP
        });
    }

    fn stop(self) -> WrittenIds {
        self.goes_on.store(false, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

#[test]
fn each_acknowledged_change_is_told_once_through_deaths_of_children_and_the_process() {
    let settings = format!("{UPSERT}\n{UNLIMITED_RESTARTS}");
    let mut daemon = TestDaemon::start(&settings);
    let host = Arc::new(Mutex::new(daemon.public()));
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = ["", "?odd=true"]
        .map(|query| {
            let (host, stop) = (Arc::clone(&host), Arc::clone(&stop));
            thread::spawn(move || follow(&host, &stop, query))
        })
        .into();
    let (mut acknowledged, mut unknown) = (BTreeSet::new(), BTreeSet::new());
    let mut number = 0;
    for round in 0..8 {
        let writer = FeedWriter::start(daemon.public(), number);
        let points = [
            "writer.before_answers",
            "writer.before_view",
            "writer.in_transaction",
        ];
        for point in points {
            writer.wait_for_more(&daemon);
            daemon.chaos(&json!({"point": point}));
            writer.wait_for_more(&daemon);
            daemon.chaos(&json!({"child": format!("handler-{}", round % 2)}));
        }
        writer.wait_for_more(&daemon);
        if round % 2 == 1 {
            daemon.kill9();
        }
        let written = writer.stop();
        number = written.last;
        acknowledged.extend(written.acknowledged);
        unknown.extend(written.unknown);
        if round % 2 == 1 {
            daemon.restart();
            *host.lock().unwrap() = daemon.public();
        }
    }
    stop.store(true, Ordering::Relaxed);
    client::post(
        daemon.public(),
        "/books",
        &json!({"id": "end", "odd": true}),
    )
    .expect(201);
    assert!(acknowledged.len() > 100, "{}", acknowledged.len());
    for (reader, all) in readers.into_iter().zip([true, false]) {
        let seen = reader.join().unwrap();
        assert!(
            seen.is_sorted_by(|one, next| one.0 < next.0),
            "in order, each once"
        );
        let told: BTreeSet<_> = seen.into_iter().map(|(_, id)| id).collect();
        let is_odd = |id: &&String| id[1..].parse::<u64>().unwrap() % 2 == 1;
        let wanted: BTreeSet<_> = acknowledged
            .iter()
            .filter(|id| all || is_odd(id))
            .cloned()
            .collect();
        let missing: Vec<_> = wanted.difference(&told).collect();
        assert!(missing.is_empty(), "missing: {missing:?}");
        let more = told.difference(&wanted);
        assert!(
            more.clone().all(|id| unknown.contains(id)),
            "{:?}",
            more.collect::<Vec<_>>()
        );
    }
}
