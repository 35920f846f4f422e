//! The stream under a connection of HTTP/2. A write that stalls ends the connection.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::super::counters::count;
use super::super::lazy_timer::LazyTimer;
use super::super::socket::Stream;
use super::super::thread::Thread;

/// A stream as the h2 library wants it.
pub(super) struct Io {
    thread: Rc<Thread>,
    stream: Stream,
    /// Bytes that were read to see which protocol the client speaks.
    early: Bytes,
    timer: LazyTimer,
    /// Since when the client takes nothing more.
    blocked_since: Option<Instant>,
}

impl Io {
    pub(super) fn new(thread: &Rc<Thread>, stream: Stream, early: Bytes) -> Self {
        Self {
            thread: Rc::clone(thread),
            stream,
            early,
            timer: LazyTimer::default(),
            blocked_since: None,
        }
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
            return Poll::Ready(Ok(()));
        }
        let mut scratch = this.thread.scratch.borrow_mut();
        let room = scratch.len().min(buffer.remaining());
        let scratch = scratch.get_mut(..room).unwrap_or_default();
        let read = ready!(this.stream.poll_recv(cx, scratch))?;
        buffer.put_slice(scratch.get(..read).unwrap_or_default());
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
        let sent = this.stream.poll_send(cx, parts);
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

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.end();
        Poll::Ready(Ok(()))
    }
}
