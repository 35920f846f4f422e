//! Counts the open streams of a connection, remembers when the last one ended, and knows whether the client takes what is sent.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use super::super::buffered::Held;
use super::super::counters::ConnectionCounters;
use super::answer_heads::AnswerHeads;
use super::rooms::{PieceRoom, PlaceInLine, Rooms, share_bytes};

/// The heads of requests that the library gets at a time, and the heads of answers. Its tables for them never become smaller.
pub(super) const HEADS_AT_A_TIME: usize = 16;
/// The streams of one connection.
pub(super) struct Streams {
    open: Cell<usize>,
    /// Whether bytes of answers wait because the client does not take them.
    blocked: Cell<bool>,
    /// Whether the client has taken some since the last request was begun.
    taken: Cell<bool>,
    /// Whether the client has taken some since the last look for it.
    wrote: Cell<bool>,
    /// Whether bytes of an answer can't be had although they were promised.
    broken: Cell<bool>,
    /// Whether more may follow at once, so that small writes are gathered; and whether some were.
    pub(super) gathers: Cell<bool>,
    pub(super) gathered: Cell<bool>,
    /// Heads of requests that the library has got and the session may not have accepted.
    heads: Cell<usize>,
    /// Heads of answers that the library may not have written.
    pub(super) answer_heads: AnswerHeads,
    /// The longest time for which the client may take nothing: that of the open stream that allows most.
    stall: Cell<Duration>,
    idle_since: Cell<Instant>,
    /// The task that waits for the last one to end.
    waiting: Cell<Option<Waker>>,
    /// The room that the pieces of its answers take.
    rooms: Rc<Rooms>,
    /// Counts bytes of requests' bodies that were not read.
    held_unread: RefCell<Held>,
}

/// Counts one stream as open until it is dropped.
pub(super) struct OpenStream {
    streams: Rc<Streams>,
}

impl Streams {
    pub(super) fn new(counters: &Arc<ConnectionCounters>, stall: Duration) -> Rc<Self> {
        Rc::new(Self {
            open: Cell::new(0),
            blocked: Cell::new(false),
            taken: Cell::new(false),
            wrote: Cell::new(false),
            broken: Cell::new(false),
            gathers: Cell::new(false),
            gathered: Cell::new(false),
            heads: Cell::new(0),
            answer_heads: AnswerHeads::default(),
            stall: Cell::new(stall),
            idle_since: Cell::new(Instant::now()),
            waiting: Cell::new(None),
            rooms: Rooms::new(counters),
            held_unread: RefCell::new(Held::new(counters)),
        })
    }

    /// Waits for room for a piece of an answer. `bytes` are those that it takes in memory.
    pub(super) fn poll_room(
        &self,
        place: &mut Option<PlaceInLine>,
        bytes: usize,
        cx: &Context<'_>,
    ) -> Poll<PieceRoom> {
        self.rooms.poll_take(place, bytes, self.count(), cx)
    }

    /// Counts the head of a request for the library. True if it has as many as it may have now.
    pub(super) fn add_head(&self) -> bool {
        self.heads.set(self.heads.get() + 1);
        self.has_heads()
    }

    /// Whether the library has as many heads as it may have, until the session has accepted them.
    pub(super) fn has_heads(&self) -> bool {
        self.heads.get() >= HEADS_AT_A_TIME
    }

    /// The session has accepted all requests. True if the library may have missed some.
    pub(super) fn all_accepted(&self) -> bool {
        self.heads.replace(0) >= HEADS_AT_A_TIME
    }

    /// The library had its turn to write. What the client does not take stays in its tables.
    pub(super) fn had_turn_to_write(&self) {
        if self.wrote.take() || !self.blocked.get() {
            self.answer_heads.begin_again();
        }
    }

    /// Counts bytes of bodies that wait unread. False if all connections hold too much.
    pub(super) fn hold_unread(&self, bytes: usize) -> bool {
        self.held_unread.borrow_mut().set(bytes)
    }

    /// Counts one more stream.
    pub(super) fn open(self: &Rc<Self>) -> OpenStream {
        self.open.set(self.open.get() + 1);
        OpenStream {
            streams: Rc::clone(self),
        }
    }

    /// A stream was opened whose client may take nothing for so long.
    pub(super) fn begin_with(&self, stall: Duration) {
        let others = if self.open.get() > 1 {
            self.stall.get()
        } else {
            Duration::ZERO
        };
        self.stall.set(others.max(stall));
    }

    pub(super) fn stall(&self) -> Duration {
        self.stall.get()
    }

    pub(super) fn count(&self) -> usize {
        self.open.get()
    }

    /// The time since which no stream is open and all answers are sent; `None` before that.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        (self.open.get() == 0 && !self.blocked.get()).then(|| self.idle_since.get())
    }

    /// Notes whether the last write had to wait for the client.
    pub(super) fn set_blocked(&self, blocked: bool) {
        if !blocked {
            self.taken.set(true);
            self.wrote.set(true);
        }
        if self.blocked.replace(blocked) && !blocked {
            self.idle_since.set(Instant::now());
        }
    }

    /// Whether the client takes what is sent: all of it, or some since the last request was begun.
    pub(super) fn takes(&self) -> bool {
        !self.blocked.get() || self.taken.get()
    }

    /// A request is begun.
    pub(super) fn forget_taken(&self) {
        self.taken.set(false);
    }

    /// Has the connection end before it writes anything more.
    pub(super) fn break_off(&self) {
        self.broken.set(true);
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken.get()
    }

    /// Wakes the connection when the last one has ended.
    pub(super) fn on_idle(&self, waker: &Waker) {
        if self.open.get() > 0 {
            self.waiting.set(Some(waker.clone()));
        }
    }
}

impl OpenStream {
    pub(super) fn streams(&self) -> &Rc<Streams> {
        &self.streams
    }

    /// The bytes that its answer may read at a time.
    pub(super) fn share_bytes(&self) -> usize {
        share_bytes(self.streams.count())
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let streams = &self.streams;
        streams.open.set(streams.open.get().saturating_sub(1));
        if streams.open.get() == 0 {
            streams.idle_since.set(Instant::now());
            if let Some(waker) = streams.waiting.take() {
                waker.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_from_the_end_of_its_last_stream_on() {
        let start = Instant::now();
        let streams = Streams::new(&Arc::default(), Duration::ZERO);
        let seconds = || Some((streams.idle_since()? - start).as_secs());
        assert_eq!(seconds(), Some(0));
        let (first, second) = (streams.open(), streams.open());
        tokio::time::advance(Duration::from_secs(3)).await;
        drop(first);
        assert_eq!((streams.count(), seconds()), (1, None));
        drop(second);
        assert_eq!(seconds(), Some(3));
        streams.set_blocked(false);
        assert_eq!(seconds(), Some(3), "nothing had to wait");
        streams.set_blocked(true);
        assert_eq!(seconds(), None, "an answer is not sent to its end");
        tokio::time::advance(Duration::from_secs(2)).await;
        streams.set_blocked(false);
        assert_eq!(seconds(), Some(5));
    }
}
