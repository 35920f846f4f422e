//! Records answers: in the metrics when they begin, and in the access log when they have ended.

use std::rc::Rc;
use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::body::BodySize;
use actix_web::http::header::{self, HeaderValue};
use actix_web::http::{Method, Version};

use super::access_log::{Access, AccessLog, Line};
use super::http1::Fault;
use super::link::Link;
use super::metrics::HandlerMetrics;
use super::request_id::{RequestId, RequestIds};
use super::thread::RequestRules;

/// Records the answers of one thread.
pub(super) struct Recorder {
    metrics: Arc<HandlerMetrics>,
    access: Option<Rc<AccessLog>>,
    ids: RequestIds,
}

/// The end of an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct AnswerEnd {
    /// Bytes of its body that were sent.
    pub(super) bytes: u64,
    /// Whether it was sent to its end.
    pub(super) whole: bool,
}

impl Recorder {
    pub(super) fn new(metrics: Arc<HandlerMetrics>, access: Option<Access>) -> Rc<Self> {
        Rc::new(Self {
            metrics,
            access: access.map(|access| Rc::new(AccessLog::new(access))),
            ids: RequestIds::new(),
        })
    }

    /// The id of the next request.
    pub(super) fn next_id(&self) -> RequestId {
        self.ids.next()
    }

    /// Counts an answer. Call it before sending, so that a client that scrapes next sees its own request.
    pub(super) fn count(&self, request: &HttpRequest, link: &Link, status: u16, size: BodySize) {
        let bytes = match size {
            // The answer to a HEAD has a length and no body.
            BodySize::Sized(bytes) if request.method() != Method::HEAD => bytes,
            BodySize::Sized(_) | BodySize::None | BodySize::Stream => 0,
        };
        let (method, route) = (request.method(), link.route_index.get());
        let took = link.started.elapsed();
        self.metrics.answered(route, method, status, took, bytes);
    }

    /// Whether a request with these rules has a line in the log.
    pub(super) fn logs(&self, rules: &RequestRules) -> bool {
        rules.logs && self.access.is_some()
    }

    /// Logs the answer to a request, if its rules say so.
    pub(super) fn log(&self, request: &HttpRequest, link: &Link, status: u16, ended: AnswerEnd) {
        let Some(access) = self.access.as_ref().filter(|_| link.rules.logs) else {
            return;
        };
        let header = |name| request.headers().get(name).map(HeaderValue::as_bytes);
        access.add(&Line {
            method: request.method().as_str(),
            path: request.uri().path(),
            query: request.uri().query().filter(|_| link.rules.logs_query),
            protocol: protocol(request.version()),
            route: link.route_index.get(),
            status,
            bytes: ended.bytes,
            took: link.started.elapsed(),
            peer: request.peer_addr(),
            id: link.id.clone(),
            user_agent: header(header::USER_AGENT),
            referer: header(header::REFERER),
            fault: if ended.whole {
                link.fault.get().map(Fault::label)
            } else {
                Some("broken_off")
            },
        });
    }

    /// Logs the refusal of a message that never became a request.
    pub(super) fn log_refused(&self, line: &Line<'_>) {
        if let Some(access) = &self.access {
            access.add(line);
        }
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}
