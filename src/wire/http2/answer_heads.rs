//! Bounds the heads of answers that the library has and may not have written, since its table for them never becomes smaller.

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll, Waker};

use super::streams::HEADS_AT_A_TIME;

/// The heads of answers of one connection.
#[derive(Default)]
pub(super) struct AnswerHeads {
    /// Those that the library has got since its last turn to write.
    given: Cell<usize>,
    /// The tasks that wait to hand over another one.
    waiting: RefCell<Vec<Waker>>,
}

impl AnswerHeads {
    /// Waits until the library may have another one.
    pub(super) fn poll_give(&self, cx: &Context<'_>) -> Poll<()> {
        if self.given.get() >= HEADS_AT_A_TIME {
            self.waiting.borrow_mut().push(cx.waker().clone());
            return Poll::Pending;
        }
        self.given.set(self.given.get() + 1);
        Poll::Ready(())
    }

    /// The library has written, or the connection has ended.
    pub(super) fn begin_again(&self) {
        self.given.set(0);
        for waiting in self.waiting.take() {
            waiting.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_gets_few_heads_until_it_has_written() {
        let heads = AnswerHeads::default();
        let cx = Context::from_waker(Waker::noop());
        for _ in 0..3 {
            for _ in 0..HEADS_AT_A_TIME {
                assert!(heads.poll_give(&cx).is_ready());
            }
            assert!(heads.poll_give(&cx).is_pending());
            heads.begin_again();
            assert!(heads.waiting.borrow().is_empty(), "they ask again");
        }
    }
}
