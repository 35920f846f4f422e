//! The stream under every connection. It has the timers and the limit of heads that actix-http lacks.
//!
//! actix-http times only the first head of a connection, and takes heads of 128 KiB. Here one timer per connection covers
//! every head, every pause between requests, every body and every write. A request does not touch the timer: deadlines are
//! compared when actix-http's dispatcher flushes, at the end of each of its turns.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::super::counters::{ConnectionCounters, count};
use super::super::problem::{Code, Problem};
use super::super::stream::Stream;
use super::drain::{DrainWatch, LocalDrain};
use super::lazy_timer::LazyTimer;
use super::{Connection, Expired};

/// How long a refused client is read from after the refusal, so that a reset does not destroy the refusal on its way.
const LINGER: Duration = Duration::from_secs(1);
/// The bytes read at a time to see which protocol a client speaks; most first heads fit.
const OPENING_BYTES: usize = 1024;
/// The bytes read at a time from a refused client and discarded.
const DISCARD_BYTES: usize = 4096;

/// What a client that speaks HTTP/2 sends first (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream with timers.
pub(crate) struct Io {
    stream: Stream,
    connection: Rc<Connection>,
    counters: Arc<ConnectionCounters>,
    timer: LazyTimer,
    drain: DrainWatch,
    blocked_since: Option<Instant>,
    /// Whether the dispatcher was told that there is nothing to read, although there may be.
    withheld: bool,
    end: ReadEnd,
    /// Bytes that were read to see which protocol the client speaks; the dispatcher reads them first.
    early: Bytes,
}

/// The result of a read that the connection itself decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReadEnd {
    /// Reads what the client sends.
    Open,
    /// Ends at this time, until when the client can read why it was refused.
    Refused(Instant),
    /// Ends at once: nothing is lost between two requests.
    Idle,
}

impl Io {
    /// Wraps a stream.
    pub(crate) fn new(
        stream: Stream,
        connection: Connection,
        counters: Arc<ConnectionCounters>,
        drain: Rc<LocalDrain>,
    ) -> Self {
        count(&counters.connections);
        Self {
            stream,
            connection: Rc::new(connection),
            counters,
            timer: LazyTimer::default(),
            drain: drain.watch(),
            blocked_since: None,
            withheld: false,
            end: ReadEnd::Open,
            early: Bytes::new(),
        }
    }

    /// Waits until the client's first bytes tell which protocol it speaks; true if it is HTTP/2. They will be read again.
    pub(crate) fn poll_http2(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut scratch = [0; OPENING_BYTES];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            if self.poll_receive(cx, &mut buffer)?.is_pending() {
                if self.tend(cx)? {
                    continue;
                }
                return Poll::Pending;
            }
            let more = buffer.filled();
            self.early = [self.early.as_ref(), more].concat().into();
            if self.early.starts_with(PREFACE) {
                self.connection.speaks_http2();
                return Poll::Ready(Ok(true));
            }
            // At the end of the stream, HTTP/1 finds the end once more.
            if more.is_empty() || !PREFACE.starts_with(&self.early) {
                return Poll::Ready(Ok(false));
            }
        }
    }

    pub(crate) fn connection(&self) -> Rc<Connection> {
        Rc::clone(&self.connection)
    }

    /// Checks whether the client's time is over, and arms the timer if not. Returns true if the next read has a result; an
    /// error closes the connection.
    fn tend(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        if self.end != ReadEnd::Open {
            return Ok(false);
        }
        if self.connection.asks_nothing() && self.drain.late(cx) {
            self.end = ReadEnd::Idle;
            return Ok(true);
        }
        let Some((deadline, expired)) = self.connection.deadline() else {
            return Ok(false);
        };
        if !self.timer.passed(deadline, cx) {
            return Ok(false);
        }
        match expired {
            Expired::Idle => {
                count(&self.counters.idle);
                self.end = ReadEnd::Idle;
            }
            Expired::Head => {
                count(&self.counters.heads_too_slow);
                self.refuse(cx, Code::HeadTimeout);
            }
            Expired::Stall => {
                count(&self.counters.stalled);
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        Ok(true)
    }

    /// Refuses a connection that has no request: writes a problem and ends it.
    fn refuse(&mut self, cx: &mut Context<'_>, code: Code) {
        let word = Problem::new(code).raw();
        // The socket's buffer is empty, so this fits. If it does not, the client sees only a closed connection.
        let written = Pin::new(&mut self.stream).poll_write(cx, word.as_bytes());
        let ended = Pin::new(&mut self.stream).poll_shutdown(cx);
        tracing::debug!(?code, ?written, ?ended, "refused before a request");
        self.connection.closing();
        self.end = ReadEnd::Refused(Instant::now() + LINGER);
    }

    /// Reads and drops what a refused client still sends, until it closes or its time is over.
    fn poll_linger(&mut self, cx: &mut Context<'_>, until: Instant) -> Poll<io::Result<()>> {
        // Before the read, since a client that never pauses would keep the loop from here.
        if self.timer.passed(until, cx) {
            return Poll::Ready(Ok(()));
        }
        let mut scratch = [0; DISCARD_BYTES];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                // Also after many reads, when tokio makes this task yield.
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Writes these bytes and the beginning of the owed piece in one call, so that a head is sent with its body.
    fn write_and_pay(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut owed = self.connection.owed();
        let Some(piece) = owed.as_deref_mut().and_then(Option::as_mut) else {
            return Poll::Ready(Ok(0));
        };
        let parts = [io::IoSlice::new(bytes), io::IoSlice::new(piece)];
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, &parts);
        written.map_ok(|written| {
            piece.advance(written.saturating_sub(bytes.len()));
            written.min(bytes.len())
        })
    }

    /// Writes the owed piece. Then the dispatcher is woken to ask for the next one.
    fn pay(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(mut owed) = self.connection.owed() else {
            return Poll::Ready(Ok(()));
        };
        while let Some(piece) = owed.as_mut() {
            if piece.is_empty() {
                *owed = None;
                cx.waker().wake_by_ref();
                break;
            }
            match Pin::new(&mut self.stream).poll_write(cx, piece)? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(written) => piece.advance(written),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Fails a write that has been blocked for longer than the stall timeout.
    fn watch_write<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.blocked_since = None;
            return written;
        }
        let since = *self.blocked_since.get_or_insert_with(Instant::now);
        if !self.timer.passed(since + self.connection.stall_limit(), cx) {
            return Poll::Pending;
        }
        count(&self.counters.stalled);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Reads what the client sends, within its limits.
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.end {
            ReadEnd::Open => {}
            ReadEnd::Refused(until) => return self.poll_linger(cx, until),
            ReadEnd::Idle => return Poll::Ready(Ok(())),
        }
        if self.connection.far_ahead() {
            self.withheld = true;
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        if Pin::new(&mut self.stream)
            .poll_read(cx, buffer)?
            .is_pending()
        {
            // The flush at the end of the turn arms the timer; here it matters only if it has fired.
            if self.timer.fired() && self.tend(cx)? {
                return self.poll_receive(cx, buffer);
            }
            return Poll::Pending;
        }
        let fits = match buffer.filled().get(before..) {
            Some(bytes) if !bytes.is_empty() => self.connection.received(bytes),
            Some(_) | None => {
                if buffer.remaining() > 0 {
                    self.connection.end_received();
                }
                true
            }
        };
        if fits {
            return Poll::Ready(Ok(()));
        }
        buffer.set_filled(before);
        count(&self.counters.heads_too_large);
        self.refuse(cx, Code::HeadTooLarge);
        self.poll_receive(cx, buffer)
    }
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.early.is_empty() {
            return this.poll_receive(cx, buffer);
        }
        let early = this
            .early
            .split_to(this.early.len().min(buffer.remaining()));
        buffer.put_slice(&early);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = if this.connection.owes() {
            this.write_and_pay(cx, bytes)
        } else {
            Pin::new(&mut this.stream).poll_write(cx, bytes)
        };
        this.watch_write(cx, written)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.connection.owes() {
            let paid = this.pay(cx);
            return this.watch_write(cx, paid);
        }
        let flushed = Pin::new(&mut this.stream).poll_flush(cx)?;
        let more = flushed.is_ready() && this.connection.flushed();
        let freed = this.withheld && !this.connection.far_ahead();
        this.withheld &= !freed;
        if this.tend(cx)? || more || freed {
            cx.waker().wake_by_ref();
        }
        this.watch_write(cx, flushed.map(Ok))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.end {
            ReadEnd::Refused(_) => Poll::Ready(Ok(())),
            ReadEnd::Open | ReadEnd::Idle => Pin::new(&mut this.stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, parts);
        this.watch_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
