//! The store holder: what outlives every incarnation of the writer.
//!
//! It stands above the slot. The engine is opened here once, lent to each life of the writer, and published to readers.
//! A commit that fails or panics leaves the engine in *doubt*: the reader is taken away, and the next life closes the
//! engine, opens it again and has its tail checked before anybody sees it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::watch;
use tokio::time::Instant;

use super::engine::{Engine, EngineError, OpenError, Opener};
use super::recovery::{self, CheckError, Checked};
use super::space::Space;
use super::watermark::Watermark;

/// How long readers are given to let go of an engine that is to be closed; none of them holds it over an await.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);
/// How long a life that was replaced within its commit is given to end it.
const COMMIT_LIMIT: Duration = Duration::from_secs(30);
/// How long to wait between two looks; letting go has no event.
const CLOSE_PAUSE: Duration = Duration::from_millis(1);

/// How far the store is, for those who wait for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// How often the engine was opened; a sequence number from before may never come.
    pub(crate) era: u64,
    /// Everything up to here is on the disk.
    pub(crate) durable: u64,
    /// Whether there is a reader.
    pub(crate) readable: bool,
}

/// One collection's figures, written by the writer and read by everybody.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// The last change that may be visible: published before it is applied.
    pub(crate) staged: AtomicU64,
    /// The last change that is applied.
    pub(crate) applied: AtomicU64,
    /// How many records are applied.
    pub(crate) records: AtomicU64,
}

/// What readers hold, for one read.
pub(crate) struct Reader {
    pub(crate) engine: Box<dyn Engine>,
    pub(crate) era: u64,
    pub(crate) mark: Watermark,
}

enum State {
    Closed,
    Open {
        reader: Arc<Reader>,
        checked: Checked,
        /// A group is between its first change and the end of its flush.
        committing: bool,
    },
    /// A commit did not end well.
    Doubtful {
        reader: Arc<Reader>,
    },
}

/// What outlives every incarnation of the writer.
pub(crate) struct Holder {
    opener: Box<dyn Opener>,
    pub(crate) collections: Vec<String>,
    pub(crate) figures: Vec<Figures>,
    state: Mutex<State>,
    /// A commit ended, one way or the other.
    settled: Condvar,
    /// When the commit that is under way began.
    begun: Mutex<Option<Instant>>,
    pub(crate) space: Space,
    reader: ArcSwapOption<Reader>,
    progress: watch::Sender<Progress>,
    /// Even while nothing is being applied (a sequence lock).
    pub(crate) epoch: AtomicU64,
    refusal: Mutex<Option<String>>,
}

impl std::fmt::Debug for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Holder")
            .field("collections", &self.collections)
            .finish_non_exhaustive()
    }
}

impl Holder {
    pub(crate) fn new(opener: Box<dyn Opener>, collections: Vec<String>, space: Space) -> Self {
        let figures = collections.iter().map(|_| Figures::default()).collect();
        Self {
            opener,
            collections,
            figures,
            state: Mutex::new(State::Closed),
            settled: Condvar::new(),
            begun: Mutex::new(None),
            space,
            reader: ArcSwapOption::empty(),
            progress: watch::Sender::new(Progress::default()),
            epoch: AtomicU64::new(0),
            refusal: Mutex::new(None),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The engine for a new life of the writer: as it is if it is in no doubt, else opened and checked. Blocks; on a full
    /// disk until there is room, as long as it is `wanted`.
    pub(crate) fn ensure_open(
        &self,
        wanted: &dyn Fn() -> bool,
    ) -> Result<(Arc<Reader>, Checked), OpenError> {
        let state = self.state();
        // A life that was replaced within its commit is not to be overtaken: its changes may be visible already.
        let busy = |state: &mut State| {
            matches!(
                state,
                State::Open {
                    committing: true,
                    ..
                }
            )
        };
        let (mut state, late) = self
            .settled
            .wait_timeout_while(state, COMMIT_LIMIT, busy)
            .unwrap_or_else(PoisonError::into_inner);
        if late.timed_out() {
            return Err(OpenError::StillHeld {
                limit: COMMIT_LIMIT,
            });
        }
        let before = std::mem::replace(&mut *state, State::Closed);
        match before {
            State::Open {
                reader,
                checked,
                committing,
            } => {
                *state = State::Open {
                    reader: Arc::clone(&reader),
                    checked: checked.clone(),
                    committing,
                };
                return Ok((reader, checked));
            }
            State::Doubtful { reader } => {
                if let Err((error, reader)) = close(reader) {
                    *state = State::Doubtful { reader };
                    return Err(error);
                }
                self.opener.distrust_cache();
            }
            State::Closed => {}
        }
        let opened = self.open_with_room(wanted);
        let mut refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        *refusal = opened.as_ref().err().map(describe);
        drop(refusal);
        let (reader, checked) = opened?;
        *state = State::Open {
            reader: Arc::clone(&reader),
            checked: checked.clone(),
            committing: false,
        };
        drop(state);
        self.publish(&reader, &checked);
        Ok((reader, checked))
    }

    fn open_with_room(
        &self,
        wanted: &dyn Fn() -> bool,
    ) -> Result<(Arc<Reader>, Checked), OpenError> {
        loop {
            match self.open() {
                Err(error) if error.is_full() => {
                    if !self.space.release() && !self.space.wait(wanted) {
                        return Err(error);
                    }
                }
                opened => return opened,
            }
        }
    }

    fn open(&self) -> Result<(Arc<Reader>, Checked), OpenError> {
        let engine = self.opener.open(&self.collections)?;
        let path = self.opener.path().to_owned();
        let io = |source| OpenError::Io {
            path: path.clone(),
            source,
        };
        let mark = Watermark::open(&path).map_err(io)?;
        let acknowledged = mark.read();
        let checked = recovery::check(&*engine, &self.collections, acknowledged);
        let checked = checked.map_err(|error| match error {
            CheckError::Newer { found } => OpenError::Newer {
                path: path.clone(),
                found,
                known: recovery::SCHEMA,
            },
            CheckError::Engine(EngineError::Io { source, .. }) => io(source),
            CheckError::Damaged(found) | CheckError::Engine(EngineError::Failed(found)) => {
                OpenError::Damaged {
                    path: path.clone(),
                    found,
                }
            }
        })?;
        if acknowledged.is_none() {
            // From now on an empty store is a damaged one.
            mark.write(checked.last_seq).map_err(io)?;
        }
        let era = self.progress.borrow().era + 1;
        Ok((Arc::new(Reader { engine, era, mark }), checked))
    }

    fn publish(&self, reader: &Arc<Reader>, checked: &Checked) {
        for (figures, tally) in self.figures.iter().zip(&checked.tallies) {
            figures.staged.store(tally.seq, Ordering::SeqCst);
            figures.applied.store(tally.seq, Ordering::SeqCst);
            figures.records.store(tally.records, Ordering::SeqCst);
        }
        self.epoch.store(0, Ordering::SeqCst);
        self.reader.store(Some(Arc::clone(reader)));
        let (era, durable) = (reader.era, checked.last_seq);
        self.progress.send_replace(Progress {
            era,
            durable,
            readable: true,
        });
    }

    /// Before the first change of a group: from here on the life that `holds` is not replaced until its commit has ended.
    /// False if it has been already.
    pub(crate) fn begin_commit(&self, holds: &dyn Fn() -> bool) -> bool {
        match &mut *self.state() {
            State::Open { committing, .. } if !*committing && holds() => {
                *committing = true;
                true
            }
            State::Open { .. } | State::Doubtful { .. } | State::Closed => false,
        }
    }

    /// A commit begins, or has ended: for whoever looks whether one takes too long.
    pub(crate) fn clock_commit(&self, begun: Option<Instant>) {
        *self.begun.lock().unwrap_or_else(PoisonError::into_inner) = begun;
    }

    /// For how long a commit has been under way, if one is.
    pub(crate) fn commit_age(&self) -> Option<Duration> {
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.map(|begun| begun.elapsed())
    }

    /// What the state is after a commit that ended well.
    pub(crate) fn committed(&self, now: Checked) {
        let durable = now.last_seq;
        if let State::Open {
            checked,
            committing,
            ..
        } = &mut *self.state()
        {
            *checked = now;
            *committing = false;
        }
        self.settled.notify_all();
        self.progress
            .send_modify(|progress| progress.durable = durable);
    }

    /// A commit did not end well: nobody reads any more, and the next life opens anew.
    pub(crate) fn doubt(&self) {
        self.reader.store(None);
        self.progress
            .send_modify(|progress| progress.readable = false);
        let mut state = self.state();
        *state = match std::mem::replace(&mut *state, State::Closed) {
            State::Open { reader, .. } | State::Doubtful { reader } => State::Doubtful { reader },
            State::Closed => State::Closed,
        };
        drop(state);
        self.settled.notify_all();
    }

    /// Closes the engine for good: everything is on the disk afterwards. Blocks.
    pub(crate) fn close(&self) {
        self.reader.store(None);
        self.progress
            .send_modify(|progress| progress.readable = false);
        // An open that is under way keeps the state; it is not waited for, and has acknowledged nothing.
        let Ok(mut state) = self.state.try_lock() else {
            tracing::warn!("stopping while the store is being opened");
            return;
        };
        let before = std::mem::replace(&mut *state, State::Closed);
        drop(state);
        if let State::Open { reader, .. } | State::Doubtful { reader } = before
            && let Err((error, _)) = close(reader)
        {
            tracing::error!(%error, "closing the store");
        }
    }

    /// The reader, for one read: not to be kept over an await.
    pub(crate) fn reader(&self) -> arc_swap::Guard<Option<Arc<Reader>>> {
        self.reader.load()
    }

    /// How far the store is, and how to hear of it.
    pub(crate) fn progress(&self) -> &watch::Sender<Progress> {
        &self.progress
    }

    /// Why the store was refused, if the last try to open it was.
    pub(crate) fn refusal(&self) -> Option<String> {
        self.refusal
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

fn describe(error: &OpenError) -> String {
    let mut text = error.to_string();
    if let Some(cause) = std::error::Error::source(error) {
        text = format!("{text}: {cause}");
    }
    text
}

/// Waits until nobody reads, and drops the engine.
fn close(reader: Arc<Reader>) -> Result<(), (OpenError, Arc<Reader>)> {
    let mut reader = reader;
    let tries = CLOSE_LIMIT.as_millis() / CLOSE_PAUSE.as_millis();
    for _ in 0..tries {
        match Arc::try_unwrap(reader) {
            Ok(last) => {
                drop(last);
                return Ok(());
            }
            Err(held) => reader = held,
        }
        std::thread::park_timeout(CLOSE_PAUSE);
    }
    Err((OpenError::StillHeld { limit: CLOSE_LIMIT }, reader))
}
