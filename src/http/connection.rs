//! What one connection is doing, as far as its timers and limits are concerned. Pure but for its cells: the stream and the
//! service both hold it, on one thread.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

use crate::settings::Limits;

/// How long each part of a conversation may take, and how large a head may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeLimits {
    /// A request's head, in bytes.
    pub head_bytes: usize,
    /// From a connection's beginning, or a head's first byte, to the head's end.
    pub header: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// Without a byte of progress.
    pub stall: Duration,
}

impl From<&Limits> for TimeLimits {
    fn from(limits: &Limits) -> Self {
        Self {
            head_bytes: limits.head_bytes,
            header: limits.header_timeout,
            idle: limits.idle_timeout,
            stall: limits.stall_timeout,
        }
    }
}

/// How often a limit has bitten.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections served.
    pub connections: AtomicU64,
    /// Heads over the limit: 431.
    pub heads_too_large: AtomicU64,
    /// Heads that took too long: 408.
    pub heads_too_slow: AtomicU64,
    /// Connections that were idle too long.
    pub idle: AtomicU64,
    /// Bodies and answers that made no progress.
    pub stalled: AtomicU64,
}

/// Counts one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing has come yet.
    New,
    /// Between two requests.
    Idle,
    /// A head has begun and has not ended.
    Head,
    /// A head has ended; the answer is not written yet.
    Request,
    /// The answer has been given without the request's body: what still comes is no head, and the end is near.
    Closing,
}

/// Which limit has been reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expired {
    Idle,
    Head,
    Stall,
}

/// What the end of a head's bytes looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tail {
    /// Nothing but empty lines has come.
    Nothing,
    /// The middle of a line.
    Line,
    /// LF.
    Newline,
    /// LF CR.
    Return,
}

/// How much is read ahead of the request that is being answered.
const AHEAD_BYTES_MAX: usize = 64 * 1024;

/// What one connection is doing.
pub(crate) struct Connection {
    limits: TimeLimits,
    phase: Cell<Phase>,
    /// When the phase, or the last progress in it, began; `None` until somebody has to wait.
    since: Cell<Option<Instant>>,
    head_bytes: Cell<usize>,
    /// What the end of a head's bytes looks like so far.
    tail: Cell<Tail>,
    /// Bytes that came while a request was being answered that does not read them.
    ahead: Cell<usize>,
    /// Whom to wake when reading goes on.
    paused: Cell<Option<Waker>>,
    reading_body: Cell<bool>,
    answered: Cell<bool>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

impl Connection {
    pub(crate) fn new(limits: TimeLimits) -> Self {
        Self {
            limits,
            phase: Cell::new(Phase::New),
            since: Cell::new(None),
            head_bytes: Cell::new(0),
            tail: Cell::new(Tail::Line),
            ahead: Cell::new(0),
            paused: Cell::new(None),
            reading_body: Cell::new(false),
            answered: Cell::new(false),
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.since.set(None);
    }

    /// Bytes have come. False if they make the head too large.
    pub(crate) fn received(&self, bytes: &[u8]) -> bool {
        match self.phase.get() {
            Phase::Closing => return true,
            Phase::Request => {
                self.ahead.set(self.ahead.get().saturating_add(bytes.len()));
                self.since.set(None);
                return true;
            }
            // Empty lines before a request are no part of it (RFC 9112 section 2.2).
            Phase::New | Phase::Idle if bytes.iter().all(|byte| b"\r\n".contains(byte)) => {
                return true;
            }
            Phase::New | Phase::Idle => {
                // The head timer runs from a connection's beginning, or from the head's first byte.
                if self.phase.replace(Phase::Head) == Phase::Idle {
                    self.since.set(None);
                }
                self.head_bytes.set(0);
                self.tail.set(Tail::Nothing);
            }
            Phase::Head => {}
        }
        let end = self.end_of_head(bytes);
        let seen = self.head_bytes.get() + end.unwrap_or(bytes.len());
        self.head_bytes.set(seen);
        if let Some(end) = end {
            self.enter(Phase::Request);
            self.ahead.set(bytes.len() - end);
        }
        seen <= self.limits.head_bytes
    }

    /// Where the head ends in `bytes`, if it does: at an empty line, however lines end.
    fn end_of_head(&self, bytes: &[u8]) -> Option<usize> {
        let mut tail = self.tail.get();
        let mut end = None;
        for (at, byte) in bytes.iter().enumerate() {
            tail = match (tail, byte) {
                (Tail::Nothing, b'\r' | b'\n') => Tail::Nothing,
                (Tail::Newline | Tail::Return, b'\n') => {
                    end = Some(at + 1);
                    break;
                }
                (_, b'\n') => Tail::Newline,
                (Tail::Newline, b'\r') => Tail::Return,
                _ => Tail::Line,
            };
        }
        self.tail.set(tail);
        end
    }

    /// Whether reading has to wait: for the answer to a request before, or for somebody who wants the body. Otherwise a
    /// client that sends ahead of a slow answer would fill actix-http's buffer, which then polls without a pause.
    pub(crate) fn pauses(&self, waker: &Waker) -> bool {
        let ahead = self.phase.get() == Phase::Request && !self.reading_body.get();
        let pauses = ahead && self.ahead.get() >= AHEAD_BYTES_MAX;
        if pauses {
            self.paused.set(Some(waker.clone()));
        }
        pauses
    }

    fn resume(&self) {
        self.ahead.set(0);
        if let Some(waker) = self.paused.take() {
            waker.wake();
        }
    }

    /// The service begins with a request.
    pub(crate) fn request_begins(&self) {
        self.answered.set(false);
        self.enter(Phase::Request);
    }

    /// The service waits for the request's body, or has stopped doing so.
    pub(crate) fn reading_body(&self, yes: bool) {
        self.reading_body.set(yes);
        self.since.set(None);
        if yes {
            self.resume();
        }
    }

    /// The service has given its answer.
    pub(crate) fn answered(&self) {
        self.answered.set(true);
    }

    /// The request's body will not be read: the connection ends after the answer.
    pub(crate) fn closing(&self) {
        self.enter(Phase::Closing);
        self.resume();
    }

    /// Everything there was to write has been written. True if that was the answer: the connection is idle now.
    pub(crate) fn flushed(&self) -> bool {
        let idle = self.answered.get() && self.phase.get() == Phase::Request;
        if idle {
            self.answered.set(false);
            self.enter(Phase::Idle);
            self.resume();
        }
        idle
    }

    /// Until when the other side may leave us waiting for its bytes, and what it is if it does not come. `None`: it is not
    /// the other side that is waited for.
    pub(crate) fn read_deadline(&self, now: Instant) -> Option<(Instant, Expired)> {
        let (limit, expired) = match self.phase.get() {
            Phase::New => (self.limits.header, Expired::Idle),
            Phase::Idle => (self.limits.idle, Expired::Idle),
            Phase::Head => (self.limits.header, Expired::Head),
            Phase::Closing => (self.limits.stall, Expired::Idle),
            Phase::Request if self.reading_body.get() => (self.limits.stall, Expired::Stall),
            Phase::Request => return None,
        };
        let since = self.since.get().unwrap_or_else(|| {
            self.since.set(Some(now));
            now
        });
        Some((since + limit, expired))
    }

    /// How long a write may make no progress.
    pub(crate) fn stall_limit(&self) -> Duration {
        self.limits.stall
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: TimeLimits = TimeLimits {
        head_bytes: 40,
        header: Duration::from_secs(10),
        idle: Duration::from_secs(75),
        stall: Duration::from_secs(30),
    };

    #[tokio::test(start_paused = true)]
    async fn each_phase_has_its_deadline() {
        let now = Instant::now();
        let connection = Connection::new(LIMITS);
        let wait = |at: Instant| {
            connection
                .read_deadline(at)
                .map(|(until, why)| ((until - now).as_secs(), why))
        };
        let later = now + Duration::from_secs(3);
        assert_eq!(wait(now), Some((10, Expired::Idle)));
        assert!(connection.received(b"GET / HT"));
        assert_eq!(
            wait(later),
            Some((10, Expired::Head)),
            "from the connection's beginning"
        );
        assert!(connection.received(b"TP/1.1\r\n\r"));
        assert!(connection.received(b"\n"));
        assert_eq!(wait(now), None, "the answer is ours to give");
        connection.reading_body(true);
        assert_eq!(wait(later), Some((33, Expired::Stall)));
        connection.reading_body(false);
        connection.answered();
        assert!(connection.flushed());
        assert_eq!(wait(later), Some((78, Expired::Idle)));
        assert!(connection.received(b"G"));
        assert_eq!(
            wait(later),
            Some((13, Expired::Head)),
            "from the head's first byte"
        );
    }

    #[test]
    fn a_head_may_be_as_large_as_the_limit_and_no_larger() {
        let head = |bytes: usize| [vec![b'x'; bytes - 4], b"\r\n\r\n".to_vec()].concat();
        assert!(Connection::new(LIMITS).received(&head(40)));
        assert!(!Connection::new(LIMITS).received(&head(41)));
        let drop_by_drop = Connection::new(LIMITS);
        let fits = |n: &usize| drop_by_drop.received(&[b'x'; 1]) == (*n <= 40);
        assert!((1..=45).all(|n| fits(&n)));
        let body = Connection::new(LIMITS);
        assert!(
            body.received(&[head(40), vec![b'b'; 100]].concat()),
            "a body is no head"
        );
    }
}
