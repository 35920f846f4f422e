//! Writes the head of an answer, and says how its body ends. Pure.

use actix_web::body::BodySize;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap};

use super::head::Framing;

/// The ways in which a client finds the end of an answer's body (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyEnd {
    /// There is no body: the method is HEAD, or the status allows none.
    None,
    /// After this many bytes.
    Length(u64),
    /// After the last chunk.
    Chunks,
    /// With the end of the connection.
    Close,
}

impl BodyEnd {
    /// The end of a body for an answer with this status and size.
    pub(super) fn of(framing: &Framing, status: StatusCode, size: BodySize) -> Self {
        if framing.head_only || is_bodiless(status) {
            return Self::None;
        }
        match size {
            BodySize::None => Self::Length(0),
            BodySize::Sized(length) => Self::Length(length),
            BodySize::Stream if framing.old => Self::Close,
            BodySize::Stream => Self::Chunks,
        }
    }
}

/// Whether answers with this status never have a body, and tell no length (RFC 9110 section 8.6). A 304 might; it does not.
pub(in super::super) fn is_bodiless(status: StatusCode) -> bool {
    status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
}

/// One head to be written.
pub(super) struct AnswerHead<'a> {
    pub(super) status: StatusCode,
    pub(super) headers: &'a HeaderMap,
    pub(super) size: BodySize,
    pub(super) end: BodyEnd,
    /// Whether the connection closes after this answer.
    pub(super) last: bool,
    /// The client speaks HTTP/1.0.
    pub(super) old: bool,
    /// The time as HTTP writes it.
    pub(super) date: &'a str,
}

impl AnswerHead<'_> {
    /// Appends the head.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(self.status.as_str().as_bytes());
        out.push(b' ');
        let reason = self.status.canonical_reason().unwrap_or("Unknown");
        out.extend_from_slice(reason.as_bytes());
        out.extend_from_slice(b"\r\n");
        for (name, value) in self.headers {
            // The connection says these itself.
            if matches!(
                *name,
                header::CONNECTION
                    | header::CONTENT_LENGTH
                    | header::TRANSFER_ENCODING
                    | header::DATE
            ) {
                continue;
            }
            field(out, name.as_str().as_bytes(), value.as_bytes());
        }
        match (self.end, self.size) {
            (BodyEnd::Length(length), _) => length_field(out, length),
            (BodyEnd::None, BodySize::Sized(length)) if !is_bodiless(self.status) => {
                length_field(out, length);
            }
            (BodyEnd::Chunks, _) => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
            (BodyEnd::None | BodyEnd::Close, _) => {}
        }
        if self.last {
            out.extend_from_slice(b"connection: close\r\n");
        } else if self.old {
            out.extend_from_slice(b"connection: keep-alive\r\n");
        }
        field(out, b"date", self.date.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn length_field(out: &mut Vec<u8>, length: u64) {
    let mut digits = itoa::Buffer::new();
    field(out, b"content-length", digits.format(length).as_bytes());
}

/// The line before a chunk of this many bytes.
pub(super) fn chunk_line(length: usize) -> String {
    format!("{length:x}\r\n")
}
