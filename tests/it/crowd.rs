//! Ten thousand subscribers of one feed, or as many as there may be open files: what each costs, and that each gets all changes in order.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::client::Client;
use crate::daemon::{TestDaemon, metric};
use crate::unread::resident_kib;

const SUBSCRIBERS: u64 = 10_000;
/// Connections beside them.
const OTHERS: u64 = 100;
/// Open files that the daemon keeps for other purposes than connections and what they send, which share the rest.
const OTHER_FILES: u64 = 512;
const CHANGES: u64 = 100;
/// The most memory of one, with the connection that it has.
const SUBSCRIBER_KIB_MAX: f64 = 24.0;
const TIMEOUT: Duration = Duration::from_secs(600);

/// One subscriber, behind the head of its answer.
struct Subscriber {
    stream: TcpStream,
    text: String,
}

impl Subscriber {
    async fn open(host: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(host).await.unwrap();
        let head =
            "GET /books/_changes HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let text = String::new();
        let mut subscriber = Self { stream, text };
        // The first block has the position.
        while !subscriber.text.contains("\nid: ") {
            subscriber.read().await;
        }
        assert!(
            subscriber.text.starts_with("HTTP/1.1 200"),
            "{}",
            subscriber.text
        );
        subscriber.text.clear();
        subscriber
    }

    async fn read(&mut self) {
        let mut bytes = [0; 4096];
        let length = self.stream.read(&mut bytes).await.unwrap();
        assert!(length > 0, "the feed ended");
        self.text
            .push_str(std::str::from_utf8(&bytes[..length]).unwrap());
    }

    /// Reads so many events, and returns the numbers of their changes.
    async fn events(mut self, count: usize) -> Vec<u64> {
        let mut numbers = Vec::with_capacity(count);
        while numbers.len() < count {
            self.read().await;
            while let Some((line, rest)) = self.text.split_once('\n') {
                if let Some(data) = line.strip_prefix("data: ") {
                    let event: serde_json::Value = serde_json::from_str(data).unwrap();
                    numbers.push(event["revision"].as_u64().unwrap());
                }
                self.text = rest.to_owned();
            }
        }
        numbers
    }
}

/// Makes records one after the other. Returns the numbers of their changes.
fn write(host: SocketAddr) -> Vec<u64> {
    let mut client = Client::connect(host).unwrap();
    let record = |n: u64| {
        let made = client.post("/books", &json!({"n": n})).unwrap().expect(201);
        let tag = made
            .header("etag")
            .unwrap()
            .trim_start_matches('"')
            .to_owned();
        tag.split('-').next().unwrap().parse().unwrap()
    };
    (0..CHANGES).map(record).collect()
}

#[test]
#[ignore = "measures memory, so it needs a release build: .ci/run runs it"]
fn ten_thousand_subscribers_get_every_change_in_order() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = maximum;
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
    let files = maximum.unwrap_or(u64::MAX) - OTHER_FILES;
    let most = u32::try_from(SUBSCRIBERS.min(files / 2 - OTHERS)).unwrap();
    let mut daemon = TestDaemon::prepare("");
    let text = std::fs::read_to_string(daemon.config()).unwrap();
    let connections = format!("[server]\nmax_connections = {}\n", u64::from(most) + OTHERS);
    std::fs::write(daemon.config(), text.replace("[server]\n", &connections)).unwrap();
    daemon.spawn();
    daemon.wait_ready();
    let host = daemon.public();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        // What the first of each kind needs is no part of the others' cost.
        let first = Subscriber::open(host).await;
        let before = resident_kib(&daemon);
        let begun = Instant::now();
        let mut subscribers = vec![first];
        for _ in 1..most {
            subscribers.push(Subscriber::open(host).await);
        }
        let opened = begun.elapsed();
        let after = resident_kib(&daemon);
        let each = (after - before) / f64::from(most);
        let metrics = daemon.metrics();
        let open = metric(&metrics, "perennial_feed_subscribers", "");
        assert_eq!(open, Some(f64::from(most)));
        let writing = tokio::task::spawn_blocking(move || write(host));
        let begun = Instant::now();
        let mut reading = JoinSet::new();
        let count = usize::try_from(CHANGES).unwrap();
        for subscriber in subscribers {
            reading.spawn(subscriber.events(count));
        }
        let told = tokio::time::timeout(TIMEOUT, reading.join_all()).await;
        let took = begun.elapsed();
        let made = writing.await.unwrap();
        let told = told.expect("all changes in time");
        assert!(told.iter().all(|numbers| *numbers == made), "a gap, or one twice");
        let full = resident_kib(&daemon);
        println!(
            "{most} subscribers: opened in {opened:.1?}, {each:.1} KiB each; {CHANGES} changes told to all in {took:.1?} without a gap; then {:.1} KiB each",
            (full - before) / f64::from(most)
        );
        assert!(each <= SUBSCRIBER_KIB_MAX, "{each:.1} KiB each");
    });
}
