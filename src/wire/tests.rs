//! The service on real sockets, around an answer that does as the path tells it.

#![expect(clippy::float_cmp, reason = "what is counted is whole")]

mod edges;
mod served;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::body::{BoxBody, SizedStream};
use actix_web::web::Bytes;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{
    ConnectionCounters, Drain, Editions, HandlerCounters, HandlerMetrics, HttpMetrics, Incoming,
    Parts, Peer, Responder, Response, RoutePatterns, Service, Socket, Speaks, read_body,
};

use crate::settings::LimitSettings;

const PATIENCE: Duration = Duration::from_secs(10);
const REQUEST_TIMEOUT: Duration = Duration::from_millis(300);

/// A client by a listener that all the world reaches.
pub(super) fn peer(address: std::net::SocketAddr) -> Peer {
    Peer {
        named: None,
        address: Some(address),
        loopback: false,
        speaks: Speaks::Http,
    }
}

/// The socket of a stream, as a listener hands it over.
pub(super) fn socket(stream: TcpStream) -> Socket {
    // As the listening sockets hand it down.
    stream.set_nodelay(true).unwrap();
    stream.into_std().unwrap().into()
}

/// Does as it is told.
#[derive(Debug)]
pub(super) struct Told;

fn said(text: &str) -> Response {
    let body = BoxBody::new(text.to_owned());
    HttpResponse::with_body(actix_web::http::StatusCode::OK, body)
}

/// Eight pieces, longer in coming than a connection may be idle.
fn streamed() -> Response {
    let pieces = futures_util::stream::unfold(0, |number| async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        (number < 8).then(|| {
            (
                Ok::<_, Infallible>(Bytes::from_static(b"piece")),
                number + 1,
            )
        })
    });
    let body = BoxBody::new(SizedStream::new(40, Box::pin(pieces)));
    HttpResponse::with_body(actix_web::http::StatusCode::OK, body)
}

/// Letters in their order. They are shared, so that no answer holds them.
static LETTERS: LazyLock<Bytes> =
    LazyLock::new(|| (b'a'..=b'z').cycle().take(30_000_000).collect());

/// As many letters.
fn letters(bytes: usize) -> Response {
    let body = LETTERS.slice(..bytes);
    HttpResponse::with_body(actix_web::http::StatusCode::OK, BoxBody::new(body))
}

impl Responder for Told {
    type Matched = ();

    fn resolve(&self, request: &Incoming) {
        assert_ne!(request.path(), "/panic-resolve", "as ordered");
    }

    fn route_index(&self, (): &()) -> Option<usize> {
        Some(0)
    }

    fn quick(&self, request: &Incoming, (): &(), _: Instant) -> Option<Response> {
        match request.path() {
            "/large" => return Some(letters(3_000_000)),
            "/endless" => return Some(letters(30_000_000)),
            _ => {}
        }
        assert_ne!(request.path(), "/panic-quick", "as ordered");
        let at_once = request.path().starts_with("/quick");
        at_once.then(|| said(request.path()))
    }

    async fn slow(&self, request: &mut Incoming, (): &()) -> Response {
        assert_ne!(request.path(), "/panic-slow", "as ordered");
        let path = request.path().to_owned();
        if path == "/read" {
            assert!(read_body(request, 10_000).await.is_ok(), "a body");
            return said(&path);
        }
        if path == "/stream" {
            return streamed();
        }
        let (_, wait) = path.rsplit_once('/').unwrap_or_default();
        tokio::time::sleep(Duration::from_millis(wait.parse().unwrap_or(10))).await;
        assert!(!path.starts_with("/panic-after-await"), "as ordered");
        said(&path)
    }
}

/// A server on this thread.
struct Server {
    listener: TcpListener,
    service: Service,
    parts: Arc<Parts<Told>>,
}

impl Server {
    async fn start() -> Self {
        Self::with(LimitSettings {
            head_bytes: 16 * 1024,
            body_bytes: 1000,
            request_timeout: REQUEST_TIMEOUT,
            header_timeout: PATIENCE,
            idle_timeout: PATIENCE,
            stall_timeout: PATIENCE,
            list_records: std::num::NonZeroUsize::MIN,
            kept_lists: 1 << 20,
            batch: std::num::NonZeroUsize::MIN,
            batch_bytes: 1000,
        })
        .await
    }

    async fn with(limits: LimitSettings) -> Self {
        let parts = Arc::new(Parts {
            editions: Editions::only(Told, limits),
            metrics: Arc::new(HandlerMetrics::new(1)),
            counters: Arc::new(ConnectionCounters::default()),
            drain: Drain::new(PATIENCE),
            access: None,
            tls: Arc::default(),
        });
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            service: Service::build(Arc::clone(&parts)).await.unwrap(),
            parts,
        }
    }

    /// A client, and its connection at this end.
    async fn connect(&self) -> (Client, JoinHandle<()>) {
        let address = self.listener.local_addr().unwrap();
        let client = TcpStream::connect(address).await.unwrap();
        let (stream, peer) = self.listener.accept().await.unwrap();
        let served = actix_rt::spawn(self.service.serve(
            socket(stream),
            self::peer(peer),
            &Arc::default(),
        ));
        (Client(BufReader::new(client)), served)
    }

    /// One figure of the metrics.
    fn figure(&self, name: &str) -> f64 {
        let patterns = Arc::new(RoutePatterns::with_room(1));
        patterns.number("/");
        let scrape = crate::telemetry::exposed(HttpMetrics {
            patterns,
            handlers: HandlerCounters::only(&self.parts.metrics),
            connections: Arc::clone(&self.parts.counters),
        });
        let samples = scrape.lines().filter(|line| !line.starts_with('#'));
        samples
            .filter_map(|line| line.rsplit_once(' '))
            .filter(|(series, _)| series.split('{').next() == Some(name))
            .map(|(_, value)| value.parse::<f64>().unwrap())
            .sum()
    }

    /// Waits until a figure is as it should be.
    async fn until(&self, name: &str, value: f64) {
        let begun = Instant::now();
        while (self.figure(name) - value).abs() > 0.1 {
            assert!(begun.elapsed() < PATIENCE, "{name}: {}", self.figure(name));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

const IN_FLIGHT: &str = "perennial_http_requests_in_flight";

struct Client(BufReader<TcpStream>);

#[derive(Debug)]
struct Got {
    status: u16,
    head: String,
    body: String,
}

impl Got {
    #[track_caller]
    fn expect(self, status: u16, body: &str) {
        assert_eq!(
            (self.status, self.body.as_str()),
            (status, body),
            "{}",
            self.head
        );
    }

    #[track_caller]
    fn expect_problem(self, status: u16, code: &str) {
        assert!(
            self.head.contains("content-type: application/problem+json"),
            "{}",
            self.head
        );
        let body: Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!((self.status, body["code"].as_str()), (status, Some(code)));
    }
}

impl Client {
    async fn send(&mut self, method: &str, path: &str) {
        let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        self.0.write_all(request.as_bytes()).await.unwrap();
    }

    async fn answer(&mut self, head_only: bool) -> Got {
        let read = async {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                let bytes = self.0.read_line(&mut head).await.unwrap();
                assert!(bytes > 0, "closed after {head:?}");
            }
            let head = head.to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            let mut body = vec![0; if head_only { 0 } else { length }];
            self.0.read_exact(&mut body).await.unwrap();
            Got {
                status: head.get(9..12).unwrap().parse().unwrap(),
                head,
                body: String::from_utf8(body).unwrap(),
            }
        };
        tokio::time::timeout(PATIENCE, read)
            .await
            .expect("an answer in time")
    }

    async fn get(&mut self, path: &str) -> Got {
        self.send("GET", path).await;
        self.answer(false).await
    }

    /// Fails the test unless the connection ends without another byte.
    async fn ends(&mut self) {
        let mut rest = Vec::new();
        let end = tokio::time::timeout(PATIENCE, self.0.read_to_end(&mut rest)).await;
        let end: io::Result<usize> = end.expect("an end in time");
        assert!(end.is_ok() && rest.is_empty(), "{end:?}, {rest:?}");
    }
}

fn run(test: impl Future<Output = ()>) {
    actix_rt::System::new().block_on(test);
}

#[test]
fn a_panic_is_a_problem_on_a_connection_that_lives_on() {
    run(async {
        let server = Server::start().await;
        let (mut client, _served) = server.connect().await;
        for path in [
            "/panic-resolve",
            "/panic-quick",
            "/panic-slow",
            "/panic-after-await",
        ] {
            client.get(path).await.expect_problem(500, "internal");
            client.get("/quick").await.expect(200, "/quick");
            client.get("/slow").await.expect(200, "/slow");
        }
        assert_eq!(server.figure("perennial_http_panics_total"), 4.0);
        assert_eq!(server.figure("perennial_http_requests_total"), 12.0);
        assert_eq!(server.figure("perennial_http_connections_total"), 1.0);
        server.until(IN_FLIGHT, 0.0).await;
    });
}

#[test]
fn an_answer_that_takes_too_long_is_given_up() {
    run(async {
        let server = Server::start().await;
        let (mut client, _served) = server.connect().await;
        let late = client.get("/sleep/60000").await;
        late.expect_problem(504, "deadline");
        client.get("/quick").await.expect(200, "/quick");
        server.until(IN_FLIGHT, 0.0).await;
    });
}

#[test]
fn a_connection_carries_many_requests() {
    run(async {
        let server = Server::start().await;
        let (mut client, _served) = server.connect().await;
        for number in 0..100 {
            let path = format!("/quick/{number}");
            client.get(&path).await.expect(200, &path);
        }
        assert_eq!(server.figure("perennial_http_requests_total"), 100.0);
        assert_eq!(server.figure("perennial_http_connections_total"), 1.0);
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    run(async {
        let server = Server::start().await;
        let (mut client, _served) = server.connect().await;
        let path = |number: u64| match number % 3 {
            0 => format!("/slow/{}", number % 7),
            _ => format!("/quick/{number}"),
        };
        for number in 0..60 {
            client.send("GET", &path(number)).await;
        }
        for number in 0..60 {
            let path = path(number);
            client.answer(false).await.expect(200, &path);
        }
        client.get("/quick").await.expect(200, "/quick");
    });
}

#[test]
fn a_head_has_no_body() {
    run(async {
        let server = Server::start().await;
        let (mut client, _served) = server.connect().await;
        for path in ["/quick", "/slow/5", "/panic-slow"] {
            client.send("HEAD", path).await;
            let answer = client.answer(true).await;
            assert!(!answer.head.contains("content-length: 0"), "{answer:?}");
        }
        client.get("/quick").await.expect(200, "/quick");
    });
}

#[test]
fn a_drain_finishes_what_has_begun_and_closes_what_is_idle() {
    run(async {
        let server = Server::start().await;
        let (mut fresh, fresh_served) = server.connect().await;
        let (mut used, used_served) = server.connect().await;
        used.get("/quick").await.expect(200, "/quick");
        let (mut busy, busy_served) = server.connect().await;
        busy.send("GET", "/slow/200").await;
        server.until(IN_FLIGHT, 1.0).await;
        server.parts.drain.begin();
        fresh.ends().await;
        used.ends().await;
        let answer = busy.answer(false).await;
        assert!(answer.head.contains("connection: close"), "{}", answer.head);
        answer.expect(200, "/slow/200");
        busy.ends().await;
        drop((fresh, used, busy));
        for served in [fresh_served, used_served, busy_served] {
            let ended = tokio::time::timeout(PATIENCE, served).await;
            ended.expect("an end in time").unwrap();
        }
        // A connection that arrives now is not left hanging either.
        let (mut late, _served) = server.connect().await;
        late.ends().await;
        server.parts.drain.renew();
        let (mut next, _served) = server.connect().await;
        next.get("/quick").await.expect(200, "/quick");
    });
}

#[test]
fn a_client_that_leaves_is_no_longer_in_flight() {
    run(async {
        let server = Server::start().await;
        let (mut polite, polite_served) = server.connect().await;
        polite.send("GET", "/slow/60000").await;
        let (mut rude, rude_served) = server.connect().await;
        rude.send("GET", "/slow/60000").await;
        server.until(IN_FLIGHT, 2.0).await;
        rude.0.get_ref().set_zero_linger().unwrap();
        drop((polite, rude));
        for served in [polite_served, rude_served] {
            let ended = tokio::time::timeout(PATIENCE, served).await;
            ended.expect("an end in time").unwrap();
        }
        server.until(IN_FLIGHT, 0.0).await;
    });
}
