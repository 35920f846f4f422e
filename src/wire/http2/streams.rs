//! Counts the open streams of a connection, and remembers when the last one ended; and the room that their answers share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::super::buffered::Held;
use super::super::counters::ConnectionCounters;

/// The most bytes of a connection's answers that were read from a disk and wait to be sent.
pub(super) const UNSENT_BYTES_MAX: usize = 64 * 1024;
/// The least and the most bytes that one answer reads at a time.
const SHARE_BYTES: [usize; 2] = [16 * 1024, 32 * 1024];

/// The streams of one connection.
pub(super) struct Streams {
    open: Cell<usize>,
    /// Whether bytes of answers wait because the client does not take them.
    blocked: Cell<bool>,
    /// Whether bytes of an answer can't be had although they were promised.
    broken: Cell<bool>,
    /// Whether more may follow at once, so that small writes are gathered; and whether some were.
    pub(super) gathers: Cell<bool>,
    pub(super) gathered: Cell<bool>,
    idle_since: Cell<Instant>,
    /// The task that waits for the last one to end.
    waiting: Cell<Option<Waker>>,
    /// Room for bytes of answers.
    unsent: Arc<Semaphore>,
    /// Bytes of answers that have room.
    unsent_bytes: Cell<usize>,
    /// Counts them.
    held: RefCell<Held>,
    /// Counts bytes of requests' bodies that were not read.
    held_unread: RefCell<Held>,
}

/// Room for bytes that were made, until it is dropped.
pub(super) struct UnsentRoom {
    streams: Rc<Streams>,
    bytes: usize,
    _permit: OwnedSemaphorePermit,
}

/// Counts one stream as open until it is dropped.
pub(super) struct OpenStream {
    streams: Rc<Streams>,
}

impl Streams {
    pub(super) fn new(counters: &Arc<ConnectionCounters>) -> Rc<Self> {
        Rc::new(Self {
            open: Cell::new(0),
            blocked: Cell::new(false),
            broken: Cell::new(false),
            gathers: Cell::new(false),
            gathered: Cell::new(false),
            idle_since: Cell::new(Instant::now()),
            waiting: Cell::new(None),
            unsent: Arc::new(Semaphore::new(UNSENT_BYTES_MAX)),
            unsent_bytes: Cell::new(0),
            held: RefCell::new(Held::new(counters)),
            held_unread: RefCell::new(Held::new(counters)),
        })
    }

    /// Room for bytes that have a permit; `None` if all connections hold too much.
    pub(super) fn room(
        self: &Rc<Self>,
        permit: OwnedSemaphorePermit,
        bytes: usize,
    ) -> Option<UnsentRoom> {
        let used = self.unsent_bytes.get() + bytes;
        if !self.held.borrow_mut().set(used) {
            return None;
        }
        self.unsent_bytes.set(used);
        Some(UnsentRoom {
            streams: Rc::clone(self),
            bytes,
            _permit: permit,
        })
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

    pub(super) fn count(&self) -> usize {
        self.open.get()
    }

    /// The time since which no stream is open and all answers are sent; `None` before that.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        (self.open.get() == 0 && !self.blocked.get()).then(|| self.idle_since.get())
    }

    /// Notes whether the last write had to wait for the client.
    pub(super) fn set_blocked(&self, blocked: bool) {
        if self.blocked.replace(blocked) && !blocked {
            self.idle_since.set(Instant::now());
        }
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
        let share = (UNSENT_BYTES_MAX / 2).checked_div(self.streams.count());
        share.unwrap_or(most).clamp(least, most)
    }

    /// The room for bytes that were made and wait to be sent. Its permits are bytes.
    pub(super) fn unsent(&self) -> Arc<Semaphore> {
        Arc::clone(&self.streams.unsent)
    }
}

impl Drop for UnsentRoom {
    fn drop(&mut self) {
        let streams = &self.streams;
        let used = streams.unsent_bytes.get().saturating_sub(self.bytes);
        streams.unsent_bytes.set(used);
        streams.held.borrow_mut().set(used);
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
        let streams = Streams::new(&Arc::default());
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
        let streams = Streams::new(&Arc::default());
        let alone = streams.open();
        assert_eq!(alone.share_bytes(), 32 * 1024);
        let _second = streams.open();
        assert_eq!(alone.share_bytes(), 16 * 1024);
        let _more: Vec<_> = (0..98).map(|_| streams.open()).collect();
        assert_eq!(alone.share_bytes(), 16 * 1024);
    }
}
