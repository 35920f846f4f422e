//! Answers one stream, from its request to the last byte of the answer.

use std::future::poll_fn;

use actix_http::Request;
use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode, Version};
use bytes::Bytes;
use futures_util::future::{Either, select};
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use tokio::time::timeout;

use super::super::counters::count;
use super::super::hosts::Peer;
use super::super::http1::{Fault, is_bodiless};
use super::super::link::Link;
use super::super::recorder::{AnswerEnd, RefusedLine};
use super::super::thread::Thread;
use super::budget::FrameBudget;
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

/// Answers one request. False if the answer did not reach its end.
pub(super) async fn answer(
    thread: &Thread,
    budget: &FrameBudget,
    request: Request,
    link: &Link,
    respond: &mut SendResponse<Bytes>,
) -> bool {
    let head_only = request.method() == Method::HEAD;
    let answer = {
        let answer = (thread.call)(request);
        // If the client cancels the stream, its request is dropped.
        let gone = std::pin::pin!(poll_fn(|cx| respond.poll_reset(cx)));
        match select(answer, gone).await {
            Either::Left((Ok(answer), _)) => answer,
            Either::Left((Err(_), _)) => {
                respond.send_reset(Reason::INTERNAL_ERROR);
                return false;
            }
            Either::Right(_) => return false,
        }
    };
    let (request, response) = answer.into_parts();
    let status = response.status().as_u16();
    let size = size(&response);
    thread.recorder.count(&request, link, status, size);
    let ended = send(thread, budget, response, head_only, respond).await;
    thread.recorder.log(&request, link, status, ended);
    if ended.whole {
        budget.answered();
    }
    ended.whole
}

/// Refuses a request that breaks a rule, on its stream alone. It earns nothing, so that a connection ends that brings too many.
pub(super) async fn refuse(
    thread: &Thread,
    budget: &FrameBudget,
    fault: Fault,
    peer: Peer,
    respond: &mut SendResponse<Bytes>,
) -> bool {
    let label = fault.label();
    tracing::debug!(fault = label, peer = ?peer.address, "a request was refused");
    thread.counters.refused(fault);
    let id = thread.recorder.next_id();
    let response = fault.problem().refusal(&id);
    let status = response.status().as_u16();
    let ended = send(thread, budget, response, false, respond).await;
    thread.recorder.log_refused(&RefusedLine {
        version: Version::HTTP_2,
        peer: peer.address,
        status,
        id: &id,
        fault: label,
        bytes: ended.bytes,
    });
    ended.whole
}

/// The size of a body as it is told.
fn size(response: &HttpResponse<BoxBody>) -> BodySize {
    if is_bodiless(response.status()) {
        BodySize::None
    } else {
        response.body().size()
    }
}

/// Sends an answer.
async fn send(
    thread: &Thread,
    budget: &FrameBudget,
    response: HttpResponse<BoxBody>,
    head_only: bool,
    respond: &mut SendResponse<Bytes>,
) -> AnswerEnd {
    let size = size(&response);
    let (response, body) = response.into_parts();
    let status = response.status();
    let empty = head_only || matches!(size, BodySize::None | BodySize::Sized(0));
    let head = thread.with_date(|date| head(status, response.headers(), size, date));
    let mut bytes = 0;
    let whole = match respond.send_response(head, empty) {
        Ok(_) if empty => true,
        Ok(stream) => match send_body(thread, budget, stream, body, size, &mut bytes).await {
            Ok(()) => true,
            Err(reason) => {
                respond.send_reset(reason);
                false
            }
        },
        Err(error) => {
            tracing::debug!(%error, "an answer could not be begun");
            false
        }
    };
    AnswerEnd { bytes, whole }
}

fn head(status: StatusCode, headers: &HeaderMap, size: BodySize, date: &str) -> http::Response<()> {
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
    if let Ok(date) = HeaderValue::from_str(date) {
        head.headers_mut().insert(header::DATE, date);
    }
    head
}

/// Sends a body as fast as the client takes it. The error is the reason for the client if the body ends too early.
async fn send_body(
    thread: &Thread,
    budget: &FrameBudget,
    mut stream: SendStream<Bytes>,
    body: BoxBody,
    size: BodySize,
    sent: &mut u64,
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
            let wanted = part.len().min(PIECE_BYTES);
            stream.reserve_capacity(wanted);
            let capacity = capacity(thread, &mut stream).await?;
            let piece = part.split_to(capacity.min(part.len()));
            budget.sent(piece.len(), piece.len() < wanted);
            *sent += as_u64(piece.len());
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
async fn capacity(thread: &Thread, stream: &mut SendStream<Bytes>) -> Result<usize, Reason> {
    let more = timeout(
        thread.limits.stall_timeout,
        poll_fn(|cx| stream.poll_capacity(cx)),
    );
    match more.await {
        Ok(Some(Ok(bytes))) => Ok(bytes),
        // The client has gone, or has cancelled the stream.
        Ok(Some(Err(_)) | None) => Err(Reason::CANCEL),
        Err(_) => {
            count(&thread.counters.stalled);
            Err(Reason::CANCEL)
        }
    }
}
