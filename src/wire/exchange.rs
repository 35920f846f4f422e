//! One exchange: a request, from its head to the beginning of its answer.
//!
//! A request is resolved once. Then the [`Handler`] is asked for an answer that needs no waiting (`quick`), and if there is
//! none, for one that may wait (`slow`), which `request_timeout` limits. A panic in any of them is caught and answered with
//! a 500, and the connection stays open.

// Decision: Writes are not cut off by the request timeout.
// Decision: Waiting in a queue is not part of the request timeout.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use actix_http::ConnectionType;
use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use futures_util::future::{Either, select};
use tokio::time::{Instant, timeout_at};

use super::access_log::{Access, AccessLog, Line};
use super::body::discard;
use super::connection::drain::{Drain, LocalDrain};
use super::connection::{Connection, streamed_body};
use super::counters::{ConnectionCounters, count};
use super::hosts::Hosts;
use super::incoming::{Handler, Incoming, Response};
use super::metrics::HandlerMetrics;
use super::problem::{Code, Problem};
use super::request_id::{RequestIds, X_REQUEST_ID};
use crate::settings::LimitSettings;
use crate::supervision::{ExitReason, contain, contain_future};

/// The parts from which a service is made.
pub(crate) struct Parts<H> {
    /// The handler that answers requests.
    pub handler: Arc<H>,
    /// The counters of requests.
    pub metrics: Arc<HandlerMetrics>,
    /// The counters of connections.
    pub counters: Arc<ConnectionCounters>,
    /// The limits of connections and requests.
    pub limits: LimitSettings,
    /// The drain, which tells when connections have to end.
    pub drain: Drain,
    /// The access log, if there is one.
    pub access: Option<Access>,
    /// The host names that the server answers to.
    pub hosts: Arc<Hosts>,
}

/// The state that all requests of one thread share.
pub(super) struct Worker<H> {
    parts: Arc<Parts<H>>,
    drain: Rc<LocalDrain>,
    ids: RequestIds,
    access: Option<Rc<AccessLog>>,
}

impl<H: Handler> Worker<H> {
    pub(super) fn new(parts: Arc<Parts<H>>, drain: Rc<LocalDrain>) -> Self {
        let access = parts.access.clone();
        Self {
            parts,
            drain,
            ids: RequestIds::new(),
            access: access.map(|access| Rc::new(AccessLog::new(access))),
        }
    }

    /// Answers one request, whatever happens.
    pub(super) async fn answer(&self, request: ServiceRequest) -> ServiceResponse {
        let parts = &*self.parts;
        let (request, payload) = request.into_parts();
        let connection = request.conn_data::<Rc<Connection>>().cloned();
        let begun = Instant::now();
        let mut incoming = Incoming {
            request,
            payload,
            deadline: begun + parts.limits.request_timeout,
            id: self.ids.next(),
            cross_site: false,
            connection,
        };
        let loopback = incoming.is_on_loopback();
        if !incoming.method().is_safe() {
            incoming.cross_site = parts.hosts.is_cross_site(&incoming.request, loopback);
        }
        let _in_flight = parts.metrics.begin();
        let measure = match &incoming.connection {
            Some(connection) => connection.request_begins(incoming.has_body()),
            None => true,
        };
        let (response, label) = match contain(|| parts.handler.resolve(&incoming)) {
            Ok(matched) => {
                let resolved = Resolved {
                    parts,
                    matched: &matched,
                };
                let named = if loopback {
                    parts.hosts.check(&incoming.request)
                } else {
                    Ok(())
                };
                let response = match named {
                    Ok(()) => resolved.run(&mut incoming, begun, measure).await,
                    Err(problem) => resolved.refuse(&incoming, problem).await,
                };
                (response, parts.handler.label(&matched))
            }
            Err(reason) => (
                panicked(parts, &incoming, &reason).response(&incoming),
                None,
            ),
        };
        self.finish(incoming, begun, response, label)
    }

    /// The last step of every answer: tells the connection, the metrics and the access log.
    fn finish(
        &self,
        incoming: Incoming,
        begun: Instant,
        mut response: Response,
        label: Option<usize>,
    ) -> ServiceResponse {
        let now = Instant::now();
        let connection = incoming.connection.as_ref();
        let mut last = self.drain.begun();
        if let Some(connection) = connection {
            connection.answered(now);
            last |= connection.body_left();
        }
        if last {
            response
                .head_mut()
                .set_connection_type(ConnectionType::Close);
        }
        let bytes = match response.body().size() {
            // The answer to a HEAD has a length and no body.
            BodySize::Sized(bytes) if incoming.method() != Method::HEAD => bytes,
            BodySize::Sized(_) | BodySize::None | BodySize::Stream => 0,
        };
        if let Some(id) = incoming.id.value() {
            response.headers_mut().insert(X_REQUEST_ID.clone(), id);
        }
        let (method, code) = (incoming.method(), response.status().as_u16());
        let took = now.saturating_duration_since(begun);
        let metrics = &self.parts.metrics;
        metrics.answered(label, method, code, took, bytes);
        if let Some(access) = &self.access {
            access.add(&Line {
                time: SystemTime::now(),
                method: method.as_str(),
                path: incoming.path(),
                route: label,
                status: code,
                bytes,
                took,
                peer: incoming.request.peer_addr(),
                id: &incoming.id,
            });
        }
        let response = streamed_body::watch(response, method, connection);
        ServiceResponse::new(incoming.request, response)
    }
}

/// One request that knows where it leads.
struct Resolved<'a, H: Handler> {
    parts: &'a Parts<H>,
    matched: &'a H::Matched,
}

impl<H: Handler> Resolved<'_, H> {
    /// The answer. `measure` says that the size of the head has not been checked yet.
    async fn run(&self, incoming: &mut Incoming, begun: Instant, measure: bool) -> Response {
        let handler = &self.parts.handler;
        if measure && incoming.head_bytes() > self.parts.limits.head_bytes {
            count(&self.parts.counters.heads_too_large);
            return self
                .refuse(incoming, Problem::new(Code::HeadTooLarge))
                .await;
        }
        if !incoming.has_body() {
            match contain(|| handler.quick(incoming, self.matched, begun)) {
                Ok(Some(response)) => return response,
                Ok(None) => {}
                Err(reason) => return self.panicked(incoming, &reason).await,
            }
        }
        self.wait(incoming).await
    }

    /// Waits for the request's turn, which is when its time begins, and for its answer. A delay is not cut off: it is
    /// what the settings ask for.
    async fn wait(&self, incoming: &mut Incoming) -> Response {
        let client_left = async {
            match &incoming.connection {
                Some(connection) => connection.ended().await,
                None => std::future::pending().await,
            }
        };
        let admitted = contain_future(self.parts.handler.admit(incoming, self.matched));
        let admitted = match select(pin!(admitted), pin!(client_left)).await {
            Either::Left((admitted, _)) => admitted,
            // The client has gone, so its request leaves the queue.
            Either::Right(_) => return Problem::new(Code::ClientLeft).response(incoming),
        };
        let pass = match admitted {
            Ok(Ok(pass)) => pass,
            Ok(Err(problem)) => {
                let response = self.refuse(incoming, problem).await;
                discard(incoming).await;
                return response;
            }
            Err(reason) => return self.panicked(incoming, &reason).await,
        };
        incoming.deadline = Instant::now() + self.parts.limits.request_timeout;
        let response = self.work(incoming).await;
        pass.wait_delay().await;
        response
    }

    /// Cuts a safe request off at its deadline. An unsafe one has deadlines of its own (of its body, of its message):
    /// cutting it off here could report a failure although the change is made.
    async fn work(&self, incoming: &mut Incoming) -> Response {
        let safe = incoming.method().is_safe();
        let deadline = incoming.deadline;
        let work = contain_future(self.parts.handler.slow(incoming, self.matched));
        let done = if safe {
            timeout_at(deadline, work).await
        } else {
            Ok(work.await)
        };
        let response = match done {
            Ok(Ok(response)) => response,
            Ok(Err(reason)) => self.panicked(incoming, &reason).await,
            Err(_) => self.refuse(incoming, Problem::new(Code::Deadline)).await,
        };
        discard(incoming).await;
        response
    }

    async fn panicked(&self, incoming: &Incoming, reason: &ExitReason) -> Response {
        let problem = panicked(self.parts, incoming, reason);
        self.refuse(incoming, problem).await
    }

    async fn refuse(&self, incoming: &Incoming, problem: Problem) -> Response {
        let handler = &self.parts.handler;
        let refused = contain_future(handler.refuse(incoming, self.matched, problem.clone())).await;
        // If this panics as well, it is the same fault, which has been counted and logged.
        refused.unwrap_or_else(|_| problem.response(incoming))
    }
}

fn panicked<H>(parts: &Parts<H>, incoming: &Incoming, reason: &ExitReason) -> Problem {
    parts.metrics.panicked();
    tracing::error!(%reason, method = %incoming.method(), path = incoming.path(), "a request panicked");
    Problem::new(Code::Internal)
}
