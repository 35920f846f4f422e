//! Bounds the heads of the requests of one connection that are not answered: of those that wait for their turn, and of those whose
//! answers are being made.

// Decision: A client that takes nothing gets no more answers begun.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

use super::super::buffered::Held;
use super::super::counters::ConnectionCounters;

/// So many bytes of heads may wait for their turn, or one more head. Then nothing more is read.
const WAITING_BYTES_MAX: usize = 32 * 1024;
/// While so many bytes of heads wait for their answers, no further request is begun.
const BEGUN_BYTES_MAX: usize = 128 * 1024;
/// Bytes that the library may have read for each request whose target stays in its buffers.
const READ_BYTES_EACH: usize = 512;
/// Beyond so many bytes, those that were read before are forgotten.
const READ_BYTES_MAX: usize = 64 * 1024;
/// The time for which the next request waits then. After that, all that wait are refused, so that the connection is read again:
/// windows and bodies of other streams come on it.
const TURN_TIME: Duration = Duration::from_millis(250);

/// The heads of one connection.
pub(super) struct HeldHeads {
    /// Bytes of those whose requests wait for their turn.
    waiting: Cell<usize>,
    /// Bytes of those whose requests are begun and not answered.
    begun: Cell<usize>,
    /// Counts both.
    held: RefCell<Held>,
    /// Bytes that the library has read beyond its share for each request.
    read: Cell<usize>,
    /// The time since which a request waits because no further one is begun.
    full_since: Cell<Option<Instant>>,
    /// The task that has more to begin.
    task: Cell<Option<Waker>>,
}

/// The head of one request, counted until it is dropped.
pub(super) struct HeldHead {
    heads: Rc<HeldHeads>,
    bytes: usize,
    begun: bool,
}

impl HeldHeads {
    pub(super) fn new(counters: &Arc<ConnectionCounters>) -> Rc<Self> {
        Rc::new(Self {
            waiting: Cell::new(0),
            begun: Cell::new(0),
            held: RefCell::new(Held::new(counters)),
            read: Cell::new(0),
            full_since: Cell::new(None),
            task: Cell::new(None),
        })
    }

    /// The library has read so many bytes.
    pub(super) fn read(&self, bytes: usize) {
        self.read.set((self.read.get() + bytes).min(READ_BYTES_MAX));
    }

    /// Whether the target of the next request needs memory of its own. The library gives a part of a buffer of 16 KiB, which stays as
    /// long as the request; that is too much unless many share it.
    pub(super) fn needs_own_target(&self) -> bool {
        let beyond = self.read.get().saturating_sub(READ_BYTES_EACH);
        self.read.set(beyond);
        beyond > 0
    }

    /// Counts the head of a request that waits for its turn. `None` if all connections hold too much.
    pub(super) fn hold(self: &Rc<Self>, bytes: usize) -> Option<HeldHead> {
        let held = self.held.borrow_mut().set(self.all() + bytes);
        held.then(|| {
            self.waiting.set(self.waiting.get() + bytes);
            HeldHead {
                heads: Rc::clone(self),
                bytes,
                begun: false,
            }
        })
    }

    /// Whether so much waits that nothing more is read, from a client that takes what is sent or does not.
    pub(super) fn is_full(&self, takes: bool) -> bool {
        let waits = if takes {
            self.waiting.get()
        } else {
            self.all()
        };
        waits >= WAITING_BYTES_MAX
    }

    /// The time when the requests that wait are refused, because those before them are not answered; `None` if one may be begun.
    pub(super) fn full_until(&self, now: impl FnOnce() -> Instant) -> Option<Instant> {
        if self.begun.get() < BEGUN_BYTES_MAX {
            return None;
        }
        let since = self.full_since.get().unwrap_or_else(now);
        self.full_since.set(Some(since));
        Some(since + TURN_TIME)
    }

    /// Wakes this task when a request may be begun again.
    pub(super) fn on_answer(&self, waker: &Waker) {
        self.task.set(Some(waker.clone()));
    }

    fn all(&self) -> usize {
        self.waiting.get() + self.begun.get()
    }
}

impl HeldHead {
    /// Its request is begun.
    pub(super) fn begin(&mut self) {
        let heads = &self.heads;
        heads
            .waiting
            .set(heads.waiting.get().saturating_sub(self.bytes));
        heads.begun.set(heads.begun.get() + self.bytes);
        self.begun = true;
    }
}

impl Drop for HeldHead {
    fn drop(&mut self) {
        let heads = &self.heads;
        let of = if self.begun {
            &heads.begun
        } else {
            &heads.waiting
        };
        of.set(of.get().saturating_sub(self.bytes));
        // It can only have become less.
        heads.held.borrow_mut().set(heads.all());
        if heads.begun.get() < BEGUN_BYTES_MAX {
            heads.full_since.set(None);
            if let Some(task) = heads.task.take() {
                task.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_counted_until_they_are_answered() {
        let counters = Arc::new(ConnectionCounters::new(100_000));
        let heads = HeldHeads::new(&counters);
        let mut held: Vec<_> = (0..5).map(|_| heads.hold(14_000).unwrap()).collect();
        assert_eq!(counters.buffered.bytes(), 70_000);
        assert!(heads.is_full(true), "so many wait for their turn");
        held.iter_mut().for_each(HeldHead::begin);
        assert!(!heads.is_full(true) && heads.is_full(false));
        assert_eq!(counters.buffered.bytes(), 70_000);
        assert!(heads.hold(40_000).is_none(), "all hold too much");
        drop(held);
        assert!(!heads.is_full(false));
        assert_eq!(counters.buffered.bytes(), 0);
    }

    #[test]
    fn small_heads_share_what_was_read_and_others_do_not() {
        let heads = HeldHeads::new(&Arc::default());
        for _ in 0..100 {
            heads.read(READ_BYTES_EACH);
            assert!(!heads.needs_own_target());
        }
        heads.read(READ_BYTES_EACH * 3);
        let asked = [(); 4].map(|()| heads.needs_own_target());
        assert_eq!(asked, [true, true, false, false]);
        // A long body is forgotten in the end.
        (0..1000).for_each(|_| heads.read(16 * 1024));
        let own = (0..1000).take_while(|_| heads.needs_own_target()).count();
        assert_eq!(own, READ_BYTES_MAX / READ_BYTES_EACH - 1);
    }

    #[tokio::test(start_paused = true)]
    async fn while_many_wait_for_their_answers_the_next_waits_and_is_refused_in_the_end() {
        let heads = HeldHeads::new(&Arc::new(ConnectionCounters::new(usize::MAX)));
        let mut begun: Vec<_> = (0..2)
            .map(|_| heads.hold(BEGUN_BYTES_MAX / 2).unwrap())
            .collect();
        begun[0].begin();
        assert_eq!(heads.full_until(Instant::now), None);
        begun[1].begin();
        let until = Instant::now() + TURN_TIME;
        assert_eq!(heads.full_until(Instant::now), Some(until));
        tokio::time::advance(TURN_TIME * 2).await;
        assert_eq!(
            heads.full_until(Instant::now),
            Some(until),
            "its time is over, and that of what comes next"
        );
        begun.pop();
        assert_eq!(heads.full_until(Instant::now), None);
        begun.push(heads.hold(BEGUN_BYTES_MAX / 2).unwrap());
        begun[1].begin();
        let again = Instant::now() + TURN_TIME;
        assert_eq!(heads.full_until(Instant::now), Some(again));
        // One is answered and another one begun while nobody waits.
        tokio::time::advance(TURN_TIME * 2).await;
        begun.pop();
        begun.push(heads.hold(BEGUN_BYTES_MAX / 2).unwrap());
        begun[1].begin();
        let again = Instant::now() + TURN_TIME;
        assert_eq!(heads.full_until(Instant::now), Some(again));
    }
}
