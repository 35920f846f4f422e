//! Answers one stream, from its request to the last byte of the answer.

use std::future::poll_fn;
use std::time::SystemTime;

use actix_http::Request;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use bytes::Bytes;
use futures_util::future::{Either, select};
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use tokio::time::timeout;

use super::super::counters::count;
use super::Http2;
use crate::num::as_u64;

/// The most bytes of an answer that are sent before other streams have their turn: one frame.
const PIECE_BYTES: usize = 16 * 1024;
/// Headers that HTTP/2 forbids, since they concern one connection of HTTP/1 (RFC 9113, 8.2.2).
const HOP_BY_HOP: [HeaderName; 4] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];

/// Answers one request.
pub(super) async fn answer(http2: &Http2, request: Request, mut respond: SendResponse<Bytes>) {
    let head_only = request.method() == Method::HEAD;
    let answer = {
        let answer = (http2.call)(request);
        // If the client cancels the stream, its request is dropped.
        let gone = std::pin::pin!(poll_fn(|cx| respond.poll_reset(cx)));
        match select(answer, gone).await {
            Either::Left((Some(answer), _)) => answer,
            Either::Left((None, _)) => return respond.send_reset(Reason::INTERNAL_ERROR),
            Either::Right(_) => return,
        }
    };
    let (_, response) = answer.into_parts();
    let (response, body) = response.into_parts();
    let size = body.size();
    let empty = matches!(size, BodySize::None | BodySize::Sized(0));
    let head = head(response.status(), response.headers(), size);
    match respond.send_response(head, empty || head_only) {
        Ok(_) if empty || head_only => {}
        Ok(stream) => {
            if let Err(reason) = send(http2, stream, body, size).await {
                respond.send_reset(reason);
            }
        }
        Err(error) => tracing::debug!(%error, "an answer could not be begun"),
    }
}

fn head(status: StatusCode, headers: &HeaderMap, size: BodySize) -> http::Response<()> {
    let mut head = http::Response::new(());
    *head.status_mut() = status;
    for (name, value) in headers {
        if !HOP_BY_HOP.contains(name) {
            head.headers_mut().append(name, value.clone());
        }
    }
    if let BodySize::Sized(length) = size {
        let length = HeaderValue::from(length);
        head.headers_mut().insert(header::CONTENT_LENGTH, length);
    }
    let date = httpdate::fmt_http_date(SystemTime::now());
    if let Ok(date) = HeaderValue::from_maybe_shared(Bytes::from(date)) {
        head.headers_mut().insert(header::DATE, date);
    }
    head
}

/// Sends a body as fast as the client takes it. The error is the reason for the client if the body ends too early.
async fn send(
    http2: &Http2,
    mut stream: SendStream<Bytes>,
    body: BoxBody,
    size: BodySize,
) -> Result<(), Reason> {
    let mut body = std::pin::pin!(body);
    let mut left = match size {
        BodySize::Sized(length) => Some(length),
        BodySize::None | BodySize::Stream => None,
    };
    while let Some(part) = poll_fn(|cx| body.as_mut().poll_next(cx)).await {
        let mut part = part.map_err(|error| {
            tracing::debug!(%error, "an answer broke off");
            Reason::INTERNAL_ERROR
        })?;
        while !part.is_empty() {
            stream.reserve_capacity(part.len().min(PIECE_BYTES));
            let capacity = capacity(http2, &mut stream).await?;
            let piece = part.split_to(capacity.min(part.len()));
            if let Some(left) = &mut left {
                *left = left.saturating_sub(as_u64(piece.len()));
            }
            let last = left == Some(0);
            stream.send_data(piece, last).map_err(|_| Reason::CANCEL)?;
            if last {
                return Ok(());
            }
        }
    }
    stream
        .send_data(Bytes::new(), true)
        .map_err(|_| Reason::CANCEL)
}

/// Waits until the client takes more, but no longer than `limits.stall_timeout`.
async fn capacity(http2: &Http2, stream: &mut SendStream<Bytes>) -> Result<usize, Reason> {
    let more = timeout(
        http2.limits.stall_timeout,
        poll_fn(|cx| stream.poll_capacity(cx)),
    );
    match more.await {
        Ok(Some(Ok(bytes))) => Ok(bytes),
        // The client has gone, or has cancelled the stream.
        Ok(Some(Err(_)) | None) => Err(Reason::CANCEL),
        Err(_) => {
            count(&http2.counters.stalled);
            Err(Reason::CANCEL)
        }
    }
}
