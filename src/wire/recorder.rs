//! Records requests: in the metrics when their answers begin, and in the access log when they have ended, whatever ended them.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use actix_http::RequestHead;
use actix_web::body::BodySize;
use actix_web::http::header::{self, HeaderValue};
use actix_web::http::{Method, Version};

use super::access_log::{Access, AccessLog, Line};
use super::line_text::{HeadText, LineText};
use super::link::Link;
use super::metrics::HandlerMetrics;
use super::problem::Code;
use super::request_id::{RequestId, RequestIds};

/// Records the requests of one thread.
pub(super) struct Recorder {
    metrics: Arc<HandlerMetrics>,
    access: Option<Rc<AccessLog>>,
    ids: RequestIds,
}

/// The head of a request, as far as it is recorded.
pub(super) struct Seen<'a> {
    /// `None` if it could not be read.
    pub(super) method: Option<Method>,
    pub(super) version: Version,
    pub(super) peer: Option<SocketAddr>,
    /// The head as the log shows it.
    pub(super) shown: Shown<'a>,
}

/// The head of a request for the access log. Without a log, no header is looked up.
pub(super) enum Shown<'a> {
    Of(&'a RequestHead),
    Text(HeadText<'a>),
}

impl<'a> Shown<'a> {
    fn text(self) -> HeadText<'a> {
        let head = match self {
            Self::Of(head) => head,
            Self::Text(text) => return text,
        };
        let header = |name| head.headers.get(name).map(HeaderValue::as_bytes);
        HeadText {
            path: head.uri.path().as_bytes(),
            query: head.uri.query().map(str::as_bytes),
            user_agent: header(header::USER_AGENT),
            referer: header(header::REFERER),
        }
    }
}

/// The record of one request. Dropping it ends it: an answer that was not whole by then was broken off, and a request that had
/// none by then is counted with 499. So each request has one line, even if it ends with its connection or its thread.
///
/// It keeps little of the request, because a client may have many that it does not read the answers of.
// Decision: A request is recorded when its record is dropped.
pub(super) struct RequestRecord {
    recorder: Rc<Recorder>,
    link: Rc<Link>,
    method: Option<Method>,
    version: Version,
    peer: Option<SocketAddr>,
    /// `None` if the request has no line.
    text: Option<LineText>,
    /// The status of the answer; `None` until it is made.
    status: Cell<Option<u16>>,
    /// Bytes of the answer's body that were sent.
    sent: Cell<u64>,
    /// All bytes of the answer's body; `None` until they are known.
    length: Cell<Option<u64>>,
}

impl<'a> Seen<'a> {
    /// A request that was read.
    pub(super) fn request(head: &'a RequestHead) -> Self {
        Self {
            method: Some(head.method.clone()),
            version: head.version,
            peer: head.peer_addr,
            shown: Shown::Of(head),
        }
    }
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

    /// Begins the record of a request.
    pub(super) fn begin(self: &Rc<Self>, seen: Seen<'_>, link: &Rc<Link>) -> RequestRecord {
        let logs = link.rules.logs && self.access.is_some();
        let text = logs.then(|| {
            let mut shown = seen.shown.text();
            shown.query = shown.query.filter(|_| link.rules.logs_query);
            LineText::new(&shown)
        });
        RequestRecord {
            recorder: Rc::clone(self),
            link: Rc::clone(link),
            method: seen.method,
            version: seen.version,
            peer: seen.peer,
            text,
            status: Cell::new(None),
            sent: Cell::new(0),
            length: Cell::new(None),
        }
    }
}

impl RequestRecord {
    /// Counts the answer. Call it before sending, so that a client that scrapes next sees its own request.
    pub(super) fn answered(&self, status: u16, size: BodySize) {
        let bytes = match size {
            BodySize::Sized(bytes) if !self.is_head() => bytes,
            // The answer to a HEAD has a length and no body.
            BodySize::Sized(_) | BodySize::None | BodySize::Stream => 0,
        };
        self.status.set(Some(status));
        let (route, took) = (self.link.route_index.get(), self.link.started.elapsed());
        if let Some(method) = &self.method {
            let metrics = &self.recorder.metrics;
            metrics.answered(route, method, status, took, bytes);
        }
    }

    /// Notes the answer to a message that breaks a rule, and the name of the rule. It is counted elsewhere.
    pub(super) fn refused(&self, status: u16, fault: &'static str) {
        self.status.set(Some(status));
        self.link.fault.set(Some(fault));
    }

    /// The id of the request.
    pub(super) fn id(&self) -> &RequestId {
        &self.link.id
    }

    /// Whether the method is HEAD.
    pub(super) fn is_head(&self) -> bool {
        self.method == Some(Method::HEAD)
    }

    /// More bytes of the body were sent.
    pub(super) fn sent(&self, bytes: u64) {
        self.sent.set(self.sent.get() + bytes);
    }

    /// The bytes of the body that were sent.
    pub(super) fn bytes(&self) -> u64 {
        self.sent.get()
    }

    /// So many bytes are the whole body: the answer has ended when they are sent.
    pub(super) fn set_length(&self, bytes: u64) {
        self.length.set(Some(bytes));
    }

    /// The answer has ended with the bytes that were sent.
    pub(super) fn end(&self) {
        self.set_length(self.bytes());
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        let left = Code::ClientLeft.status();
        if self.status.get().is_none() {
            self.answered(left, BodySize::None);
        }
        let (Some(access), Some(text)) = (&self.recorder.access, &self.text) else {
            return;
        };
        let shown = text.shown();
        let client = self.link.known_client();
        let is_whole = self.length.get() == Some(self.sent.get());
        access.add(&Line {
            method: self.method.as_ref().map_or("", Method::as_str),
            path: &String::from_utf8_lossy(shown.path),
            query: shown.query.map(String::from_utf8_lossy).as_deref(),
            protocol: protocol(self.version),
            route: self.link.route_index.get(),
            status: self.status.get().unwrap_or(left),
            bytes: self.sent.get(),
            took: self.link.started.elapsed(),
            peer: self.peer,
            id: self.link.id.clone(),
            client: client.and_then(|client| client.address.get()),
            user: client
                .and_then(|client| client.identity.get())
                .map(|identity| &*identity.name),
            user_agent: shown.user_agent,
            referer: shown.referer,
            fault: if is_whole {
                self.link.fault.get()
            } else {
                Some("broken_off")
            },
        });
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}
