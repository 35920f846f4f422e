//! The stream under every connection: it owns the timers and the limit of heads that actix-http does not have.
//!
//! actix-http times only the first head of a connection, and takes heads of 128 KiB. Here one lazily moved timer a
//! connection covers every head, every pause between requests, every body and every write.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, Sleep};

use super::connection::{Connection, Counters, Expired, TimeLimits, count};
use super::problem::{Code, Problem};

/// How long a refused client is read from after our last word, so that the word is not lost in a reset.
const LINGER: Duration = Duration::from_secs(1);
/// What is read of a refused client at a time, to be thrown away.
const DISCARD_BYTES: usize = 4096;

/// A socket of this thread.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
}

/// A stream with timers.
#[derive(Debug)]
pub struct Io {
    stream: Stream,
    connection: Rc<Connection>,
    counters: Arc<Counters>,
    timer: Option<Pin<Box<Sleep>>>,
    blocked_since: Option<Instant>,
    refused: Option<Instant>,
}

impl Io {
    /// Wraps a stream.
    pub fn new(stream: Stream, limits: TimeLimits, counters: Arc<Counters>) -> Self {
        count(&counters.connections);
        let connection = Rc::new(Connection::new(limits));
        Self {
            stream,
            connection,
            counters,
            timer: None,
            blocked_since: None,
            refused: None,
        }
    }

    pub(crate) fn connection(&self) -> Rc<Connection> {
        Rc::clone(&self.connection)
    }

    fn stream(&mut self) -> Pin<&mut (dyn AsyncReadWrite + '_)> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream),
            Stream::Unix(stream) => Pin::new(stream),
        }
    }

    /// Ready when `deadline` has passed. The timer is moved only when it fires too early, or would fire too late.
    fn poll_until(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }

    /// The other side is waited for: for how long?
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some((deadline, expired)) = self.connection.read_deadline(Instant::now()) else {
            return Poll::Pending;
        };
        ready!(self.poll_until(cx, deadline));
        match expired {
            Expired::Idle => {
                count(&self.counters.idle);
                // Read as the end: nothing is lost between two requests.
                Poll::Ready(Ok(()))
            }
            Expired::Head => {
                count(&self.counters.heads_too_slow);
                self.refuse(cx, Code::HeadTimeout);
                self.poll_linger(cx)
            }
            Expired::Stall => {
                count(&self.counters.stalled);
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }

    /// Our last word on a connection that has no request yet.
    fn refuse(&mut self, cx: &mut Context<'_>, code: Code) {
        let word = Problem::new(code).raw();
        // The socket's buffer is empty; if it takes nothing all the same, the client gets a closed connection.
        let written = self.stream().poll_write(cx, word.as_bytes());
        let ended = self.stream().poll_shutdown(cx);
        tracing::debug!(?code, ?written, ?ended, "refused before a request");
        self.refused = Some(Instant::now() + LINGER);
    }

    /// Reads away what a refused client still sends, until it closes or the time is over; then it is the end.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut scratch = [0; DISCARD_BYTES];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            match self.stream().poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    let until = self.refused.unwrap_or_else(Instant::now);
                    ready!(self.poll_until(cx, until));
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }

    /// Counts the time a write is blocked.
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
        let limit = self.connection.stall_limit();
        ready!(self.poll_until(cx, since + limit));
        count(&self.counters.stalled);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

trait AsyncReadWrite: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncReadWrite for T {}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.refused.is_some() {
            return self.poll_linger(cx);
        }
        if self.connection.pauses(cx.waker()) {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        match self.stream().poll_read(cx, buffer) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return self.poll_patience(cx),
        }
        let fits = match buffer.filled().get(before..) {
            Some(bytes) if !bytes.is_empty() => self.connection.received(bytes),
            Some(_) | None => true,
        };
        if fits {
            return Poll::Ready(Ok(()));
        }
        buffer.set_filled(before);
        count(&self.counters.heads_too_large);
        self.refuse(cx, Code::HeadTooLarge);
        self.poll_linger(cx)
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream().poll_write(cx, bytes);
        self.watch_write(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.stream().poll_flush(cx);
        if flushed.is_ready() && self.connection.flushed() {
            // actix-http does not read again before something wakes it: without a timer that runs, nothing ever would.
            if self.timer.as_ref().is_none_or(|timer| timer.is_elapsed()) {
                drop(self.poll_patience(cx));
            }
        }
        self.watch_write(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.refused.is_some() {
            return Poll::Ready(Ok(()));
        }
        self.stream().poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream().poll_write_vectored(cx, parts);
        self.watch_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Tcp(stream) => stream.is_write_vectored(),
            Stream::Unix(stream) => stream.is_write_vectored(),
        }
    }
}
