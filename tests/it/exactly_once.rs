//! A drill: clients that send each of their requests until it is answered, while the process is killed again and again during
//! batches and while indexes are built and removed. Each operation is done once, and each index is equal to its records.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::backup::{expect, run};
use crate::client::{Client, Response};
use crate::daemon::TestDaemon;
use crate::drills::{RandomDurations, count};

const CLIENTS: u64 = 6;
/// Records that are there from the beginning, so that an index takes a while.
const FILLING: u64 = 20_000;
const PAGE: usize = 1000;
/// How long a request may have no answer, over all processes.
const UNANSWERED_MAX: Duration = Duration::from_secs(60);
/// The counter that all clients add to.
const SHARED: &str = "all";
const JSON: &str = "application/json";
/// The indexes of `books`, one set after the other.
const INDEXES: [&str; 4] = [
    "index = [\"n\"]",
    "index = [\"of\", [\"of\", \"n\"]]\nunique = [\"token\"]",
    "index = [\"n\", \"token\"]",
    "unique = [\"token\"]",
];

fn settings(round: usize) -> String {
    let indexes = INDEXES[round % INDEXES.len()];
    format!(
        "{indexes}\n[resource.counters]\nid = \"client\"\n[limits]\nbatch = 1000\n[storage]\nanswers = 100000\n"
    )
}

/// A request of a client, and what it does once.
struct Request {
    method: &'static str,
    path: String,
    kind: &'static str,
    body: String,
    /// The tokens of the records that it makes, each of which has one.
    tokens: Vec<String>,
    /// The token of the record that it removes.
    removed: Option<String>,
    /// How much it adds to the client's counter, and to the one of all.
    added: u64,
}

/// What a client has done, as its answers say.
#[derive(Default)]
struct Done {
    /// The ids of its records, by their tokens.
    records: BTreeMap<String, String>,
    added: u64,
    requests: u64,
    /// Requests that were sent more than once.
    repeated: u64,
    /// Those of them that were answered with an answer of before.
    replayed: u64,
}

/// A client and what it has done.
struct Retrying {
    number: u64,
    done: Done,
    random: fastrand::Rng,
}

impl Retrying {
    fn token(&mut self) -> String {
        format!("c{}-{:08x}", self.number, self.random.u32(..))
    }

    fn increment(path: &str, by: u64) -> Value {
        json!({"method": "PATCH", "path": path, "body": [{"op": "increment", "path": "/n", "value": by}]})
    }

    fn book(&self, token: &str) -> Value {
        json!({"token": token, "of": self.number, "n": self.done.requests})
    }

    /// Operations that make some records, remove one, and add to both counters.
    fn operations(&mut self) -> (Vec<Value>, Request) {
        let made = self.random.usize(1..20);
        let tokens: Vec<_> = (0..made).map(|_| self.token()).collect();
        let added = self.random.u64(1..100);
        let removed = self.done.records.iter().next();
        let removed = removed.map(|(token, id)| (token.clone(), id.clone()));
        let made = tokens
            .iter()
            .map(|token| json!({"method": "POST", "path": "/books", "body": self.book(token)}));
        let mut operations: Vec<_> = made.collect();
        let own = format!("/counters/c{}", self.number);
        let shared = format!("/counters/{SHARED}");
        operations.extend([&own, &shared].map(|path| Self::increment(path, added)));
        if let Some((_, id)) = &removed {
            operations.push(json!({"method": "DELETE", "path": format!("/books/{id}")}));
        }
        let request = Request {
            method: "POST",
            path: "/_batch".to_owned(),
            kind: JSON,
            body: String::new(),
            tokens,
            removed: removed.map(|(token, _)| token),
            added,
        };
        (operations, request)
    }

    fn next(&mut self) -> Request {
        let choice = self.random.u32(..10);
        if choice < 6 {
            let (operations, request) = self.operations();
            let mode = ["atomic", "gather"][usize::from(choice.is_multiple_of(3))];
            let body = json!({"mode": mode, "ops": operations}).to_string();
            return Request { body, ..request };
        }
        let made = if choice == 6 {
            1
        } else {
            self.random.usize(1..50)
        };
        let tokens: Vec<_> = (0..made).map(|_| self.token()).collect();
        let records: Vec<_> = tokens.iter().map(|token| self.book(token)).collect();
        let (kind, body) = match choice {
            6 => (JSON, records[0].to_string()),
            7 | 8 => (JSON, Value::from(records).to_string()),
            _ => {
                let lines = records.iter().map(|record| format!("{record}\n"));
                ("application/x-ndjson", lines.collect())
            }
        };
        Request {
            method: "POST",
            path: "/books".to_owned(),
            kind,
            body,
            tokens,
            removed: None,
            added: 0,
        }
    }

    /// Sends a request, over new connections and to new processes, until it has an answer.
    fn send(&mut self, host: &Mutex<SocketAddr>, request: &Request) -> Response {
        let key = format!("\"{}\"", Uuid::now_v7());
        let head = [("content-type", request.kind), ("idempotency-key", &key)];
        let begun = Instant::now();
        let mut tries = 0;
        loop {
            let now = *host.lock().unwrap();
            let sent = Client::connect(now).and_then(|mut client| {
                tries += 1;
                client.send(
                    request.method,
                    &request.path,
                    &head,
                    Some(request.body.as_bytes()),
                )
            });
            match sent {
                // The store was not ready, or the daemon does not know what became of it.
                Ok(answer) if answer.status == 503 => {}
                Ok(answer) => {
                    self.done.repeated += u64::from(tries > 1);
                    let replayed = answer.header("idempotent-replayed") == Some("true");
                    self.done.replayed += u64::from(replayed);
                    return answer;
                }
                Err(_) => {}
            }
            assert!(
                begun.elapsed() < UNANSWERED_MAX,
                "no answer: {}",
                request.body
            );
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn step(&mut self, host: &Mutex<SocketAddr>) {
        let request = self.next();
        let answer = self.send(host, &request);
        assert!(
            [200, 201].contains(&answer.status),
            "{} {}: {}",
            request.path,
            answer.status,
            answer.text()
        );
        let told = answer.json();
        let made: Vec<_> = if let Some(records) = told.as_array() {
            records.iter().collect()
        } else if request.path == "/books" {
            vec![&told]
        } else {
            let results = told["results"].as_array().unwrap();
            for result in results {
                assert!(
                    [200, 201].contains(&result["status"].as_u64().unwrap()),
                    "{result}"
                );
            }
            let made = results.iter().map(|result| &result["body"]);
            made.take(request.tokens.len()).collect()
        };
        assert_eq!(made.len(), request.tokens.len(), "{told}");
        for (record, token) in made.into_iter().zip(&request.tokens) {
            assert_eq!(record["token"], **token);
            let id = record["id"].as_str().unwrap().to_owned();
            self.done.records.insert(token.clone(), id);
        }
        if let Some(removed) = &request.removed {
            self.done.records.remove(removed);
        }
        self.done.added += request.added;
        self.done.requests += 1;
    }
}

/// The clients, which go on until they are stopped.
struct RetryingClients {
    host: Arc<Mutex<SocketAddr>>,
    goes_on: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Done>>,
}

impl RetryingClients {
    fn start(host: SocketAddr, seed: u64) -> Self {
        let host = Arc::new(Mutex::new(host));
        let goes_on = Arc::new(AtomicBool::new(true));
        let client = |number| {
            let (host, goes_on) = (Arc::clone(&host), Arc::clone(&goes_on));
            thread::spawn(move || {
                let mut client = Retrying {
                    number,
                    done: Done::default(),
                    random: fastrand::Rng::with_seed(seed.wrapping_add(number)),
                };
                while goes_on.load(Ordering::Relaxed) {
                    client.step(&host);
                }
                client.done
            })
        };
        let threads = (0..CLIENTS).map(client).collect();
        Self {
            host,
            goes_on,
            threads,
        }
    }

    /// What each has done, when all are answered.
    fn stop(self) -> Vec<Done> {
        self.goes_on.store(false, Ordering::Relaxed);
        self.threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    }
}

/// The tokens of all records with their ids, by pages.
fn found(daemon: &TestDaemon) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut path = format!("/books?_limit={PAGE}&_after=");
    loop {
        let page = daemon.get(&path).expect(200);
        for record in page.json().as_array().unwrap() {
            let [token, id] = ["token", "id"].map(|name| record[name].as_str().unwrap().to_owned());
            assert_eq!(found.insert(token, id), None, "{record} is there twice");
        }
        let links = page.header("link").unwrap_or_default().to_owned();
        let next = links
            .split(", ")
            .find(|link| link.ends_with("rel=\"next\""));
        let Some(next) = next else {
            return found;
        };
        let url = next.trim_start_matches('<').split('>').next().unwrap();
        url[url.find("/books").unwrap()..].clone_into(&mut path);
    }
}

/// Whether the process that was killed had begun to build an index and not ended.
fn was_building(stderr: &str) -> bool {
    let count = |text: &str| stderr.lines().filter(|line| line.contains(text)).count();
    count("an index is new") + count("an index is built") > count("an index is complete")
}

fn counter(daemon: &TestDaemon, id: &str) -> u64 {
    let record = daemon.get(&format!("/counters/{id}")).expect(200).json();
    record["n"].as_u64().unwrap()
}

fn use_indexes(daemon: &TestDaemon, round: usize) {
    let text = fs::read_to_string(daemon.config()).unwrap();
    let (before, _) = text.split_once("path = \"/books\"\n").unwrap();
    let text = format!("{before}path = \"/books\"\n{}", settings(round));
    fs::write(daemon.config(), text).unwrap();
}

fn fill(daemon: &TestDaemon) -> BTreeMap<String, String> {
    let mut client = Client::connect(daemon.public()).unwrap();
    let owners = (0..CLIENTS).map(|number| format!("c{number}"));
    for id in owners.chain([SHARED.to_owned()]) {
        let made = client.post("/counters", &json!({"id": id, "n": 0}));
        made.unwrap().expect(201);
    }
    let filling: Vec<_> = (0..FILLING)
        .map(|n| json!({"token": format!("filling-{n}"), "of": n % 7, "n": n, "text": "x".repeat(100)}))
        .collect();
    for page in filling.chunks(PAGE) {
        let made = client.post("/books", &Value::from(page));
        made.unwrap().expect(201);
    }
    found(daemon)
}

#[test]
#[ignore = "takes minutes: .ci/run runs it"]
fn kill_9_during_batches_index_builds_and_retries_does_each_operation_once() {
    let kills = usize::try_from(count("DRILL_KILLS", 100)).unwrap();
    let mut durations = RandomDurations::new();
    let mut daemon = TestDaemon::start(&settings(0));
    let mut expected = fill(&daemon);
    let clients = RetryingClients::start(daemon.public(), durations.number_below(u64::MAX));
    let (mut in_builds, mut in_starts, mut checks) = (0, 0, 0);
    for round in 1..=kills {
        thread::sleep(durations.below(Duration::from_millis(250)));
        daemon.kill9();
        in_builds += u32::from(was_building(&daemon.stderr()));
        if round.is_multiple_of(10) {
            expect(&run(&daemon, &["check", "--data"]), 0);
            checks += 1;
        }
        use_indexes(&daemon, round);
        daemon.spawn();
        if round % 4 == 3 {
            in_starts += 1;
            thread::sleep(durations.below(Duration::from_millis(60)));
            continue;
        }
        daemon.wait_ready();
        *clients.host.lock().unwrap() = daemon.public();
    }
    daemon.wait_ready();
    *clients.host.lock().unwrap() = daemon.public();
    let done = clients.stop();
    let mut shared = 0;
    for (number, done) in done.iter().enumerate() {
        assert_eq!(counter(&daemon, &format!("c{number}")), done.added);
        shared += done.added;
        expected.extend(done.records.clone());
    }
    assert_eq!(counter(&daemon, SHARED), shared);
    assert!(
        found(&daemon) == expected,
        "each record that was made and not removed, once"
    );
    let sum = |of: fn(&Done) -> u64| done.iter().map(of).sum::<u64>();
    let [requests, repeated, replayed] = [
        sum(|done| done.requests),
        sum(|done| done.repeated),
        sum(|done| done.replayed),
    ];
    daemon.kill9();
    expect(&run(&daemon, &["check", "--data"]), 0);
    println!(
        "{kills} kills, {in_builds} while an index was built, {in_starts} during starts; {requests} requests, {repeated} sent again, \
         {replayed} of them done before and answered as before; {} records, each once; checked {} times",
        expected.len(),
        checks + 1
    );
    assert!(requests > 0 && (kills < 20 || repeated > 0));
}
