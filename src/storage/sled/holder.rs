//! What outlives each incarnation of the writer: the engine, opened once and lent to each of them, and what readers see.
//!
//! A commit that fails or panics leaves the engine in *doubt*: it is taken away from readers, and the writer's next
//! incarnation closes it, opens it again, and has the end of its log checked before anybody reads it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::engine::{EngineError, OpenError, Opener};
use super::engine_state::{EngineLock, EngineState};
use super::reader_state::{OpenEngine, ReaderState};
use super::recovery::{self, CheckError, Checked};
use super::space::Space;

/// How long readers may take to let go of an engine that is to be closed.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);
/// The pause between two looks whether they have: there is no event to wait for.
const CLOSE_PAUSE: Duration = Duration::from_millis(1);

/// The engine and its state, shared by the writer and all readers.
pub(super) struct Holder {
    opener: Box<dyn Opener>,
    /// The names of the declared resources; a `CollectionId` is a position in it.
    pub(super) collections: Vec<String>,
    pub(super) space: Space,
    pub(super) engine: EngineLock,
    pub(super) readers: ReaderState,
    refusal: Mutex<Option<String>>,
}

impl Holder {
    pub(super) fn new(opener: Box<dyn Opener>, collections: Vec<String>, space: Space) -> Self {
        let readers = ReaderState::new(collections.len());
        Self {
            opener,
            collections,
            space,
            engine: EngineLock::default(),
            readers,
            refusal: Mutex::new(None),
        }
    }

    /// The engine for a new incarnation of the writer: as it is if it is in no doubt, else opened and checked. Blocks; on a
    /// full disk until there is room, as long as the incarnation is `wanted`.
    pub(super) fn ensure_open(
        &self,
        wanted: &dyn Fn() -> bool,
    ) -> Result<(Arc<OpenEngine>, Checked), OpenError> {
        let mut state = self.engine.settled()?;
        match std::mem::take(&mut *state) {
            before @ EngineState::Open { .. } => *state = before,
            EngineState::Doubtful { open } => {
                if let Err((error, open)) = close(open) {
                    *state = EngineState::Doubtful { open };
                    return Err(error);
                }
                self.opener.distrust_cache();
            }
            EngineState::Closed => {}
        }
        if let EngineState::Open { open, checked, .. } = &*state {
            return Ok((Arc::clone(open), checked.clone()));
        }
        let opened = self.open_with_room(wanted);
        *self.refusal.lock() = opened.as_ref().err().map(describe);
        let (open, checked) = opened?;
        *state = EngineState::Open {
            open: Arc::clone(&open),
            checked: checked.clone(),
            committing: false,
        };
        drop(state);
        self.readers.publish(&open, &checked);
        Ok((open, checked))
    }

    fn open_with_room(
        &self,
        wanted: &dyn Fn() -> bool,
    ) -> Result<(Arc<OpenEngine>, Checked), OpenError> {
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

    fn open(&self) -> Result<(Arc<OpenEngine>, Checked), OpenError> {
        let engine = self.opener.open(&self.collections)?;
        let path = self.opener.path().to_owned();
        let io = |source| OpenError::Io {
            path: path.clone(),
            source,
        };
        let mark = super::watermark::Watermark::open(&path).map_err(io)?;
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
        let era = self.readers.progress().borrow().era + 1;
        Ok((Arc::new(OpenEngine { engine, era, mark }), checked))
    }

    /// Ends a commit that went well: everything up to it is on the disk.
    pub(super) fn committed(&self, now: Checked) {
        let durable = now.last_seq;
        self.engine.committed(now);
        self.readers.durable(durable);
    }

    /// Ends a commit that failed half way: nobody reads the engine until it was opened again.
    pub(super) fn doubt(&self) {
        self.readers.withdraw();
        self.engine.doubt();
    }

    /// Closes the engine for good. Blocks until everything is on the disk. An open that is under way is not waited for: it
    /// has acknowledged nothing.
    pub(super) fn close(&self) {
        self.readers.withdraw();
        if let Some(open) = self.engine.take()
            && let Err((error, _)) = close(open)
        {
            tracing::error!(%error, "the store could not be closed");
        }
    }

    /// Why the last attempt to open the engine failed, if it did.
    pub(super) fn refusal(&self) -> Option<String> {
        self.refusal.lock().clone()
    }
}

fn describe(error: &OpenError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// Waits until nobody reads, and drops the engine; gives it back if readers take too long.
fn close(mut open: Arc<OpenEngine>) -> Result<(), (OpenError, Arc<OpenEngine>)> {
    let tries = CLOSE_LIMIT.as_millis() / CLOSE_PAUSE.as_millis();
    for _ in 0..tries {
        match Arc::try_unwrap(open) {
            Ok(last) => {
                drop(last);
                return Ok(());
            }
            Err(held) => open = held,
        }
        std::thread::park_timeout(CLOSE_PAUSE);
    }
    Err((OpenError::StillHeld { limit: CLOSE_LIMIT }, open))
}
