//! HTTP/2, cleartext, with prior knowledge: one connection with a bounded number of streams, each a task of its own.
//!
//! actix-http's own loop limits neither the streams of a connection nor the time that a stream may stall, and it can't be
//! asked to end. So this loop replaces it, in front of the same service.

// Decision: HTTP/2 has its own connection loop.

mod answer;
mod request;
mod streams;

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use actix_http::Request;
use actix_web::dev::ServiceResponse;
use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Builder, Connection, SendResponse};
use tokio::time::{Instant, timeout};

use super::connection::drain::LocalDrain;
use super::connection::io::Io;
use super::connection::lazy_timer::LazyTimer;
use super::counters::{ConnectionCounters, count};
use crate::settings::LimitSettings;
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

/// Answers a request.
pub(crate) type Call = dyn Fn(Request) -> Pin<Box<dyn Future<Output = Option<ServiceResponse>>>>;

/// The state that all connections of HTTP/2 on one thread share.
pub(crate) struct Http2 {
    pub(crate) call: Box<Call>,
    pub(crate) limits: LimitSettings,
    pub(crate) counters: Arc<ConnectionCounters>,
    pub(crate) drain: Rc<LocalDrain>,
}

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
pub(crate) async fn serve(http2: Rc<Http2>, io: Io, peer: Option<SocketAddr>) {
    count(&http2.counters.http2);
    let on_loopback = io.connection().is_on_loopback();
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(u32::try_from(STREAMS_MAX).unwrap_or(u32::MAX))
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(HEAD_BYTES_MAX);
    // The client's preface has arrived, so this waits only until our first frame is written.
    let handshake = timeout(
        http2.limits.header_timeout,
        builder.handshake::<_, Bytes>(io),
    );
    let connection = match handshake.await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return tracing::debug!(%error, "no HTTP/2 connection"),
        Err(_) => return count(&http2.counters.stalled),
    };
    Session {
        on_loopback,
        streams: Streams::new(),
        timer: LazyTimer::default(),
        asked: false,
        closing: None,
        connection,
        peer,
        http2,
    }
    .run()
    .await;
}

/// One connection, from its handshake to its end.
struct Session {
    http2: Rc<Http2>,
    connection: Connection<Io, Bytes>,
    peer: Option<SocketAddr>,
    on_loopback: bool,
    streams: Rc<Streams>,
    timer: LazyTimer,
    /// Whether the client has sent a request.
    asked: bool,
    /// The time when the client was told that the connection ends.
    closing: Option<Instant>,
}

impl Session {
    async fn run(mut self) {
        let mut end = Rc::clone(&self.http2.drain).watch();
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
                    count(&self.http2.counters.idle);
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
            None if self.asked => idle_since + self.http2.limits.idle_timeout,
            None => idle_since + self.http2.limits.header_timeout,
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
            count(&self.http2.counters.streams_full);
        }
        let (http2, peer, on_loopback) = (Rc::clone(&self.http2), self.peer, self.on_loopback);
        drop(actix_rt::spawn(async move {
            let request = request::request(&http2, request, peer, on_loopback);
            answer::answer(&http2, request, respond).await;
            drop(open);
        }));
    }
}
