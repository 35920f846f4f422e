//! The socket under a connection of HTTP/2. A write that stalls ends the connection, and so does a flood of frames.

// Decision: Small answers over HTTP/2 leave together.

use std::io::{self, ErrorKind, IoSlice};
use std::ops::ControlFlow;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_web::http::{StatusCode, Version};
use bytes::{Buf, Bytes};
use h2::Reason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::super::counters::count;
use super::super::hosts::Peer;
use super::super::http1::{Fault, LINGER, let_others_run};
use super::super::lazy_timer::LazyTimer;
use super::super::line_text::HeadText;
use super::super::link::Link;
use super::super::recorder::{Seen, Shown};
use super::super::socket::Then;
use super::super::thread::Thread;
use super::super::transport::Transport;
use super::budget::FrameBudget;
use super::frames::{FrameHead, FrameReader, WrittenEnd};
use super::streams::Streams;
use crate::num::as_usize;

/// The most bytes that are read and dropped after the end of this side.
const LINGER_BYTES_MAX: usize = 1024 * 1024;
/// Bytes that are gathered, so that many small frames leave in one call.
const OUT_BYTES: usize = 16 * 1024;
/// A larger write is not gathered.
const GATHERED_BYTES_MAX: usize = 4 * 1024;

/// A socket as the h2 library wants it.
pub(super) struct Io {
    thread: Rc<Thread>,
    transport: Transport,
    /// Bytes that were read and not handed to the library: to see which protocol the client speaks, and behind the last frame that
    /// it may have now.
    early: Bytes,
    /// Bytes that were gathered to be written. Without any, it has no memory.
    out: Vec<u8>,
    peer: Peer,
    frames: FrameReader,
    /// Finds in what is written that the library refuses something.
    written: FrameReader,
    budget: Rc<FrameBudget>,
    streams: Rc<Streams>,
    timer: LazyTimer,
    /// Since when the client takes nothing more.
    blocked_since: Option<Instant>,
    /// The time since which this side has ended, and the bytes that were dropped since.
    ended: Option<(Instant, usize)>,
}

impl Io {
    pub(super) fn new(
        thread: &Rc<Thread>,
        transport: Transport,
        early: Bytes,
        peer: Peer,
        budget: &Rc<FrameBudget>,
        streams: &Rc<Streams>,
    ) -> Self {
        Self {
            thread: Rc::clone(thread),
            transport,
            early,
            out: Vec::new(),
            peer,
            frames: FrameReader::of_client(),
            written: FrameReader::of_server(),
            budget: Rc::clone(budget),
            streams: Rc::clone(streams),
            ended: None,
            timer: LazyTimer::default(),
            blocked_since: None,
        }
    }

    /// Hands bytes to the library, up to the last frame whose head it may have now. The rest waits.
    fn hand_over(&mut self, bytes: &[u8], buffer: &mut ReadBuf<'_>) -> io::Result<usize> {
        let rest = self.count_frames(bytes)?;
        let taken = bytes.len() - rest;
        self.streams.held_heads.read(taken);
        buffer.put_slice(bytes.get(..taken).unwrap_or_default());
        Ok(taken)
    }

    /// Counts the frames that begin in these bytes, up to the last one that the library may have now; the result is the number of
    /// bytes behind its head. The error ends the connection: the client has sent too many.
    fn count_frames(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (budget, streams) = (&self.budget, &self.streams);
        let rest = self.frames.read(bytes, |frame| {
            budget.arrived(frame);
            streams.add_frame();
            let begins = frame.kind == FrameHead::HEADERS;
            let length = as_usize(frame.length.into());
            let is_head = begins || frame.kind == FrameHead::CONTINUATION;
            if is_head && streams.add_head(begins, length) || streams.has_frames() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        if budget.is_spent() {
            return Err(io::Error::other("a flood of frames"));
        }
        if !streams.hold_unread(budget.unread()) {
            return Err(io::Error::other("all connections hold too much"));
        }
        Ok(rest.len())
    }

    /// Notes whether the client takes what is sent, and ends the wait for it.
    fn note(
        &mut self,
        sent: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.streams.set_blocked(sent.is_pending());
        if self.transport.moved() {
            self.blocked_since = None;
        }
        if sent.is_ready() {
            self.blocked_since = None;
            return sent;
        }
        let limit = self.streams.stall();
        if !self.timer.exceeded(&mut self.blocked_since, limit, cx) {
            return Poll::Pending;
        }
        count(&self.thread.counters.stalled);
        Poll::Ready(Err(ErrorKind::TimedOut.into()))
    }

    /// Counts and logs what the library refuses with the first `taken` bytes of these parts.
    fn see_refusals(&mut self, parts: &[IoSlice<'_>], mut taken: usize) {
        for part in parts {
            let bytes = part.get(..taken).unwrap_or(part);
            taken -= bytes.len();
            let (thread, peer) = (&self.thread, self.peer);
            let (budget, streams) = (&self.budget, &self.streams);
            self.written.read_ends(bytes, |end| {
                let code = match end {
                    WrittenEnd::StatusAlone => {
                        // The library answers 431 to a head that is too large. If more comes on its stream, a reset follows.
                        streams.refuse();
                        return budget.head_too_large();
                    }
                    WrittenEnd::Code(code) => code,
                };
                if code == u32::from(Reason::REFUSED_STREAM) && streams.is_for_head() {
                    budget.head_too_large();
                }
                if let Some(fault) = Fault::of_library(code) {
                    refused_by_library(thread, peer, fault);
                }
            });
        }
    }

    /// Gathers a small write; false if there is no room for it.
    fn gather(&mut self, parts: &[IoSlice<'_>], length: usize) -> bool {
        if length > GATHERED_BYTES_MAX || self.out.len() + length > OUT_BYTES {
            return false;
        }
        if self.out.is_empty() {
            self.out = self.thread.out.take();
            self.out.clear();
            self.streams.gathered.set(true);
        }
        for part in parts {
            self.out.extend_from_slice(part);
        }
        true
    }

    /// Writes what was gathered.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let sent = self
                .transport
                .poll_send(cx, &[IoSlice::new(&self.out)], Then::Wait);
            let sent = ready!(self.note(sent, cx))?;
            self.out.drain(..sent);
            if self.out.is_empty() {
                self.thread.out.set(std::mem::take(&mut self.out));
                self.streams.gathered.set(false);
            }
        }
        if self.transport.has_unsent() {
            // Until it has left, the library has to be asked again.
            self.streams.gathered.set(true);
            let flushed = self.transport.poll_flush(cx).map_ok(|()| 0);
            ready!(self.note(flushed, cx))?;
            self.streams.gathered.set(false);
        }
        Poll::Ready(Ok(()))
    }
}

/// Counts and logs a message that the library refuses. Nothing else is known of it.
fn refused_by_library(thread: &Thread, peer: Peer, fault: Fault) {
    tracing::debug!(fault = fault.label(), peer = ?peer.address, "a message of HTTP/2 was refused");
    thread.counters.refused(fault);
    let link = Link::new(peer, thread.recorder.next_id(), thread.rules());
    let seen = Seen {
        method: None,
        version: Version::HTTP_2,
        peer: peer.address,
        shown: Shown::Text(HeadText::default()),
    };
    let record = thread.recorder.begin(seen, &link);
    record.refused(StatusCode::BAD_REQUEST.as_u16(), fault.label());
    record.end();
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.streams.has_heads() || this.streams.is_full() {
            // The session asks again when it has accepted them, and when the client takes something.
            return Poll::Pending;
        }
        if this.streams.has_frames() {
            ready!(let_others_run(cx));
        }
        if this.early.has_remaining() {
            let mut early = std::mem::take(&mut this.early);
            let now = early.get(..buffer.remaining()).unwrap_or(&early);
            let taken = this.hand_over(now, buffer)?;
            early.advance(taken);
            if !early.is_empty() {
                this.early = early;
            }
            return Poll::Ready(Ok(()));
        }
        let thread = Rc::clone(&this.thread);
        let mut scratch = thread.scratch.borrow_mut();
        let room = scratch.len().min(buffer.remaining());
        let scratch = scratch.get_mut(..room).unwrap_or_default();
        let read = ready!(this.transport.poll_recv(cx, scratch))?;
        let bytes = scratch.get(..read).unwrap_or_default();
        let taken = this.hand_over(bytes, buffer)?;
        if taken < read {
            this.early = Bytes::copy_from_slice(bytes.get(taken..).unwrap_or_default());
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.streams.is_broken() {
            return Poll::Ready(Err(io::Error::other("the bytes of an answer can't be had")));
        }
        let length = parts.iter().map(|part| part.len()).sum();
        if this.gather(parts, length) {
            this.see_refusals(parts, length);
            return Poll::Ready(Ok(length));
        }
        ready!(this.poll_out(cx))?;
        let sent = this.transport.poll_send(cx, parts, Then::Wait);
        if this.transport.has_unsent() {
            this.streams.gathered.set(true);
        }
        let sent = ready!(this.note(sent, cx))?;
        this.see_refusals(parts, sent);
        Poll::Ready(Ok(sent))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The library flushes after each frame.
        if self.streams.gathers.get() {
            return Poll::Ready(Ok(()));
        }
        self.get_mut().poll_out(cx)
    }

    /// Ends this side, and drops what the client still sends until it has closed too: a reset could destroy what it has not
    /// read yet.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_out(cx))?;
        let (since, dropped) = this.ended.get_or_insert_with(|| {
            this.transport.end();
            (Instant::now(), 0)
        });
        let mut scratch = this.thread.scratch.borrow_mut();
        while let Poll::Ready(read) = this.transport.poll_recv(cx, &mut scratch) {
            match read {
                Ok(read) if read > 0 && *dropped < LINGER_BYTES_MAX => *dropped += read,
                _ => return Poll::Ready(Ok(())),
            }
        }
        if this.timer.passed(*since + LINGER, cx) {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }
}
