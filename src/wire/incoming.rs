//! A request, the permission to work on it, and the trait of what answers it.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use actix_web::dev::{Payload, RequestHead};
use actix_web::http::Method;
use actix_web::http::header::HeaderMap;
use tokio::time::Instant;

use super::hosts::{authority, host};
use super::identity::Identity;
use super::link::{Link, RateLeft};
use super::pooled_request::PooledRequest;
use super::problem::{Code, Problem};
use crate::places::TakenPlace;
use crate::settings::LimitSettings;

/// A request that has not been answered.
pub(crate) struct Incoming {
    pub(super) request: PooledRequest,
    pub(crate) payload: Payload,
    /// The time by which the answer (safe methods) or the reading of the body (others) must be done.
    pub(crate) deadline: Instant,
    /// Whether it may change something and was sent by a page of another site.
    pub(crate) cross_site: bool,
    /// The state that it shares with its connection.
    pub(super) link: Rc<Link>,
}

impl Incoming {
    /// The head.
    pub(crate) fn head(&self) -> &RequestHead {
        self.request.head()
    }

    /// The path as it was sent.
    pub(crate) fn path(&self) -> &str {
        self.head().uri.path()
    }

    /// The query as it was sent, without its `?`.
    pub(crate) fn query(&self) -> &str {
        self.request.query()
    }

    /// The time when its head was complete.
    pub(crate) fn arrived_at(&self) -> Instant {
        self.link.started
    }

    /// The method.
    pub(crate) fn method(&self) -> &Method {
        &self.head().method
    }

    /// The headers.
    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.head().headers
    }

    /// The host that it is for, without its port.
    pub(crate) fn host(&self) -> Option<&str> {
        authority(self.head()).map(host)
    }

    /// Whether a body comes with it.
    pub(crate) fn has_body(&self) -> bool {
        !matches!(self.payload, Payload::None)
    }

    /// Whether it came through a listener with a loopback address, so that its client is a program of this machine.
    pub(crate) fn on_loopback(&self) -> bool {
        self.link.on_loopback
    }

    /// Notes who its client is, for the access log too.
    pub(crate) fn note_identity(&self, identity: &Arc<Identity>) {
        // A client has one, so that it was noted already or is now.
        let _same = self.link.client().identity.set(Arc::clone(identity));
    }

    /// Its client, if the route asks who it is and it has shown it.
    pub(crate) fn identity(&self) -> Option<&Arc<Identity>> {
        self.link.known_client()?.identity.get()
    }

    /// The name of its client, for what is kept of a change.
    pub(crate) fn changed_by(&self) -> Option<Arc<str>> {
        self.identity()
            .map(|identity| identity.name.as_str().into())
    }

    /// The address of the client: the one that a trusted proxy names, or that of the connection. `None` for a unix socket.
    pub(crate) fn client_address(&self) -> Option<IpAddr> {
        let named = self
            .link
            .known_client()
            .and_then(|client| client.address.get());
        named.or_else(|| self.head().peer_addr.map(|peer| peer.ip()))
    }

    /// Notes the requests that its client may still send.
    pub(crate) fn note_rate(&self, left: RateLeft) {
        self.link.client().rate.set(Some(left));
    }

    /// The requests that its client may still send, if it was counted.
    pub(crate) fn rate(&self) -> Option<RateLeft> {
        self.link.known_client()?.rate.get()
    }

    /// Refuses a request that may change something if a page of another site sent it.
    pub(crate) fn refuse_cross_site(&self) -> Result<(), Problem> {
        if !self.cross_site {
            return Ok(());
        }
        let detail =
            "the request comes from a page of another site; send it from a page of this one";
        Err(Problem::new(Code::CrossSite).detail(detail))
    }

    /// The result of `work`; if the client closes its side first, `work` is dropped, since nobody waits for it.
    pub(crate) async fn unless_left<W: Future>(
        &self,
        work: Pin<&mut W>,
    ) -> Result<W::Output, Problem> {
        let done = self.link.unless_left(work).await;
        done.ok_or_else(|| Problem::new(Code::ClientLeft))
    }

    /// The limits of the settings' edition that it keeps.
    pub(crate) fn limits(&self) -> &LimitSettings {
        &self.link.rules.limits
    }
}

/// The permission to work on one request, which is held until it is answered.
#[derive(Debug, Default)]
pub(crate) struct Pass {
    not_before: Option<Instant>,
    _permit: Option<TakenPlace>,
}

impl Pass {
    /// A pass for an answer that is given at this moment at the earliest, and that holds `permit` until then.
    pub(crate) fn new(not_before: Option<Instant>, permit: Option<TakenPlace>) -> Self {
        Self {
            not_before,
            _permit: permit,
        }
    }

    /// Waits until the answer may be given.
    pub(crate) async fn wait_delay(&self) {
        if let Some(not_before) = self.not_before {
            tokio::time::sleep_until(not_before).await;
        }
    }
}

/// An answer to a request.
pub(crate) type Response = HttpResponse<BoxBody>;

/// An answer, or the error that is answered in its place.
pub(crate) type Answered = Result<Response, Problem>;

/// Serves requests: the public site and API, or the pages of the admin.
pub(crate) trait Responder: Send + Sync + 'static {
    /// The route of a request. It is found once and kept to the request's end.
    type Matched;

    /// Finds where a request leads.
    fn resolve(&self, request: &Incoming) -> Self::Matched;

    /// The number of the route's pattern, under which a request is counted and logged; `None` if it has none.
    fn route_index(&self, _matched: &Self::Matched) -> Option<usize> {
        None
    }

    /// The answer, if it can be given without waiting. Not called for requests with a body.
    fn quick(
        &self,
        _request: &Incoming,
        _matched: &Self::Matched,
        _now: Instant,
    ) -> Option<Response> {
        None
    }

    /// Waits for the request's turn, before `slow` is called; `request_timeout` is counted from then on.
    fn admit(
        &self,
        request: &Incoming,
        _matched: &Self::Matched,
    ) -> impl Future<Output = Result<Pass, Problem>> {
        let refused = request.refuse_cross_site();
        async { refused.map(|()| Pass::default()) }
    }

    /// The answer.
    fn slow(
        &self,
        request: &mut Incoming,
        matched: &Self::Matched,
    ) -> impl Future<Output = Response>;

    /// The answer to a request that failed outside of `slow`: it was not admitted, panicked, or took too long.
    fn refuse(
        &self,
        request: &Incoming,
        _matched: &Self::Matched,
        problem: Problem,
    ) -> impl Future<Output = Response> {
        let response = problem.response(request);
        async { response }
    }
}
