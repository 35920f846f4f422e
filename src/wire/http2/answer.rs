//! Answers one stream, from its request to the last byte of the answer.
//!
//! The part that makes an answer is large, and is gone when its head is sent. What waits from then on is small, since a client
//! may have many streams that it does not read.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody as _};
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use futures_util::future::{Either, select};
use h2::Reason;
use h2::server::SendResponse;

use super::super::buffered::Held;
use super::super::file_body::BodyFile;
use super::super::http1::{Fault, is_bodiless};
use super::super::open_end::{OpenEnd, OpenEnded};
use super::super::recorder::RequestRecord;
use super::super::thread::{Answering, Thread};
use super::body_sender::{BodySender, Source};
use super::budget::FrameBudget;
use super::held_heads::HeldHead;
use super::outgoing::OutgoingBytes;
use super::request::StreamBody;
use super::stream_window;
use super::streams::OpenStream;
use crate::num::as_usize;

/// Headers that HTTP/2 forbids, since they concern one connection of HTTP/1 (RFC 9113, 8.2.2).
const HOP_BY_HOP: [HeaderName; 4] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];

/// A stream whose request has been read.
pub(super) struct Answer {
    pub(super) thread: Rc<Thread>,
    pub(super) open: OpenStream,
    /// The budget that its bytes earn for. A refusal earns nothing, so that a connection ends that brings too many.
    pub(super) budget: Option<Rc<FrameBudget>>,
    /// The request's body, if there is one.
    pub(super) body: Option<StreamBody>,
    /// The longest time for which the client may take nothing.
    pub(super) stall: Duration,
    /// The bytes of the answer have it too, until the library has written them.
    pub(super) record: Rc<RequestRecord>,
}

impl Answer {
    /// Waits for the answer to the request and sends it.
    pub(super) async fn answer(
        self,
        answering: Answering,
        held: HeldHead,
        mut respond: SendResponse<OutgoingBytes>,
    ) {
        let answered = {
            // If the client cancels the stream, its request is dropped.
            let gone = std::pin::pin!(poll_fn(|cx| respond.poll_reset(cx)));
            match select(answering, gone).await {
                Either::Left((answered, _)) => answered,
                Either::Right(_) => return,
            }
        };
        let Ok(answered) = answered else {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            self.record.answered(status.as_u16(), BodySize::None);
            return respond.send_reset(Reason::INTERNAL_ERROR);
        };
        let (request, response) = answered.into_parts();
        // Sending the answer may take long, and nobody needs the request any more.
        drop((request, held));
        let size = size(&response);
        self.record.answered(response.status().as_u16(), size);
        let head_may_go = poll_fn(|cx| match self.open.streams().answer_heads.poll_give(cx) {
            Poll::Ready(()) => Poll::Ready(true),
            Poll::Pending => respond.poll_reset(cx).map(|_| false),
        });
        if head_may_go.await {
            self.send(response, size, respond);
        }
    }

    /// Refuses a request that breaks a rule, on its stream alone.
    pub(super) fn refuse(mut self, fault: Fault, respond: SendResponse<OutgoingBytes>) {
        let label = fault.label();
        tracing::debug!(fault = label, "a request was refused");
        self.budget = None;
        self.thread.counters.refused(fault);
        let response = fault.problem().refusal(self.record.id());
        self.record.refused(response.status().as_u16(), label);
        let size = size(&response);
        self.send(response, size, respond);
    }

    /// Sends the answer: at once if it is small, or else in a task of its own.
    fn send(
        self,
        response: HttpResponse<BoxBody>,
        size: BodySize,
        mut respond: SendResponse<OutgoingBytes>,
    ) {
        let head_only = self.record.is_head();
        let (mut sender, source) =
            match begin(&self.thread, response, size, head_only, &mut respond) {
                Ok(Some(begun)) => begun,
                Ok(None) => return self.end(Ok(0)),
                Err(error) => return tracing::debug!(%error, "an answer could not be begun"),
            };
        match sender.send_at_once(source, &self) {
            Ok(None) => self.end(Ok(sender.sent)),
            Ok(Some(mut source)) => {
                // A block keeps what it uses once, and an async fn would twice.
                drop(actix_rt::spawn(async move {
                    let sent = poll_fn(|cx| sender.poll_send(&mut source, &self, cx));
                    let sent = sent.await;
                    if let Err(reason) = sent {
                        sender.stream.send_reset(reason);
                    }
                    self.end(sent.map(|()| sender.sent));
                }));
            }
            Err(reason) => sender.stream.send_reset(reason),
        }
    }

    /// The library has the whole answer, or has given up. The answer has ended when the library has written its bytes. If the
    /// request's body has not ended, the rest is read before the stream ends: many clients take an answer for lost if the
    /// stream is reset while they send.
    fn end(self, given: Result<u64, Reason>) {
        let Ok(length) = given else {
            return;
        };
        self.record.set_length(length);
        if let Some(budget) = &self.budget {
            budget.answered();
        }
        if let Some(body) = self.body.filter(|body| !body.is_done()) {
            let window = as_usize(stream_window(self.thread.limits().body_bytes).into());
            let open = self.open;
            drop(actix_rt::spawn(async move {
                body.discard(window).await;
                drop(open);
            }));
        }
    }
}

/// The size of a body as it is told.
fn size(response: &HttpResponse<BoxBody>) -> BodySize {
    if is_bodiless(response.status()) {
        BodySize::None
    } else {
        response.body().size()
    }
}

/// Sends the head of an answer. What it was made of is dropped here. `None` if there is no body.
fn begin(
    thread: &Thread,
    response: HttpResponse<BoxBody>,
    size: BodySize,
    head_only: bool,
    respond: &mut SendResponse<OutgoingBytes>,
) -> Result<Option<(BodySender, Source)>, h2::Error> {
    let (mut response, body) = response.into_parts();
    let file = response.extensions_mut().remove::<BodyFile>();
    let counted = response.extensions_mut().remove::<Held>();
    let open_end = response.extensions_mut().remove::<OpenEnd>();
    let open_end = open_end.map(|end| OpenEnded::new(end, Rc::clone(&thread.drain).watch()));
    let empty = head_only || matches!(size, BodySize::None | BodySize::Sized(0));
    let head = thread.with_date(|date| head(response.status(), response.headers(), size, date));
    if matches!(file, Some(BodyFile::Disk(_))) {
        // actix-web keeps heads of answers for later ones. Many downloads may be made at a time: those that are kept have no memory.
        *response.headers_mut() = HeaderMap::new();
    }
    let stream = respond.send_response(head, empty)?;
    let sender = BodySender::new(stream, size);
    Ok((!empty).then(|| (sender, Source::new(file, body, counted, open_end))))
}

fn head(status: StatusCode, headers: &HeaderMap, size: BodySize, date: &str) -> http::Response<()> {
    let mut head = http::Response::new(());
    *head.status_mut() = status;
    // With the length and the date.
    head.headers_mut().reserve(headers.len() + 2);
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
