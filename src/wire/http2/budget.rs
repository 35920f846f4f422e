//! A budget for the frames of a client, against floods: a frame costs, and what the server does for its client earns.
//!
//! A client that only asks for things spends less than it earns. One that sends frames which make work and ask for nothing
//! (PING, SETTINGS, PRIORITY, requests that it takes back, windows of one byte) uses its budget up, and its connection ends
//! (RFC 9113 section 10.5). It is counted in units of its own: a frame lowers it, and the time and what is sent raise it.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

use super::frames::FrameHead;
use crate::num::{as_millis, as_u64, as_usize};

/// The budget of a new connection, and the most that can be saved up.
const FULL: u64 = 4096;
/// The cost of most frames.
const FRAME_COST: u64 = 4;
/// The cost of a small DATA frame. It is given back when the frame is read, so that few of them can wait unread.
const SMALL_DATA_COST: u64 = 1;
/// A DATA frame of so many bytes costs nothing.
const SMALL_DATA_BYTES: u64 = 1024;
/// A header block costs one more for so many bytes, since decoding it is work: each may name a long header.
const HEAD_BYTES_PER_COST: u64 = 256;
/// The cost of a head that is too large, on top of its frames: each of its bytes may name a long header.
const LARGE_HEAD_COST: u64 = 256;
/// The most bytes of padding in a frame, with the byte that tells their number.
const PADDING_BYTES_MAX: u64 = 256;
/// An answer that was sent to its end earns this.
const ANSWER_GAIN: u64 = 32;
/// A DATA frame of an answer earns this, unless the client's window made it small.
const DATA_GAIN: u64 = 16;
/// A DATA frame of an answer earns one more for so many bytes.
const SENT_BYTES_PER_GAIN: u64 = 256;
/// A second earns this, so that clients may do anything slowly.
const SECOND_GAIN: u64 = 400;

/// The budget of one connection.
#[derive(Debug)]
pub(super) struct FrameBudget {
    left: Cell<u64>,
    /// The time up to which seconds have earned. The clock is read only when the rest is not enough.
    earned_until: Cell<Instant>,
    spent: Cell<bool>,
    /// Bytes of DATA frames that were not read.
    unread: Cell<usize>,
}

impl FrameBudget {
    pub(super) fn new() -> Self {
        Self {
            left: Cell::new(FULL),
            earned_until: Cell::new(Instant::now()),
            spent: Cell::new(false),
            unread: Cell::new(0),
        }
    }

    /// Takes the cost of a frame that has arrived. If too little is left, the budget is spent from then on.
    pub(super) fn arrived(&self, frame: FrameHead) {
        if frame.kind == FrameHead::DATA {
            let length = as_usize(frame.length.into());
            self.unread.set(self.unread.get().saturating_add(length));
        }
        self.take(cost(frame));
    }

    /// Takes the cost of a head that was too large.
    pub(super) fn head_too_large(&self) {
        self.take(LARGE_HEAD_COST);
    }

    fn take(&self, cost: u64) {
        if self.left.get() < cost {
            self.earn_time();
        }
        match self.left.get().checked_sub(cost) {
            Some(left) => self.left.set(left),
            None => self.spent.set(true),
        }
    }

    /// Whether the client has used it up.
    pub(super) fn is_spent(&self) -> bool {
        self.spent.get()
    }

    /// The bytes of DATA frames that were not read, or a few more: padding, and what came for streams that had ended.
    pub(super) fn unread(&self) -> usize {
        self.unread.get()
    }

    /// There is no stream whose body could be unread.
    pub(super) fn all_read(&self) {
        self.unread.set(0);
    }

    /// Bytes will not be read any more.
    pub(super) fn dropped(&self, bytes: usize) {
        self.unread.set(self.unread.get().saturating_sub(bytes));
    }

    /// Gives back the cost of a DATA frame that was read.
    pub(super) fn read(&self, bytes: usize) {
        self.dropped(bytes);
        // A padded frame may have cost something although it brings more than a small one.
        if (1..SMALL_DATA_BYTES + PADDING_BYTES_MAX).contains(&as_u64(bytes)) {
            self.earn(SMALL_DATA_COST);
        }
    }

    /// Earns for a DATA frame that was sent; `cut` if it is smaller than the server wanted, for the sake of the client's
    /// window.
    pub(super) fn sent(&self, bytes: usize, cut: bool) {
        let gain = if cut { 0 } else { DATA_GAIN };
        self.earn(gain + as_u64(bytes) / SENT_BYTES_PER_GAIN);
    }

    /// Earns for an answer that was sent to its end.
    pub(super) fn answered(&self) {
        self.earn(ANSWER_GAIN);
    }

    fn earn(&self, gain: u64) {
        self.left.set((self.left.get() + gain).min(FULL));
    }

    fn earn_time(&self) {
        let now = Instant::now();
        let since = now.saturating_duration_since(self.earned_until.get());
        let gain = as_millis(since).saturating_mul(SECOND_GAIN) / as_millis(Duration::from_secs(1));
        if gain > 0 {
            self.earned_until.set(now);
            self.earn(gain.min(FULL));
        }
    }
}

fn cost(frame: FrameHead) -> u64 {
    let length = u64::from(frame.length);
    match frame.kind {
        FrameHead::DATA => {
            let padding = if frame.is_padded() {
                PADDING_BYTES_MAX
            } else {
                0
            };
            match length.saturating_sub(padding) {
                0 => FRAME_COST,
                1..SMALL_DATA_BYTES => SMALL_DATA_COST,
                _ => 0,
            }
        }
        FrameHead::HEADERS | FrameHead::CONTINUATION => FRAME_COST + length / HEAD_BYTES_PER_COST,
        _ => FRAME_COST,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: u8 = 6;

    fn frame(kind: u8, length: u32) -> FrameHead {
        FrameHead {
            length,
            kind,
            flags: 0,
        }
    }

    /// The number of rounds after which a new budget is spent; `None` if it is not after many.
    fn rounds(mut round: impl FnMut(&FrameBudget)) -> Option<usize> {
        let budget = FrameBudget::new();
        (1..20_000).find(|_| {
            round(&budget);
            budget.is_spent()
        })
    }

    #[tokio::test(start_paused = true)]
    async fn frames_that_ask_for_nothing_use_it_up() {
        for kind in [2, 3, 4, 6, 7, 8, 0xfa] {
            let spent = rounds(|budget| budget.arrived(frame(kind, 8)));
            assert_eq!(spent, Some(1025), "{kind}");
        }
        let empty = rounds(|budget| budget.arrived(frame(FrameHead::DATA, 0)));
        assert_eq!(empty, Some(1025));
        let padding = FrameHead {
            flags: FrameHead::PADDED,
            ..frame(FrameHead::DATA, 256)
        };
        assert_eq!(rounds(|budget| budget.arrived(padding)), Some(1025));
        let unread = rounds(|budget| budget.arrived(frame(FrameHead::DATA, 1)));
        assert_eq!(unread, Some(4097));
        let large_heads = rounds(|budget| budget.arrived(frame(FrameHead::HEADERS, 16_384)));
        assert_eq!(large_heads, Some(61));
        let unfolding = rounds(|budget| {
            budget.arrived(frame(FrameHead::HEADERS, 16_000));
            budget.head_too_large();
        });
        assert_eq!(unfolding, Some(13));
        let taken_back = rounds(|budget| {
            budget.arrived(frame(FrameHead::HEADERS, 20));
            budget.arrived(frame(3, 4));
        });
        assert_eq!(taken_back, Some(513));
        // The client's window is one byte.
        let dribble = rounds(|budget| {
            budget.arrived(frame(8, 4));
            budget.sent(1, true);
        });
        assert_eq!(dribble, Some(1025));
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_and_reads_never_uses_it_up() {
        let small_answers = rounds(|budget| {
            for kind in [FrameHead::HEADERS, 2, 8, 8, PING] {
                budget.arrived(frame(kind, 20));
            }
            budget.sent(7, false);
            budget.answered();
        });
        assert_eq!(small_answers, None);
        // Two windows are opened after each frame of an answer, or many small ones after a large frame.
        for (updates, bytes) in [(2, 10), (16, 16_384)] {
            let reader = rounds(|budget| {
                budget.sent(bytes, false);
                for _ in 0..updates {
                    budget.arrived(frame(8, 4));
                }
            });
            assert_eq!(reader, None);
        }
        let budget = FrameBudget::new();
        for _ in 0..10 {
            for _ in 0..3000 {
                budget.arrived(frame(FrameHead::DATA, 1));
            }
            (0..3000).for_each(|_| budget.read(1));
        }
        assert!(!budget.is_spent(), "small pieces that are read");
        assert_eq!(
            rounds(|budget| budget.arrived(frame(FrameHead::DATA, 16_384))),
            None
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_slow_is_allowed_and_a_spent_budget_stays_spent() {
        let budget = FrameBudget::new();
        for _ in 0..20_000 {
            budget.arrived(frame(PING, 8));
            tokio::time::advance(Duration::from_millis(10)).await;
        }
        assert!(!budget.is_spent(), "100 a second");
        let burst = (1..10_000).find(|_| {
            budget.arrived(frame(PING, 8));
            budget.is_spent()
        });
        assert!(burst.unwrap() <= 2049, "no more is saved up");
        tokio::time::advance(Duration::from_secs(60)).await;
        budget.arrived(frame(PING, 8));
        assert!(budget.is_spent());
    }
}
