//! Counts the open streams of a connection, and remembers when the last one ended; and the room that their answers share.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use super::super::buffered::{Held, UNCOUNTED_BYTES};
use super::super::counters::{ConnectionCounters, count};
use super::answer_heads::AnswerHeads;

/// The most bytes of a connection's answers that were read from a disk and wait to be sent: of few streams, and of many.
const UNSENT_BYTES_MAX: [usize; 2] = [64 * 1024, 32 * 1024];
/// More streams are many.
const FEW_STREAMS: usize = 32;
/// The heads of requests that the library gets at a time, and the heads of answers. Its tables for them never become smaller.
pub(super) const HEADS_AT_A_TIME: usize = 16;
/// The least and the most bytes that one answer reads at a time.
const SHARE_BYTES: [usize; 2] = [16 * 1024, 32 * 1024];

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
    /// Bytes of answers that have room.
    unsent: Cell<usize>,
    /// Counts them.
    held: RefCell<Held>,
    /// Those who wait for room, in the order in which they get it; each has a number.
    in_line: RefCell<VecDeque<(u64, Waker)>>,
    next_number: Cell<u64>,
    /// Counts bytes of requests' bodies that were not read.
    held_unread: RefCell<Held>,
}

/// Room for bytes that were made, until it is dropped.
pub(super) struct UnsentRoom {
    streams: Rc<Streams>,
    pub(super) bytes: usize,
}

/// One of those who wait for room, until it is dropped.
pub(super) struct PlaceInLine {
    streams: Rc<Streams>,
    number: u64,
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
            unsent: Cell::new(0),
            held: RefCell::new(Held::new(counters)),
            in_line: RefCell::default(),
            next_number: Cell::new(0),
            held_unread: RefCell::new(Held::new(counters)),
        })
    }

    /// Waits for room for bytes that are about to be made. It may be for fewer, if all connections hold too much. No time limits
    /// the wait: if the client takes nothing, those who have room are ended, and so is the connection whose socket is full.
    pub(super) fn poll_room(
        self: &Rc<Self>,
        place: &mut Option<PlaceInLine>,
        bytes: usize,
        cx: &Context<'_>,
    ) -> Poll<UnsentRoom> {
        let mut in_line = self.in_line.borrow_mut();
        let number = place.as_ref().map(|place| place.number);
        if in_line.front().map(|(number, _)| *number) == number
            && let Some(room) = self.room(bytes)
        {
            drop(in_line);
            *place = None;
            return Poll::Ready(room);
        }
        let waker = cx.waker().clone();
        if let Some(mine) = in_line.iter_mut().find(|(other, _)| Some(*other) == number) {
            mine.1 = waker;
        } else {
            count(&self.held.borrow().counters.unsent_full);
            let number = self.next_number.replace(self.next_number.get() + 1);
            in_line.push_back((number, waker));
            *place = Some(PlaceInLine {
                streams: Rc::clone(self),
                number,
            });
        }
        Poll::Pending
    }

    fn room(self: &Rc<Self>, mut bytes: usize) -> Option<UnsentRoom> {
        let unsent = self.unsent.get();
        if unsent + bytes > self.unsent_bytes_max() {
            return None;
        }
        if !self.held.borrow_mut().set(unsent + bytes) {
            // All connections hold too much. So this one gets a little, once all else is sent.
            if unsent > 0 {
                return None;
            }
            bytes = bytes.min(UNCOUNTED_BYTES);
        }
        self.unsent.set(unsent + bytes);
        Some(UnsentRoom {
            streams: Rc::clone(self),
            bytes,
        })
    }

    fn unsent_bytes_max(&self) -> usize {
        let [few, many] = UNSENT_BYTES_MAX;
        if self.open.get() > FEW_STREAMS {
            many
        } else {
            few
        }
    }

    fn wake_first_in_line(&self) {
        if let Some((_, waker)) = self.in_line.borrow().front() {
            waker.wake_by_ref();
        }
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

    /// The bytes that its answer may read at a time: the more streams there are, the fewer.
    pub(super) fn share_bytes(&self) -> usize {
        let [least, most] = SHARE_BYTES;
        let share = (self.streams.unsent_bytes_max() / 2).checked_div(self.streams.count());
        share.unwrap_or(most).clamp(least, most)
    }
}

impl Drop for UnsentRoom {
    fn drop(&mut self) {
        let streams = &self.streams;
        let unsent = streams.unsent.get().saturating_sub(self.bytes);
        streams.unsent.set(unsent);
        streams.held.borrow_mut().set(unsent);
        streams.wake_first_in_line();
    }
}

impl Drop for PlaceInLine {
    fn drop(&mut self) {
        let others = |(number, _): &(u64, Waker)| *number != self.number;
        self.streams.in_line.borrow_mut().retain(others);
        self.streams.wake_first_in_line();
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

    #[tokio::test]
    async fn streams_share_the_room_for_what_is_unsent() {
        let streams = Streams::new(&Arc::default(), Duration::ZERO);
        let alone = streams.open();
        assert_eq!(alone.share_bytes(), 32 * 1024);
        let _second = streams.open();
        assert_eq!(alone.share_bytes(), 16 * 1024);
        assert_eq!(streams.unsent_bytes_max(), 64 * 1024);
        let _more: Vec<_> = (0..98).map(|_| streams.open()).collect();
        assert_eq!(alone.share_bytes(), 16 * 1024);
        assert_eq!(streams.unsent_bytes_max(), 32 * 1024);
    }

    #[tokio::test]
    async fn those_who_wait_for_room_get_it_in_their_order() {
        let counters = Arc::new(ConnectionCounters::new(usize::MAX));
        let streams = Streams::new(&counters, Duration::ZERO);
        let cx = Context::from_waker(Waker::noop());
        let mut places: [Option<PlaceInLine>; 4] = Default::default();
        let mut ask = |n: usize, bytes| match streams.poll_room(&mut places[n], bytes, &cx) {
            Poll::Ready(room) => Some(room),
            Poll::Pending => None,
        };
        let (half, all) = (streams.unsent_bytes_max() / 2, streams.unsent_bytes_max());
        let (first, second) = (ask(0, half).unwrap(), ask(1, half).unwrap());
        assert!(ask(0, 1).is_none());
        assert!(ask(1, half).is_none());
        assert!(ask(2, 1).is_none());
        drop(first);
        assert!(ask(2, 1).is_none(), "it is not the first");
        let little = ask(0, 1).unwrap();
        assert!(ask(1, half).is_none());
        drop((second, little));
        assert!(ask(1, all).is_some());
        assert!(ask(3, 1).is_none(), "one waits before it");
        assert!(ask(2, all).is_some() && ask(3, all).is_some());
        assert_eq!(
            counters
                .unsent_full
                .load(std::sync::atomic::Ordering::Relaxed),
            4
        );
    }

    #[tokio::test]
    async fn who_leaves_the_line_makes_room_for_the_next() {
        let streams = Streams::new(&Arc::default(), Duration::ZERO);
        let woken = futures_util::task::noop_waker();
        let cx = Context::from_waker(&woken);
        let (mut first, mut second) = (None, None);
        let Poll::Ready(room) = streams.poll_room(&mut None, 1, &cx) else {
            panic!("there is room")
        };
        assert!(
            streams
                .poll_room(&mut first, streams.unsent_bytes_max(), &cx)
                .is_pending()
        );
        assert!(streams.poll_room(&mut second, 1, &cx).is_pending());
        drop(first);
        assert!(streams.poll_room(&mut second, 1, &cx).is_ready());
        drop(room);
        assert_eq!(streams.unsent.get(), 0);
    }

    #[tokio::test]
    async fn there_is_little_room_if_all_connections_hold_too_much() {
        let counters = Arc::new(ConnectionCounters::new(40_000));
        let streams = Streams::new(&counters, Duration::ZERO);
        let cx = Context::from_waker(Waker::noop());
        let mut place = None;
        let mut ask = |bytes| match streams.poll_room(&mut place, bytes, &cx) {
            Poll::Ready(room) => Some(room),
            Poll::Pending => None,
        };
        let room = ask(30_000).unwrap();
        assert_eq!((room.bytes, counters.buffered.bytes()), (30_000, 30_000));
        assert!(ask(20_000).is_none());
        drop(room);
        let mut others = Held::new(&counters);
        assert!(others.set(30_000));
        let room = ask(20_000).unwrap();
        assert_eq!(room.bytes, UNCOUNTED_BYTES);
        assert!(ask(20_000).is_none());
        drop(room);
        assert_eq!(ask(1000).unwrap().bytes, 1000);
    }
}
