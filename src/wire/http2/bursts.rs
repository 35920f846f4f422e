//! Bounds the requests that are begun at a time: an exchange needs more memory before its answer than after it.
//!
//! Requests that are answered at once are not counted, and a thread may have many others. If it has more, each connection begins a
//! few in a burst: further ones wait until one of the burst is answered, or until its time is over. So answers that are made fast are
//! made one after the other, and slow ones hold up nobody for long.

// Decision: A busy thread begins few requests of a connection at a time.

use std::cell::Cell;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

/// So many requests may wait for their answers on one thread before connections are held to bursts.
const OF_THREAD: usize = 128;
/// The most requests of a burst that wait for their answers.
const OF_BURST: usize = 4;
/// The time after which a burst is over, whatever waits.
const BURST_TIME: Duration = Duration::from_millis(250);

/// The requests of HTTP/2 that wait for their answers on one thread.
pub(in super::super) type UnansweredOfThread = Rc<Cell<usize>>;

/// The bursts of one connection.
pub(super) struct Bursts {
    of_thread: UnansweredOfThread,
    /// The number of the current one.
    current: Cell<u64>,
    unanswered: Cell<usize>,
    ends: Cell<Instant>,
    /// The task that has more to begin.
    waiting: Cell<Option<Waker>>,
}

/// A request that waits for its answer, until it is dropped.
pub(super) struct BegunRequest {
    bursts: Rc<Bursts>,
    burst: u64,
}

impl Bursts {
    pub(super) fn new(of_thread: &UnansweredOfThread, now: Instant) -> Rc<Self> {
        Rc::new(Self {
            of_thread: Rc::clone(of_thread),
            current: Cell::new(0),
            unanswered: Cell::new(0),
            ends: Cell::new(now),
            waiting: Cell::new(None),
        })
    }

    /// Notes that a request waits for its answer.
    pub(super) fn add(self: &Rc<Self>, now: Instant) -> BegunRequest {
        if now >= self.ends.get() {
            self.end();
            self.ends.set(now + BURST_TIME);
        }
        self.unanswered.set(self.unanswered.get() + 1);
        self.of_thread.set(self.of_thread.get() + 1);
        BegunRequest {
            bursts: Rc::clone(self),
            burst: self.current.get(),
        }
    }

    /// Ends the current burst.
    pub(super) fn end(&self) {
        self.current.set(self.current.get() + 1);
        self.unanswered.set(0);
    }

    /// The time until which no more requests may be begun; `None` if one may be now.
    pub(super) fn full_until(&self) -> Option<Instant> {
        let full = self.unanswered.get() >= OF_BURST && self.of_thread.get() >= OF_THREAD;
        full.then(|| self.ends.get())
    }

    /// Wakes this task when a request of the current burst is answered.
    pub(super) fn on_answer(&self, waker: &Waker) {
        self.waiting.set(Some(waker.clone()));
    }
}

impl Drop for BegunRequest {
    fn drop(&mut self) {
        let bursts = &self.bursts;
        let less = |number: &Cell<usize>| number.set(number.get().saturating_sub(1));
        less(&bursts.of_thread);
        if self.burst == bursts.current.get() {
            less(&bursts.unanswered);
            if let Some(waker) = bursts.waiting.take() {
                waker.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy() -> UnansweredOfThread {
        Rc::new(Cell::new(OF_THREAD))
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_full_until_one_is_answered_or_its_time_is_over() {
        let start = Instant::now();
        let bursts = Bursts::new(&busy(), start);
        let full = || bursts.full_until().map(|until| until - start);
        let mut first: Vec<_> = (0..OF_BURST).map(|_| bursts.add(start)).collect();
        assert_eq!(full(), Some(BURST_TIME));
        first.pop();
        assert_eq!(full(), None, "one was answered");
        first.push(bursts.add(start + BURST_TIME / 2));
        assert_eq!(full(), Some(BURST_TIME), "it is the same burst");
        bursts.end();
        assert_eq!(full(), None, "its time is over");
        let later = start + 3 * BURST_TIME;
        let mut second: Vec<_> = (0..OF_BURST).map(|_| bursts.add(later)).collect();
        assert_eq!(full(), Some(4 * BURST_TIME));
        drop(first);
        assert_eq!(full(), Some(4 * BURST_TIME), "those were of another burst");
        second.truncate(1);
        assert_eq!(full(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_thread_with_few_unanswered_requests_begins_all() {
        let start = Instant::now();
        let of_thread = UnansweredOfThread::default();
        let [one, other] = [(); 2].map(|()| Bursts::new(&of_thread, start));
        let mut all: Vec<_> = (1..OF_THREAD).map(|_| one.add(start)).collect();
        assert_eq!(one.full_until(), None);
        all.push(other.add(start));
        assert_eq!(one.full_until(), Some(start + BURST_TIME));
        assert_eq!(other.full_until(), None, "its burst has room");
        all.truncate(OF_THREAD / 2);
        assert_eq!(one.full_until(), None);
        drop(all);
        assert_eq!(of_thread.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_come_slowly_are_never_held_up() {
        let start = Instant::now();
        let bursts = Bursts::new(&busy(), start);
        let hang = |number| {
            let now = start + BURST_TIME * number;
            assert!(bursts.full_until().is_none_or(|until| until <= now));
            (0..OF_BURST).map(|_| bursts.add(now)).collect::<Vec<_>>()
        };
        let hanging: Vec<_> = (0..10).map(hang).collect();
        assert_eq!(bursts.of_thread.get(), OF_THREAD + 10 * OF_BURST);
        drop(hanging);
        assert_eq!(bursts.of_thread.get(), OF_THREAD);
    }
}
