//! The state of one connection of HTTP/1: its phases, with the timer and the limits of each.
//!
//! The stream (`io`) tells it which bytes come and go; the exchange tells it about requests, bodies and answers.

pub(super) mod drain;
mod head_scan;
pub(super) mod io;
pub(super) mod lazy_timer;
pub(super) mod streamed_body;

use std::cell::{Cell, RefCell, RefMut};
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::settings::LimitSettings;
use head_scan::{HeadScan, Scan};

/// How much of later requests is read while one is being answered: less than what fills the dispatcher's buffer.
const AHEAD_BYTES_MAX: usize = 64 * 1024;

/// The activity of a connection.
#[derive(Debug)]
enum ConnectionPhase {
    /// No byte has arrived yet.
    New,
    /// Between two requests.
    Idle,
    /// Part of a head has arrived.
    Head(HeadScan),
    /// A whole head has arrived; actix-http has not parsed it yet.
    Received,
    /// A request is being answered; the answer is not written yet.
    Request(Exchange),
    /// The last answer is written; the rest of the request's body is discarded.
    Closing,
    /// It speaks HTTP/2, which has timers and limits of its own.
    Http2,
}

/// One request and its answer.
#[derive(Debug, Default)]
struct Exchange {
    /// Bytes of later requests that have arrived already.
    ahead: usize,
    /// Whether the handler waits for bytes of the request's body.
    reading_body: bool,
    /// Whether the request's body has not been read to its end.
    body_left: bool,
    /// The time of the answer.
    answered: Option<Instant>,
    /// Whether the answer's body is still being made, piece by piece.
    streaming: bool,
    /// A piece of the answer's body that follows what the dispatcher has written.
    owed: Option<Bytes>,
}

/// A limit that has been reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expired {
    Idle,
    Head,
    Stall,
}

/// The state of one connection. The stream and the exchange share it on one thread.
#[derive(Debug)]
pub(crate) struct Connection {
    limits: LimitSettings,
    on_loopback: bool,
    phase: RefCell<ConnectionPhase>,
    /// The time of the last progress in this phase; `None` until a deadline is asked for.
    since: Cell<Option<Instant>>,
    /// Whether heads have arrived that were not scanned, because the client does not wait for answers.
    unscanned: Cell<bool>,
    /// Whether the client has closed its side.
    ended: Cell<bool>,
}

impl Connection {
    pub(crate) fn new(limits: LimitSettings, on_loopback: bool) -> Self {
        Self {
            limits,
            on_loopback,
            phase: RefCell::new(ConnectionPhase::New),
            since: Cell::new(None),
            unscanned: Cell::new(false),
            ended: Cell::new(false),
        }
    }

    /// Whether it came by a listener with a loopback address.
    pub(crate) fn is_on_loopback(&self) -> bool {
        self.on_loopback
    }

    fn enter(&self, phase: ConnectionPhase) {
        self.phase.replace(phase);
        self.since.set(None);
    }

    /// Changes or reads the exchange, if there is one.
    fn exchange<R: Default>(&self, with: impl FnOnce(&mut Exchange) -> R) -> R {
        if let ConnectionPhase::Request(exchange) = &mut *self.phase.borrow_mut() {
            with(exchange)
        } else {
            R::default()
        }
    }

    /// Bytes have come. False if they make the head too large.
    pub(crate) fn received(&self, bytes: &[u8]) -> bool {
        let mut phase = self.phase.borrow_mut();
        let (mut head, idle) = match &mut *phase {
            ConnectionPhase::Request(exchange) => {
                self.since.set(None);
                self.unscanned.set(true);
                if !exchange.body_left {
                    exchange.ahead = exchange.ahead.saturating_add(bytes.len());
                }
                return true;
            }
            // Bytes of a body that came with its head; the time of the head and the parser's own limit bound them.
            ConnectionPhase::Received => {
                self.unscanned.set(true);
                return true;
            }
            ConnectionPhase::Closing | ConnectionPhase::Http2 => return true,
            ConnectionPhase::New => (HeadScan::default(), false),
            ConnectionPhase::Idle => (HeadScan::default(), true),
            ConnectionPhase::Head(head) => (*head, false),
        };
        let scan = head.feed(bytes, self.limits.head_bytes);
        self.unscanned.set(self.unscanned.get() || head.followed());
        *phase = match scan {
            Scan::Nothing => return true,
            Scan::TooLarge => return false,
            Scan::Partial => ConnectionPhase::Head(head),
            // Until actix-http has parsed it, the time of the head goes on.
            Scan::Complete => ConnectionPhase::Received,
        };
        // The head timer runs from a connection's beginning, or from the head's first byte.
        if idle {
            self.since.set(None);
        }
        true
    }

    /// The client has closed its side.
    pub(crate) fn end_received(&self) {
        self.ended.set(true);
    }

    /// Completes when the client has closed its side. It registers no waker: bytes and the end of the connection wake the
    /// connection's task, which polls this.
    pub(crate) async fn ended(&self) {
        poll_fn(|_| {
            if self.ended.get() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// Whether enough bytes of later requests have arrived for now. (actix-http's dispatcher would read until its buffer is
    /// full, and then spin until the current request is answered.)
    pub(crate) fn far_ahead(&self) -> bool {
        self.exchange(|exchange| exchange.ahead >= AHEAD_BYTES_MAX && !exchange.body_left)
    }

    /// Whether all requests that have arrived are answered, so that the connection may end at any time.
    pub(crate) fn asks_nothing(&self) -> bool {
        matches!(
            *self.phase.borrow(),
            ConnectionPhase::New | ConnectionPhase::Idle | ConnectionPhase::Head(_)
        )
    }

    /// A request begins, with a body or without. Returns true if its head was not scanned to its end, and may be too large.
    pub(crate) fn request_begins(&self, body: bool) -> bool {
        let exchange = Exchange {
            // The request before may not be flushed yet.
            ahead: self.exchange(|before| before.ahead),
            body_left: body,
            ..Exchange::default()
        };
        let before = self.phase.replace(ConnectionPhase::Request(exchange));
        self.since.set(None);
        let scanned = matches!(before, ConnectionPhase::Received);
        self.unscanned.set(self.unscanned.get() || !scanned);
        self.unscanned.get()
    }

    /// The handler begins or stops to wait for the request's body.
    pub(crate) fn reading_body(&self, yes: bool) {
        self.exchange(|exchange| exchange.reading_body = yes);
        self.since.set(None);
    }

    /// The request's body has been read to its end.
    pub(crate) fn body_read(&self) {
        self.exchange(|exchange| exchange.body_left = false);
    }

    /// Whether the body has not been read to its end; then the connection closes after the answer.
    pub(crate) fn body_left(&self) -> bool {
        self.exchange(|exchange| exchange.body_left)
    }

    /// The answer's body begins to be made piece by piece, or has ended.
    pub(crate) fn streaming(&self, yes: bool) {
        self.exchange(|exchange| exchange.streaming = yes);
    }

    /// Leaves a piece of the answer's body here, to be written after the bytes of the dispatcher.
    pub(crate) fn owe(&self, piece: Bytes) {
        self.exchange(|exchange| exchange.owed = Some(piece));
    }

    /// Whether such a piece has not been written yet.
    pub(crate) fn owes(&self) -> bool {
        self.exchange(|exchange| exchange.owed.is_some())
    }

    /// The piece, to be written from.
    pub(crate) fn owed(&self) -> Option<RefMut<'_, Option<Bytes>>> {
        let owed = RefMut::filter_map(self.phase.borrow_mut(), |phase| {
            if let ConnectionPhase::Request(exchange) = phase {
                Some(&mut exchange.owed)
            } else {
                None
            }
        });
        owed.ok()
    }

    /// The answer has been given.
    pub(crate) fn answered(&self, now: Instant) {
        self.exchange(|exchange| exchange.answered = Some(now));
    }

    /// All bytes have been written. Returns true if the dispatcher must be woken: it may have another request in its buffer,
    /// which it does not look for by itself after a long pipeline.
    pub(crate) fn flushed(&self) -> bool {
        let written = self.exchange(|exchange| {
            let answered = exchange.answered.filter(|_| !exchange.streaming)?;
            Some((answered, exchange.body_left, exchange.ahead))
        });
        let Some((answered, body_left, ahead)) = written else {
            return false;
        };
        if body_left {
            self.enter(ConnectionPhase::Closing);
            return false;
        }
        self.enter(ConnectionPhase::Idle);
        self.since.set(Some(answered));
        ahead > 0
    }

    /// Notes that the client began with the preface of HTTP/2.
    pub(crate) fn speaks_http2(&self) {
        self.enter(ConnectionPhase::Http2);
    }

    /// The last answer has been given; the client's further bytes are discarded.
    pub(crate) fn closing(&self) {
        self.enter(ConnectionPhase::Closing);
    }

    /// The time until which the client must send more, and which limit that is. `None` if the connection does not wait for
    /// the client.
    pub(crate) fn deadline(&self) -> Option<(Instant, Expired)> {
        let (limit, expired) = match &*self.phase.borrow() {
            ConnectionPhase::New => (self.limits.header_timeout, Expired::Idle),
            ConnectionPhase::Idle => (self.limits.idle_timeout, Expired::Idle),
            ConnectionPhase::Head(_) | ConnectionPhase::Received => {
                (self.limits.header_timeout, Expired::Head)
            }
            ConnectionPhase::Request(exchange) if exchange.reading_body => {
                (self.limits.stall_timeout, Expired::Stall)
            }
            ConnectionPhase::Request(_) | ConnectionPhase::Http2 => return None,
            // Not extended by what comes.
            ConnectionPhase::Closing => (self.limits.stall_timeout, Expired::Stall),
        };
        let since = self.since.get().unwrap_or_else(|| {
            let now = Instant::now();
            self.since.set(Some(now));
            now
        });
        Some((since + limit, expired))
    }

    /// The longest time without progress in a write.
    pub(crate) fn stall_limit(&self) -> Duration {
        self.limits.stall_timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: LimitSettings = LimitSettings {
        head_bytes: 40,
        body_bytes: 1000,
        request_timeout: Duration::from_secs(1),
        header_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(75),
        stall_timeout: Duration::from_secs(30),
    };

    #[tokio::test(start_paused = true)]
    async fn each_phase_has_its_deadline() {
        let start = Instant::now();
        let connection = Connection::new(LIMITS, false);
        let wait = || {
            connection
                .deadline()
                .map(|(until, why)| ((until - start).as_secs(), why))
        };
        let later = || tokio::time::advance(Duration::from_secs(3));
        assert_eq!(wait(), Some((10, Expired::Idle)));
        later().await;
        assert!(connection.received(b"GET / HT"));
        let head = Some((10, Expired::Head));
        assert_eq!(wait(), head, "from the connection's beginning");
        assert!(connection.received(b"TP/1.1\r\n\r"));
        assert!(connection.received(b"\n"));
        assert_eq!(wait(), head, "until a request has been made of it");
        connection.request_begins(true);
        assert_eq!(wait(), None, "the answer is ours to give");
        connection.reading_body(true);
        assert_eq!(wait(), Some((33, Expired::Stall)));
        later().await;
        assert!(connection.received(b"body"));
        assert_eq!(wait(), Some((36, Expired::Stall)), "progress");
        connection.reading_body(false);
        connection.body_read();
        connection.answered(start + Duration::from_secs(5));
        connection.flushed();
        assert_eq!(wait(), Some((80, Expired::Idle)), "from the answer on");
        assert!(connection.received(b"G"));
        assert_eq!(wait(), Some((16, Expired::Head)), "from its first byte");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_of_a_body_has_a_time_that_nothing_extends() {
        let connection = Connection::new(LIMITS, false);
        connection.request_begins(true);
        connection.answered(Instant::now());
        connection.flushed();
        let before = connection.deadline();
        tokio::time::advance(Duration::from_secs(3)).await;
        assert!(connection.received(&[b'x'; 100]), "it is no head");
        assert_eq!(connection.deadline(), before);
        assert!(!connection.asks_nothing());
    }

    #[tokio::test(start_paused = true)]
    async fn a_streamed_answer_lasts_until_its_last_piece() {
        let connection = Connection::new(LIMITS, false);
        connection.request_begins(false);
        connection.streaming(true);
        connection.answered(Instant::now());
        connection.flushed();
        assert!(connection.received(b"GET"), "the next request, too early");
        assert_eq!(connection.deadline(), None);
        connection.streaming(false);
        connection.flushed();
        assert!(matches!(connection.deadline(), Some((_, Expired::Idle))));
    }

    #[tokio::test(start_paused = true)]
    async fn empty_lines_neither_begin_a_head_nor_prolong_idleness() {
        let connection = Connection::new(LIMITS, false);
        let before = connection.deadline();
        tokio::time::advance(Duration::from_secs(3)).await;
        assert!(connection.received(b"\r\n\r\n"));
        assert_eq!(connection.deadline(), before);
    }

    #[test]
    fn later_requests_are_read_to_a_certain_amount_and_asked_for_again() {
        let connection = Connection::new(LIMITS, false);
        connection.request_begins(false);
        assert!(!connection.far_ahead());
        connection.received(&vec![b'x'; AHEAD_BYTES_MAX]);
        assert!(connection.far_ahead());
        connection.answered(Instant::now());
        assert!(connection.flushed(), "look into the buffer");
        assert!(!connection.far_ahead());
        connection.request_begins(true);
        connection.received(&vec![b'x'; AHEAD_BYTES_MAX]);
        assert!(!connection.far_ahead(), "a body is wanted");
    }

    #[test]
    fn a_head_is_measured_once_more_if_it_may_have_come_behind_another_one() {
        let begin = |reads: &[&[u8]]| {
            let connection = Connection::new(LIMITS, false);
            assert!(reads.iter().all(|bytes| connection.received(bytes)));
            connection.request_begins(false)
        };
        let get = b"GET / HTTP/1.1\r\n\r\n";
        assert!(!begin(&[get]), "the usual");
        assert!(!begin(&[&get[..5], &get[5..]]));
        assert!(begin(&[&[get.as_slice(), b"GET"].concat()]));
        let connection = Connection::new(LIMITS, false);
        connection.received(&get.repeat(2));
        assert!(!connection.request_begins(false), "the first of two");
        assert!(connection.request_begins(false), "the second");
        assert!(begin(&[get, b"GET"]), "while it is received");
    }

    #[test]
    fn a_head_over_the_limit_does_not_fit() {
        assert!(Connection::new(LIMITS, false).received(&[b'x'; 40]));
        assert!(!Connection::new(LIMITS, false).received(&[b'x'; 41]));
    }
}
