//! One connection of HTTP/2 after its handshake: its requests are begun in their order, and its end is told to the client.

// Decision: A client that takes nothing gets no more answers begun.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::mem;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use tokio::time::{Instant, timeout};

use super::super::counters::count;
use super::super::hosts::Peer;
use super::super::http1::LINGER;
use super::super::lazy_timer::LazyTimer;
use super::super::pooled_request::empty;
use super::super::recorder::Seen;
use super::super::thread::Thread;
use super::super::wait::{ClientWait, CurrentWait};
use super::answer::Answer;
use super::budget::FrameBudget;
use super::bursts::Bursts;
use super::held_heads::HeldHead;
use super::io::Io;
use super::outgoing::OutgoingBytes;
use super::request::{self, StreamBody};
use super::streams::{OpenStream, Streams};
use super::{STREAMS_MAX, rules};

type AcceptedStream = (http::Request<RecvStream>, SendResponse<OutgoingBytes>);

/// A request that was not begun.
struct ToBegin {
    request: http::Request<RecvStream>,
    respond: SendResponse<OutgoingBytes>,
    open: OpenStream,
    held: HeldHead,
}

/// The next event on a connection.
enum SessionEvent {
    Stream(Box<ToBegin>),
    /// The client has closed, or speaks no HTTP/2.
    Gone(Option<h2::Error>),
    Drain,
    /// There was no open stream for too long.
    Idle,
}

/// One connection, from its handshake to its end.
pub(super) struct Session {
    thread: Rc<Thread>,
    connection: Connection<Io, OutgoingBytes>,
    peer: Peer,
    streams: Rc<Streams>,
    bursts: Rc<Bursts>,
    /// Requests that wait for their turn to be begun.
    waiting: VecDeque<Box<ToBegin>>,
    budget: Rc<FrameBudget>,
    timer: LazyTimer,
    /// Whether the client has sent a request.
    asked: bool,
    /// The time when the client was told that the connection ends.
    closing: Option<Instant>,
    /// It waits for a request only with nothing to send.
    wait: Arc<CurrentWait>,
}

/// A connection that is dropped while it waits gives way to another one. The client is told, so that it knows that no request
/// was lost.
impl Drop for Session {
    fn drop(&mut self) {
        // What waits to hand over an answer learns that there is no connection any more.
        self.streams.answer_heads.begin_again();
        // Without a runtime, which the last threads of a stop no longer have, the socket can't be asked.
        let served = tokio::runtime::Handle::try_current().is_ok();
        if served && self.closing.is_none() && self.wait.get() == ClientWait::Request {
            self.say_end();
        }
    }
}

impl Session {
    pub(super) fn new(
        thread: Rc<Thread>,
        connection: Connection<Io, OutgoingBytes>,
        streams: Rc<Streams>,
        budget: Rc<FrameBudget>,
        peer: Peer,
        wait: Arc<CurrentWait>,
    ) -> Self {
        Self {
            streams,
            bursts: Bursts::new(&thread.unanswered, Instant::now()),
            waiting: VecDeque::new(),
            budget,
            timer: LazyTimer::default(),
            asked: false,
            closing: None,
            wait,
            connection,
            peer,
            thread,
        }
    }

    pub(super) async fn run(mut self) {
        let mut end = Rc::clone(&self.thread.drain).watch();
        loop {
            let event = poll_fn(|cx| {
                self.streams.begin_turn();
                match self.poll_next(cx) {
                    Poll::Ready(Some(Ok(accepted))) => {
                        return Poll::Ready(SessionEvent::Stream(accepted));
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
                    deadline => {
                        if self.streams.count() == 0 {
                            self.budget.all_read();
                        }
                        // It can only have become less.
                        self.streams.hold_unread(self.budget.unread());
                        self.wait.set(match deadline {
                            Some(_) => ClientWait::Request,
                            None => ClientWait::Other,
                        });
                        self.streams.on_idle(cx.waker());
                        Poll::Pending
                    }
                }
            });
            let event = event.await;
            self.wait.set(ClientWait::Other);
            match event {
                SessionEvent::Stream(accepted) => {
                    self.begin(*accepted).await;
                    // A client that sends many requests at once lets others have their turn.
                    tokio::task::coop::consume_budget().await;
                }
                SessionEvent::Drain => self.close(),
                SessionEvent::Idle if self.closing.is_some() => return self.say_end(),
                SessionEvent::Idle => {
                    count(&self.thread.counters.idle);
                    self.close();
                }
                SessionEvent::Gone(None) => return,
                SessionEvent::Gone(Some(error)) => return Box::pin(self.broken(&error)).await,
            }
        }
    }

    /// The next request to begin. All that have come are accepted, and wait in their order until a few more may be begun.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Box<ToBegin>, h2::Error>>> {
        loop {
            if let Some(first) = self.next_waiting(cx) {
                return Poll::Ready(Some(Ok(first)));
            }
            let (mut request, mut respond) = match self.poll_accept(cx) {
                Poll::Ready(Some(Ok(accepted))) => accepted,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => return Poll::Ready(None),
                // The client may have taken something meanwhile.
                Poll::Pending => {
                    return match self.next_waiting(cx) {
                        Some(first) => Poll::Ready(Some(Ok(first))),
                        None => Poll::Pending,
                    };
                }
            };
            let bytes = rules::head_bytes(request.uri(), request.headers());
            let held = (!self.has_closed()).then(|| self.streams.held_heads.hold(bytes));
            let Some(held) = held.flatten() else {
                // The client may send it again: on another connection, or when there is room.
                self.streams.refuse();
                respond.send_reset(Reason::REFUSED_STREAM);
                continue;
            };
            if self.streams.held_heads.needs_own_target() {
                *request.uri_mut() = rules::own_target(mem::take(request.uri_mut()));
            }
            self.asked = true;
            if self.streams.count() + 1 == STREAMS_MAX {
                count(&self.thread.counters.streams_full);
            }
            if self.waiting.len() >= STREAMS_MAX {
                // The client has taken some back.
                let mut left = |waiting: &mut Box<ToBegin>| waiting.respond.poll_reset(cx);
                self.waiting
                    .retain_mut(|waiting| left(waiting).is_pending());
            }
            self.waiting.push_back(Box::new(ToBegin {
                request,
                respond,
                open: self.streams.open(),
                held,
            }));
            if !self.may_begin(cx) {
                count(&self.thread.counters.begun_full);
            }
        }
    }

    /// The first of the requests that wait, if it may be begun.
    fn next_waiting(&mut self, cx: &mut Context<'_>) -> Option<Box<ToBegin>> {
        if self.waiting.is_empty() || !self.may_begin(cx) || !self.has_room(cx) {
            return None;
        }
        self.streams.forget_taken();
        let mut first = self.waiting.pop_front()?;
        first.held.begin();
        Some(first)
    }

    /// Whether few enough heads wait for their answers. If that lasts too long, all requests that wait are refused.
    fn has_room(&mut self, cx: &mut Context<'_>) -> bool {
        let heads = &self.streams.held_heads;
        let Some(until) = heads.full_until(Instant::now) else {
            return true;
        };
        heads.on_answer(cx.waker());
        if self.timer.passed(until, cx) {
            for mut waiting in self.waiting.drain(..) {
                count(&self.thread.counters.heads_full);
                self.streams.refuse();
                waiting.respond.send_reset(Reason::REFUSED_STREAM);
            }
        }
        false
    }

    /// Whether another request may be begun. If not, the task is woken when that is so.
    fn may_begin(&mut self, cx: &mut Context<'_>) -> bool {
        // A write that waits wakes the task.
        if !self.streams.takes() {
            return false;
        }
        let Some(until) = self.bursts.full_until() else {
            return true;
        };
        if self.timer.passed(until, cx) {
            self.bursts.end();
            return true;
        }
        self.bursts.on_answer(cx.waker());
        false
    }

    /// The next stream. Small answers leave together once there is none.
    fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<AcceptedStream, h2::Error>>> {
        let mut gathers = true;
        loop {
            self.streams.gathers.set(gathers);
            let accepted = self.connection.poll_accept(cx);
            self.streams.gathers.set(false);
            self.streams.had_turn_to_write();
            if accepted.is_ready() {
                return accepted;
            }
            if self.streams.all_accepted() {
                continue;
            }
            if !gathers || !self.streams.gathered.get() {
                return Poll::Pending;
            }
            gathers = false;
        }
    }

    /// The time when an idle connection is closed; `None` while an answer is made or sent.
    fn deadline(&self) -> Option<Instant> {
        let idle_since = self.streams.idle_since()?;
        Some(match self.closing {
            Some(closing) => closing.max(idle_since) + LINGER,
            None if self.asked => idle_since + self.thread.limits().idle_timeout,
            None => idle_since + self.thread.limits().header_timeout,
        })
    }

    /// Lets the open streams finish. The library accepts more until the client says that it knows of the end.
    fn close(&mut self) {
        self.closing = Some(Instant::now());
        self.connection.graceful_shutdown();
    }

    /// Whether a client that never says so had the time to.
    fn has_closed(&self) -> bool {
        let closing = self.closing;
        closing.is_some_and(|closing| closing.elapsed() >= LINGER)
    }

    /// Tells the client which of its streams were the last, if the socket takes that at once.
    fn say_end(&mut self) {
        self.connection.abrupt_shutdown(Reason::NO_ERROR);
        let mut cx = Context::from_waker(Waker::noop());
        let _told_or_full = self.connection.poll_closed(&mut cx);
    }

    /// Ends a connection that broke off. A client that floods it is told so.
    async fn broken(mut self, error: &h2::Error) {
        tracing::debug!(%error, peer = ?self.peer.address, "an HTTP/2 connection broke off");
        let refused = error.is_go_away() && error.is_library();
        if refused && error.reason() == Some(Reason::ENHANCE_YOUR_CALM) {
            // The library has told it.
            count(&self.thread.counters.floods);
        } else if self.budget.is_spent() {
            count(&self.thread.counters.floods);
            self.connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            let told = poll_fn(|cx| {
                self.streams.begin_turn();
                self.connection.poll_closed(cx)
            });
            // The GOAWAY was sent, or there was no room for it in time.
            let _told_or_late = timeout(LINGER, told).await;
        }
    }

    /// Begins to answer a stream.
    async fn begin(&mut self, accepted: ToBegin) {
        let ToBegin {
            request,
            respond,
            open,
            held,
        } = accepted;
        let (thread, budget) = (&self.thread, &self.budget);
        let (head, body) = request.into_parts();
        let body = (!body.is_end_stream()).then(|| StreamBody::new(body, budget));
        let checked = rules::check(&head, thread.limits().head_bytes, body.is_none());
        let at_once = body.is_none();
        let (mut request, link) = request::request(thread, head, body.clone(), self.peer);
        let record = thread.recorder.begin(Seen::request(request.head()), &link);
        let answer = Answer {
            thread: Rc::clone(thread),
            open,
            budget: Some(Rc::clone(budget)),
            body,
            stall: link.rules.limits.stall_timeout,
            record: Rc::new(record),
        };
        self.streams.begin_with(answer.stall);
        if let Err(fault) = checked {
            if fault.is_of_size() {
                budget.head_too_large();
            }
            empty(request.head_mut());
            return answer.refuse(fault, respond);
        }
        let mut task = Box::pin(answer.answer((thread.call)(request), held, respond));
        // Most answers need not be waited for. (A body has a timer, which one task alone may use.)
        if at_once && poll_fn(|cx| Poll::Ready(task.as_mut().poll(cx).is_ready())).await {
            return;
        }
        let unanswered = self.bursts.add(Instant::now());
        drop(actix_rt::spawn(async move {
            task.await;
            drop(unanswered);
        }));
    }
}
