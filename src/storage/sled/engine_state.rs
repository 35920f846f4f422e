//! The state of the engine that one incarnation of the writer leaves to the next: whether it is open, and whether it can be trusted.

// Decision: A commit in doubt closes the engine.
// Decision: A commit ends before its successor begins.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::time::Instant;

use super::checked::Checked;
use super::engine::OpenFault;
use super::log::Handovers;
use super::reader_state::OpenEngine;
use crate::num::as_millis;

/// The longest time that a writer that was replaced during its commit may take to end it.
const COMMIT_LIMIT: Duration = Duration::from_secs(30);

/// A commit that takes this long is told of, and further writes are refused until it has ended.
const SLOW_COMMIT: Duration = Duration::from_secs(2);

/// The engine, as the writers see it.
#[derive(Default)]
pub(super) enum EngineState {
    #[default]
    Closed,
    Open {
        open: Arc<OpenEngine>,
        checked: Checked,
        /// A group is between its first change and the end of its flush.
        committing: bool,
    },
    /// A commit failed half way: the engine must be opened again before anybody reads it.
    Doubtful { open: Arc<OpenEngine> },
}

/// The state behind a lock, with the event "a commit has ended".
#[derive(Default)]
pub(super) struct EngineLock {
    /// The writes that the next incarnation may get again, if the writer dies now.
    pub(super) handovers: Handovers,
    state: Mutex<EngineState>,
    commit_ended: Condvar,
    /// The current commit.
    under_way: Mutex<Option<CommitClock>>,
    /// The milliseconds for which it has been under way if it takes long, else 0.
    slow_for: AtomicU64,
    /// The commit that was under way at the last look.
    seen: Mutex<SeenCommit>,
}

/// The times at which a commit and its parts began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CommitClock {
    begun: Instant,
    /// The time at which the journal had the group; none before.
    applies_since: Option<Instant>,
}

/// For how long a commit and its last part have been seen under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CommitAge {
    whole: Duration,
    /// For how long the group has been applied to the view; none before.
    applying: Option<Duration>,
}

impl CommitAge {
    /// The age of what takes longer than `limit`, if only another process would help. While the journal waits for the disk,
    /// records are read, and another process would wait as well, so the commit `waits_for_disk` unless that is not wanted.
    pub(super) fn overdue(self, limit: Duration, waits_for_disk: bool) -> Option<Duration> {
        let whole = Some(self.whole).filter(|_| !waits_for_disk);
        whole.max(self.applying).filter(|age| *age > limit)
    }
}

/// A piece of work that may hang, as a part of a commit, and how long the process had run when it was seen first.
#[derive(Debug, Default)]
pub(super) struct SeenPart {
    begun: Option<Instant>,
    ran: Duration,
}

impl SeenPart {
    /// For how long the part that began then has been seen, if there is one.
    pub(super) fn age(&mut self, begun: Option<Instant>, ran: Duration) -> Option<Duration> {
        if self.begun != begun {
            *self = Self { begun, ran };
        }
        begun.map(|_| ran.saturating_sub(self.ran))
    }
}

#[derive(Debug, Default)]
struct SeenCommit {
    whole: SeenPart,
    applying: SeenPart,
}

impl EngineLock {
    /// The state while no commit is under way: the changes of a writer that was replaced during its commit may be visible
    /// already, so its successor waits for it.
    pub(super) fn settled(&self) -> Result<MutexGuard<'_, EngineState>, OpenFault> {
        let mut state = self.state.lock();
        let committing = |state: &mut EngineState| match state {
            EngineState::Open { committing, .. } => *committing,
            EngineState::Doubtful { .. } | EngineState::Closed => false,
        };
        let waited = self
            .commit_ended
            .wait_while_for(&mut state, committing, COMMIT_LIMIT);
        if waited.timed_out() {
            return Err(OpenFault::StillHeld {
                limit: COMMIT_LIMIT,
            });
        }
        Ok(state)
    }

    /// The engine, if it is open and in no doubt.
    pub(super) fn open(&self) -> Option<(Arc<OpenEngine>, Checked)> {
        match &*self.settled().ok()? {
            EngineState::Open { open, checked, .. } => Some((Arc::clone(open), checked.clone())),
            EngineState::Doubtful { .. } | EngineState::Closed => None,
        }
    }

    /// Begins a commit if `holds` still holds for the writer: from here on no successor takes over until the commit has
    /// ended. False if the writer was replaced.
    pub(super) fn begin_commit(&self, holds: &dyn Fn() -> bool) -> bool {
        match &mut *self.state.lock() {
            EngineState::Open { committing, .. } if !*committing && holds() => {
                *committing = true;
                true
            }
            EngineState::Open { .. } | EngineState::Doubtful { .. } | EngineState::Closed => false,
        }
    }

    /// Ends a commit that went well.
    pub(super) fn committed(&self, now: Checked) {
        if let EngineState::Open {
            checked,
            committing,
            ..
        } = &mut *self.state.lock()
        {
            *checked = now;
            *committing = false;
        }
        self.commit_ended.notify_all();
    }

    /// Puts another view in the place of the one that is open, unless a commit is under way or `holds` no longer holds.
    pub(super) fn replace(
        &self,
        new: &Arc<OpenEngine>,
        figures: &Checked,
        holds: &dyn Fn() -> bool,
    ) -> bool {
        match &mut *self.state.lock() {
            EngineState::Open {
                open,
                checked,
                committing: false,
            } if holds() => {
                *open = Arc::clone(new);
                checked.clone_from(figures);
                true
            }
            EngineState::Open { .. } | EngineState::Doubtful { .. } | EngineState::Closed => false,
        }
    }

    /// Ends a commit that failed half way.
    pub(super) fn doubt(&self) {
        let mut state = self.state.lock();
        if let EngineState::Open { open, .. } = &*state {
            let open = Arc::clone(open);
            *state = EngineState::Doubtful { open };
        }
        drop(state);
        self.commit_ended.notify_all();
    }

    /// Takes the engine away for good. `None` if it is being opened right now, or if it is not open.
    pub(super) fn take(&self) -> Option<Arc<OpenEngine>> {
        let Some(mut state) = self.state.try_lock() else {
            tracing::warn!("the daemon stops while the store is being opened");
            return None;
        };
        match std::mem::take(&mut *state) {
            EngineState::Open { open, .. } | EngineState::Doubtful { open } => Some(open),
            EngineState::Closed => None,
        }
    }

    /// Notes when a commit began, or that it has ended.
    pub(super) fn clock_commit(&self, begun: Option<Instant>) {
        *self.under_way.lock() = begun.map(|begun| CommitClock {
            begun,
            applies_since: None,
        });
        self.slow_for.store(0, Ordering::Relaxed);
    }

    /// Notes that the journal has the group of the commit.
    pub(super) fn applies_group(&self) {
        if let Some(clock) = &mut *self.under_way.lock() {
            clock.applies_since = Some(Instant::now());
        }
    }

    /// For how long a commit has been under way, as it was noted last, if it takes long.
    pub(super) fn slow_commit(&self) -> Option<Duration> {
        let ms = self.slow_for.load(Ordering::Relaxed);
        (ms > 0).then(|| Duration::from_millis(ms))
    }

    /// For how long a commit has been seen under way, if one is, and notes it. `ran` is how long the process has run by now.
    pub(super) fn commit_age(&self, ran: Duration) -> Option<CommitAge> {
        let clock = *self.under_way.lock();
        let mut seen = self.seen.lock();
        let whole = seen.whole.age(clock.map(|clock| clock.begun), ran);
        let applying = clock.and_then(|clock| clock.applies_since);
        let applying = seen.applying.age(applying, ran);
        let slow = whole.filter(|age| *age >= SLOW_COMMIT).map_or(0, as_millis);
        self.slow_for.store(slow, Ordering::Relaxed);
        whole.map(|whole| CommitAge { whole, applying })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_age_of_a_commit_is_the_time_for_which_the_process_ran() {
        let lock = EngineLock::default();
        let begun = Instant::now();
        for (commit, ran, age) in [
            (None, 1, None),
            (Some(begun), 2, Some(0)),
            (Some(begun), 3, Some(1)),
            (Some(begun), 5, Some(3)),
            (Some(begun + seconds(1)), 6, Some(0)),
            (None, 7, None),
            (Some(begun + seconds(2)), 9, Some(0)),
            (Some(begun + seconds(2)), 10, Some(1)),
        ] {
            lock.clock_commit(commit);
            let age = age.map(|age| CommitAge {
                whole: seconds(age),
                applying: None,
            });
            assert_eq!(lock.commit_age(seconds(ran)), age, "{ran}");
        }
    }

    #[test]
    fn the_time_for_which_the_journal_hung_is_no_time_of_the_view() {
        let lock = EngineLock::default();
        lock.clock_commit(Some(Instant::now()));
        for (ran, whole, applying) in [
            (10, 0, None),
            (14, 4, None),
            (14, 4, Some(0)),
            (17, 7, Some(3)),
        ] {
            if applying == Some(0) {
                lock.applies_group();
            }
            let age = CommitAge {
                whole: seconds(whole),
                applying: applying.map(seconds),
            };
            assert_eq!(lock.commit_age(seconds(ran)), Some(age));
            assert_eq!(lock.slow_commit(), (whole > 0).then(|| seconds(whole)));
        }
    }

    #[test]
    fn only_the_view_is_overdue_unless_the_process_is_to_end_for_a_disk_that_hangs() {
        for (whole, applying, of_view, of_both) in [
            (3, None, None, None),
            (4, None, None, Some(4)),
            (9, Some(0), None, Some(9)),
            (9, Some(3), None, Some(9)),
            (9, Some(4), Some(4), Some(9)),
        ] {
            let age = CommitAge {
                whole: seconds(whole),
                applying: applying.map(seconds),
            };
            let overdue = [true, false].map(|waits| age.overdue(seconds(3), waits));
            assert_eq!(
                overdue,
                [of_view, of_both].map(|age| age.map(seconds)),
                "{age:?}"
            );
        }
    }
}
