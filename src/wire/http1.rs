//! One connection of HTTP/1, from its first byte to its end: one request at a time.
//!
//! Its phases follow each other in [`Http1::run`], and each has its timer: waiting for a request (`limits.idle_timeout`), the
//! head (`limits.header_timeout`), the exchange (`limits.stall_timeout` for each pause of a body in either direction, and
//! `limits.request_timeout`, which the service itself applies), and the end, when the client gets a second to read the last
//! answer. Bytes of later requests wait, up to a bound, until the current one is answered.

// Decision: HTTP/1 has its own connection engine.
// Decision: What is left of a body does not delay the answer.

mod answer;
mod decoder;
mod fault;
mod field;
mod head;
mod input;
mod send;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::Payload;
use actix_web::HttpMessage as _;
use actix_web::body::MessageBody as _;
use actix_web::http::Version;
use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, timeout};

use super::buffered::no_room;
use super::counters::count;
use super::drain::DrainWatch;
use super::hosts::Peer;
use super::line_text::HeadText;
use super::link::Link;
use super::problem::{Code, Problem};
use super::recorder::{RequestRecord, Seen, Shown};
use super::request_id::RequestId;
use super::thread::Thread;
use super::transport::Transport;
use super::wait::{ClientWait, CurrentWait};
pub(super) use answer::is_bodiless;
use decoder::BodyLength;
pub(super) use fault::Fault;
pub(super) use field::{is_host, may_be_trailer};
pub(super) use head::{FIELDS_MAX, expects_continue};
use head::{Framing, Head, HeadReader, first_words};
pub(super) use input::let_others_run;
use input::{Input, RequestBody};

/// The first bytes of a client that speaks HTTP/2 (RFC 9113 section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The longest time for which a client is read from after the last answer, so that a reset does not destroy the answer on its
/// way.
pub(super) const LINGER: Duration = Duration::from_secs(1);
/// The most bytes of a body that are read and dropped after the answer, so that the connection can serve the next request.
const DISCARD_BYTES_MAX: u64 = 64 * 1024;
/// The longest time that this may take.
pub(super) const DISCARD_TIME_MAX: Duration = Duration::from_secs(1);

/// The next event of a connection that answers no request.
enum Next {
    Request(Head),
    /// The client sent something that is no request.
    Fault(Fault),
    /// The head did not arrive in time.
    Late,
    /// All connections hold too much.
    Full,
    /// The client speaks HTTP/2.
    Http2,
    /// The client has gone, or its time is over.
    End,
}

/// The step after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// The next request.
    Request,
    /// The end, once the client has had time to read the answer.
    Linger,
    /// The end, at once.
    Close,
}

/// A connection of HTTP/1.
pub(super) struct Http1 {
    thread: Rc<Thread>,
    peer: Peer,
    input: Rc<RefCell<Input>>,
    reader: HeadReader,
    drain: DrainWatch,
    wait: Arc<CurrentWait>,
    /// Whether a request was answered.
    used: bool,
    /// Whether a head has begun.
    head_begun: bool,
    /// The beginning of the current wait for the client; `None` until it has to wait.
    since: Option<Instant>,
    /// Since when the client takes nothing more of the answer.
    blocked_since: Option<Instant>,
}

/// A connection whose client speaks HTTP/2.
pub(super) struct Http2Begun {
    pub(super) transport: Transport,
    /// The bytes that were read to see that.
    pub(super) early: Bytes,
    /// The present wait of the connection.
    pub(super) wait: Arc<CurrentWait>,
}

impl Http1 {
    pub(super) fn new(
        thread: &Rc<Thread>,
        transport: Transport,
        peer: Peer,
        wait: Arc<CurrentWait>,
    ) -> Self {
        Self {
            wait,
            peer,
            input: Rc::new(RefCell::new(Input::new(transport, Rc::clone(thread)))),
            reader: HeadReader::default(),
            drain: Rc::clone(&thread.drain).watch(),
            used: false,
            head_begun: false,
            since: None,
            blocked_since: None,
            thread: Rc::clone(thread),
        }
    }

    /// Serves the connection to its end. If the client speaks HTTP/2, it is given back.
    pub(super) async fn run(mut self) -> Option<Http2Begun> {
        loop {
            let after = match poll_fn(|cx| self.poll_next(cx)).await {
                Next::Request(head) => self.exchange(head).await,
                Next::Fault(fault) => {
                    self.thread.counters.refused(fault);
                    self.refuse(&fault.problem(), fault.label()).await
                }
                Next::Late => {
                    count(&self.thread.counters.heads_too_slow);
                    self.refuse(&Problem::new(Code::HeadTimeout), "head_timeout")
                        .await
                }
                Next::Full => self.refuse(&no_room(), "max_buffered").await,
                Next::Http2 => {
                    let input = Rc::into_inner(self.input)?.into_inner();
                    return Some(Http2Begun {
                        transport: input.transport,
                        early: input.bytes.freeze(),
                        wait: self.wait,
                    });
                }
                Next::End => return None,
            };
            match after {
                // A client that sends many requests at once lets others have their turn.
                After::Request => tokio::task::coop::consume_budget().await,
                After::Linger => {
                    // What is rare is boxed, so that a connection that waits needs no room for it.
                    Box::pin(self.linger()).await;
                    return None;
                }
                After::Close => return None,
            }
            self.used = true;
            self.head_begun = false;
            self.since = None;
        }
    }

    /// Refuses a client that has sent this to an address that speaks TLS.
    pub(super) async fn refuse_clear_text(mut self, sent: BytesMut) {
        self.input.borrow_mut().bytes = sent;
        self.thread.counters.refused(Fault::ClearText);
        let problem = Fault::ClearText.problem();
        let after = self.refuse(&problem, Fault::ClearText.label()).await;
        if after == After::Linger {
            self.linger().await;
        }
    }

    /// Waits for the next request, within the time for it.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let input = &mut *self.input.borrow_mut();
        let limits = self.thread.limits();
        loop {
            if !self.used && input.bytes.starts_with(PREFACE) {
                return Poll::Ready(Next::Http2);
            }
            let undecided = !self.used && PREFACE.starts_with(&input.bytes);
            if !undecided && !input.bytes.is_empty() {
                match self
                    .reader
                    .read(&mut input.bytes, limits.head_bytes, self.peer.address)
                {
                    Ok(Some(head)) => return Poll::Ready(Next::Request(head)),
                    Ok(None) => {}
                    Err(fault) => return Poll::Ready(Next::Fault(fault)),
                }
            }
            if !input.bytes.is_empty() && !self.head_begun {
                self.head_begun = true;
                // The time of a connection's first head runs from its beginning, that of another from its first byte.
                if self.used {
                    self.since = None;
                }
            }
            match input.poll_head(cx) {
                Poll::Ready(Ok(true)) => {
                    self.wait.set(ClientWait::Other);
                    if !input.hold() {
                        return Poll::Ready(Next::Full);
                    }
                    continue;
                }
                Poll::Ready(Ok(false) | Err(_)) => return Poll::Ready(Next::End),
                Poll::Pending => input.rest(),
            }
            if self.drain.late(cx) {
                return Poll::Ready(Next::End);
            }
            let limit = if self.used && !self.head_begun {
                limits.idle_timeout
            } else {
                limits.header_timeout
            };
            self.wait.set(if self.head_begun {
                ClientWait::RestOfHead
            } else {
                ClientWait::Request
            });
            if !input.timer.exceeded(&mut self.since, limit, cx) {
                return Poll::Pending;
            }
            if self.head_begun {
                return Poll::Ready(Next::Late);
            }
            count(&self.thread.counters.idle);
            return Poll::Ready(Next::End);
        }
    }

    /// Answers one request.
    async fn exchange(&mut self, head: Head) -> After {
        let Head {
            mut request,
            framing,
        } = head;
        let rules = self.thread.rules();
        let id = self.thread.recorder.next_id();
        let link = Link::new(self.peer, id, Rc::clone(&rules));
        request.extensions_mut().insert(Rc::clone(&link));
        let recorder = &self.thread.recorder;
        let record = recorder.begin(Seen::request(request.head()), &link);
        self.input
            .borrow_mut()
            .begin(framing.body, framing.expects_continue, &rules.limits);
        if framing.body != BodyLength::None {
            let input = Rc::clone(&self.input);
            *request.payload() = Payload::Stream {
                payload: Box::pin(RequestBody { input }),
            };
        }
        let mut call = (self.thread.call)(request);
        let answered = poll_fn(|cx| {
            loop {
                if let Poll::Ready(answered) = call.as_mut().poll(cx) {
                    return Poll::Ready(answered.ok());
                }
                let mut input = self.input.borrow_mut();
                match input.poll_ahead(cx) {
                    Ok(true) if input.ended => link.leave(),
                    // The service may wait for these bytes. Others have their turn first.
                    Ok(true) => return let_others_run(cx).map(|()| None),
                    Ok(false) => return Poll::Pending,
                    // Nobody reads the answer.
                    Err(_) => return Poll::Ready(None),
                }
            }
        });
        let answered = answered.await;
        drop(call);
        let Some(answered) = answered else {
            return After::Close;
        };
        let (request, response) = answered.into_parts();
        drop(request);
        let rest = self.rest_of_body();
        let status = response.status().as_u16();
        // A body that was too late is not waited for again.
        let late = rest != Rest::None && status == Code::BodyTimeout.status();
        let last =
            !framing.keep_alive || rest == Rest::Unbounded || late || self.thread.drain.begun();
        let size = response.body().size();
        record.answered(status, size);
        let whole = self.send(response, &framing, last, &record).await;
        drop(record);
        if !whole {
            After::Close
        } else if last {
            // After a close that the client has asked for, it sends nothing more.
            let silent = !framing.keep_alive && rest == Rest::None;
            if silent && self.input.borrow().bytes.is_empty() {
                After::Close
            } else {
                After::Linger
            }
        } else if rest == Rest::None || Box::pin(self.discard()).await {
            After::Request
        } else {
            After::Linger
        }
    }

    /// Drops what has arrived of the request's body, and tells what is left.
    fn rest_of_body(&self) -> Rest {
        let mut input = self.input.borrow_mut();
        input.answered();
        if input.body.is_done() {
            return Rest::None;
        }
        // A client that waits for a 100 may send the body or not, so the next byte could be either.
        let unsure = input.broken || input.expects_continue || input.ended;
        match input.body.left() {
            Some(left) if left <= DISCARD_BYTES_MAX && !unsure => Rest::Small,
            Some(_) | None => Rest::Unbounded,
        }
    }

    /// Reads and drops the rest of the request's body. False if it is too slow, or breaks off.
    async fn discard(&mut self) -> bool {
        let all = async {
            loop {
                match poll_fn(|cx| self.input.borrow_mut().poll_body(cx)).await {
                    Some(Ok(_)) => {}
                    Some(Err(_)) => return false,
                    None => return true,
                }
            }
        };
        timeout(DISCARD_TIME_MAX, all).await.unwrap_or(false)
    }

    /// Refuses what is no request; nothing more is read as a request after it.
    async fn refuse(&mut self, problem: &Problem, fault: &'static str) -> After {
        tracing::debug!(fault, peer = ?self.peer.address, "a message was refused");
        let id = self.thread.recorder.next_id();
        let response = problem.refusal(&id);
        let status = response.status().as_u16();
        let record = self.record_refused(id);
        record.refused(status, fault);
        let framing = Framing {
            head_only: record.is_head(),
            ..Framing::default()
        };
        if self.send(response, &framing, true, &record).await {
            After::Linger
        } else {
            After::Close
        }
    }

    /// Begins the record of what is no request, with what can be read of it.
    fn record_refused(&self, id: RequestId) -> RequestRecord {
        let link = Link::new(self.peer, id, self.thread.rules());
        let input = self.input.borrow();
        let (method, target) = first_words(&input.bytes).unzip();
        let target = target.unwrap_or_default();
        let path = memchr::memchr(b'?', target).unwrap_or(target.len());
        let (path, query) = target.split_at(path);
        let seen = Seen {
            method,
            version: Version::HTTP_11,
            peer: self.peer.address,
            shown: Shown::Text(HeadText {
                path,
                query: query.strip_prefix(b"?"),
                ..HeadText::default()
            }),
        };
        self.thread.recorder.begin(seen, &link)
    }

    /// Ends this side of the connection, and drops what the client still sends until it has closed too.
    async fn linger(&mut self) {
        self.input.borrow_mut().transport.end();
        let gone = poll_fn(|cx| {
            let mut input = self.input.borrow_mut();
            loop {
                input.bytes.clear();
                match input.poll_fill(cx) {
                    Poll::Ready(Ok(true)) => {}
                    Poll::Ready(Ok(false) | Err(_)) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        });
        // The client has read the answer, or has had the time to.
        let _gone_or_late = timeout(LINGER, gone).await;
    }
}

/// The part of a request's body that has not been read when the request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    None,
    /// So little that it is read and dropped after the answer.
    Small,
    /// More, or nobody knows how much, so that the connection closes.
    Unbounded,
}
