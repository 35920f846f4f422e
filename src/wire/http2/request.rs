//! Turns a request of the h2 crate into one of actix-web.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::error::PayloadError;
use actix_http::{HttpMessage as _, Payload, Request};
use bytes::Bytes;
use futures_util::Stream;
use h2::RecvStream;
use tokio::time::Instant;

use super::super::counters::{ConnectionCounters, count};
use super::super::hosts::Peer;
use super::super::lazy_timer::LazyTimer;
use super::super::link::Link;
use super::super::thread::Thread;

/// The request, and what the connection and the service share of it.
pub(super) fn request(
    thread: &Thread,
    request: http::Request<RecvStream>,
    peer: Peer,
) -> (Request, Rc<Link>) {
    let (parts, body) = request.into_parts();
    let payload: Payload = if body.is_end_stream() {
        Payload::None
    } else {
        Payload::Stream {
            payload: Box::pin(Body {
                stream: body,
                stall: thread.limits.stall_timeout,
                waiting: None,
                timer: LazyTimer::default(),
                counters: Arc::clone(&thread.counters),
            }),
        }
    };
    let mut request: Request = Request::with_payload(payload);
    let head = request.head_mut();
    head.uri = parts.uri;
    head.method = parts.method;
    head.version = parts.version;
    head.headers = parts.headers.into();
    head.peer_addr = peer.address;
    let link = Link::new(peer.loopback, thread.recorder.next_id());
    request.extensions_mut().insert(Rc::clone(&link));
    (request, link)
}

/// A body whose reader waits no longer than `stall` for the next bytes.
struct Body {
    stream: RecvStream,
    stall: Duration,
    waiting: Option<Instant>,
    timer: LazyTimer,
    counters: Arc<ConnectionCounters>,
}

impl Stream for Body {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let data = match this.stream.poll_data(cx) {
            Poll::Ready(data) => data,
            Poll::Pending => {
                if !this.timer.exceeded(&mut this.waiting, this.stall, cx) {
                    return Poll::Pending;
                }
                count(&this.counters.stalled);
                let late = io::Error::from(io::ErrorKind::TimedOut);
                return Poll::Ready(Some(Err(PayloadError::Io(late))));
            }
        };
        this.waiting = None;
        Poll::Ready(data.map(|bytes| {
            let bytes = bytes.map_err(PayloadError::Http2Payload)?;
            let read = this.stream.flow_control().release_capacity(bytes.len());
            read.map_err(PayloadError::Http2Payload)?;
            Ok(bytes)
        }))
    }
}
