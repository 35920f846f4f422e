//! Holds what outlives the incarnations of the writer: the store, which is opened once and lent to each, and the state for readers.
//!
//! A commit that fails or panics leaves the store in *doubt*: it is taken away from readers, and opened
//! again before anybody reads it.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;

use super::answers::AnswerCounts;
use super::archiving::Archiving;
use super::attempts::OpeningAttempts;
use super::checked::Checked;
use super::data_folder::{self, DataFolder};
use super::declaring::DeclaredResources;
use super::engine::{OpenFault, Opener};
use super::engine_state::{EngineLock, EngineState};
use super::failing_disk::FailingDisk;
use super::healing::Healing;
use super::index_building::IndexWork;
use super::index_catalog::IndexCatalog;
use super::journal_upkeep::JournalUpkeep;
use super::limits::SharedLimits;
use super::opening::{CommitLog, Opening};
use super::reader_state::{OpenEngine, ReaderState};
use super::space::Space;
use super::store_files::StoreFiles;
use super::stored_fit;
use crate::incidents::{Incident, IncidentKind, Incidents, STORAGE};
use crate::storage::fit::Resources;

/// The time that readers have to release an engine that is to be closed.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);
/// The pause between two looks whether they have: there is no event to wait for.
const CLOSE_PAUSE: Duration = Duration::from_millis(1);
/// The engine and its state, shared by the writer and all readers.
pub(super) struct Holder {
    pub(super) files: StoreFiles,
    pub(super) resources: DeclaredResources,
    /// The limits that may change.
    pub(super) limits: SharedLimits,
    pub(super) space: Space,
    pub(super) disk: FailingDisk,
    pub(super) healing: Healing,
    pub(super) engine: EngineLock,
    pub(super) readers: ReaderState,
    pub(super) attempts: OpeningAttempts,
    pub(super) journal: JournalUpkeep,
    pub(super) index_work: IndexWork,
    pub(super) answer_counts: AnswerCounts,
}

impl Holder {
    pub(super) fn new(
        opener: Box<dyn Opener>,
        data: DataFolder,
        resources: Resources,
        limits: SharedLimits,
        space: Space,
        archiving: Option<Archiving>,
        incidents: &Arc<Incidents>,
    ) -> Self {
        Self {
            disk: FailingDisk::new(&data.path),
            files: StoreFiles::new(data, opener),
            resources: DeclaredResources::new(resources),
            limits,
            space,
            healing: Healing::new(incidents),
            engine: EngineLock::default(),
            readers: ReaderState::default(),
            attempts: OpeningAttempts::default(),
            journal: JournalUpkeep::new(archiving),
            index_work: IndexWork::default(),
            answer_counts: AnswerCounts::default(),
        }
    }

    /// Opens the store, unless it is open. Blocks.
    pub(super) fn open(&self) -> Result<(), OpenFault> {
        let mut state = self.engine.settled()?;
        match std::mem::take(&mut *state) {
            open @ EngineState::Open { .. } => {
                *state = open;
                return Ok(());
            }
            EngineState::Doubtful { open } => {
                if let Err((fault, open)) = close(open) {
                    *state = EngineState::Doubtful { open };
                    return Err(fault);
                }
            }
            EngineState::Closed => {}
        }
        self.files.take(&self.healing.incidents)?;
        let durable = self.readers.progress().borrow().durable;
        let before = self.files.before();
        let known = self.resources.known.load_full();
        let names = known.names();
        let opening = Opening {
            resources: &known.declared(),
            data: &self.files.data,
            opener: &*self.files.opener,
            collections: &names,
            log_keep: self.limits.now().log_keep,
            log_needed: self.engine.handovers.needed_from(),
            before: before.map(|store| (store, durable)),
            view_in_doubt: self.files.is_view_in_doubt(),
            healing: &self.healing,
            tidy: &|| self.files.tidy(),
        };
        let begun = data_folder::aside_time();
        let opened = opening.run();
        self.files.limit_aside(begun);
        let opened = opened?;
        self.journal.set_growth(opened.journal_bytes);
        let store = opened.log.mark.store;
        self.files.opened(&opened.log.mark);
        let era = self.readers.progress().borrow().era + 1;
        let open = Arc::new(OpenEngine {
            indexes: ArcSwap::from_pointee(IndexCatalog::read(&*opened.engine)?),
            engine: opened.engine,
            era,
            store,
            unapplied: ArcSwapOption::empty(),
            log: Arc::new(Mutex::new(opened.log)),
        });
        self.journal.look_how_far_back(&self.files.data, store);
        let names = open.engine.collections();
        self.resources.known.rcu(|known| known.with_names(&names));
        if let Err(fault) = stored_fit::ids(&*open.engine, &self.resources.known.load().declared())
        {
            // What can't be read now can't be read next time either: then the view is made again.
            let unreadable = matches!(fault, OpenFault::View(_));
            self.files.view_fails(unreadable);
            self.close_cleanly(open);
            return Err(fault);
        }
        *state = EngineState::Open {
            open: Arc::clone(&open),
            checked: opened.checked.clone(),
            committing: false,
        };
        drop(state);
        self.readers.publish(&open, &opened.checked);
        self.index_work.wake();
        if era == 1 {
            stored_fit::tell_undeclared(self, |_| true);
        }
        Ok(())
    }

    /// Lets `look` read the engine; `None` while it is not open.
    pub(super) fn look<T>(&self, look: impl FnOnce(&OpenEngine) -> T) -> Option<T> {
        self.readers.engine().as_deref().map(look)
    }

    /// Puts another view, which has the same changes, in the place of the one that is open. False if the writer was replaced.
    pub(super) fn swap(
        &self,
        new: &Arc<OpenEngine>,
        checked: &Checked,
        holds: &dyn Fn() -> bool,
    ) -> bool {
        let swapped = self.engine.replace(new, checked, holds);
        if swapped {
            self.files.opener.switch();
            self.readers.publish(new, checked);
            self.index_work.wake();
        }
        swapped
    }

    /// Ends a commit that failed half way: nobody reads the engine until it was opened again.
    pub(super) fn doubt(&self) {
        self.readers.withdraw();
        self.engine.doubt();
    }

    /// Closes the store for good. Blocks until everything is on the disk. An open that takes long is not waited for: it has
    /// acknowledged nothing, but it keeps the lock until the process ends.
    pub(super) fn close(&self) {
        self.index_work.close();
        let ended = self.end_attempts();
        self.readers.withdraw();
        if let Some(open) = self.engine.take() {
            self.close_cleanly(open);
        }
        if ended {
            self.files.give_back();
        }
    }

    /// Writes the file of the marks again if it was removed or damaged while the store uses it.
    pub(super) fn look_at_marks(&self) {
        let put_back = self.look(|open| {
            let log = &mut *open.log.lock();
            self.files.put_marks_back(log)
        });
        match put_back {
            Some(Ok(true)) => {
                let what = "the marks of the last acknowledged change were removed or damaged while they were in use";
                let done = "they were written again";
                tracing::warn!(folder = %self.files.data.path.display(), "{what}: {done}");
                let incident = Incident::new(IncidentKind::DamagedMark, STORAGE, what, done);
                let file = self.files.data.path.join("marks");
                self.healing.incidents.add(incident.of_file(&file));
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "the file of the marks could not be looked at or written again");
            }
            Some(Ok(false)) | None => {}
        }
    }

    fn close_cleanly(&self, open: Arc<OpenEngine>) {
        let flushed = open.engine.flush();
        let closed = close(open);
        let (Ok(()), Ok(log)) = (&flushed, closed) else {
            tracing::warn!("the view could not be closed in order: it will be made again");
            return;
        };
        let mut log = log.lock();
        // sled syncs nothing itself. Only what is on the disk is closed cleanly.
        let synced = self.files.opener.sync().map_err(OpenFault::Io);
        let synced = synced.and_then(|()| {
            log.mark.clean = log.mark.boot != 0;
            self.files.put_marks_back(&mut log)?;
            let mark = log.mark;
            Ok(log.marks.write_both(&mark)?)
        });
        if let Err(fault) = synced {
            tracing::warn!(%fault, "the store was not closed cleanly: the view may be made again at the next start");
        }
    }
}

/// Waits until nobody reads, and drops the engine; gives it back if readers take too long.
fn close(mut open: Arc<OpenEngine>) -> Result<Arc<Mutex<CommitLog>>, (OpenFault, Arc<OpenEngine>)> {
    let tries = CLOSE_LIMIT.as_millis() / CLOSE_PAUSE.as_millis();
    for _ in 0..tries {
        match Arc::try_unwrap(open) {
            Ok(last) => {
                drop(last.engine);
                return Ok(last.log);
            }
            Err(held) => open = held,
        }
        std::thread::park_timeout(CLOSE_PAUSE);
    }
    Err((OpenFault::StillHeld { limit: CLOSE_LIMIT }, open))
}
