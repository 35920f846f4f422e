//! The part of a drill's load that is not small requests over TCP: a unix socket, HTTP/2 with several streams on a
//! connection, a page of 3.6 MB from memory, and a file that is streamed from the disk.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use h2::client::SendRequest;
use serde_json::json;
use tokio::net::TcpStream;

use crate::client::{Client, Response};
use crate::daemon::TestDaemon;
use crate::load::{Outcome, Promise};

const PAGE: (&str, usize) = ("/large.html", 3_600_000);
const STREAMED: (&str, usize) = ("/streamed.bin", 6_000_000);
const UNIX_CLIENTS: usize = 4;
const HTTP2_CONNECTIONS: usize = 2;
const STREAMS: u64 = 6;
const PAUSE: Duration = Duration::from_millis(10);
/// The pause between two large answers: short enough that one is usually in flight, long enough to leave CPU time.
const LARGE_PAUSE: Duration = Duration::from_millis(150);

static NEXT: AtomicU64 = AtomicU64::new(0);

/// Running clients, one thread each.
pub(crate) struct VariedTraffic {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Outcome>>,
}

/// Adds a unix socket and large files to a prepared daemon; returns the socket's path.
pub(crate) fn prepare(daemon: &TestDaemon) -> PathBuf {
    let socket = daemon.folder().join("socket");
    let text = fs::read_to_string(daemon.config()).unwrap();
    let both = format!("listen = [\"127.0.0.1:0\", \"unix:{}\"]", socket.display());
    let text = text.replace("listen = [\"127.0.0.1:0\"]", &both);
    fs::write(daemon.config(), text).unwrap();
    for (path, bytes) in [PAGE, STREAMED] {
        fs::write(daemon.site(&path[1..]), vec![b'x'; bytes]).unwrap();
    }
    socket
}

impl VariedTraffic {
    pub(crate) fn start(host: SocketAddr, socket: &Path) -> Self {
        let mut varied = Self {
            stop: Arc::default(),
            clients: Vec::new(),
        };
        for _ in 0..UNIX_CLIENTS {
            let socket = socket.to_owned();
            let paths = ["/", "/books?_end=5"].map(|path| (path, None));
            varied.client(move |stop| read(&|| Client::connect_unix(&socket), &paths, PAUSE, stop));
        }
        for (path, bytes) in [PAGE, STREAMED] {
            let paths = [(path, Some(bytes))];
            let connect = move || Client::connect(host);
            varied.client(move |stop| read(&connect, &paths, LARGE_PAUSE, stop));
        }
        for _ in 0..HTTP2_CONNECTIONS {
            varied.client(move |stop| {
                let runtime = tokio::runtime::Builder::new_current_thread();
                let runtime = { runtime }.enable_all().build().unwrap();
                runtime.block_on(streams(host, stop))
            });
        }
        varied
    }

    fn client(&mut self, work: impl FnOnce(&AtomicBool) -> Outcome + Send + 'static) {
        let stop = Arc::clone(&self.stop);
        self.clients.push(thread::spawn(move || work(&stop)));
    }

    /// Waits until each client has finished its request, and returns what all of them saw.
    pub(crate) fn stop(self) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Outcome::default();
        for client in self.clients {
            all.add(client.join().unwrap());
        }
        all
    }
}

/// An error unless a 200 has the expected number of bytes.
fn whole(answer: io::Result<Response>, bytes: Option<usize>) -> io::Result<Response> {
    let answer = answer?;
    match bytes {
        Some(bytes) if answer.status == 200 && answer.body.len() != bytes => {
            let what = format!("{} bytes of {bytes}", answer.body.len());
            Err(io::Error::new(io::ErrorKind::UnexpectedEof, what))
        }
        Some(_) | None => Ok(answer),
    }
}

/// Requests the paths in turn over one connection, and reconnects only when the server closes it.
fn read(
    connect: &dyn Fn() -> io::Result<Client>,
    paths: &[(&str, Option<usize>)],
    pause: Duration,
    stop: &AtomicBool,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut open = None;
    for (path, bytes) in paths.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let since = Instant::now();
        let client = open.take().map_or_else(connect, Ok);
        let answer = client.and_then(|mut client| {
            let answer = whole(client.get(path), *bytes)?;
            if answer.keep_alive {
                open = Some(client);
            }
            Ok(answer)
        });
        outcome.count(path, since.elapsed(), &answer);
        thread::sleep(pause);
    }
    outcome
}

/// Sends several requests at a time over one HTTP/2 connection.
async fn streams(host: SocketAddr, stop: &AtomicBool) -> Outcome {
    let mut outcome = Outcome::default();
    let mut open: Option<SendRequest<Bytes>> = None;
    while !stop.load(Ordering::Relaxed) {
        let since = Instant::now();
        let client = match open.take() {
            Some(client) => Ok(client),
            None => connect(host).await,
        };
        let client = match client {
            Ok(client) => client,
            Err(error) => {
                outcome.count("HTTP/2", since.elapsed(), &Err(error));
                continue;
            }
        };
        let one = |number: u64| stream(client.clone(), host, number);
        let answers = join_all((0..STREAMS).map(one)).await;
        let mut fine = true;
        for (what, token, answer) in answers {
            fine &= answer.is_ok();
            outcome.count(&what, since.elapsed(), &answer);
            let promise = answer.as_ref().ok().and_then(Promise::of);
            outcome.acked.extend(token.zip(promise));
        }
        open = fine.then_some(client);
        tokio::time::sleep(PAUSE).await;
    }
    outcome
}

async fn connect(host: SocketAddr) -> io::Result<SendRequest<Bytes>> {
    let stream = TcpStream::connect(host).await?;
    let (client, connection) = h2::client::handshake(stream).await.map_err(broken)?;
    tokio::spawn(connection);
    Ok(client)
}

fn broken(error: h2::Error) -> io::Error {
    io::Error::other(error)
}

/// Sends one request: one in [`STREAMS`] is a write, a few are large, the others are small reads.
async fn stream(
    client: SendRequest<Bytes>,
    host: SocketAddr,
    number: u64,
) -> (String, Option<String>, io::Result<Response>) {
    let unique = NEXT.fetch_add(1, Ordering::Relaxed);
    let token = (number == 0).then(|| format!("h2-{unique}"));
    let (path, bytes) = match number {
        0 => ("/books", None),
        1 if unique.is_multiple_of(20) => (PAGE.0, Some(PAGE.1)),
        2 if unique.is_multiple_of(20) => (STREAMED.0, Some(STREAMED.1)),
        3 => ("/books?_end=5", None),
        _ => ("/", None),
    };
    let body = token
        .as_ref()
        .map(|token| json!({ "token": token }).to_string());
    let answer = ask(client, host, path, body).await;
    (format!("HTTP/2 {path}"), token, whole(answer, bytes))
}

async fn ask(
    client: SendRequest<Bytes>,
    host: SocketAddr,
    path: &str,
    body: Option<String>,
) -> io::Result<Response> {
    let mut client = client.ready().await.map_err(broken)?;
    let method = if body.is_some() { "POST" } else { "GET" };
    let request = http::Request::builder()
        .method(method)
        .uri(format!("http://{host}{path}"))
        .header("content-type", "application/json")
        .body(())
        .unwrap();
    let (answer, mut sending) = client
        .send_request(request, body.is_none())
        .map_err(broken)?;
    if let Some(body) = body {
        sending.send_data(body.into(), true).map_err(broken)?;
    }
    let (head, mut incoming) = answer.await.map_err(broken)?.into_parts();
    let mut body = Vec::new();
    while let Some(part) = incoming.data().await {
        let part = part.map_err(broken)?;
        body.extend_from_slice(&part);
        let released = incoming.flow_control().release_capacity(part.len());
        released.map_err(broken)?;
    }
    let headers = head.headers.iter();
    let headers = headers.map(|(name, value)| {
        let value = value.to_str().unwrap_or_default();
        (name.to_string(), value.to_owned())
    });
    Ok(Response {
        status: head.status.as_u16(),
        headers: headers.collect(),
        body,
        keep_alive: true,
    })
}
