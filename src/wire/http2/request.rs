//! Turns a request of the h2 crate into one of actix-web.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_http::error::PayloadError;
use actix_http::{HttpMessage as _, Payload, Request};
use bytes::Bytes;
use futures_util::Stream;
use h2::RecvStream;
use http::request::Parts;
use tokio::time::{Instant, timeout};

use super::super::buffered::Held;
use super::super::counters::count;
use super::super::hosts::Peer;
use super::super::http1::{DISCARD_TIME_MAX, Fault};
use super::super::lazy_timer::LazyTimer;
use super::super::link::Link;
use super::super::thread::Thread;
use super::budget::FrameBudget;
use super::rules;

/// The request, and what the connection and the service share of it.
pub(super) fn request(
    thread: &Thread,
    parts: Parts,
    body: Option<StreamBody>,
    peer: Peer,
) -> (Request, Rc<Link>) {
    let link = Link::new(peer, thread.recorder.next_id(), thread.rules());
    let payload: Payload = match body {
        None => Payload::None,
        Some(body) => Payload::Stream {
            payload: Box::pin(BodyReader {
                body,
                stall: link.rules.limits.stall_timeout,
                waiting: None,
                timer: LazyTimer::default(),
                collected: 0,
                held: Held::new(&thread.counters),
            }),
        },
    };
    let mut request: Request = Request::with_payload(payload);
    let head = request.head_mut();
    head.uri = parts.uri;
    head.method = parts.method;
    head.version = parts.version;
    head.headers = parts.headers.into();
    head.peer_addr = peer.address;
    request.extensions_mut().insert(Rc::clone(&link));
    (request, link)
}

/// The body of a request. The service reads it, and when it has answered, the connection drops the rest.
#[derive(Clone)]
pub(super) struct StreamBody {
    stream: Rc<RefCell<RecvStream>>,
    budget: Rc<FrameBudget>,
}

impl StreamBody {
    pub(super) fn new(stream: RecvStream, budget: &Rc<FrameBudget>) -> Self {
        Self {
            stream: Rc::new(RefCell::new(stream)),
            budget: Rc::clone(budget),
        }
    }

    /// Whether its end has arrived and been read.
    pub(super) fn is_done(&self) -> bool {
        self.stream.borrow().is_end_stream()
    }

    fn poll_data(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
        let mut stream = self.stream.borrow_mut();
        stream.poll_data(cx).map(|data| {
            data.map(|bytes| {
                let bytes = bytes?;
                self.budget.read(bytes.len());
                stream.flow_control().release_capacity(bytes.len())?;
                Ok(bytes)
            })
        })
    }

    /// Takes the trailers behind the last bytes, and checks them. Nobody reads them.
    fn check_trailers(&self, cx: &mut Context<'_>) -> Result<(), Fault> {
        match self.stream.borrow_mut().poll_trailers(cx) {
            Poll::Ready(Ok(Some(trailers))) => rules::check_trailers(&trailers),
            // If the stream breaks off here, its request is whole all the same.
            Poll::Ready(Ok(None) | Err(_)) | Poll::Pending => Ok(()),
        }
    }

    /// Reads and drops the rest, but not much more than `most` bytes, and not for long.
    pub(super) async fn discard(self, most: usize) {
        let mut discarded = 0;
        let rest = poll_fn(|cx| {
            while discarded <= most {
                match ready!(self.poll_data(cx)) {
                    Some(Ok(bytes)) => discarded += bytes.len(),
                    Some(Err(_)) | None => break,
                }
            }
            Poll::Ready(())
        });
        // What has not come by then is not waited for.
        let _late = timeout(DISCARD_TIME_MAX, rest).await;
    }
}

/// Nobody reads the rest.
impl Drop for StreamBody {
    fn drop(&mut self) {
        if let Some(stream) = Rc::get_mut(&mut self.stream) {
            let unread = stream.get_mut().flow_control().used_capacity();
            self.budget.dropped(unread);
        }
    }
}

/// A body whose reader waits no longer than `stall` for the next bytes.
struct BodyReader {
    body: StreamBody,
    stall: Duration,
    waiting: Option<Instant>,
    timer: LazyTimer,
    /// Bytes that the handler has taken, and holds until it has answered.
    collected: usize,
    held: Held,
}

impl Stream for BodyReader {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let data = match this.body.poll_data(cx) {
            Poll::Ready(data) => data,
            Poll::Pending => {
                if !this.timer.exceeded(&mut this.waiting, this.stall, cx) {
                    return Poll::Pending;
                }
                count(&this.held.counters.stalled);
                let late = io::Error::from(io::ErrorKind::TimedOut);
                return Poll::Ready(Some(Err(PayloadError::Io(late))));
            }
        };
        this.waiting = None;
        if let Some(Ok(bytes)) = &data {
            this.collected += bytes.len();
            if !this.held.set(this.collected) {
                let full = io::Error::from(io::ErrorKind::OutOfMemory);
                return Poll::Ready(Some(Err(PayloadError::Io(full))));
            }
        }
        if data.is_none()
            && let Err(fault) = this.body.check_trailers(cx)
        {
            this.held.counters.refused(fault);
            let error = io::Error::new(io::ErrorKind::InvalidData, fault);
            return Poll::Ready(Some(Err(PayloadError::Io(error))));
        }
        Poll::Ready(data.map(|bytes| bytes.map_err(PayloadError::Http2Payload)))
    }
}
