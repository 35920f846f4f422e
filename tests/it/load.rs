//! Load for drills: clients that count failed requests and keep every acknowledged write.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use serde_json::{Value, json};

use crate::client::{Client, Response};

/// The number of the next token, unique within this process.
static NEXT_TOKEN: AtomicU64 = AtomicU64::new(0);
const SHOWN_FAILURES: usize = 20;

/// How many clients of each kind there are, and how fast they send.
#[derive(Debug, Clone)]
pub(crate) struct Mix {
    /// Clients that read the page, a record and the list by turns.
    pub(crate) readers: usize,
    /// How many of the readers open a new connection for each request.
    pub(crate) reconnecting: usize,
    /// Clients that POST.
    pub(crate) writers: usize,
    /// A reader's pause after each answer.
    pub(crate) reader_pause: Duration,
    /// A writer's pause after each answer.
    pub(crate) writer_pause: Duration,
    /// A file that is replaced every 20 ms.
    pub(crate) page: Option<PathBuf>,
    /// The header fields that every client sends.
    pub(crate) headers: Vec<(&'static str, String)>,
}

impl Mix {
    /// For `cargo test`: leaves CPU time on two cores.
    pub(crate) fn small() -> Self {
        Self {
            readers: 6,
            reconnecting: 1,
            writers: 2,
            reader_pause: Duration::from_millis(2),
            writer_pause: Duration::from_millis(2),
            page: None,
            headers: Vec::new(),
        }
    }

    /// For drills.
    pub(crate) fn large() -> Self {
        Self {
            readers: 72, // 64 keep their connection, 8 reconnect
            reconnecting: 8,
            writers: 8,
            reader_pause: Duration::from_millis(10),
            writer_pause: Duration::from_millis(20),
            page: None,
            headers: Vec::new(),
        }
    }

    /// Only writers, without pauses.
    pub(crate) fn writers(writers: usize) -> Self {
        Self {
            readers: 0,
            reconnecting: 0,
            writers,
            reader_pause: Duration::ZERO,
            writer_pause: Duration::ZERO,
            page: None,
            headers: Vec::new(),
        }
    }

    pub(crate) fn sending(self, headers: Vec<(&'static str, String)>) -> Self {
        Self { headers, ..self }
    }

    pub(crate) fn replacing(mut self, page: PathBuf) -> Self {
        self.page = Some(page);
        self
    }
}

/// The id and the `ETag` of a 201, which must not change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Promise {
    pub(crate) id: String,
    pub(crate) etag: String,
}

impl Promise {
    /// `None` unless the answer is a 201 with an id and an `ETag`.
    pub(crate) fn of(answer: &Response) -> Option<Self> {
        let body: Value = serde_json::from_slice(&answer.body).ok()?;
        (answer.status == 201).then_some(())?;
        Some(Self {
            id: body["id"].as_str()?.to_owned(),
            etag: answer.header("etag")?.to_owned(),
        })
    }
}

/// Acknowledged writes, by their tokens.
pub(crate) type Acked = BTreeMap<String, Promise>;

/// The answers and failures that clients saw.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    /// The texts of the first failures.
    pub(crate) failures: Vec<String>,
    /// Failures without a problem+json: no answer at all, or one of another type.
    pub(crate) untyped: u64,
    /// Answers after which the server closed the connection although the client did not ask for it.
    pub(crate) closed: u64,
    /// Writes that were answered with 201.
    pub(crate) acked: Acked,
    micros: Vec<u32>,
}

impl Outcome {
    pub(crate) fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.untyped += other.untyped;
        self.closed += other.closed;
        self.failures.extend(other.failures);
        self.failures.truncate(SHOWN_FAILURES);
        self.acked.extend(other.acked);
        self.micros.extend(other.micros);
    }

    /// The 99th percentile of the response times.
    pub(crate) fn p99(&self) -> Duration {
        let mut micros = self.micros.clone();
        micros.sort_unstable();
        let at = micros.len() * 99 / 100;
        let micros = micros.get(at).or(micros.last()).copied();
        Duration::from_micros(micros.unwrap_or_default().into())
    }

    pub(crate) fn count(&mut self, what: &str, took: Duration, answer: &io::Result<Response>) {
        self.requests += 1;
        self.micros
            .push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
        self.closed += u64::from(answer.as_ref().is_ok_and(|answer| !answer.keep_alive));
        let failure = match answer {
            Ok(answer) if answer.status < 300 => return,
            Ok(answer) => format!("{what}: {} {}", answer.status, answer.text()),
            Err(error) => format!("{what}: {error}"),
        };
        self.failed += 1;
        let kind = answer.as_ref().ok().and_then(|a| a.header("content-type"));
        let typed = kind.is_some_and(|kind| kind.starts_with("application/problem+json"));
        self.untyped += u64::from(!typed);
        if self.failures.len() < SHOWN_FAILURES {
            self.failures.push(failure);
        }
    }
}

type Shared = Arc<Mutex<Outcome>>;

fn lock(outcome: &Shared) -> MutexGuard<'_, Outcome> {
    outcome.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Running clients, one thread each.
#[derive(Debug)]
pub(crate) struct Traffic {
    stop: Arc<AtomicBool>,
    clients: Vec<(JoinHandle<()>, Shared)>,
    others: Vec<JoinHandle<()>>,
}

impl Traffic {
    #[track_caller]
    pub(crate) fn start(host: SocketAddr, mix: Mix) -> Self {
        Self::start_with(host, None, mix)
    }

    /// The same over TLS.
    #[track_caller]
    pub(crate) fn start_with(host: SocketAddr, tls: Option<TlsTarget>, mix: Mix) -> Self {
        let mut traffic = Self {
            stop: Arc::default(),
            clients: Vec::new(),
            others: Vec::new(),
        };
        let mut first = String::new();
        if mix.readers > 0 {
            let mut maker = Connection::to(host, tls.clone(), &mix, false);
            let book = json!({"title": "to be read"});
            let made = maker.ask(|client| client.post("/books", &book));
            let id = made.expect("an answer").expect(201).json()["id"].clone();
            first = format!("/books/{}", id.as_str().expect("an id"));
        }
        for number in 0..mix.readers {
            let paths = ["/".into(), first.clone(), "/books?_start=0&_end=10".into()];
            let (reconnecting, pause) = (number < mix.reconnecting, mix.reader_pause);
            let connection = Connection::to(host, tls.clone(), &mix, reconnecting);
            traffic.client(connection, pause, Requests::Read(number, paths));
        }
        for _ in 0..mix.writers {
            let connection = Connection::to(host, tls.clone(), &mix, false);
            traffic.client(connection, mix.writer_pause, Requests::Write);
        }
        if let Some(page) = mix.page {
            let stop = Arc::clone(&traffic.stop);
            let rewriting = thread::spawn(move || rewrite(page, &stop));
            traffic.others.push(rewriting);
        }
        traffic
    }

    fn client(&mut self, mut connection: Connection, pause: Duration, requests: Requests) {
        let outcome = Shared::default();
        let (stop, seen) = (Arc::clone(&self.stop), Arc::clone(&outcome));
        let client = thread::spawn(move || {
            let mut requests = requests;
            while !stop.load(Ordering::Relaxed) {
                let fine = requests.next(&mut connection, &seen);
                let pause = if fine {
                    pause
                } else {
                    Duration::from_millis(10)
                };
                thread::sleep(pause);
            }
        });
        self.clients.push((client, outcome));
    }

    /// Takes what the clients have seen since the last call.
    pub(crate) fn take(&self) -> Outcome {
        let mut all = Outcome::default();
        for (_, outcome) in &self.clients {
            let one = std::mem::take(&mut *lock(outcome));
            all.add(one);
        }
        all
    }

    /// Waits until each client has finished its request, and returns what they saw since the last `take`.
    pub(crate) fn stop(mut self) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Outcome::default();
        for (client, outcome) in self.clients.drain(..) {
            client.join().expect("no client panics");
            all.add(std::mem::take(&mut *lock(&outcome)));
        }
        for other in self.others.drain(..) {
            other
                .join()
                .expect("the thread that replaces the page does not panic");
        }
        all
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

enum Requests {
    Read(usize, [String; 3]),
    Write,
}

impl Requests {
    /// Sends one request and records its outcome; false if it failed.
    fn next(&mut self, connection: &mut Connection, seen: &Shared) -> bool {
        let since = Instant::now();
        match self {
            Self::Read(number, paths) => {
                *number += 1;
                let path = &paths[*number % paths.len()];
                let answer = connection.ask(|client| client.get(path));
                lock(seen).count(path, since.elapsed(), &answer);
                answer.is_ok_and(|answer| answer.status == 200)
            }
            Self::Write => {
                let token = format!("t{}", NEXT_TOKEN.fetch_add(1, Ordering::Relaxed));
                let body = json!({ "token": token });
                let answer = connection.ask(|client| client.post("/books", &body));
                let mut seen = lock(seen);
                seen.count("POST /books", since.elapsed(), &answer);
                let promise = answer.ok().as_ref().and_then(Promise::of);
                let acked = promise.is_some();
                seen.acked.extend(promise.map(|promise| (token, promise)));
                acked
            }
        }
    }
}

/// An address that speaks TLS, and a client that trusts it.
pub(crate) type TlsTarget = (SocketAddr, Arc<ClientConfig>);

struct Connection {
    host: SocketAddr,
    tls: Option<TlsTarget>,
    headers: Vec<(&'static str, String)>,
    reconnecting: bool,
    open: Option<Client>,
}

impl Connection {
    fn to(host: SocketAddr, tls: Option<TlsTarget>, mix: &Mix, reconnecting: bool) -> Self {
        Self {
            host,
            tls,
            headers: mix.headers.clone(),
            reconnecting,
            open: None,
        }
    }

    fn connect(&self) -> io::Result<Client> {
        let mut client = match &self.tls {
            Some((host, config)) => Client::connect_tls(*host, config)?,
            None => Client::connect(self.host)?,
        };
        client.always_send(&self.headers);
        Ok(client)
    }

    /// Sends one request, and keeps the connection if the server does.
    fn ask(
        &mut self,
        request: impl FnOnce(&mut Client) -> io::Result<Response>,
    ) -> io::Result<Response> {
        let kept = self.open.take();
        let mut client = kept.map_or_else(|| self.connect(), Ok)?;
        let answer = request(&mut client)?;
        if answer.keep_alive && !self.reconnecting {
            self.open = Some(client);
        }
        Ok(answer)
    }
}

/// Replaces the page again and again by an atomic rename.
fn rewrite(page: PathBuf, stop: &AtomicBool) {
    let fresh = page.with_extension("fresh");
    let mut number = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let text = format!("<h1>page {number}</h1>");
        if fs::write(&fresh, text)
            .and_then(|()| fs::rename(&fresh, &page))
            .is_err()
        {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Lists all books: the ids of the records with each token.
#[track_caller]
pub(crate) fn tokens(host: SocketAddr) -> BTreeMap<String, Vec<String>> {
    let mut client = Client::connect(host).expect("connect to list the books");
    let mut found = BTreeMap::<_, Vec<_>>::new();
    let mut start = 0;
    loop {
        let path = format!("/books?_start={start}&_end={}", start + 1000);
        let answer = client.get(&path).expect("a list").expect(200);
        let total = answer.header("x-total-count").and_then(|n| n.parse().ok());
        let total: usize = total.expect("X-Total-Count");
        let records: Vec<Value> = serde_json::from_value(answer.json()).expect("a list");
        start += records.len();
        for record in &records {
            if let Some(token) = record["token"].as_str() {
                let id = record["id"].as_str().expect("an id").to_owned();
                found.entry(token.to_owned()).or_default().push(id);
            }
        }
        if records.is_empty() || start >= total {
            assert_eq!(
                start, total,
                "the number of listed records and X-Total-Count"
            );
            return found;
        }
    }
}

/// Fails unless every acknowledged write is stored under its id, and no write is stored twice.
#[track_caller]
pub(crate) fn assert_kept(acked: &Acked, kept: &BTreeMap<String, Vec<String>>) {
    let lost: Vec<_> = acked.keys().filter(|t| !kept.contains_key(*t)).collect();
    let twice: Vec<_> = kept.iter().filter(|(_, ids)| ids.len() > 1).collect();
    let all = acked.len();
    assert!(lost.is_empty(), "lost {} of {all}: {lost:?}", lost.len());
    assert!(twice.is_empty(), "applied twice: {twice:?}");
    for (token, promise) in acked {
        assert_eq!(kept[token], [promise.id.as_str()], "the id of {token}");
    }
}

/// Fails unless every acknowledged record still has the `ETag` of its 201: applying the write a second time would have
/// changed it.
#[track_caller]
pub(crate) fn assert_unchanged(host: SocketAddr, acked: &Acked) {
    let mut client = Client::connect(host).expect("connect to read the books");
    for (token, promise) in acked {
        let path = format!("/books/{}", promise.id);
        let answer = client.get(&path).expect("a record").expect(200);
        let etag = answer.header("etag");
        assert_eq!(etag, Some(promise.etag.as_str()), "the ETag of {token}");
        assert_eq!(answer.json()["token"], token.as_str(), "{path}");
    }
}
