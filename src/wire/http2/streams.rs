//! Counts the open streams of a connection, remembers when the last one ended, and knows whether the client takes what is sent.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use super::super::buffered::Held;
use super::super::counters::ConnectionCounters;
use super::STREAMS_MAX;
use super::answer_heads::AnswerHeads;
use super::held_heads::HeldHeads;
use super::rooms::{PieceRoom, PlaceInLine, Rooms, share_bytes};

/// The heads of requests that the library gets at a time, and the heads of answers. Its tables for them never become smaller.
pub(super) const HEADS_AT_A_TIME: usize = 16;
/// The bytes of heads that the library gets at a time, or a few more.
const HEAD_BYTES_AT_A_TIME: usize = 16 * 1024;
/// The frames that the library gets before other tasks have their turn.
const FRAMES_AT_A_TIME: usize = 128;
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
    /// Their bytes, as they were sent.
    head_bytes: Cell<usize>,
    /// Frames that the library has got in this turn.
    frames: Cell<usize>,
    /// Streams that the session has refused and whose end was not written.
    refused: Cell<usize>,
    /// Heads of requests that were accepted and not answered.
    pub(super) held_heads: Rc<HeldHeads>,
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
            head_bytes: Cell::new(0),
            frames: Cell::new(0),
            refused: Cell::new(0),
            held_heads: HeldHeads::new(counters),
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

    /// Counts a frame of a head for the library, and whether the head begins with it. True if it has as many as it may have now.
    pub(super) fn add_head(&self, begins: bool, bytes: usize) -> bool {
        self.heads.set(self.heads.get() + usize::from(begins));
        self.head_bytes.set(self.head_bytes.get() + bytes);
        self.has_heads()
    }

    /// The connection has its turn, in which the library may get some frames.
    pub(super) fn begin_turn(&self) {
        self.frames.set(0);
    }

    /// Counts a frame for the library.
    pub(super) fn add_frame(&self) {
        self.frames.set(self.frames.get() + 1);
    }

    /// Whether the library has got as many frames as it may in this turn.
    pub(super) fn has_frames(&self) -> bool {
        self.frames.get() >= FRAMES_AT_A_TIME
    }

    /// The session refuses a stream.
    pub(super) fn refuse(&self) {
        self.refused.set(self.refused.get() + 1);
    }

    /// A refusal is written. Whether it is the library's, and not since there are too many streams: then the head was too large.
    pub(super) fn is_for_head(&self) -> bool {
        let refused = self.refused.get();
        self.refused.set(refused.saturating_sub(1));
        refused == 0 && self.count() < STREAMS_MAX
    }

    /// Whether the library has as much of heads as it may have, until the session has accepted them.
    pub(super) fn has_heads(&self) -> bool {
        self.heads.get() >= HEADS_AT_A_TIME || self.head_bytes.get() >= HEAD_BYTES_AT_A_TIME
    }

    /// The session has accepted all requests. True if the library may have missed some.
    pub(super) fn all_accepted(&self) -> bool {
        let had = self.has_heads();
        self.heads.set(0);
        self.head_bytes.set(0);
        had
    }

    /// Whether so much waits that nothing more is read. The session asks again when it has begun what waits.
    pub(super) fn is_full(&self) -> bool {
        self.held_heads.is_full(self.takes())
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

    #[test]
    fn the_library_gets_few_heads_and_few_bytes_of_them_at_a_time() {
        for (heads, bytes) in [
            (HEADS_AT_A_TIME, 10),
            (2, HEAD_BYTES_AT_A_TIME / 2),
            (0, 40_000),
        ] {
            let streams = Streams::new(&Arc::default(), Duration::ZERO);
            let frames = heads.max(1);
            for frame in 1..=frames {
                let full = streams.add_head(heads > 0, bytes);
                assert_eq!(full, frame == frames, "{heads} of {bytes}");
            }
            assert!(streams.has_heads() && streams.all_accepted());
            assert!(!streams.has_heads() && !streams.all_accepted());
        }
    }

    #[test]
    fn the_library_gets_few_frames_in_a_turn() {
        let streams = Streams::new(&Arc::default(), Duration::ZERO);
        for _ in 0..2 {
            streams.begin_turn();
            for _ in 0..FRAMES_AT_A_TIME {
                assert!(!streams.has_frames());
                streams.add_frame();
            }
            assert!(streams.has_frames());
        }
    }

    #[test]
    fn a_refusal_that_is_not_ours_and_not_for_the_number_is_for_the_head() {
        let streams = Streams::new(&Arc::default(), Duration::ZERO);
        streams.refuse();
        assert!(!streams.is_for_head(), "it is ours");
        assert!(streams.is_for_head());
        let open: Vec<_> = (0..STREAMS_MAX).map(|_| streams.open()).collect();
        assert!(!streams.is_for_head(), "there are too many streams");
        drop(open);
        assert!(streams.is_for_head());
    }
}
