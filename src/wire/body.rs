//! Reads the body of a request within its limit and its time.

use std::io::ErrorKind;

use actix_web::error::PayloadError;
use actix_web::http::header::{self, HeaderMap};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::time::timeout_at;

use super::buffered::no_room;
use super::http1::Fault;
use super::incoming::Incoming;
use super::problem::{Code, Problem};

/// The memory reserved for a body before it arrives: clients declare more than they send.
const RESERVE_BYTES_MAX: usize = 64 * 1024;

/// Reads the whole body, which may have `limit` bytes.
pub(crate) async fn read_body(request: &mut Incoming, limit: usize) -> Result<Bytes, Problem> {
    read_body_by(request, limit, |_| limit).await
}

/// Reads the whole body, which may have `most` bytes, or only as many as its beginning says.
pub(crate) async fn read_body_by(
    request: &mut Incoming,
    most: usize,
    limit_of: impl FnOnce(&[u8]) -> usize,
) -> Result<Bytes, Problem> {
    must_not_be_coded(request.headers())?;
    let declared = request.headers().get(header::CONTENT_LENGTH);
    let declared = declared.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let is_over = |limit| declared.is_some_and(|length| length > limit);
    if is_over(most) {
        return Err(too_large(most));
    }
    let (mut limit, mut limit_of) = (most, Some(limit_of));
    // Most bodies come in one piece, which is returned without a copy.
    let mut first = Bytes::new();
    let mut body = BytesMut::new();
    while let Some(part) = next_part(request, most).await? {
        if let Some(limit_of) = limit_of.take() {
            limit = limit_of(&part).min(most);
        }
        let so_far = first.len() + body.len();
        if is_over(limit) || so_far + part.len() > limit {
            return Err(too_large(limit));
        }
        if so_far == 0 {
            first = part;
            continue;
        }
        if body.is_empty() {
            body.reserve(declared.unwrap_or(0).min(RESERVE_BYTES_MAX));
            body.extend_from_slice(&std::mem::take(&mut first));
        }
        body.extend_from_slice(&part);
    }
    Ok(if body.is_empty() {
        first
    } else {
        body.freeze()
    })
}

/// The next part of the body. If it can't be had, the access log tells why.
async fn next_part(request: &mut Incoming, most: usize) -> Result<Option<Bytes>, Problem> {
    let next = timeout_at(request.deadline, request.payload.next()).await;
    let (fault, problem) = match next {
        Ok(Some(Ok(part))) => return Ok(Some(part)),
        Ok(None) => return Ok(None),
        Ok(Some(Err(PayloadError::Overflow))) => return Err(too_large(most)),
        Ok(Some(Err(error))) => broken(&error),
        Err(_) => late(),
    };
    request.link.fault.set(Some(fault));
    Err(problem)
}

/// Refuses a body with a content coding, such as gzip (RFC 9110 section 8.4).
fn must_not_be_coded(headers: &HeaderMap) -> Result<(), Problem> {
    let mut codings = headers.get_all(header::CONTENT_ENCODING);
    match codings.find(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        Some(coding) => {
            let coding = String::from_utf8_lossy(coding.as_bytes());
            let detail = format!("the body is encoded with {coding}; send it as it is");
            let problem = Problem::new(Code::UnsupportedMediaType).detail(detail);
            Err(problem.header(header::ACCEPT_ENCODING, "identity"))
        }
        None => Ok(()),
    }
}

/// The reason why a body could not be read, for the access log, and the answer.
fn broken(error: &PayloadError) -> (&'static str, Problem) {
    if let PayloadError::Io(error) = error {
        if error.kind() == ErrorKind::TimedOut {
            return late();
        }
        if error.kind() == ErrorKind::OutOfMemory {
            return ("max_buffered", no_room());
        }
        let fault = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<Fault>());
        if let Some(fault) = fault {
            return (fault.label(), fault.problem());
        }
    }
    let problem = Problem::new(Code::MalformedRequest);
    let problem = problem.detail("the body broke off before its end");
    ("body_incomplete", problem)
}

fn too_large(limit: usize) -> Problem {
    Problem::new(Code::BodyTooLarge).detail(format!("a body may have {limit} bytes"))
}

fn late() -> (&'static str, Problem) {
    ("body_timeout", Problem::new(Code::BodyTimeout))
}
