//! One thread's HTTP: actix-http over an actix-web `App` with one catch-all service.
//!
//! Every request goes through [`Handler`]: `quick` first, which neither waits nor allocates a future of its own, then
//! `slow`, which `request_timeout` bounds. Both stand behind the panic boundary: a panic is a 500 on a connection that lives on.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use actix_http::error::{DispatchError, ParseError};
use actix_http::{ConnectionType, HttpService, KeepAlive, Protocol, Request};
use actix_service::{Service as _, ServiceFactory, fn_service, map_config};
use actix_web::App;
use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::{AppConfig, ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use futures_util::future::{Either, select};
use tokio::time::{Instant, timeout_at};

use super::access_log::{Access, AccessLog, Line};
use super::body::discard;
use super::connection::drain::{Drain, LocalDrain};
use super::connection::io::Io;
use super::connection::streamed_body;
use super::connection::{Connection, TimeLimits};
use super::counters::{Counters, count};
use super::http2::{self, Http2};
use super::incoming::{Handler, Incoming, Response};
use super::metrics::HandlerMetrics;
use super::problem::{Code, Problem};
use super::request_id::{RequestIds, X_REQUEST_ID};
use super::stream::Stream;
use crate::supervision::{ExitReason, contain, contain_future};

/// How long a connection that is being closed is read from, so that the last answer is not lost in a reset.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// A log filter: actix-http calls every head that a client gets wrong an error. What is refused is counted instead.
pub(crate) const SILENCED: &str = "actix_http::h1::dispatcher=off";

type Serve = dyn Fn(Io, Option<SocketAddr>) -> Pin<Box<dyn Future<Output = ()>>>;

/// One thread's HTTP service.
#[derive(Clone)]
pub(crate) struct Service {
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
pub(crate) struct Parts<A> {
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
    /// Where answers are told of, if they are.
    pub access: Option<Access>,
}

/// What every request of one thread sees.
struct Thread<A> {
    parts: Arc<Parts<A>>,
    drain: Rc<LocalDrain>,
    ids: RequestIds,
    access: Option<Rc<AccessLog>>,
}

impl Service {
    /// Builds the service on the thread that will serve.
    pub(crate) async fn build<A: Handler>(parts: Arc<Parts<A>>) -> Self {
        let (limits, counters) = (parts.limits, Arc::clone(&parts.counters));
        let drain = parts.drain.follow();
        let access = parts.access.clone();
        let thread = Rc::new(Thread {
            parts,
            drain: Rc::clone(&drain),
            ids: RequestIds::new(),
            access: access.map(|access| Rc::new(AccessLog::new(access))),
        });
        let http2 = Http2 {
            call: call(&thread).await,
            limits,
            counters: Arc::clone(&counters),
            drain: Rc::clone(&drain),
        };
        let ends = Rc::clone(&drain);
        let app = app(thread);
        // The dispatcher asks for its end while it is being made, and is not told for whom.
        let begins: Rc<RefCell<Option<Rc<Connection>>>> = Rc::default();
        let of = Rc::clone(&begins);
        let factory = HttpService::build()
            .client_request_timeout(Duration::ZERO)
            .client_disconnect_timeout(DISCONNECT_TIMEOUT)
            .keep_alive(KeepAlive::Os)
            .graceful_shutdown_signal(move || Rc::clone(&drain).end_of(of.take()))
            .on_connect_ext(|io: &Io, data| {
                data.insert(io.connection());
            })
            .finish(app);
        // The factory has nothing that could fail: there is no data and no middleware to initialise.
        let service = Rc::new(factory.new_service(()).await.ok());
        let http2 = Rc::new(http2);
        let refused = Arc::clone(&counters);
        let serve = move |mut io: Io, peer| -> Pin<Box<dyn Future<Output = ()>>> {
            let (service, begins) = (Rc::clone(&service), Rc::clone(&begins));
            let (http2, ends) = (Rc::clone(&http2), Rc::clone(&ends));
            let refused = Arc::clone(&refused);
            Box::pin(async move {
                let end = ends.end_of(Some(io.connection()));
                let opening = poll_fn(|cx| io.poll_http2(cx));
                match select(opening, end).await {
                    Either::Left((Ok(false), _)) => {}
                    Either::Left((Ok(true), _)) => {
                        return Box::pin(http2::serve(http2, io, peer)).await;
                    }
                    Either::Left((Err(_), _)) | Either::Right(_) => return,
                }
                begins.replace(Some(io.connection()));
                let Some(service) = service.as_ref() else {
                    return;
                };
                if let Err(error) = service.call((io, Protocol::Http1, peer)).await {
                    count_refused(&refused, &error);
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
    pub(crate) fn serve(
        &self,
        stream: Stream,
        peer: Option<SocketAddr>,
    ) -> impl Future<Output = ()> + use<> {
        let io = Io::new(stream, self.limits, Arc::clone(&self.counters));
        (self.serve)(io, peer)
    }
}

/// actix-http has answered what is no request, by decision with an empty 400 or 431, wherever it stood among others.
fn count_refused(counters: &Counters, error: &DispatchError) {
    if matches!(error, DispatchError::Parse(ParseError::TooLarge)) {
        count(&counters.heads_too_large);
    } else if matches!(error, DispatchError::Parse(_)) {
        count(&counters.malformed);
    }
}

/// actix-web around [`respond`].
fn app<A: Handler>(
    thread: Rc<Thread<A>>,
) -> impl ServiceFactory<
    Request,
    Config = (),
    Response = ServiceResponse,
    Error = actix_web::Error,
    InitError = (),
    Service: 'static,
    Future: 'static,
> {
    let app = App::new().default_service(fn_service(move |request: ServiceRequest| {
        let thread = Rc::clone(&thread);
        async move { Ok::<_, actix_web::Error>(respond(&thread, request).await) }
    }));
    map_config(actix_service::IntoServiceFactory::into_factory(app), |()| {
        AppConfig::default()
    })
}

/// The same for HTTP/2, which has no use for the rest of actix-http.
async fn call<A: Handler>(thread: &Rc<Thread<A>>) -> Box<http2::Call> {
    let service = app(Rc::clone(thread)).new_service(()).await.ok();
    Box::new(move |request| {
        let answer = service.as_ref().map(|service| service.call(request));
        Box::pin(async move { answer?.await.ok() })
    })
}

/// Answers one request, whatever happens.
async fn respond<A: Handler>(thread: &Thread<A>, request: ServiceRequest) -> ServiceResponse {
    let parts = &*thread.parts;
    let (request, payload) = request.into_parts();
    let begun = Instant::now();
    let deadline = begun + parts.request_timeout;
    let mut incoming = Incoming {
        request,
        payload,
        deadline,
        id: thread.ids.next(),
    };
    parts.metrics.begun();
    let open = Open {
        metrics: Some(&parts.metrics),
    };
    let connection = incoming.connection();
    let measure = incoming.is_http2()
        || connection
            .as_ref()
            .is_some_and(|connection| connection.request_begins(incoming.has_body()));
    let response = answer(parts, &mut incoming, begun, measure).await;
    open.close();
    finish(thread, incoming, connection.as_ref(), begun, response)
}

/// The answer. The head of most requests has been measured while it came.
async fn answer<A: Handler>(
    parts: &Parts<A>,
    incoming: &mut Incoming,
    begun: Instant,
    measure: bool,
) -> Response {
    if measure && incoming.head_bytes() > parts.limits.head_bytes {
        count(&parts.counters.heads_too_large);
        return failed(parts, incoming, Problem::new(Code::HeadTooLarge)).await;
    }
    if !incoming.has_body() {
        match contain(|| parts.answer.quick(incoming, begun)) {
            Ok(Some(response)) => return response,
            Ok(None) => {}
            Err(reason) => return panicked(parts, incoming, &reason).await,
        }
    }
    slow(parts, incoming).await
}

/// The last step of every answer.
fn finish<A>(
    thread: &Thread<A>,
    incoming: Incoming,
    connection: Option<&Rc<Connection>>,
    begun: Instant,
    response: Response,
) -> ServiceResponse {
    let Response { mut answer, route } = response;
    let now = Instant::now();
    let mut last = thread.drain.begun();
    if let Some(connection) = connection {
        connection.answered(now);
        last |= connection.body_left();
    }
    if last {
        answer.head_mut().set_connection_type(ConnectionType::Close);
    }
    let bytes = match answer.body().size() {
        // What a HEAD is told of is not sent.
        BodySize::Sized(bytes) if incoming.method() != Method::HEAD => bytes,
        BodySize::Sized(_) | BodySize::None | BodySize::Stream => 0,
    };
    if let Some(id) = incoming.id.value() {
        answer.headers_mut().insert(X_REQUEST_ID.clone(), id);
    }
    let (method, code) = (incoming.method(), answer.status().as_u16());
    let took = now.saturating_duration_since(begun);
    let metrics = &thread.parts.metrics;
    metrics.answered(route, method, code, took, bytes);
    if let Some(access) = &thread.access {
        access.add(&Line {
            time: SystemTime::now(),
            method: method.as_str(),
            path: incoming.path(),
            route,
            status: code,
            bytes,
            took,
            peer: incoming.request.peer_addr(),
            id: &incoming.id,
        });
    }
    let answer = streamed_body::watch(answer, method, connection);
    ServiceResponse::new(incoming.request, answer)
}

/// A request that changes nothing is cut off at its deadline. One that changes something has deadlines of its own (its
/// body's, its message's): cutting it off here could deny what is being done.
///
/// Its time begins when it is let in. An answer that has to wait is not cut off by that: the wait is the operator's wish.
async fn slow<A: Handler>(parts: &Parts<A>, incoming: &mut Incoming) -> Response {
    let pass = match contain_future(parts.answer.admit(incoming)).await {
        Ok(Ok(pass)) => pass,
        Ok(Err(problem)) => return failed(parts, incoming, problem).await,
        Err(reason) => return panicked(parts, incoming, &reason).await,
    };
    incoming.deadline = Instant::now() + parts.request_timeout;
    let response = work(parts, incoming).await;
    pass.wait_delay().await;
    response
}

async fn work<A: Handler>(parts: &Parts<A>, incoming: &mut Incoming) -> Response {
    let safe = incoming.method().is_safe();
    let deadline = incoming.deadline;
    let work = contain_future(parts.answer.slow(incoming));
    let done = if safe {
        timeout_at(deadline, work).await
    } else {
        Ok(work.await)
    };
    let response = match done {
        Ok(Ok(response)) => response,
        Ok(Err(reason)) => panicked(parts, incoming, &reason).await,
        Err(_) => failed(parts, incoming, Problem::new(Code::Deadline)).await,
    };
    discard(incoming).await;
    response
}

async fn panicked<A: Handler>(
    parts: &Parts<A>,
    incoming: &Incoming,
    reason: &ExitReason,
) -> Response {
    parts.metrics.panicked();
    tracing::error!(%reason, method = %incoming.method(), path = incoming.path(), "a request panicked");
    failed(parts, incoming, Problem::new(Code::Internal)).await
}

async fn failed<A: Handler>(parts: &Parts<A>, incoming: &Incoming, problem: Problem) -> Response {
    let refused = contain_future(parts.answer.refuse(incoming, problem.clone())).await;
    refused.unwrap_or_else(|_| Response {
        // What panics here has panicked before, and has been told.
        answer: problem.response(incoming),
        route: None,
    })
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
