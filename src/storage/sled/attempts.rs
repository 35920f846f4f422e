//! The opening of the store on a thread of its own, which tries again as long as the fault may pass: a full disk, a lock, an
//! error of the disk.

// Decision: The site outlives the store.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::time::Instant;

use super::checked::Checked;
use super::engine::{OpenError, OpenFault};
use super::holder::Holder;
use super::reader_state::OpenEngine;
use crate::incidents::{Incident, IncidentKind, STORAGE};
use crate::storage::{Refusal, StoreError};
use crate::supervision::contain;

/// The pause after the first attempt to open the store that failed; it doubles up to the longest.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// The time from one scrubbing to the next; the first begins when the store is opened.
const SCRUB_PERIOD: Duration = Duration::from_secs(6 * 3600);
/// The shortest time between two, however often somebody meets damage.
const SCRUB_ASKED: Duration = Duration::from_secs(10);

/// The time that an open that is under way has to end when the store is closed for good.
const CLOSING_LIMIT: Duration = Duration::from_secs(2);

/// The time after which a client may come again if the store is refused until somebody mends it.
const REFUSED_RETRY: Duration = Duration::from_secs(60);

/// The attempts to open the store, of which one is under way at most, and what waits for the store: whoever changes the state
/// tells it. The lock is held for moments only, never while the store is opened.
#[derive(Debug, Default)]
pub(super) struct OpeningAttempts {
    state: Mutex<AttemptState>,
    changed: Condvar,
}

/// The state of the opening of the store.
#[derive(Debug, Default)]
struct AttemptState {
    under_way: bool,
    /// The store is being closed for good.
    closed: bool,
    trouble: Option<Trouble>,
    /// The era in which the store was scrubbed last, and the end of that.
    scrubbed_era: u64,
    scrubbed: Option<Instant>,
    /// Whether somebody has met damage or an error of the disk since.
    scrub_is_asked: bool,
}

/// The time until the next scrubbing of a store that is not opened again: `since` is the time since the last one ended, if
/// there was one.
fn until_scrub(asked: bool, since: Option<Duration>) -> Duration {
    match since {
        Some(since) if asked => SCRUB_ASKED.saturating_sub(since),
        Some(since) => SCRUB_PERIOD.saturating_sub(since),
        None => SCRUB_PERIOD,
    }
}

/// The reason why the store is not open.
#[derive(Debug, Clone)]
pub(super) struct Trouble {
    /// The text for people, which says what to do.
    pub(super) text: String,
    /// Whether it is tried again.
    pub(super) passing: bool,
    /// The time until then, or a guess of when somebody may have mended it.
    retry_after: Duration,
    /// Whether it is that another process uses the data folder.
    pub(super) held: bool,
}

impl Holder {
    /// Waits until the store is open, while it is being opened without trouble and as long as `wanted`. `None` if it is not:
    /// then it is in trouble, or no longer wanted.
    pub(super) fn wait_open(
        self: &Arc<Self>,
        limit: Duration,
        wanted: &dyn Fn() -> bool,
    ) -> Option<(Arc<OpenEngine>, Checked)> {
        /// The time between two questions whether it is wanted: there is no event for it.
        const LOOK: Duration = Duration::from_millis(50);
        let mut so_far = Duration::ZERO;
        loop {
            // The engine is locked while it is being opened.
            if !self.attempts.state.lock().under_way {
                if let Some(open) = self.engine.open() {
                    return Some(open);
                }
                self.open_in_background();
            }
            let mut attempt = self.attempts.state.lock();
            if attempt.trouble.is_some() || attempt.closed || so_far >= limit || !wanted() {
                return None;
            }
            if self
                .attempts
                .changed
                .wait_for(&mut attempt, LOOK)
                .timed_out()
            {
                so_far += LOOK;
            }
        }
    }

    /// Whether it was closed for good.
    pub(super) fn is_closed(&self) -> bool {
        self.attempts.state.lock().closed
    }

    /// Asks for a scrubbing before its time: somebody met damage, or an error of the disk.
    pub(super) fn ask_for_scrub(&self) {
        self.attempts.state.lock().scrub_is_asked = true;
        self.attempts.changed.notify_all();
    }

    /// Waits until the store was opened again, or another scrubbing is due. False when it is closed for good.
    pub(super) fn wait_scrub(&self) -> bool {
        let mut attempt = self.attempts.state.lock();
        while !attempt.closed {
            let era = self.readers.progress().borrow().era;
            let since = attempt.scrubbed.map(|end| end.elapsed());
            let pause = until_scrub(attempt.scrub_is_asked, since);
            if attempt.scrubbed_era != era || pause.is_zero() {
                attempt.scrubbed_era = era;
                attempt.scrub_is_asked = false;
                return true;
            }
            self.attempts.changed.wait_for(&mut attempt, pause);
        }
        false
    }

    /// Notes that a scrubbing has ended.
    pub(super) fn scrub_ended(&self) {
        self.attempts.state.lock().scrubbed = Some(Instant::now());
    }

    /// Notes that the store is closed for good, and gives an open that is under way a little time to end. False if it did not.
    pub(super) fn end_attempts(&self) -> bool {
        let mut attempt = self.attempts.state.lock();
        attempt.closed = true;
        self.attempts.changed.notify_all();
        let under_way = |attempt: &mut AttemptState| attempt.under_way;
        let waited = self
            .attempts
            .changed
            .wait_while_for(&mut attempt, under_way, CLOSING_LIMIT);
        !waited.timed_out()
    }

    /// Waits for `limit`, or until something about the store changes. False when it is closed for good.
    pub(super) fn wait_look(&self, limit: Duration) -> bool {
        let mut attempt = self.attempts.state.lock();
        if !attempt.closed {
            self.attempts.changed.wait_for(&mut attempt, limit);
        }
        !attempt.closed
    }

    /// Waits until the store is open, whatever is wrong with it meanwhile.
    #[cfg(test)]
    pub(super) fn wait_until_open(&self, limit: Duration) -> Option<()> {
        let mut attempt = self.attempts.state.lock();
        while self.engine.open().is_none() {
            if self
                .attempts
                .changed
                .wait_for(&mut attempt, limit)
                .timed_out()
            {
                return None;
            }
        }
        Some(())
    }

    /// Opens the store on a thread of its own, unless that is done already.
    fn open_in_background(self: &Arc<Self>) {
        let mut attempt = self.attempts.state.lock();
        let refused = attempt
            .trouble
            .as_ref()
            .is_some_and(|trouble| !trouble.passing);
        if attempt.under_way || attempt.closed || refused {
            return;
        }
        let holder = Arc::clone(self);
        let thread = std::thread::Builder::new().name("store-opening".to_owned());
        match thread.spawn(move || holder.open_until_done()) {
            Ok(_) => attempt.under_way = true,
            Err(error) => tracing::error!(%error, "no thread to open the store; it is tried again"),
        }
    }

    fn open_until_done(&self) {
        let begun = Instant::now();
        let mut pause = RETRY_MIN;
        for attempts in 1_u64.. {
            let opened = contain(|| self.open());
            let fault = match opened {
                Ok(Ok(())) => None,
                Ok(Err(fault)) => Some(fault),
                Err(panic) => Some(OpenFault::Io(std::io::Error::other(format!(
                    "opening it ended in a {panic}"
                )))),
            };
            let mut attempt = self.attempts.state.lock();
            let passing = fault.as_ref().is_some_and(OpenFault::is_passing);
            let full = fault.as_ref().is_some_and(OpenFault::is_full);
            let trouble = fault.map(|fault| Trouble {
                passing,
                retry_after: if passing { pause } else { REFUSED_RETRY },
                held: matches!(fault, OpenFault::Locked { .. }),
                text: self.error(fault).to_string(),
            });
            let known = attempt.trouble.as_ref().map(|trouble| &trouble.text);
            if let Some(trouble) = &trouble
                && known != Some(&trouble.text)
            {
                tracing::error!("{}", trouble.text);
            }
            if let (None, Some(passed)) = (&trouble, &attempt.trouble) {
                let done = format!("attempt {attempts} to open it was successful");
                let incident =
                    Incident::new(IncidentKind::Unavailable, STORAGE, &passed.text, &done);
                self.healing
                    .incidents
                    .add(incident.lasting(begun.elapsed()));
            }
            self.readers.troubled(trouble.is_some());
            if full {
                self.space.release();
                if let Err(fault) = self.files.tidy() {
                    tracing::debug!(%fault, "what an earlier run left could not be removed");
                }
            }
            attempt.trouble = trouble;
            self.attempts.changed.notify_all();
            if passing && !attempt.closed {
                self.attempts.changed.wait_for(&mut attempt, pause);
            }
            if !passing || attempt.closed {
                attempt.under_way = false;
                self.attempts.changed.notify_all();
                return;
            }
            drop(attempt);
            // A full disk gets room at any moment, and looking costs little.
            pause = if full {
                RETRY_MIN
            } else {
                (pause * 2).min(RETRY_MAX)
            };
        }
    }

    fn error(&self, fault: OpenFault) -> OpenError {
        let path = self.files.data.path.clone();
        OpenError { path, fault }
    }

    /// The reason to end the process if that is preferred to waiting: what does not pass, or may take any time.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        let trouble = self.trouble();
        let trouble = trouble.filter(|trouble| !trouble.passing || trouble.held)?;
        let Trouble { text, held, .. } = trouble;
        Some(Refusal { text, held })
    }

    /// The reason for clients why nothing can be read or written for some time, if that is so.
    pub(super) fn unready(&self) -> Option<StoreError> {
        let (told, retry_after) = if let Some(trouble) = self.trouble() {
            let told = if trouble.passing {
                "the store can't be opened now; it is tried again"
            } else {
                "the store can't be opened as it is; the daemon's log says what to do"
            };
            (told.to_owned(), trouble.retry_after)
        } else {
            let (text, rest) = self.healing.blocked()?;
            (format!("the store is not open yet: {text}"), rest)
        };
        Some(StoreError::Unready { told, retry_after })
    }

    /// The reason why the store is not open, if it is not.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.attempts.state.lock().trouble.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrubbing_that_is_asked_for_begins_soon_after_the_last() {
        let seconds = Duration::from_secs;
        for (asked, since, pause) in [
            (false, None, SCRUB_PERIOD),
            (true, None, SCRUB_PERIOD),
            (false, Some(3600), seconds(5 * 3600)),
            (false, Some(6 * 3600), Duration::ZERO),
            (true, Some(3), seconds(7)),
            (true, Some(60), Duration::ZERO),
        ] {
            assert_eq!(until_scrub(asked, since.map(seconds)), pause, "{since:?}");
        }
    }
}
