//! What outlives each incarnation of the writer: the engine, opened once and lent to each of them, and what readers see.
//!
//! A commit that fails or panics leaves the engine in *doubt*: it is taken away from readers, and the writer's next
//! incarnation closes it, opens it again, and has the end of its log checked before anybody reads it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::engine::{OpenError, OpenFault, Opener};
use super::engine_state::{EngineLock, EngineState};
use super::reader_state::{OpenEngine, ReaderState};
use super::recovery::{self, Checked};
use super::space::Space;
use super::watermark::Watermark;

/// The time that readers have to release an engine that is to be closed.
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
        Self {
            opener,
            collections,
            space,
            engine: EngineLock::default(),
            readers: ReaderState::default(),
            refusal: Mutex::new(None),
        }
    }

    /// The engine for a new incarnation of the writer: as it is if it is in no doubt, else opened and checked. Blocks; on a
    /// full disk until there is room, as long as the incarnation is `wanted`.
    pub(super) fn ensure_open(
        &self,
        wanted: &dyn Fn() -> bool,
    ) -> Result<(Arc<OpenEngine>, Checked), OpenError> {
        let mut state = self.engine.settled().map_err(|fault| self.error(fault))?;
        if let EngineState::Open { open, checked, .. } = &*state {
            return Ok((Arc::clone(open), checked.clone()));
        }
        if let EngineState::Doubtful { open } = std::mem::take(&mut *state) {
            if let Err((fault, open)) = close(open) {
                *state = EngineState::Doubtful { open };
                return Err(self.error(fault));
            }
            self.opener.distrust_cache();
        }
        let opened = self
            .open_with_room(wanted)
            .map_err(|fault| self.error(fault));
        *self.refusal.lock() = opened.as_ref().err().map(OpenError::to_string);
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

    fn error(&self, fault: OpenFault) -> OpenError {
        let path = self.opener.path().to_owned();
        OpenError { path, fault }
    }

    fn open_with_room(
        &self,
        wanted: &dyn Fn() -> bool,
    ) -> Result<(Arc<OpenEngine>, Checked), OpenFault> {
        loop {
            match self.open() {
                Err(fault) if fault.is_full() => {
                    if !self.space.release() && !self.space.wait(wanted) {
                        return Err(fault);
                    }
                }
                opened => return opened,
            }
        }
    }

    fn open(&self) -> Result<(Arc<OpenEngine>, Checked), OpenFault> {
        let engine = self.opener.open(&self.collections)?;
        let mark = Watermark::open(self.opener.path()).map_err(OpenFault::Io)?;
        let acknowledged = mark.read();
        let checked = recovery::check(&*engine, &self.collections, acknowledged)?;
        if acknowledged.is_none() {
            // From now on an empty store is a damaged one.
            mark.write(checked.last_seq).map_err(OpenFault::Io)?;
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
            && let Err((fault, _)) = close(open)
        {
            tracing::error!("the store {fault}");
        }
    }

    /// The error of the last attempt to open the engine, if it failed.
    pub(super) fn refusal(&self) -> Option<String> {
        self.refusal.lock().clone()
    }
}

/// Waits until nobody reads, and drops the engine; gives it back if readers take too long.
fn close(mut open: Arc<OpenEngine>) -> Result<(), (OpenFault, Arc<OpenEngine>)> {
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
    Err((OpenFault::StillHeld { limit: CLOSE_LIMIT }, open))
}
