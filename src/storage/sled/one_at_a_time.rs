//! Work of which one runs at a time, such as the making of a snapshot. Whoever needs it while another runs can ask for one after
//! that: the one that runs may have begun too early, or be of another kind.

use std::sync::atomic::{AtomicU8, Ordering};

const IDLE: u8 = 0;
const RUNNING: u8 = 1;
/// It runs, and another was asked for.
const ASKED: u8 = 2;

#[derive(Debug, Default)]
pub(super) struct OneAtATime(AtomicU8);

impl OneAtATime {
    /// Whether it may begin: none runs.
    pub(super) fn begin(&self) -> bool {
        let begun = self
            .0
            .compare_exchange(IDLE, RUNNING, Ordering::AcqRel, Ordering::Acquire);
        begun.is_ok()
    }

    /// Whether it may begin. If one runs, another is asked for.
    pub(super) fn begin_or_ask(&self) -> bool {
        let next = |now| Some(if now == IDLE { RUNNING } else { ASKED });
        let before = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
        before == Ok(IDLE)
    }

    /// Ends it. True if another was asked for meanwhile.
    pub(super) fn end(&self) -> bool {
        self.0.swap(IDLE, Ordering::AcqRel) == ASKED
    }

    /// Ends it, and forgets whether another was asked for.
    pub(super) fn give_up(&self) {
        self.0.store(IDLE, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_while_one_runs_is_not_forgotten() {
        let one = OneAtATime::default();
        assert!(one.begin());
        assert!(!one.begin(), "one runs");
        assert!(!one.end(), "nobody has asked");
        assert!(one.begin_or_ask());
        assert!(!one.begin_or_ask());
        assert!(!one.begin());
        assert!(one.end(), "another was asked for");
        assert!(one.begin(), "which is begun by whoever ended the first");
        assert!(!one.begin_or_ask());
        one.give_up();
        assert!(one.begin());
    }
}
