//! Every error of the API, as RFC 9457 has it, made in one place.
//!
//! | status | code | when |
//! | --- | --- | --- |
//! | 400 | `invalid_json`, `not_an_object`, `invalid_batch`, `invalid_id`, `invalid_key`, `invalid_patch`, `invalid_parameter`, `invalid_path` | syntax |
//! | 400 | `too_many_matches` | more records match a filter than `max-affected` allows to be changed |
//! | 400 | `malformed_request` | the message breaks a rule of HTTP; a connection of HTTP/1 closes |
//! | 400 | `not_available` | a later release will understand it |
//! | 403 | `forbidden` | the daemon may not read the file |
//! | 403 | `cross_site` | a page of another site sent a request that may change something; on the admin listener, any page may have |
//! | 404 | `not_found` | nothing here |
//! | 405 | `method_not_allowed` | with `Allow` |
//! | 406 | `not_acceptable` | the client takes no JSON |
//! | 408 | `head_timeout`, `body_timeout` | the head or the body did not come in time |
//! | 409 | `duplicate_id`, `id_mismatch` | there is a record of this id; path and body name different ones |
//! | 409 | `duplicate_value` | another record has the value of a field that is `unique`; with its `fields` |
//! | 409 | `referenced` | records refer to the one that is to be deleted, or too many would be deleted or changed with it |
//! | 409 | `needs_restart` | a change of the settings that can't be made while the daemon runs |
//! | 410 | `history_gone` | the changes after a position are not kept any more |
//! | 412 | `precondition_failed` | with the current `ETag` |
//! | 413 | `body_too_large` | past `limits.body`, or a patch that would make a record so long |
//! | 414 | `uri_too_long` | the target alone is past `limits.headers` |
//! | 415 | `unsupported_media_type` | with `Accept-Post` or `Accept-Patch` |
//! | 416 | `range_not_satisfiable` | a range of a file begins behind its end; with `Content-Range` |
//! | 417 | `expectation_failed` | another expectation than `100-continue` |
//! | 421 | `misdirected` | a loopback listener was asked under a name that is not this machine's |
//! | 422 | `validation` | with every violation |
//! | 422 | `invalid_order` | what the admin listener can't do |
//! | 422 | `invalid_settings` | settings that are read again have faults |
//! | 409 | `patch_test` | a test of a JSON Patch found another value |
//! | 422 | `patch_misfit` | a JSON Patch names what the record does not have, or copies, nests or moves more than a patch may |
//! | 422 | `inexact_number` | a number that would not keep its value |
//! | 422 | `key_reused` | another request was sent with the same `Idempotency-Key` |
//! | 424 | `cancelled` | an operation of an atomic batch that was not done, since another was refused |
//! | 428 | `precondition_required` | the resource insists on `If-Match` |
//! | 429 | `too_many_requests` | past the `rate` of the route; with `Retry-After` and `RateLimit` |
//! | 431 | `head_too_large` | past `limits.headers` |
//! | 499 | `client_left` | the client closed while its request was queued, or the records searched for that it asks for or changes; it reads this only if it closed one side |
//! | 500 | `internal`, `damaged` | a bug, or damaged data; nothing internal is told |
//! | 501 | `not_implemented` | a method or a transfer coding that the server does not know |
//! | 503 | `unavailable`, `overloaded`, `shutting_down`, `outcome_unknown`, `not_ready` | with `Retry-After`, save for the unknown outcome |
//! | 504 | `deadline` | it took too long; nothing was changed |
//! | 505 | `version_not_supported` | HTTP/2.0 in a request line, and the like |
//! | 507 | `disk_full` | less than `storage.reserve` is left; reads go on |

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::accept::prefers_html;
use super::incoming::Incoming;
use super::request_id::{RequestId, X_REQUEST_ID};
use crate::supervision::RETRY_AFTER;

/// Defines [`Code`] with the status, the code and the title of each, so that none can be forgotten elsewhere.
macro_rules! codes {
    ($($name:ident = $status:literal, $code:literal, $title:literal;)+) => {
        /// The kind of an error, as clients see it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Code {
            $($name),+
        }

        impl Code {
            /// All of them.
            pub(crate) const ALL: &[Self] = &[$(Self::$name),+];

            /// Status, code and title.
            fn row(self) -> (u16, &'static str, &'static str) {
                match self {
                    $(Self::$name => ($status, $code, $title)),+
                }
            }
        }
    };
}

codes! {
    InvalidJson = 400, "invalid_json", "The body is not valid JSON";
    NotAnObject = 400, "not_an_object", "The body is not a JSON object";
    InvalidBatch = 400, "invalid_batch", "The batch is not valid";
    InvalidId = 400, "invalid_id", "The id is not valid";
    InvalidParameter = 400, "invalid_parameter", "A query parameter is not valid";
    TooManyMatches = 400, "too_many_matches", "More records match than may be changed";
    InvalidKey = 400, "invalid_key", "The Idempotency-Key is not valid";
    InvalidPatch = 400, "invalid_patch", "The patch is not valid";
    InvalidPath = 400, "invalid_path", "The path is not valid";
    MalformedRequest = 400, "malformed_request", "The request is not valid HTTP";
    NotAvailable = 400, "not_available", "This is not available yet";
    Unauthorized = 401, "unauthorized", "The client must show a key";
    NotPermitted = 403, "not_permitted", "The key does not allow this";
    Forbidden = 403, "forbidden", "The server has no permission to read this file";
    CrossSite = 403, "cross_site", "Refused, because a web page of another site could have sent it";
    NotFound = 404, "not_found", "There is nothing here";
    MethodNotAllowed = 405, "method_not_allowed", "The method is not allowed here";
    NotAcceptable = 406, "not_acceptable", "There is no answer in a format that the client accepts";
    HeadTimeout = 408, "head_timeout", "The head of the request did not arrive in time";
    BodyTimeout = 408, "body_timeout", "The body of the request did not arrive in time";
    DuplicateId = 409, "duplicate_id", "A record with this id exists already";
    DuplicateValue = 409, "duplicate_value", "Another record has the same value";
    Referenced = 409, "referenced", "Other records refer to this one";
    IdMismatch = 409, "id_mismatch", "Path and body name different records";
    NeedsRestart = 409, "needs_restart", "The daemon must be started again for this";
    HistoryGone = 410, "history_gone", "Changes after this position are not kept any more";
    PreconditionFailed = 412, "precondition_failed", "A condition of the request does not hold";
    BodyTooLarge = 413, "body_too_large", "The body is too large";
    UriTooLong = 414, "uri_too_long", "The target of the request is too long";
    UnsupportedMediaType = 415, "unsupported_media_type", "The media type is not supported";
    RangeNotSatisfiable = 416, "range_not_satisfiable", "The file has none of the bytes that are asked for";
    ExpectationFailed = 417, "expectation_failed", "The server can't do what the request expects";
    Misdirected = 421, "misdirected", "The server does not answer to this host name";
    Validation = 422, "validation", "The record is not valid";
    InvalidOrder = 422, "invalid_order", "The order is not valid";
    InvalidSettings = 422, "invalid_settings", "The settings are wrong";
    PatchTest = 409, "patch_test", "A test of the patch found another value";
    PatchMisfit = 422, "patch_misfit", "The patch does not fit the record";
    InexactNumber = 422, "inexact_number", "A number would not keep its value";
    KeyReused = 422, "key_reused", "The Idempotency-Key was used for another request";
    Cancelled = 424, "cancelled", "Another operation of the batch was refused";
    ClientLeft = 499, "client_left", "The client closed the connection before the answer was ready";
    PreconditionRequired = 428, "precondition_required", "A change needs an If-Match header";
    TooManyRequests = 429, "too_many_requests", "The client has sent too many requests";
    HeadTooLarge = 431, "head_too_large", "The request's headers are too large";
    Internal = 500, "internal", "An error happened in the server";
    Damaged = 500, "damaged", "The stored record is damaged";
    NotImplemented = 501, "not_implemented", "The server does not implement this method or transfer coding";
    Unavailable = 503, "unavailable", "A part of the server can't answer at present";
    Overloaded = 503, "overloaded", "Too many requests are waiting";
    ShuttingDown = 503, "shutting_down", "The server, or this part of it, is stopped";
    OutcomeUnknown = 503, "outcome_unknown", "It is not known whether the change was made";
    NotReady = 503, "not_ready", "Not ready";
    Deadline = 504, "deadline", "The answer took too long";
    VersionNotSupported = 505, "version_not_supported", "The server does not speak this version of HTTP";
    DiskFull = 507, "disk_full", "The disk is full";
}

impl Code {
    /// The status.
    pub(crate) fn status(self) -> u16 {
        self.row().0
    }

    /// The code, as clients see it.
    pub(crate) fn name(self) -> &'static str {
        self.row().1
    }

    /// The title.
    pub(crate) fn title(self) -> &'static str {
        self.row().2
    }

    /// The time after which to come again if nobody knows better. Not where the first attempt may have been successful.
    fn retry_after(self) -> Option<Duration> {
        (self.status() == 503 && self != Self::OutcomeUnknown).then_some(RETRY_AFTER)
    }
}

/// One error on its way to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    code: Code,
    detail: String,
    retry_after: Option<Duration>,
    header: Option<Box<(HeaderName, String)>>,
    extensions: Vec<(&'static str, Value)>,
}

impl Problem {
    /// A problem whose detail is its title.
    pub(crate) fn new(code: Code) -> Self {
        let detail = code.row().2.to_owned();
        Self {
            code,
            detail,
            retry_after: None,
            header: None,
            extensions: Vec::new(),
        }
    }

    /// Replaces the detail that the client reads. It must not tell anything internal.
    #[must_use]
    pub(crate) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// The text that the client reads.
    pub(crate) fn text(&self) -> &str {
        &self.detail
    }

    /// Says when to try again.
    #[must_use]
    pub(crate) fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Whether it is of this kind.
    pub(crate) fn is(&self, code: Code) -> bool {
        self.code == code
    }

    /// It as one of several results.
    pub(crate) fn result(&self) -> Value {
        let (status, code, title) = self.code.row();
        let mut body =
            json!({ "title": title, "status": status, "code": code, "detail": self.detail });
        if let Some(body) = body.as_object_mut() {
            for (name, value) in &self.extensions {
                body.insert((*name).to_owned(), value.clone());
            }
        }
        let mut headers = serde_json::Map::new();
        if let Some((name, value)) = self.header.as_deref() {
            headers.insert(name.to_string(), value.clone().into());
        }
        json!({ "status": status, "headers": headers, "body": body })
    }

    /// A member of its own in the body.
    #[must_use]
    pub(crate) fn extension(mut self, name: &'static str, value: Value) -> Self {
        self.extensions.push((name, value));
        self
    }

    /// A header of its own; the last one counts.
    #[must_use]
    pub(crate) fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.header = Some(Box::new((name, value.into())));
        self
    }

    /// A 405 with what is allowed (RFC 9110 section 10.2.1).
    pub(crate) fn not_allowed(allow: impl Into<String>) -> Self {
        let allow = allow.into();
        Self::new(Code::MethodNotAllowed)
            .detail(format!("allowed here: {allow}"))
            .header(header::ALLOW, allow)
    }

    /// A 415 that tells the media type that was sent, if any, and the ones that are taken. These are also in the header `name`,
    /// which is the one for them in answers to the request's method.
    pub(crate) fn unsupported(
        sent: Option<&str>,
        name: HeaderName,
        accept: impl Into<String>,
    ) -> Self {
        let accept = accept.into();
        let detail = match sent {
            Some(sent) => format!("the Content-Type is {sent}; send {accept}"),
            None => format!("the request has no Content-Type; send {accept}"),
        };
        Self::new(Code::UnsupportedMediaType)
            .detail(detail)
            .header(name, accept)
    }

    /// Whether the log is told. What is not ready has said so in the log, once; what the server does not know is the client's
    /// fault.
    fn is_our_fault(&self) -> bool {
        let clients = matches!(
            self.code,
            Code::NotReady | Code::NotImplemented | Code::VersionNotSupported
        );
        self.code.status() >= 500 && !clients
    }

    fn body(&self, instance: &str, request_id: &str) -> Value {
        let (status, code, title) = self.code.row();
        let slug = code.replace('_', "-");
        let mut body = json!({
            "type": format!("/problems/{slug}"),
            "title": title,
            "status": status,
            "code": code,
            "detail": self.detail,
            "instance": instance,
            "request_id": request_id,
            "message": self.detail,
        });
        if let Some(body) = body.as_object_mut() {
            for (name, value) in &self.extensions {
                body.insert((*name).to_owned(), value.clone());
            }
        }
        body
    }

    /// The answer to a request; the log knows it by the same id.
    pub(crate) fn response(&self, request: &Incoming) -> HttpResponse<BoxBody> {
        let mut response = self.answer(request.path(), request.link.id.as_str());
        if prefers_html(request.headers()) {
            let page = self.page(request.link.id.as_str());
            let html = HeaderValue::from_static("text/html; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, html);
            response = response.set_body(BoxBody::new(page));
        }
        response
    }

    /// The problem as a page, for people.
    fn page(&self, request_id: &str) -> String {
        let (status, _, title) = self.code.row();
        let detail = escape_html(&self.detail);
        let detail = if self.detail == title {
            String::new()
        } else {
            format!("<p>{detail}</p>")
        };
        format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\"><title>{status}: {title}</title>\
             <style>:root{{color-scheme:light dark}}body{{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;\
             margin:4rem auto;padding:0 1rem;overflow-wrap:anywhere}}</style></head>\
             <body><main><h1>{title}</h1>{detail}<p><small>Error {status}, request {request_id}</small></p></main></body></html>\n"
        )
    }

    /// The answer to a message that never became a request.
    pub(super) fn refusal(&self, id: &RequestId) -> HttpResponse<BoxBody> {
        let mut response = self.answer("", id.as_str());
        if let Some(id) = id.value() {
            response.headers_mut().insert(X_REQUEST_ID.clone(), id);
        }
        response
    }

    /// The answer to a request that may not have been understood.
    fn answer(&self, instance: &str, request_id: &str) -> HttpResponse<BoxBody> {
        let (status, code, _) = self.code.row();
        if self.is_our_fault() {
            tracing::warn!(
                status,
                code,
                instance,
                request_id,
                detail = self.detail,
                "a request was answered with an error"
            );
        }
        self.unlogged(instance, request_id)
    }

    /// The same, of which the log is not told.
    pub(crate) fn unlogged(&self, instance: &str, request_id: &str) -> HttpResponse<BoxBody> {
        let status = self.code.status();
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = self.body(instance, request_id).to_string();
        let mut response = HttpResponse::with_body(status, BoxBody::new(body));
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(after) = self.retry_after.or(self.code.retry_after()) {
            headers.insert(
                header::RETRY_AFTER,
                // Who comes a moment too early is refused again.
                HeaderValue::from(whole_seconds(after).max(1)),
            );
        }
        if let Some((name, value)) = self.header.as_deref()
            && let Ok(value) = HeaderValue::from_str(value)
        {
            headers.insert(name.clone(), value);
        }
        response
    }
}

/// A text that shows itself in a page.
pub(crate) fn escape_html(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// The seconds of a time, rounded up.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests;
