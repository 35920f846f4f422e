//! The stream under a connection of HTTP/2. A write that stalls ends the connection, and so does a flood of frames.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::super::counters::count;
use super::super::lazy_timer::LazyTimer;
use super::super::socket::{Stream, Then};
use super::super::thread::Thread;
use super::LINGER;
use super::budget::FrameBudget;
use super::frames::FrameReader;
use super::streams::Streams;

/// The most bytes that are read and dropped after the end of this side.
const LINGER_BYTES_MAX: usize = 1024 * 1024;

/// A stream as the h2 library wants it.
pub(super) struct Io {
    thread: Rc<Thread>,
    stream: Stream,
    /// Bytes that were read to see which protocol the client speaks.
    early: Bytes,
    frames: FrameReader,
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
        stream: Stream,
        early: Bytes,
        budget: &Rc<FrameBudget>,
        streams: &Rc<Streams>,
    ) -> Self {
        Self {
            thread: Rc::clone(thread),
            stream,
            early,
            frames: FrameReader::new(),
            budget: Rc::clone(budget),
            streams: Rc::clone(streams),
            ended: None,
            timer: LazyTimer::default(),
            blocked_since: None,
        }
    }

    /// Counts the frames that begin in these bytes. The error ends the connection: the client has sent too many.
    fn count_frames(&mut self, bytes: &[u8]) -> io::Result<()> {
        let budget = &self.budget;
        self.frames.read(bytes, |frame| budget.arrived(frame));
        if budget.is_spent() {
            return Err(io::Error::other("a flood of frames"));
        }
        Ok(())
    }
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.early.has_remaining() {
            let early = this
                .early
                .split_to(this.early.len().min(buffer.remaining()));
            buffer.put_slice(&early);
            return Poll::Ready(this.count_frames(&early));
        }
        let thread = Rc::clone(&this.thread);
        let mut scratch = thread.scratch.borrow_mut();
        let room = scratch.len().min(buffer.remaining());
        let scratch = scratch.get_mut(..room).unwrap_or_default();
        let read = ready!(this.stream.poll_recv(cx, scratch))?;
        let bytes = scratch.get(..read).unwrap_or_default();
        buffer.put_slice(bytes);
        Poll::Ready(this.count_frames(bytes))
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
        let sent = this.stream.poll_send(cx, parts, Then::Wait);
        this.streams.set_blocked(sent.is_pending());
        if sent.is_ready() {
            this.blocked_since = None;
            return sent;
        }
        let limit = this.thread.limits.stall_timeout;
        if !this.timer.exceeded(&mut this.blocked_since, limit, cx) {
            return Poll::Pending;
        }
        count(&this.thread.counters.stalled);
        Poll::Ready(Err(ErrorKind::TimedOut.into()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Ends this side, and drops what the client still sends until it has closed too: a reset could destroy what it has not
    /// read yet.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let (since, dropped) = this.ended.get_or_insert_with(|| {
            this.stream.end();
            (Instant::now(), 0)
        });
        let mut scratch = this.thread.scratch.borrow_mut();
        while let Poll::Ready(read) = this.stream.poll_recv(cx, &mut scratch) {
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
