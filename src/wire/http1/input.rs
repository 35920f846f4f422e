//! The input of one connection: heads, which the connection reads, and the body of a request, which the service reads.

use std::cell::RefCell;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_http::error::PayloadError;
use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::super::buffered::Held;
use super::super::counters::count;
use super::super::lazy_timer::LazyTimer;
use super::super::socket::Then;
use super::super::thread::Thread;
use super::super::transport::Transport;
use super::decoder::{BodyLength, BodyPart, Decoder};
use crate::num::as_u64;
use crate::settings::LimitSettings;

/// The most bytes that are read before they are needed: of later requests, or of a body that nobody reads yet.
const AHEAD_BYTES_MAX: usize = 16 * 1024;

/// The client's side of a connection. The connection and the body of its request take turns with it, in one task.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Input {
    pub(super) transport: Transport,
    /// The bytes that have arrived and were not used yet.
    pub(super) bytes: BytesMut,
    /// Whether the client has closed its side.
    pub(super) ended: bool,
    /// The timer of the connection.
    pub(super) timer: LazyTimer,
    /// Finds the end of the body of the current request.
    pub(super) body: Decoder,
    /// Whether the client waits for a 100 before it sends the body.
    pub(super) expects_continue: bool,
    /// Whether the body can't be read to its end.
    pub(super) broken: bool,
    /// Whether others have a turn before more of the body is read.
    owes_turn: bool,
    /// Since when the service waits for bytes of the body.
    waiting_since: Option<Instant>,
    /// The longest time without one byte of progress, for the current request.
    pub(super) stall: Duration,
    /// The most bytes that a body may have, and so a chunk of it.
    most: u64,
    /// Bytes of the body that its handler has taken, and holds until it has answered.
    collected: usize,
    held: Held,
    thread: Rc<Thread>,
}

impl Input {
    pub(super) fn new(transport: Transport, thread: Rc<Thread>) -> Self {
        Self {
            transport,
            bytes: BytesMut::new(),
            ended: false,
            timer: LazyTimer::default(),
            body: Decoder::new(BodyLength::None, 0),
            expects_continue: false,
            broken: false,
            owes_turn: false,
            waiting_since: None,
            stall: thread.limits().stall_timeout,
            most: 0,
            collected: 0,
            held: Held::new(&thread.counters),
            thread,
        }
    }

    /// A request begins whose body has this length.
    pub(super) fn begin(
        &mut self,
        body: BodyLength,
        expects_continue: bool,
        limits: &LimitSettings,
    ) {
        self.body = Decoder::new(body, limits.head_bytes);
        self.stall = limits.stall_timeout;
        self.most = as_u64(limits.body_bytes.max(limits.batch_bytes));
        // A client that sends the body at once waits for nothing.
        self.expects_continue = expects_continue && self.bytes.is_empty();
        self.broken = false;
        self.waiting_since = None;
    }

    /// Counts what is held of the client's bytes. False if all connections hold too much.
    pub(super) fn hold(&mut self) -> bool {
        self.held.set(self.bytes.len() + self.collected)
    }

    /// The request was answered, and its handler holds nothing of it any more.
    pub(super) fn answered(&mut self) {
        self.drop_arrived();
        self.collected = 0;
        self.hold();
    }

    /// Gives memory back while nothing is expected soon.
    pub(super) fn rest(&mut self) {
        if self.bytes.is_empty() {
            self.bytes = BytesMut::new();
        }
        self.hold();
    }

    /// Reads more; false if the client has closed its side.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        self.poll_fill_up_to(usize::MAX, cx)
    }

    /// Reads more of what comes before a head or with it, a bounded part at a time.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        self.poll_fill_up_to(AHEAD_BYTES_MAX, cx)
    }

    fn poll_fill_up_to(&mut self, limit: usize, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.ended {
            return Poll::Ready(Ok(false));
        }
        let mut scratch = self.thread.scratch.borrow_mut();
        let room = scratch.len().min(limit);
        let scratch = scratch.get_mut(..room).unwrap_or_default();
        let read = ready!(self.transport.poll_recv(cx, scratch))?;
        self.bytes
            .extend_from_slice(scratch.get(..read).unwrap_or_default());
        self.ended = read == 0;
        Poll::Ready(Ok(read > 0))
    }

    /// Reads ahead while a request is answered, so that a client that leaves is noticed. True if something has come, an error
    /// if the connection is broken.
    pub(super) fn poll_ahead(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let room = AHEAD_BYTES_MAX.saturating_sub(self.bytes.len());
        if self.ended || room == 0 {
            return Ok(false);
        }
        Ok(self.poll_fill_up_to(room, cx)?.is_ready())
    }

    /// Drops what has arrived of the body.
    fn drop_arrived(&mut self) {
        while !self.broken {
            match self.body.decode(&mut self.bytes) {
                Ok(BodyPart::Data(_)) => {}
                Ok(BodyPart::End | BodyPart::More) => return,
                Err(_) => self.broken = true,
            }
        }
    }

    /// The next bytes of the body, or its end.
    pub(super) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, PayloadError>>> {
        let next = self.poll_part(cx);
        self.broken |= matches!(next, Poll::Ready(Some(Err(_))));
        next
    }

    /// The next bytes of the body. They may not be later than `limits.stall_timeout`.
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, PayloadError>>> {
        loop {
            match self.body.decode(&mut self.bytes) {
                Ok(BodyPart::Data(data)) => {
                    self.waiting_since = None;
                    self.collected += data.len();
                    if !self.hold() {
                        let full = io::Error::from(ErrorKind::OutOfMemory);
                        return Poll::Ready(Some(Err(PayloadError::Io(full))));
                    }
                    // Few bytes in many chunks are much work.
                    self.owes_turn = self.body.left().is_none();
                    return Poll::Ready(Some(Ok(data)));
                }
                Ok(BodyPart::End) => return Poll::Ready(None),
                // Nobody wants it, so it is not waited for.
                Ok(BodyPart::More) if self.body.left_of_chunk() > self.most => {
                    return Poll::Ready(Some(Err(PayloadError::Overflow)));
                }
                Ok(BodyPart::More) => {}
                Err(fault) => {
                    self.thread.counters.refused(fault);
                    let error = io::Error::new(ErrorKind::InvalidData, fault);
                    return Poll::Ready(Some(Err(PayloadError::Io(error))));
                }
            }
            if std::mem::take(&mut self.expects_continue) {
                let go_on = IoSlice::new(b"HTTP/1.1 100 Continue\r\n\r\n");
                // There is room for it, because the client has read every answer before.
                let _sent = self.transport.poll_send(cx, &[go_on], Then::Wait)?;
            }
            if std::mem::take(&mut self.owes_turn) {
                ready!(let_others_run(cx));
            }
            match self.poll_fill(cx)? {
                Poll::Ready(true) => {}
                Poll::Ready(false) => {
                    return Poll::Ready(Some(Err(PayloadError::Incomplete(None))));
                }
                Poll::Pending => break,
            }
        }
        if !self.timer.exceeded(&mut self.waiting_since, self.stall, cx) {
            return Poll::Pending;
        }
        count(&self.thread.counters.stalled);
        let late = io::Error::from(ErrorKind::TimedOut);
        Poll::Ready(Some(Err(PayloadError::Io(late))))
    }
}

/// Pending, until the other tasks of the thread had their turn.
pub(in super::super) fn let_others_run(cx: &mut Context<'_>) -> Poll<()> {
    pin!(tokio::task::yield_now()).poll(cx)
}

/// The body of a request, for the service.
pub(super) struct RequestBody {
    pub(super) input: Rc<RefCell<Input>>,
}

impl futures_util::Stream for RequestBody {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.input.borrow_mut().poll_body(cx)
    }
}
