//! Answers one stream, from its request to the last byte of the answer.
//!
//! The part that makes an answer is large, and is gone when its head is sent. What waits from then on is small, since a client
//! may have many streams that it does not read.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use actix_web::body::{BodySize, BoxBody, MessageBody as _};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::future::{Either, select};
use h2::Reason;
use h2::server::SendResponse;

use super::super::access_log::Line;
use super::super::buffered::Held;
use super::super::file_body::BodyFile;
use super::super::hosts::Peer;
use super::super::http1::{Fault, is_bodiless};
use super::super::link::Link;
use super::super::open_end::{OpenEnd, OpenEnded};
use super::super::recorder::AnswerEnd;
use super::super::thread::{Answering, Thread};
use super::body_sender::{BodySender, Source};
use super::budget::FrameBudget;
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
}

/// A line of the access log that waits for the end of its answer.
enum LogRow {
    Answered(HttpRequest, Rc<Link>, u16),
    Refused(Box<Line<'static>>),
}

impl Answer {
    /// Waits for the answer to the request and sends it.
    pub(super) async fn answer(
        self,
        answering: Answering,
        link: Rc<Link>,
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
            return respond.send_reset(Reason::INTERNAL_ERROR);
        };
        let head_may_go = poll_fn(|cx| match self.open.streams().answer_heads.poll_give(cx) {
            Poll::Ready(()) => Poll::Ready(true),
            Poll::Pending => respond.poll_reset(cx).map(|_| false),
        });
        if !head_may_go.await {
            return;
        }
        let (request, response) = answered.into_parts();
        let (status, size) = (response.status().as_u16(), size(&response));
        let recorder = &self.thread.recorder;
        recorder.count(&request, &link, status, size);
        let head_only = request.method() == Method::HEAD;
        // Without a log, nobody needs the request any more, and sending the body may take long.
        let row = recorder.logs(&link.rules);
        let row = row.then(|| LogRow::Answered(request, link, status));
        self.send(response, size, head_only, row, respond);
    }

    /// Refuses a request that breaks a rule, on its stream alone.
    pub(super) fn refuse(mut self, fault: Fault, peer: Peer, respond: SendResponse<OutgoingBytes>) {
        let label = fault.label();
        tracing::debug!(fault = label, peer = ?peer.address, "a request was refused");
        self.budget = None;
        self.thread.counters.refused(fault);
        let id = self.thread.recorder.next_id();
        let response = fault.problem().refusal(&id);
        let logs = self.thread.recorder.logs(&self.thread.rules());
        let row = logs.then(|| {
            LogRow::Refused(Box::new(Line {
                protocol: "HTTP/2",
                peer: peer.address,
                status: response.status().as_u16(),
                id,
                fault: Some(label),
                ..Line::default()
            }))
        });
        let size = size(&response);
        self.send(response, size, false, row, respond);
    }

    /// Sends the answer: at once if it is small, or else in a task of its own.
    fn send(
        self,
        response: HttpResponse<BoxBody>,
        size: BodySize,
        head_only: bool,
        row: Option<LogRow>,
        mut respond: SendResponse<OutgoingBytes>,
    ) {
        let mut end = AnswerEnd {
            bytes: 0,
            whole: true,
        };
        match begin(&self.thread, response, size, head_only, &mut respond) {
            Ok(None) => {}
            Ok(Some((mut sender, source))) => {
                match sender.send_at_once(source, &self) {
                    Ok(None) => {}
                    Ok(Some(mut source)) => {
                        // A block keeps what it uses once, and an async fn would twice.
                        drop(actix_rt::spawn(async move {
                            let sent = poll_fn(|cx| sender.poll_send(&mut source, &self, cx));
                            let sent = sent.await;
                            if let Err(reason) = sent {
                                sender.stream.send_reset(reason);
                            }
                            end.bytes = sender.sent;
                            end.whole = sent.is_ok();
                            self.end(row, end);
                        }));
                        return;
                    }
                    Err(reason) => {
                        sender.stream.send_reset(reason);
                        end.whole = false;
                    }
                }
                end.bytes = sender.sent;
            }
            Err(error) => {
                tracing::debug!(%error, "an answer could not be begun");
                end.whole = false;
            }
        }
        self.end(row, end);
    }

    /// Records the end of the answer. If the request's body has not ended, the rest is read before the stream ends: many
    /// clients take an answer for lost if the stream is reset while they send.
    fn end(self, row: Option<LogRow>, end: AnswerEnd) {
        if let Some(row) = row {
            self.log(row, end);
        }
        if !end.whole {
            return;
        }
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

    fn log(&self, row: LogRow, end: AnswerEnd) {
        let recorder = &self.thread.recorder;
        match row {
            LogRow::Answered(request, link, status) => recorder.log(&request, &link, status, end),
            LogRow::Refused(line) => recorder.log_refused(&Line {
                bytes: end.bytes,
                ..*line
            }),
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
