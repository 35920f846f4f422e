//! Answers one stream, from its request to the last byte of the answer.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody as _};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode, Version};
use futures_util::future::{Either, select};
use h2::Reason;
use h2::server::SendResponse;

use super::super::file_body::BodyFile;
use super::super::hosts::Peer;
use super::super::http1::{Fault, is_bodiless};
use super::super::link::Link;
use super::super::recorder::{AnswerEnd, RefusedLine};
use super::super::thread::{Answering, Thread};
use super::budget::FrameBudget;
use super::outgoing::{BodySender, OutgoingBytes};
use super::streams::OpenStream;

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
    open: &OpenStream,
    answer: Answering,
    link: &Link,
    respond: &mut SendResponse<OutgoingBytes>,
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
    let mut begun = begin(thread, response, head_only, respond);
    // Without a log, nobody needs it any more, and sending the body may take long.
    let request = thread.recorder.logs().then_some(request);
    let ended = finish(thread, Some(budget), open, &mut begun, respond).await;
    if let Some(request) = request {
        thread.recorder.log(&request, link, status, ended);
    }
    if ended.whole {
        budget.answered();
    }
    ended.whole
}

/// Refuses a request that breaks a rule, on its stream alone. It earns nothing, so that a connection ends that brings too many.
pub(super) async fn refuse(
    thread: &Thread,
    open: &OpenStream,
    fault: Fault,
    peer: Peer,
    respond: &mut SendResponse<OutgoingBytes>,
) -> bool {
    let label = fault.label();
    tracing::debug!(fault = label, peer = ?peer.address, "a request was refused");
    thread.counters.refused(fault);
    let id = thread.recorder.next_id();
    let response = fault.problem().refusal(&id);
    let status = response.status().as_u16();
    let mut begun = begin(thread, response, false, respond);
    let ended = finish(thread, None, open, &mut begun, respond).await;
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
    respond: &mut SendResponse<OutgoingBytes>,
) -> Result<Option<BodySender>, h2::Error> {
    let size = size(&response);
    let (mut response, mut body) = response.into_parts();
    let mut piece = None;
    if let Some(file) = response.extensions_mut().remove::<BodyFile>() {
        let most = piece.insert(Arc::new(AtomicUsize::new(usize::MAX)));
        body = file.in_pieces(Arc::clone(most));
    }
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
        piece,
        sent: 0,
    }))
}

/// Sends the body of an answer whose head was sent.
async fn finish(
    thread: &Thread,
    budget: Option<&FrameBudget>,
    open: &OpenStream,
    begun: &mut Result<Option<BodySender>, h2::Error>,
    respond: &mut SendResponse<OutgoingBytes>,
) -> AnswerEnd {
    let (mut bytes, mut whole) = (0, true);
    match begun {
        Ok(Some(sender)) => {
            if let Err(reason) = sender.send(thread, budget, open).await {
                respond.send_reset(reason);
                whole = false;
            }
            bytes = sender.sent;
        }
        Ok(None) => {}
        Err(error) => {
            tracing::debug!(%error, "an answer could not be begun");
            whole = false;
        }
    }
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
