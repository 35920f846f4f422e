//! Every error of the API, as RFC 9457 has it, made in one place.
//!
//! | status | code | when |
//! | --- | --- | --- |
//! | 400 | `invalid_json`, `not_an_object`, `invalid_id`, `invalid_parameter`, `invalid_path` | syntax |
//! | 404 | `not_found` | nothing here |
//! | 405 | `method_not_allowed` | with `Allow` |
//! | 408 | `head_timeout`, `body_timeout` | the head did not come in time, or the body of an HTTP/2 stream stalled |
//! | 409 | `duplicate_id` | there is a record of this id |
//! | 413 | `body_too_large` | past `limits.body` |
//! | 415 | `unsupported_media_type` | with `Accept-Post` |
//! | 431 | `head_too_large` | past `limits.headers` |
//! | 500 | `internal`, `damaged` | a bug, or damaged data; nothing internal is told |
//! | 503 | `unavailable`, `overloaded`, `shutting_down`, `outcome_unknown`, `not_ready` | with `Retry-After`, save for the unknown outcome |
//! | 504 | `deadline` | it took too long, and was not begun |

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::incoming::Incoming;
use crate::file_cache::{FileError, Refusal};
use crate::record::BodyError;
use crate::storage::StoreError;
use crate::supervision::{AskError, RETRY_AFTER};

/// What went wrong, as a client can tell it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table above says what each means")]
pub enum Code {
    InvalidJson,
    NotAnObject,
    InvalidId,
    InvalidParameter,
    InvalidPath,
    NotFound,
    MethodNotAllowed,
    HeadTimeout,
    BodyTimeout,
    DuplicateId,
    BodyTooLarge,
    UnsupportedMediaType,
    HeadTooLarge,
    Internal,
    Damaged,
    Unavailable,
    Overloaded,
    ShuttingDown,
    OutcomeUnknown,
    NotReady,
    Deadline,
}

impl Code {
    /// Status, code and title.
    fn row(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::InvalidJson => (400, "invalid_json", "The body is not valid JSON"),
            Self::NotAnObject => (400, "not_an_object", "The body is not a JSON object"),
            Self::InvalidId => (400, "invalid_id", "The id is not valid"),
            Self::InvalidParameter => (400, "invalid_parameter", "A query parameter is not valid"),
            Self::InvalidPath => (400, "invalid_path", "The path is not valid"),
            Self::NotFound => (404, "not_found", "There is nothing here"),
            Self::MethodNotAllowed => (405, "method_not_allowed", "The method is not allowed here"),
            Self::HeadTimeout => (408, "head_timeout", "The request did not come in time"),
            Self::BodyTimeout => (408, "body_timeout", "The body did not come in time"),
            Self::DuplicateId => (
                409,
                "duplicate_id",
                "There is a record with this id already",
            ),
            Self::BodyTooLarge => (413, "body_too_large", "The body is too large"),
            Self::UnsupportedMediaType => (
                415,
                "unsupported_media_type",
                "The media type is not supported",
            ),
            Self::HeadTooLarge => (431, "head_too_large", "The request's headers are too large"),
            Self::Internal => (500, "internal", "Something went wrong here"),
            Self::Damaged => (500, "damaged", "The stored record is damaged"),
            Self::Unavailable => (503, "unavailable", "A part is being restarted"),
            Self::Overloaded => (503, "overloaded", "Too much is waiting"),
            Self::ShuttingDown => (503, "shutting_down", "The server is stopping"),
            Self::OutcomeUnknown => (503, "outcome_unknown", "The outcome is not known"),
            Self::NotReady => (503, "not_ready", "Not ready"),
            Self::Deadline => (504, "deadline", "It took too long"),
        }
    }

    /// The number.
    pub fn status(self) -> u16 {
        self.row().0
    }

    /// When to come again if nobody knows better. Not where the first attempt may have been successful.
    fn retry_after(self) -> Option<Duration> {
        (self.status() == 503 && self != Self::OutcomeUnknown).then_some(RETRY_AFTER)
    }
}

/// A header that some problems need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HeaderKind {
    Allow,
    AcceptPost,
}

impl HeaderKind {
    fn name(self) -> HeaderName {
        match self {
            Self::Allow => header::ALLOW,
            Self::AcceptPost => HeaderName::from_static("accept-post"),
        }
    }
}

/// One error on its way to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    code: Code,
    detail: String,
    retry_after: Option<Duration>,
    header: Option<(HeaderKind, &'static str)>,
    extension: Option<Box<(&'static str, Value)>>,
}

impl Problem {
    /// A problem that its title says all about.
    pub fn new(code: Code) -> Self {
        let detail = code.row().2.to_owned();
        Self {
            code,
            detail,
            retry_after: None,
            header: None,
            extension: None,
        }
    }

    /// Says more, to the client: nothing internal.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// A member of its own in the body.
    #[must_use]
    pub fn extension(mut self, name: &'static str, value: Value) -> Self {
        self.extension = Some(Box::new((name, value)));
        self
    }

    /// A 405 with what is allowed.
    pub fn not_allowed(allow: &'static str) -> Self {
        let header = Some((HeaderKind::Allow, allow));
        let detail = format!("allowed here: {allow}");
        Self {
            header,
            ..Self::new(Code::MethodNotAllowed).detail(detail)
        }
    }

    /// A 415 with what is taken.
    pub fn unsupported(accept: &'static str) -> Self {
        let header = Some((HeaderKind::AcceptPost, accept));
        let detail = format!("send {accept}");
        Self {
            header,
            ..Self::new(Code::UnsupportedMediaType).detail(detail)
        }
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
        if let (Some(extension), Some(body)) = (&self.extension, body.as_object_mut()) {
            body.insert(extension.0.to_owned(), extension.1.clone());
        }
        body
    }

    /// The answer to a request; the log knows it by the same id.
    pub fn response(&self, request: &Incoming) -> HttpResponse<BoxBody> {
        self.answer(request.path(), request.id().as_str())
    }

    fn answer(&self, instance: &str, request_id: &str) -> HttpResponse<BoxBody> {
        let (status, code, _) = self.code.row();
        if status >= 500 {
            tracing::warn!(
                status,
                code,
                instance,
                request_id,
                detail = self.detail,
                "answered an error"
            );
        }
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
                HeaderValue::from(after.as_secs().max(1)),
            );
        }
        if let Some((kind, value)) = self.header {
            headers.insert(kind.name(), HeaderValue::from_static(value));
        }
        response
    }

    /// The whole answer as bytes, for a connection that has no request yet.
    pub(crate) fn raw(&self) -> String {
        let (status, _, title) = self.code.row();
        let id = uuid::Uuid::now_v7().simple().to_string();
        let body = self.body("", &id).to_string();
        format!(
            "HTTP/1.1 {status} {title}\r\ncontent-type: application/problem+json\r\nx-request-id: {id}\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        let code = match &error {
            BodyError::Syntax { .. } => Code::InvalidJson,
            BodyError::NotAnObject { .. } => Code::NotAnObject,
            BodyError::Id(_) | BodyError::IdType => Code::InvalidId,
        };
        Self::new(code).detail(error.to_string())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let (code, retry_after) = match &error {
            StoreError::Unavailable { retry_after } => (Code::Unavailable, Some(*retry_after)),
            StoreError::Overloaded { retry_after } => (Code::Overloaded, Some(*retry_after)),
            StoreError::Expired => (Code::Deadline, None),
            StoreError::Crashed | StoreError::Failed => (Code::Internal, None),
            StoreError::OutcomeUnknown => (Code::OutcomeUnknown, None),
            StoreError::ShuttingDown => (Code::ShuttingDown, None),
            StoreError::Damaged => (Code::Damaged, None),
            StoreError::Duplicate { .. } => (Code::DuplicateId, None),
        };
        let problem = Self::new(code).detail(error.to_string());
        Self {
            retry_after,
            ..problem
        }
    }
}

impl From<AskError<FileError>> for Problem {
    fn from(error: AskError<FileError>) -> Self {
        match error {
            AskError::Answer(error) => error.into(),
            AskError::Overloaded { retry_after } => {
                Self::new(Code::Overloaded).retry_after(retry_after)
            }
            AskError::Expired => Self::new(Code::Deadline),
            AskError::Crashed { .. } | AskError::Hung { .. } | AskError::Lost => {
                Self::new(Code::Internal)
            }
            // A look at a file leaves nothing behind: trying again is always right.
            AskError::OutcomeUnknown => Self::new(Code::Unavailable),
            AskError::ShuttingDown => Self::new(Code::ShuttingDown),
        }
    }
}

impl From<FileError> for Problem {
    fn from(error: FileError) -> Self {
        match error {
            // What is hidden is not there.
            FileError::Refused(Refusal::Hidden) => Self::new(Code::NotFound),
            FileError::Refused(refusal) => Self::new(Code::InvalidPath).detail(refusal.to_string()),
            FileError::Absent | FileError::Outside | FileError::Irregular => {
                Self::new(Code::NotFound)
            }
            FileError::Restless { .. } => Self::new(Code::Unavailable),
            FileError::Denied | FileError::Root { .. } | FileError::Io { .. } => {
                tracing::error!(%error, "a file could not be served");
                Self::new(Code::Internal)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(problem: &Problem, name: &str) -> Option<String> {
        let response = problem.answer("/books", "7");
        let value = response.headers().get(name)?;
        Some(value.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_503_says_when_to_come_again_unless_it_may_have_been_done() {
        let after = |problem: Problem| header(&problem, "retry-after");
        for code in [Code::Unavailable, Code::Overloaded, Code::NotReady] {
            assert_eq!(after(Problem::new(code)).as_deref(), Some("1"), "{code:?}");
        }
        let patient = Problem::new(Code::Overloaded).retry_after(Duration::from_millis(7_500));
        assert_eq!(after(patient).as_deref(), Some("7"));
        assert_eq!(after(StoreError::OutcomeUnknown.into()), None);
        assert_eq!(after(StoreError::ShuttingDown.into()).as_deref(), Some("1"));
        assert_eq!(after(Problem::new(Code::NotFound)), None);
    }

    #[test]
    fn the_body_has_every_member_of_the_dialect() {
        let body = Problem::not_allowed("GET").body("/books", "7");
        assert_eq!(
            body.to_string(),
            "{\"type\":\"/problems/method-not-allowed\",\"title\":\"The method is not allowed here\",\"status\":405,\
             \"code\":\"method_not_allowed\",\"detail\":\"allowed here: GET\",\"instance\":\"/books\",\"request_id\":\"7\",\
             \"message\":\"allowed here: GET\"}"
        );
        let unsupported = Problem::unsupported("application/json");
        assert_eq!(
            header(&unsupported, "accept-post").as_deref(),
            Some("application/json")
        );
        assert_eq!(
            header(&Problem::not_allowed("GET"), "allow").as_deref(),
            Some("GET")
        );
    }

    #[test]
    fn what_is_hidden_or_outside_is_not_there_and_no_path_is_named() {
        for error in [
            FileError::Absent,
            FileError::Outside,
            FileError::Irregular,
            FileError::Refused(Refusal::Hidden),
        ] {
            let problem = Problem::from(error);
            assert_eq!(problem, Problem::new(Code::NotFound));
        }
    }

    #[test]
    fn a_word_without_a_request_is_a_whole_answer() {
        let raw = Problem::new(Code::HeadTooLarge).raw();
        let (head, body) = raw.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 431 "), "{head}");
        assert!(head.contains("\r\nconnection: close"), "{head}");
        let length = format!("content-length: {}", body.len());
        assert!(head.contains(&length), "{head}");
        assert!(serde_json::from_str::<Value>(body).is_ok());
    }
}
