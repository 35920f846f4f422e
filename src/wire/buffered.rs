//! A bound on the bytes that clients make the wire hold, all connections together: heads and bodies that are collected, requests
//! that wait behind others, and answers that are not taken.
//!
//! Each connection and each stream has bounds of its own. This one holds where there are many of them.

// Decision: The bytes that all clients make the wire hold have one bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::counters::{ConnectionCounters, count};
use super::problem::{Code, Problem};

/// The bytes that a connection, a body or an answer may hold without being counted, so that small ones touch nothing shared.
pub(super) const UNCOUNTED_BYTES: usize = 16 * 1024;

/// The bytes that all connections hold.
#[derive(Debug)]
pub(super) struct Buffered {
    bytes: AtomicUsize,
    most: AtomicUsize,
}

/// Without a bound.
impl Default for Buffered {
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

impl Buffered {
    pub(super) fn new(most: usize) -> Self {
        Self {
            bytes: AtomicUsize::new(0),
            most: AtomicUsize::new(most),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Changes the bound. What is held already stays, even if it is more.
    pub(super) fn set_most(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// Whether no more may be added. Only answers to writes can exceed the bound, and what was held when it was
    /// lowered.
    pub(super) fn is_full(&self) -> bool {
        self.bytes() >= self.most()
    }

    /// The bytes that one connection, body or answer more may have.
    pub(super) fn room(&self) -> usize {
        let left = self.most().saturating_sub(self.bytes());
        left.max(UNCOUNTED_BYTES)
    }

    /// False, and nothing changes, if there would be too many.
    fn add(&self, more: usize) -> bool {
        let most = self.most();
        let add = |bytes: usize| bytes.checked_add(more).filter(|sum| *sum <= most);
        let added = self
            .bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        added.is_ok()
    }
}

/// The bytes that one connection, body or answer holds. They are given back when it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) counters: Arc<ConnectionCounters>,
    counted: usize,
}

impl Held {
    pub(super) fn new(counters: &Arc<ConnectionCounters>) -> Self {
        Self {
            counters: Arc::clone(counters),
            counted: 0,
        }
    }

    /// Changes the number of bytes. False, and nothing changes, if all together would be too many.
    pub(super) fn set(&mut self, bytes: usize) -> bool {
        let bytes = if bytes <= UNCOUNTED_BYTES { 0 } else { bytes };
        let all = &self.counters.buffered;
        if bytes > self.counted && !all.add(bytes - self.counted) {
            count(&self.counters.buffered_full);
            return false;
        }
        if bytes < self.counted {
            all.bytes.fetch_sub(self.counted - bytes, Ordering::Relaxed);
        }
        self.counted = bytes;
        true
    }

    /// Counts these bytes whatever all others hold: an answer that tells what was changed.
    pub(super) fn set_past_bound(&mut self, bytes: usize) {
        self.set(0);
        let all = &self.counters.buffered.bytes;
        all.fetch_add(bytes, Ordering::Relaxed);
        self.counted = bytes;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// The answer to a request for which there is no room.
pub(super) fn no_room() -> Problem {
    let detail = "the server holds as many bytes of requests and answers as server.max_buffered allows; try again later, or ask for less at once";
    Problem::new(Code::Overloaded).detail(detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_more(counters: &Arc<ConnectionCounters>, bytes: usize) -> bool {
        Held::new(counters).set(bytes)
    }

    #[test]
    fn what_is_held_is_counted_from_a_floor_on_up_to_the_bound_and_given_back() {
        let counters = Arc::new(ConnectionCounters::new(100_000));
        let bytes = || counters.buffered.bytes();
        let (mut first, mut second) = (Held::new(&counters), Held::new(&counters));
        assert!(first.set(UNCOUNTED_BYTES));
        assert_eq!(bytes(), 0);
        assert!(first.set(60_000));
        assert!(second.set(40_000));
        assert_eq!(bytes(), 100_000);
        assert!(!second.set(40_001));
        assert_eq!((bytes(), second.counted), (100_000, 40_000));
        assert!(first.set(20_000) && second.set(80_000));
        assert!(second.set(10_000));
        assert_eq!(bytes(), 20_000);
        drop(first);
        assert_eq!(bytes(), 0);
        assert_eq!(counters.buffered.room(), 100_000);
        second.set_past_bound(150_000);
        assert_eq!(counters.buffered.room(), UNCOUNTED_BYTES);
        assert!(bytes() == 150_000 && counters.buffered.is_full());
        counters.set_most_buffered(200_000);
        assert_eq!(counters.room(), 50_000);
        assert!(one_more(&counters, 50_000) && !one_more(&counters, 50_001));
        counters.set_most_buffered(100_000);
        assert!(!one_more(&counters, 20_000), "what is held stays");
        drop(second);
        assert!(bytes() == 0 && !counters.buffered.is_full());
        assert_eq!(counters.buffered_full.load(Ordering::Relaxed), 3);
    }
}
