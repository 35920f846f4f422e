//! Whether the engine is open, and whether it can be trusted: what one incarnation of the writer leaves to the next.

// Decision: A commit in doubt closes the engine.
// Decision: A commit ends before its successor begins.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::time::Instant;

use super::checked::Checked;
use super::engine::OpenFault;
use super::reader_state::OpenEngine;
use crate::num::as_millis;

/// How long a writer that was replaced during its commit may take to end it.
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
    state: Mutex<EngineState>,
    commit_ended: Condvar,
    /// The time at which the current commit began.
    commit_begun: Mutex<Option<Instant>>,
    /// Whether the current commit is past the journal.
    applying: AtomicBool,
    /// The milliseconds for which it has been under way if it takes long, else 0.
    slow_for: AtomicU64,
    /// The commit that was under way at the last look, and how long the process had run when it was seen first.
    seen: Mutex<(Option<Instant>, Duration)>,
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
        *self.commit_begun.lock() = begun;
        self.applying.store(false, Ordering::Relaxed);
        self.slow_for.store(0, Ordering::Relaxed);
    }

    /// Notes that the journal has the group of the commit.
    pub(super) fn applies_group(&self) {
        self.applying.store(true, Ordering::Relaxed);
    }

    /// Whether a commit is past the journal.
    pub(super) fn is_applying(&self) -> bool {
        self.applying.load(Ordering::Relaxed)
    }

    /// Notes for how long a commit has been under way.
    pub(super) fn note_commit_age(&self, age: Option<Duration>) {
        let slow = age.filter(|age| *age >= SLOW_COMMIT).map_or(0, as_millis);
        self.slow_for.store(slow, Ordering::Relaxed);
    }

    /// For how long a commit has been under way, as it was noted last, if it takes long.
    pub(super) fn slow_commit(&self) -> Option<Duration> {
        let ms = self.slow_for.load(Ordering::Relaxed);
        (ms > 0).then(|| Duration::from_millis(ms))
    }

    /// For how long a commit has been seen under way, if one is. `ran` is how long the process has run by now.
    pub(super) fn commit_age(&self, ran: Duration) -> Option<Duration> {
        let begun = *self.commit_begun.lock();
        let mut seen = self.seen.lock();
        if seen.0 != begun {
            *seen = (begun, ran);
        }
        begun.map(|_| ran.saturating_sub(seen.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_a_commit_is_the_time_for_which_the_process_ran() {
        let lock = EngineLock::default();
        let begun = Instant::now();
        let second = Duration::from_secs(1);
        for (commit, ran, age) in [
            (None, 1, None),
            (Some(begun), 2, Some(0)),
            (Some(begun), 3, Some(1)),
            (Some(begun), 5, Some(3)),
            (Some(begun + second), 6, Some(0)),
            (None, 7, None),
            (Some(begun + second * 2), 9, Some(0)),
            (Some(begun + second * 2), 10, Some(1)),
        ] {
            lock.clock_commit(commit);
            let age = age.map(Duration::from_secs);
            assert_eq!(lock.commit_age(Duration::from_secs(ran)), age, "{ran}");
        }
    }
}
