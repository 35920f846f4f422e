//! Reads the body of a request within its limit and its time.

use std::io::ErrorKind;

use actix_web::error::PayloadError;
use actix_web::http::header;
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
    let too_large =
        |limit| Problem::new(Code::BodyTooLarge).detail(format!("a body may have {limit} bytes"));
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
    let late = |_| Problem::new(Code::BodyTimeout);
    while let Some(part) = timeout_at(request.deadline, request.payload.next())
        .await
        .map_err(late)?
    {
        let part = part.map_err(|error| broken(&error))?;
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

fn broken(error: &PayloadError) -> Problem {
    if let PayloadError::Io(error) = error {
        if error.kind() == ErrorKind::TimedOut {
            return Problem::new(Code::BodyTimeout);
        }
        if error.kind() == ErrorKind::OutOfMemory {
            return no_room();
        }
        let fault = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<Fault>());
        if let Some(fault) = fault {
            return fault.problem();
        }
    }
    Problem::new(Code::MalformedRequest).detail("the body broke off before its end")
}
