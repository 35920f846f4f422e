//! A request, the permission to work on it, and the trait of what answers it.

use std::future::Future;
use std::rc::Rc;

use actix_web::body::BoxBody;
use actix_web::dev::Payload;
use actix_web::http::Method;
use actix_web::http::header::HeaderMap;
use actix_web::{HttpRequest, HttpResponse};
use tokio::time::Instant;

use super::link::Link;
use super::problem::{Code, Problem};
use crate::places::TakenPlace;
use crate::settings::LimitSettings;

/// A request that has not been answered.
pub(crate) struct Incoming {
    pub(crate) request: HttpRequest,
    pub(crate) payload: Payload,
    /// When the answer (safe methods) or the reading of the body (others) must be done.
    pub(crate) deadline: Instant,
    /// Whether it may change something and was sent by a page of another site.
    pub(crate) cross_site: bool,
    /// The state that it shares with its connection.
    pub(super) link: Rc<Link>,
}

impl Incoming {
    /// The path as it was sent.
    pub(crate) fn path(&self) -> &str {
        self.request.uri().path()
    }

    /// The query as it was sent, without its `?`.
    pub(crate) fn query(&self) -> &str {
        self.request.query_string()
    }

    /// The method.
    pub(crate) fn method(&self) -> &Method {
        self.request.method()
    }

    /// The headers.
    pub(crate) fn headers(&self) -> &HeaderMap {
        self.request.headers()
    }

    /// Whether a body comes with it.
    pub(crate) fn has_body(&self) -> bool {
        !matches!(self.payload, Payload::None)
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

    /// The limits of the settings' edition that it keeps.
    pub(crate) fn limits(&self) -> &LimitSettings {
        &self.link.rules.limits
    }

    /// The length of its head, as far as it is kept.
    pub(super) fn head_bytes(&self) -> usize {
        let line = self.method().as_str().len() + self.path().len() + self.query().len();
        let fields = self.headers().iter();
        let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
        line + "  HTTP/1.1\r\n\r\n".len() + fields.sum::<usize>()
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

/// Serves requests: the public site and API, or the pages of the admin.
pub(crate) trait Responder: Send + Sync + 'static {
    /// Where a request leads. It is found once and kept to the request's end.
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
