//! One thread's HTTP: actix-http over an actix-web `App` with one catch-all service.
//!
//! Every request goes through [`Answer`]: `quick` first, which neither waits nor allocates a future of its own, then
//! `slow`, which `request_timeout` bounds. Both stand behind the panic boundary: a panic is a 500 on a connection that lives on.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::{HttpService, KeepAlive, Protocol};
use actix_service::{Service as _, ServiceFactory as _, fn_service, map_config};
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{AppConfig, Payload, ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap};
use actix_web::{App, HttpRequest, HttpResponse};
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::connection::{Connection, Counters, TimeLimits};
use super::io::{Io, Stream};
use super::metrics::HandlerMetrics;
use super::problem::{Code, Problem};
use crate::supervision::{ExitReason, contain, contain_future};

/// Answers are gathered up to this many bytes before they are written; measured as cheapest for large bodies.
const WRITE_BUFFER_BYTES: usize = 128 * 1024;
/// How long a connection that is being closed is read from, so that the last answer is not lost in a reset.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// A log filter: actix-http calls every head that a client gets wrong an error. What is refused is counted instead.
pub const SILENCED: &str = "actix_http::h1::dispatcher=off";
/// The largest body that is read only to be thrown away.
const DISCARD_BYTES_MAX: usize = 64 * 1024;

/// A request on its way to an answer.
pub struct Incoming {
    request: HttpRequest,
    pub(crate) payload: Payload,
    /// When the answer, or the body that it needs, must be there.
    pub(crate) deadline: Instant,
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method(), self.path())
    }
}

impl Incoming {
    /// The path as it was sent.
    pub fn path(&self) -> &str {
        self.request.uri().path()
    }

    /// The query as it was sent, without its `?`.
    pub fn query(&self) -> &str {
        self.request.query_string()
    }

    /// The method.
    pub fn method(&self) -> &Method {
        self.request.method()
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        self.request.headers()
    }

    /// Reads away what is left of a small body that the answer did not need, so that the connection can live on. A large
    /// one costs the connection.
    async fn discard(&mut self) {
        let length = self.headers().get(header::CONTENT_LENGTH);
        let length = length.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if length.is_some_and(|length| length <= DISCARD_BYTES_MAX) {
            let rest = async { while let Some(Ok(_)) = self.payload.next().await {} };
            // What does not come in time costs the connection.
            drop(timeout_at(self.deadline, rest).await);
        }
    }

    pub(crate) fn connection(&self) -> Option<Rc<Connection>> {
        self.request.conn_data::<Rc<Connection>>().cloned()
    }
}

/// An answer, and for which route it is counted.
#[derive(Debug)]
pub struct Response {
    /// What the client gets.
    pub answer: HttpResponse<BoxBody>,
    /// The route's label; `None` for what leads nowhere.
    pub route: Option<usize>,
}

/// What answers requests.
pub trait Answer: Send + Sync + 'static {
    /// The answer, if it can be given at once.
    fn quick(&self, request: &Incoming, now: Instant) -> Option<Response>;

    /// The answer.
    fn slow(&self, request: &mut Incoming) -> impl Future<Output = Response>;
}

/// Lets every connection finish its request and close.
#[derive(Debug, Clone)]
pub struct Drain {
    begun: watch::Sender<bool>,
}

impl Drain {
    /// Not begun.
    pub fn new() -> Self {
        Self {
            begun: watch::Sender::new(false),
        }
    }

    /// Begins.
    pub fn begin(&self) {
        self.begun.send_replace(true);
    }

    /// Connections are served again.
    pub fn renew(&self) {
        self.begun.send_replace(false);
    }

    fn signal(&self) -> impl Future<Output = ()> + use<> {
        let mut begun = self.begun.subscribe();
        async move {
            // The sender lives in this struct and in every clone; without one there is nothing to wait for.
            drop(begun.wait_for(|begun| *begun).await);
        }
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

type Serve = dyn Fn(Io, Option<SocketAddr>) -> Pin<Box<dyn Future<Output = ()>>>;

/// One thread's HTTP service.
#[derive(Clone)]
pub struct Service {
    serve: Rc<Serve>,
    limits: TimeLimits,
    counters: Arc<Counters>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// What a service is made of.
#[derive(Debug)]
pub struct Parts<A> {
    /// What answers.
    pub answer: Arc<A>,
    /// Where it is counted.
    pub metrics: Arc<HandlerMetrics>,
    /// Where connections are counted.
    pub counters: Arc<Counters>,
    /// The connections' timers.
    pub limits: TimeLimits,
    /// How long an answer may take to begin.
    pub request_timeout: Duration,
    /// When connections are to end.
    pub drain: Drain,
}

impl Service {
    /// Builds the service on the thread that will serve.
    pub async fn build<A: Answer>(parts: Arc<Parts<A>>) -> Self {
        let (limits, counters) = (parts.limits, Arc::clone(&parts.counters));
        let drain = parts.drain.clone();
        let app = App::new().default_service(fn_service(move |request: ServiceRequest| {
            let parts = Arc::clone(&parts);
            async move { Ok::<_, actix_web::Error>(respond(&parts, request).await) }
        }));
        let app = map_config(actix_service::IntoServiceFactory::into_factory(app), |()| {
            AppConfig::default()
        });
        let factory = HttpService::build()
            .client_request_timeout(Duration::ZERO)
            .client_disconnect_timeout(DISCONNECT_TIMEOUT)
            .keep_alive(KeepAlive::Os)
            .h1_write_buffer_size(WRITE_BUFFER_BYTES)
            .graceful_shutdown_signal(move || drain.signal())
            .on_connect_ext(|io: &Io, data| {
                data.insert(io.connection());
            })
            .finish(app);
        // The factory has nothing that could fail: there is no data and no middleware to initialise.
        let service = Rc::new(factory.new_service(()).await.ok());
        let serve = move |io, peer| -> Pin<Box<dyn Future<Output = ()>>> {
            let service = Rc::clone(&service);
            Box::pin(async move {
                let Some(service) = service.as_ref() else {
                    return;
                };
                if let Err(error) = service.call((io, Protocol::Http1, peer)).await {
                    tracing::debug!(%error, "a connection broke off");
                }
            })
        };
        Self {
            serve: Rc::new(serve),
            limits,
            counters,
        }
    }

    /// Serves one connection to its end.
    pub fn serve(
        &self,
        stream: Stream,
        peer: Option<SocketAddr>,
    ) -> impl Future<Output = ()> + use<> {
        let io = Io::new(stream, self.limits, Arc::clone(&self.counters));
        (self.serve)(io, peer)
    }
}

/// Answers one request, whatever happens.
async fn respond<A: Answer>(parts: &Parts<A>, request: ServiceRequest) -> ServiceResponse {
    let (request, payload) = request.into_parts();
    let begun = Instant::now();
    let deadline = begun + parts.request_timeout;
    let mut incoming = Incoming {
        request,
        payload,
        deadline,
    };
    parts.metrics.begun();
    let open = Open {
        metrics: Some(&parts.metrics),
    };
    let connection = incoming.connection();
    if let Some(connection) = &connection {
        connection.request_begins();
    }
    let response = match contain(|| parts.answer.quick(&incoming, begun)) {
        Ok(Some(response)) => response,
        Ok(None) => slow(parts, &mut incoming).await,
        Err(reason) => panicked(parts, &incoming, &reason),
    };
    if let Some(connection) = &connection {
        connection.answered();
    }
    open.close();
    let Response { answer, route } = response;
    let bytes = match answer.body().size() {
        BodySize::Sized(bytes) => bytes,
        BodySize::None | BodySize::Stream => 0,
    };
    let code = answer.status().as_u16();
    parts
        .metrics
        .answered(route, incoming.method(), code, begun.elapsed(), bytes);
    ServiceResponse::new(incoming.request, answer)
}

/// A request that changes nothing is cut off at its deadline. One that changes something has deadlines of its own (its
/// body's, its message's): cutting it off here could deny what is being done.
async fn slow<A: Answer>(parts: &Parts<A>, incoming: &mut Incoming) -> Response {
    let safe = incoming.method().is_safe();
    let deadline = incoming.deadline;
    let work = contain_future(async {
        let response = parts.answer.slow(incoming).await;
        incoming.discard().await;
        response
    });
    let done = if safe {
        timeout_at(deadline, work).await
    } else {
        Ok(work.await)
    };
    match done {
        Ok(Ok(response)) => response,
        Ok(Err(reason)) => panicked(parts, incoming, &reason),
        Err(_) => failed(incoming, Code::Deadline),
    }
}

fn panicked<A>(parts: &Parts<A>, incoming: &Incoming, reason: &ExitReason) -> Response {
    parts.metrics.panicked();
    tracing::error!(%reason, method = %incoming.method(), path = incoming.path(), "a request panicked");
    failed(incoming, Code::Internal)
}

fn failed(incoming: &Incoming, code: Code) -> Response {
    Response {
        answer: Problem::new(code).response(incoming.path()),
        route: None,
    }
}

/// A request that has begun: dropped with its connection, it still ends.
struct Open<'a> {
    metrics: Option<&'a HandlerMetrics>,
}

impl Open<'_> {
    fn close(mut self) {
        self.metrics = None;
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if let Some(metrics) = self.metrics {
            metrics.dropped();
        }
    }
}
