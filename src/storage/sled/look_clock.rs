//! Tells whether a look at the room on the disk hangs: each step of it asks the file system, which may not answer.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::engine_state::SeenPart;

/// A step that takes this long is a fault of the disk: the file system does not answer.
pub(super) const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// Notes when each step of a look began.
#[derive(Debug, Default)]
pub(super) struct LookClock {
    /// The time at which the step that is under way began.
    begun: Mutex<Option<Instant>>,
    seen: Mutex<SeenPart>,
}

impl LookClock {
    /// Does one step of a look, and notes meanwhile when it began.
    pub(super) fn timed<R>(&self, step: impl FnOnce() -> R) -> R {
        *self.begun.lock() = Some(Instant::now());
        let found = step();
        *self.begun.lock() = None;
        found
    }

    /// Whether a step has been under way for [`LOOK_LIMIT`]; true once for each. `ran` is how long the process has run by now.
    pub(super) fn hangs(&self, ran: Duration) -> bool {
        let mut begun = self.begun.lock();
        let age = self.seen.lock().age(*begun, ran);
        let hangs = age.is_some_and(|age| age >= LOOK_LIMIT);
        if hangs {
            *begun = None;
        }
        hangs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_that_hangs_is_told_of_once_and_pauses_of_the_process_do_not_count() {
        let clock = LookClock::default();
        let hangs = |ran| clock.hangs(Duration::from_secs(ran));
        assert!(!hangs(1), "nobody looks");
        clock.timed(|| {
            for (ran, told) in [(3, false), (7, false), (8, true), (20, false)] {
                assert_eq!(hangs(ran), told, "{ran}");
            }
        });
        clock.timed(|| assert!(!hangs(30), "another one was begun"));
        assert!(!hangs(40), "it has ended");
    }
}
