//! HTTP/2, cleartext, with prior knowledge: one connection with a bounded number of streams, each a task of its own.
//!
//! actix-http's own loop limits neither the streams of a connection nor the time that a stream may stall, and it can't be
//! asked to end. So this loop replaces it, in front of the same service.

// Decision: HTTP/2 has its own connection loop.

mod answer;
mod io;
mod request;
mod streams;

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Builder, Connection, SendResponse};
use tokio::time::{Instant, timeout};

use super::counters::count;
use super::hosts::Peer;
use super::http1::Http2Begun;
use super::lazy_timer::LazyTimer;
use super::thread::Thread;
use io::Io;
use streams::Streams;

/// The most open streams of one connection. The client is told this number, and waits.
pub(crate) const STREAMS_MAX: usize = 100;
/// Bytes of bodies that a client may send before the server has read them, for each stream and for a connection. A stream
/// that is not read does not stop the others, since the connection has room for sixteen of them.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// The h2 crate refuses larger heads. `limits.headers`, which is smaller, is checked later and answered with a problem.
const HEAD_BYTES_MAX: u32 = 128 * 1024;
/// How long the server waits for a client to close a connection that has ended.
const LINGER: Duration = Duration::from_secs(1);

type Accepted = (http::Request<RecvStream>, SendResponse<Bytes>);

/// The next event on a connection.
enum SessionEvent {
    Stream(Box<Accepted>),
    /// The client has closed, or speaks no HTTP/2.
    Gone(Option<h2::Error>),
    Drain,
    /// There was no open stream for too long.
    Idle,
}

/// Serves one connection to its end.
pub(super) async fn serve(thread: Rc<Thread>, (stream, early): Http2Begun, peer: Peer) {
    count(&thread.counters.http2);
    let io = Io::new(&thread, stream, early);
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(u32::try_from(STREAMS_MAX).unwrap_or(u32::MAX))
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(HEAD_BYTES_MAX);
    // The client's preface has arrived, so this waits only until our first frame is written.
    let handshake = timeout(
        thread.limits.header_timeout,
        builder.handshake::<_, Bytes>(io),
    );
    let connection = match handshake.await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return tracing::debug!(%error, "no HTTP/2 connection"),
        Err(_) => return count(&thread.counters.stalled),
    };
    Session {
        streams: Streams::new(),
        timer: LazyTimer::default(),
        asked: false,
        closing: None,
        connection,
        peer,
        thread,
    }
    .run()
    .await;
}

/// One connection, from its handshake to its end.
struct Session {
    thread: Rc<Thread>,
    connection: Connection<Io, Bytes>,
    peer: Peer,
    streams: Rc<Streams>,
    timer: LazyTimer,
    /// Whether the client has sent a request.
    asked: bool,
    /// The time when the client was told that the connection ends.
    closing: Option<Instant>,
}

impl Session {
    async fn run(mut self) {
        let mut end = Rc::clone(&self.thread.drain).watch();
        loop {
            let event = poll_fn(|cx| {
                match self.connection.poll_accept(cx) {
                    Poll::Ready(Some(Ok(accepted))) => {
                        return Poll::Ready(SessionEvent::Stream(Box::new(accepted)));
                    }
                    Poll::Ready(Some(Err(error))) => {
                        return Poll::Ready(SessionEvent::Gone(Some(error)));
                    }
                    Poll::Ready(None) => return Poll::Ready(SessionEvent::Gone(None)),
                    Poll::Pending => {}
                }
                if self.closing.is_none() && end.begun(cx) {
                    return Poll::Ready(SessionEvent::Drain);
                }
                match self.deadline() {
                    Some(deadline) if self.timer.passed(deadline, cx) => {
                        Poll::Ready(SessionEvent::Idle)
                    }
                    Some(_) | None => {
                        self.streams.on_idle(cx.waker());
                        Poll::Pending
                    }
                }
            });
            match event.await {
                SessionEvent::Stream(accepted) => self.begin(*accepted),
                SessionEvent::Drain => self.close(),
                SessionEvent::Idle if self.closing.is_some() => return,
                SessionEvent::Idle => {
                    count(&self.thread.counters.idle);
                    self.close();
                }
                SessionEvent::Gone(error) => {
                    if let Some(error) = error {
                        tracing::debug!(%error, "an HTTP/2 connection broke off");
                    }
                    return;
                }
            }
        }
    }

    /// The time when an idle connection is closed; `None` while a request is being answered.
    fn deadline(&self) -> Option<Instant> {
        let idle_since = self.streams.idle_since()?;
        Some(match self.closing {
            Some(closing) => closing.max(idle_since) + LINGER,
            None if self.asked => idle_since + self.thread.limits.idle_timeout,
            None => idle_since + self.thread.limits.header_timeout,
        })
    }

    /// Lets the open streams finish and accepts no more.
    fn close(&mut self) {
        self.closing = Some(Instant::now());
        self.connection.graceful_shutdown();
    }

    fn begin(&mut self, (request, respond): Accepted) {
        self.asked = true;
        let open = self.streams.open();
        if self.streams.count() == STREAMS_MAX {
            count(&self.thread.counters.streams_full);
        }
        let (thread, peer) = (Rc::clone(&self.thread), self.peer);
        drop(actix_rt::spawn(async move {
            let (request, link) = request::request(&thread, request, peer);
            answer::answer(&thread, request, &link, respond).await;
            drop(open);
        }));
    }
}
