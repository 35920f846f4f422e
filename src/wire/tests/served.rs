//! A service on real sockets, held to limits that are short enough for a test.

mod bodies;
mod client;
mod drains;
mod floods;
mod frames;
mod http2;
mod limits;
mod malformed;
mod pages;
mod requests;
mod site;
mod streams;
mod unread;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::super::{
    Code, ConnectionCounters, Drain, Editions, HandlerMetrics, Incoming, Parts, Problem, Responder,
    Response, Service, read_body,
};
use crate::settings::LimitSettings;
use client::Client;

const NAP: Duration = Duration::from_millis(200);
const BODY_BYTES: usize = 1000;
const LIMITS: LimitSettings = LimitSettings {
    head_bytes: 4096,
    body_bytes: 1000,
    request_timeout: Duration::from_secs(1),
    header_timeout: Duration::from_millis(300),
    idle_timeout: Duration::from_millis(600),
    stall_timeout: Duration::from_millis(400),
    list_records: std::num::NonZeroUsize::MIN,
    kept_lists: 1 << 20,
    batch: std::num::NonZeroUsize::MIN,
    batch_bytes: 1000,
};

/// Runs a test inside an actix system.
fn run(test: impl Future<Output = ()>) {
    actix_rt::System::new().block_on(test);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl ConnectionCounters {
    /// The number of messages that broke a rule.
    fn faults(&self) -> u64 {
        self.faults.0.iter().map(read).sum()
    }
}

impl HandlerMetrics {
    /// Requests that are being answered.
    pub(super) fn in_flight(&self) -> i64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Requests that were answered.
    fn answers(&self) -> u64 {
        let all = self.routes.iter().filter_map(|route| route.get());
        let all = all.flat_map(|route| &route.durations);
        all.map(read).sum()
    }

    /// Requests that panicked.
    fn panics(&self) -> u64 {
        read(&self.panics)
    }
}

/// Waits for something that has no event of its own.
async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let wait = async {
        while !done() {
            actix_rt::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(10), wait).await;
    assert!(waited.is_ok(), "{what}");
}

/// Answers by the path.
struct Stage;

fn text(text: &'static str) -> Response {
    HttpResponse::with_body(StatusCode::OK, BoxBody::new(text))
}

impl Responder for Stage {
    type Matched = ();

    fn resolve(&self, _: &Incoming) {}

    fn quick(&self, request: &Incoming, (): &(), _: Instant) -> Option<Response> {
        match request.path() {
            "/now" => Some(text("now")),
            "/panic-now" => panic!("now"),
            _ => None,
        }
    }

    async fn slow(&self, request: &mut Incoming, (): &()) -> Response {
        let path = request.path().to_owned();
        let answered = match path.as_str() {
            "/now" | "/later" => Ok(text("later")),
            "/panic-later" => {
                tokio::task::yield_now().await;
                panic!("later")
            }
            "/nap" => {
                actix_rt::time::sleep(NAP).await;
                Ok(text("nap"))
            }
            "/hang" => std::future::pending().await,
            "/read" => read_body(request, BODY_BYTES).await.map(|_| text("read")),
            _ => Err(Problem::not_allowed("GET")),
        };
        answered.unwrap_or_else(|problem| problem.response(request))
    }
}

/// A served answerer.
struct Served {
    address: std::net::SocketAddr,
    counters: Arc<ConnectionCounters>,
    metrics: Arc<HandlerMetrics>,
    drain: Drain,
}

impl Served {
    async fn stage() -> Self {
        Self::with(Stage, LIMITS).await
    }

    async fn with<R: Responder>(responder: R, limits: LimitSettings) -> Self {
        Self::counted(responder, limits, Arc::default()).await
    }

    async fn counted<R: Responder>(
        responder: R,
        limits: LimitSettings,
        counters: Arc<ConnectionCounters>,
    ) -> Self {
        let metrics = Arc::new(HandlerMetrics::new(8));
        let drain = Drain::new(Duration::from_secs(20));
        let service = Service::build(Arc::new(Parts {
            editions: Editions::only(responder, limits),
            metrics: Arc::clone(&metrics),
            counters: Arc::clone(&counters),
            drain: drain.clone(),
            access: None,
            tls: Arc::default(),
        }))
        .await
        .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        actix_rt::spawn(async move {
            loop {
                let (socket, peer) = listener.accept().await.unwrap();
                actix_rt::spawn(service.serve(
                    super::socket(socket),
                    super::peer(peer),
                    &Arc::default(),
                ));
            }
        });
        Self {
            address,
            counters,
            metrics,
            drain,
        }
    }

    async fn client(&self) -> Client {
        Client::connect(self.address).await
    }
}
