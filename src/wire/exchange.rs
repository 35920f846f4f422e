//! One exchange: a request, from its head to the beginning of its answer.
//!
//! A request is resolved once. Then the [`Responder`] is asked for an answer that needs no waiting (`quick`), and if there is
//! none, for one that may wait (`slow`), which `request_timeout` limits. A panic in any of them is caught and answered with
//! a 500, and the connection stays open.

// Decision: Writes are not cut off by the request timeout.
// Decision: Waiting in a queue is not part of the request timeout.

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use actix_web::HttpMessage as _;
use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody as _};
use actix_web::dev::{RequestHead, ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderValue};
use actix_web::http::{Method, StatusCode};
use tokio::time::{Instant, timeout_at};

use super::access_log::Access;
use super::buffered::{Held, UNCOUNTED_BYTES, no_room};
use super::counters::ConnectionCounters;
use super::drain::Drain;
use super::edition::{Edition, Editions, HeldEdition, ThreadEdition};
use super::incoming::{Incoming, Responder, Response};
use super::link::Link;
use super::metrics::HandlerMetrics;
use super::pooled_request::PooledRequest;
use super::problem::{Code, Problem};
use super::request_id::{RequestId, X_REQUEST_ID};
use super::tls::TlsAcceptor;
use crate::num::as_usize;
use crate::supervision::{ExitReason, contain, contain_future};

/// The parts from which a service is made.
pub(crate) struct Parts<R> {
    /// The edition that answers the requests.
    pub editions: Arc<Editions<R>>,
    /// The counters of requests.
    pub metrics: Arc<HandlerMetrics>,
    /// The counters of connections.
    pub counters: Arc<ConnectionCounters>,
    /// The drain, which tells when connections have to end.
    pub drain: Drain,
    /// The access log, if there is one.
    pub access: Option<Access>,
    /// Accepts TLS.
    pub tls: Arc<TlsAcceptor>,
}

/// The state that all requests of one thread share.
pub(super) struct Worker<R> {
    parts: Arc<Parts<R>>,
    edition: Rc<ThreadEdition<R>>,
    /// The last `Host` that was accepted, and by which edition; most requests have the same.
    accepted_host: RefCell<(u64, Option<HeaderValue>)>,
}

impl<R: Responder> Worker<R> {
    pub(super) fn new(parts: Arc<Parts<R>>, edition: Rc<ThreadEdition<R>>) -> Self {
        Self {
            parts,
            edition,
            accepted_host: RefCell::default(),
        }
    }

    /// The edition of a request whose rules the thread has just looked at.
    pub(super) fn edition(&self) -> Rc<HeldEdition<R>> {
        self.edition.seen()
    }

    /// Answers one request, whatever happens.
    pub(super) async fn answer(
        &self,
        request: ServiceRequest,
        edition: &Edition<R>,
    ) -> ServiceResponse {
        let (request, payload) = request.into_parts();
        let link = request.extensions().get::<Rc<Link>>().map(Rc::clone);
        let Some(link) = link else {
            // The connections add one to each request.
            return ServiceResponse::new(
                request,
                Problem::new(Code::Internal).refusal(&RequestId::default()),
            );
        };
        let mut incoming = Incoming {
            request: PooledRequest::new(request),
            payload,
            deadline: link.started + edition.rules.limits.request_timeout,
            cross_site: false,
            link,
        };
        let peer = incoming.client_address();
        if let Some(client) = edition.proxies.client(incoming.headers(), peer) {
            incoming.link.client().address.set(Some(client));
        }
        if !incoming.method().is_safe() {
            let loopback = incoming.link.on_loopback;
            incoming.cross_site = edition.hosts.is_cross_site(incoming.head(), loopback);
        }
        let _in_flight = self.parts.metrics.begin();
        // A host that is refused everywhere is sent nowhere.
        let refused =
            edition.hosts.must_be_known(false) && edition.hosts.check(incoming.head()).is_err();
        let elsewhere = || edition.https.elsewhere(&incoming);
        let mut response = match (!refused).then(elsewhere).flatten() {
            Some(elsewhere) => elsewhere,
            None => self.decide(&mut incoming, edition).await,
        };
        if matches!(response.body().size(), BodySize::Sized(bytes) if as_usize(bytes) > UNCOUNTED_BYTES)
        {
            response = self.hold(&incoming, response);
        }
        if let Some(id) = incoming.link.id.value() {
            response.headers_mut().insert(X_REQUEST_ID.clone(), id);
        }
        edition.https.add(incoming.link.speaks, &mut response);
        incoming.request.answered(response)
    }

    /// Counts the bytes of an answer that was made for this request alone, until they are sent. If all connections hold too
    /// much, a request that changes nothing is refused.
    fn hold(&self, incoming: &Incoming, response: Response) -> Response {
        let (response, body) = response.into_parts();
        let bytes = match body.try_into_bytes() {
            Ok(bytes) => bytes,
            Err(body) => return response.set_body(body),
        };
        let own = bytes.is_unique().then_some(bytes.len());
        let mut response = response.set_body(BoxBody::new(bytes));
        let Some(own) = own else {
            return response;
        };
        let mut held = Held::new(&self.parts.counters);
        if !held.set(own) {
            if incoming.method().is_safe() {
                return no_room().response(incoming);
            }
            held.set_past_bound(own);
        }
        response.extensions_mut().insert(held);
        response
    }

    async fn decide(&self, incoming: &mut Incoming, edition: &Edition<R>) -> Response {
        let parts = &*self.parts;
        let matched = match contain(|| edition.responder.resolve(incoming)) {
            Ok(matched) => matched,
            Err(reason) => return note_panic(parts, incoming, &reason).response(incoming),
        };
        let route = edition.responder.route_index(&matched);
        incoming.link.route_index.set(route);
        let resolved = Resolved {
            parts,
            edition,
            matched: &matched,
        };
        if edition.hosts.must_be_known(incoming.link.on_loopback)
            && let Err(problem) = self.check_host(incoming.head(), edition)
        {
            return resolved.refuse(incoming, problem).await;
        }
        resolved.run(incoming).await
    }

    fn check_host(&self, head: &RequestHead, edition: &Edition<R>) -> Result<(), Problem> {
        if head.uri.host().is_some() {
            // Its Host header was not checked, so that header must not be remembered.
            return edition.hosts.check(head);
        }
        let host = head.headers.get(header::HOST);
        let (by, accepted) = &mut *self.accepted_host.borrow_mut();
        if *by != edition.number || host != accepted.as_ref() {
            edition.hosts.check(head)?;
            (*by, *accepted) = (edition.number, host.cloned());
        }
        Ok(())
    }
}

/// One request that knows where it leads.
struct Resolved<'a, R: Responder> {
    parts: &'a Parts<R>,
    edition: &'a Edition<R>,
    matched: &'a R::Matched,
}

impl<R: Responder> Resolved<'_, R> {
    /// The answer.
    async fn run(&self, incoming: &mut Incoming) -> Response {
        let responder = &self.edition.responder;
        if incoming.path() == "*" && incoming.method() == Method::OPTIONS {
            // The server as a whole (RFC 9110 section 9.3.7).
            return options("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        }
        if let Err(problem) = must_know(incoming.method()) {
            return self.refuse(incoming, problem).await;
        }
        // What it changes has to be answered, whatever the answer holds.
        if !incoming.method().is_safe() && self.parts.counters.buffered.is_full() {
            return self.refuse(incoming, self.parts.counters.no_room()).await;
        }
        if !incoming.has_body() {
            match contain(|| responder.quick(incoming, self.matched, incoming.link.started)) {
                Ok(Some(response)) => return response,
                Ok(None) => {}
                Err(reason) => return self.panicked(incoming, &reason).await,
            }
        }
        // What is rare is boxed, so that an answer that need not wait is made in little memory.
        Box::pin(self.wait(incoming)).await
    }

    /// Waits for the request's turn, which is when its time begins, and for its answer. A delay is not cut off: it is
    /// what the settings ask for.
    async fn wait(&self, incoming: &mut Incoming) -> Response {
        let link = Rc::clone(&incoming.link);
        let responder = &self.edition.responder;
        // Each future is pinned where it is made: a variable would take its place once more.
        let admitted = {
            let admitted = pin!(contain_future(responder.admit(incoming, self.matched)));
            link.unless_left(admitted).await
        };
        let Some(admitted) = admitted else {
            // The client has gone, so its request leaves the queue.
            return Problem::new(Code::ClientLeft).response(incoming);
        };
        let pass = match admitted {
            Ok(Ok(pass)) => pass,
            Ok(Err(problem)) => return self.refuse(incoming, problem).await,
            Err(reason) => return self.panicked(incoming, &reason).await,
        };
        incoming.deadline = Instant::now() + self.edition.rules.limits.request_timeout;
        let response = self.work(incoming).await;
        pass.wait_delay().await;
        response
    }

    /// Cuts a safe request off at its deadline. An unsafe one has deadlines of its own (of its body, of its message):
    /// cutting it off here could report a failure although the change is made.
    async fn work(&self, incoming: &mut Incoming) -> Response {
        let safe = incoming.method().is_safe();
        let deadline = incoming.deadline;
        let responder = &self.edition.responder;
        let done = if safe {
            timeout_at(
                deadline,
                contain_future(responder.slow(incoming, self.matched)),
            )
            .await
        } else {
            Ok(contain_future(responder.slow(incoming, self.matched)).await)
        };
        match done {
            Ok(Ok(response)) => response,
            Ok(Err(reason)) => self.panicked(incoming, &reason).await,
            Err(_) => self.refuse(incoming, Problem::new(Code::Deadline)).await,
        }
    }

    async fn panicked(&self, incoming: &Incoming, reason: &ExitReason) -> Response {
        let problem = note_panic(self.parts, incoming, reason);
        self.refuse(incoming, problem).await
    }

    async fn refuse(&self, incoming: &Incoming, problem: Problem) -> Response {
        let responder = &self.edition.responder;
        let refused = Box::pin(responder.refuse(incoming, self.matched, problem.clone()));
        let refused = contain_future(refused).await;
        // If this panics as well, it is the same fault, which has been counted and logged.
        refused.unwrap_or_else(|_| problem.response(incoming))
    }
}

fn note_panic<R>(parts: &Parts<R>, incoming: &Incoming, reason: &ExitReason) -> Problem {
    parts.metrics.panicked();
    tracing::error!(%reason, method = %incoming.method(), path = incoming.path(), "a request panicked");
    Problem::new(Code::Internal)
}

/// Refuses a method that the IANA registry does not have.
pub(crate) fn must_know(method: &Method) -> Result<(), Problem> {
    if is_registered(method) {
        return Ok(());
    }
    let detail = "the method is not one that this server knows";
    Err(Problem::new(Code::NotImplemented).detail(detail))
}

/// Whether the IANA registry has the method. One that no route answers is a 405, and an unknown one a 501 (RFC 9110
/// section 9.1).
fn is_registered(method: &Method) -> bool {
    matches!(
        method.as_str(),
        "GET"
            | "HEAD"
            | "POST"
            | "PUT"
            | "PATCH"
            | "DELETE"
            | "OPTIONS"
            | "TRACE"
            | "QUERY"
            | "LINK"
            | "UNLINK"
            | "PROPFIND"
            | "PROPPATCH"
            | "MKCOL"
            | "COPY"
            | "MOVE"
            | "LOCK"
            | "UNLOCK"
            | "SEARCH"
            | "REPORT"
    )
}

/// The answer to OPTIONS: the methods that are allowed.
pub(crate) fn options(allow: &'static str) -> Response {
    let mut response = HttpResponse::with_body(StatusCode::NO_CONTENT, BoxBody::new(()));
    let allow = HeaderValue::from_static(allow);
    response.headers_mut().insert(header::ALLOW, allow);
    response
}
