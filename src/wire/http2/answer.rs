//! Answers one stream, from its request to the last byte of the answer.

use std::future::poll_fn;
use std::pin::Pin;

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
use super::super::thread::{Answering, Thread};
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

/// Waits for the answer to one request and sends it. False if it did not reach its end.
pub(super) async fn answer(
    thread: &Thread,
    budget: &FrameBudget,
    answer: Answering,
    link: &Link,
    respond: &mut SendResponse<Bytes>,
) -> bool {
    let answered = {
        // If the client cancels the stream, its request is dropped.
        let gone = std::pin::pin!(poll_fn(|cx| respond.poll_reset(cx)));
        match select(answer, gone).await {
            Either::Left((answered, _)) => answered,
            Either::Right(_) => return false,
        }
    };
    let Ok(answered) = answered else {
        respond.send_reset(Reason::INTERNAL_ERROR);
        return false;
    };
    let (request, response) = answered.into_parts();
    let status = response.status().as_u16();
    let size = size(&response);
    thread.recorder.count(&request, link, status, size);
    let head_only = request.method() == Method::HEAD;
    let begun = begin(thread, response, head_only, respond);
    let ended = finish(thread, budget, begun, respond).await;
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
    let begun = begin(thread, response, false, respond);
    let ended = finish(thread, budget, begun, respond).await;
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

/// Sends the head of an answer. What it was made of is dropped here, since sending the body may take long.
fn begin(
    thread: &Thread,
    response: HttpResponse<BoxBody>,
    head_only: bool,
    respond: &mut SendResponse<Bytes>,
) -> Result<Option<BodySender>, h2::Error> {
    let size = size(&response);
    let (response, body) = response.into_parts();
    let empty = head_only || matches!(size, BodySize::None | BodySize::Sized(0));
    let head = thread.with_date(|date| head(response.status(), response.headers(), size, date));
    let stream = respond.send_response(head, empty)?;
    Ok((!empty).then(|| BodySender {
        stream,
        body,
        left: match size {
            BodySize::Sized(length) => Some(length),
            BodySize::None | BodySize::Stream => None,
        },
        sent: 0,
    }))
}

/// Sends the body of an answer whose head was sent.
async fn finish(
    thread: &Thread,
    budget: &FrameBudget,
    begun: Result<Option<BodySender>, h2::Error>,
    respond: &mut SendResponse<Bytes>,
) -> AnswerEnd {
    let mut sender = match begun {
        Ok(Some(sender)) => sender,
        Ok(None) => {
            return AnswerEnd {
                bytes: 0,
                whole: true,
            };
        }
        Err(error) => {
            tracing::debug!(%error, "an answer could not be begun");
            return AnswerEnd {
                bytes: 0,
                whole: false,
            };
        }
    };
    let ended = sender.send(thread, budget).await;
    if let Err(reason) = ended {
        respond.send_reset(reason);
    }
    AnswerEnd {
        bytes: sender.sent,
        whole: ended.is_ok(),
    }
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

/// Sends a body as fast as the client takes it.
struct BodySender {
    stream: SendStream<Bytes>,
    body: BoxBody,
    /// Bytes that are still to be sent, if it is known.
    left: Option<u64>,
    sent: u64,
}

impl BodySender {
    /// Sends all. The error is the reason for the client if the body ends too early.
    async fn send(&mut self, thread: &Thread, budget: &FrameBudget) -> Result<(), Reason> {
        while let Some(part) = poll_fn(|cx| Pin::new(&mut self.body).poll_next(cx)).await {
            let mut part = part.map_err(|error| {
                tracing::debug!(%error, "an answer broke off");
                Reason::INTERNAL_ERROR
            })?;
            while !part.is_empty() {
                let wanted = part.len().min(PIECE_BYTES);
                self.stream.reserve_capacity(wanted);
                let capacity = capacity(thread, &mut self.stream).await?;
                let piece = part.split_to(capacity.min(part.len()));
                budget.sent(piece.len(), piece.len() < wanted);
                if self.hand_over(piece)? {
                    return Ok(());
                }
            }
        }
        self.stream
            .send_data(Bytes::new(), true)
            .map_err(|_| Reason::CANCEL)
    }

    /// Hands bytes to the library. True if they are the last.
    fn hand_over(&mut self, piece: Bytes) -> Result<bool, Reason> {
        let bytes = as_u64(piece.len());
        self.sent += bytes;
        self.left = self.left.map(|left| left.saturating_sub(bytes));
        let last = self.left == Some(0);
        let sent = self.stream.send_data(piece, last);
        sent.map(|()| last).map_err(|_| Reason::CANCEL)
    }
}

/// Waits until the client takes more, but no longer than `limits.stall_timeout`.
async fn capacity(thread: &Thread, stream: &mut SendStream<Bytes>) -> Result<usize, Reason> {
    let more = poll_fn(|cx| stream.poll_capacity(cx));
    match timeout(thread.limits.stall_timeout, more).await {
        Ok(Some(Ok(bytes))) => Ok(bytes),
        // The client has gone, or has cancelled the stream.
        Ok(Some(Err(_)) | None) => Err(Reason::CANCEL),
        Err(_) => {
            count(&thread.counters.stalled);
            Err(Reason::CANCEL)
        }
    }
}
