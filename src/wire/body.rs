//! Reads the body of a request within its limit and its time, or discards it.

use std::io::ErrorKind;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::header;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::time::{Instant, timeout_at};

use super::connection::Connection;
use super::incoming::Incoming;
use super::problem::{Code, Problem};

/// The largest body that is read only to be discarded.
const DISCARD_BYTES_MAX: usize = 64 * 1024;
/// The longest time that such a body may delay its answer.
pub(super) const DISCARD_PATIENCE: Duration = Duration::from_secs(1);
/// The memory reserved for a body before it arrives: clients declare more than they send.
const RESERVE_BYTES_MAX: usize = 64 * 1024;

fn declared(request: &Incoming) -> Option<usize> {
    let length = request.headers().get(header::CONTENT_LENGTH);
    length.and_then(|value| value.to_str().ok()?.parse().ok())
}

/// Reads the whole body, which may have `limit` bytes.
pub(crate) async fn read_body(request: &mut Incoming, limit: usize) -> Result<Bytes, Problem> {
    let too_large =
        || Problem::new(Code::BodyTooLarge).detail(format!("a body may have {limit} bytes"));
    let declared = declared(request);
    if declared.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let connection = request.connection.as_deref();
    let _reading = Reading::new(connection);
    // Most bodies come in one piece, which is returned without a copy.
    let mut first = Bytes::new();
    let mut body = BytesMut::new();
    let late = |_| Problem::new(Code::Deadline).detail("the body did not come in time");
    while let Some(part) = timeout_at(request.deadline, request.payload.next())
        .await
        .map_err(late)?
    {
        let part = part.map_err(|error| {
            // Nothing more will come, not even an end.
            request.payload = Payload::None;
            broken(&error)
        })?;
        let so_far = first.len() + body.len();
        if so_far + part.len() > limit {
            return Err(too_large());
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
    if let Some(connection) = connection {
        connection.body_read();
    }
    Ok(if body.is_empty() {
        first
    } else {
        body.freeze()
    })
}

/// Whether the bytes of a body tell where it ends. What follows a CONNECT or an Upgrade has no end.
fn has_end(request: &Incoming) -> bool {
    declared(request).is_some() || request.headers().contains_key(header::TRANSFER_ENCODING)
}

/// Reads and drops the rest of a small body that the answer did not need, so that the connection can serve the next
/// request. After a large or slow body, and after one that broke off or has no end, the connection is closed.
pub(crate) async fn discard(request: &mut Incoming) {
    let connection = request.connection.as_deref();
    let Some(connection) = connection.filter(|connection| connection.body_left()) else {
        return;
    };
    let large = declared(request).is_some_and(|length| length > DISCARD_BYTES_MAX);
    if large || !request.has_body() || !has_end(request) {
        return;
    }
    let until = Instant::now() + DISCARD_PATIENCE;
    let mut discarded = 0;
    while discarded <= DISCARD_BYTES_MAX {
        match timeout_at(until, request.payload.next()).await {
            Ok(Some(Ok(part))) => discarded += part.len(),
            Ok(None) => return connection.body_read(),
            Ok(Some(Err(_))) | Err(_) => return,
        }
    }
}

fn broken(error: &PayloadError) -> Problem {
    if let PayloadError::Io(error) = error
        && error.kind() == ErrorKind::TimedOut
    {
        return Problem::new(Code::BodyTimeout);
    }
    Problem::new(Code::InvalidJson).detail("the body broke off")
}

/// While this exists, the connection waits for bytes of the body, with the stall timeout.
struct Reading<'a> {
    connection: Option<&'a Connection>,
}

impl<'a> Reading<'a> {
    fn new(connection: Option<&'a Connection>) -> Self {
        if let Some(connection) = connection {
            connection.reading_body(true);
        }
        Self { connection }
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection {
            connection.reading_body(false);
        }
    }
}
