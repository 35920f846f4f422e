//! What outlives each incarnation of the writer: the store, opened once and lent to each of them, and what readers see.
//!
//! A commit that fails or panics leaves the store in *doubt*: it is taken away from readers, and opened
//! again before anybody reads it.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::{Condvar, Mutex};

use super::answers::AnswerCounts;
use super::archiving::Archiving;
use super::attempts::Attempt;
use super::candidate::NextResources;
use super::checked::Checked;
use super::data_folder::{self, DataFolder};
use super::engine::{OpenFault, Opener};
use super::engine_state::{EngineLock, EngineState};
use super::failing_disk::FailingDisk;
use super::folder_use::FolderUse;
use super::healing::Healing;
use super::index_building::IndexWork;
use super::index_catalog::IndexCatalog;
use super::known::KnownResources;
use super::limits::SharedLimits;
use super::log::Handovers;
use super::one_at_a_time::OneAtATime;
use super::opening::{CommitLog, Opening};
use super::reader_state::{OpenEngine, ReaderState};
use super::snapshots;
use super::space::Space;
use super::stored_fit;
use crate::incidents::Incidents;
use crate::num::as_u64;
use crate::storage::fit::Resources;
use crate::storage::journal::{JournalFiles, Snapshot, StoreId};
use crate::storage::{OldestMoment, RecentChanges};
use crate::telemetry::Counter;

/// The time that readers have to release an engine that is to be closed.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);
/// The pause between two looks whether they have: there is no event to wait for.
const CLOSE_PAUSE: Duration = Duration::from_millis(1);
/// The engine and its state, shared by the writer and all readers.
pub(super) struct Holder {
    pub(super) opener: Box<dyn Opener>,
    pub(super) data: DataFolder,
    /// The resources, and which of them are declared.
    pub(super) known: ArcSwap<KnownResources>,
    /// Those that are to be declared next.
    pub(super) candidate: ArcSwapOption<NextResources>,
    /// The limits that may change.
    pub(super) limits: SharedLimits,
    pub(super) space: Space,
    pub(super) disk: FailingDisk,
    pub(super) archiving: Option<Arc<Archiving>>,
    pub(super) healing: Healing,
    pub(super) engine: EngineLock,
    pub(super) readers: ReaderState,
    folder_use: Mutex<Option<FolderUse>>,
    /// The newest changes, for feeds.
    pub(super) recent: Arc<RecentChanges>,
    /// The store that was open before, if one was.
    before: Mutex<Option<StoreId>>,
    /// The short form of the store's id, which stays the same: another store is not opened later.
    pub(super) mark: OnceLock<String>,
    pub(super) attempt: Mutex<Attempt>,
    pub(super) attempt_changed: Condvar,
    view_in_doubt: AtomicBool,
    segment_is_damaged: AtomicBool,
    pub(super) snapshotting: OneAtATime,
    /// Folders of what was moved aside that were removed.
    pub(super) removed_aside: Counter,
    /// The bytes that the journal has grown by since the last snapshot.
    journal_bytes: AtomicU64,
    pub(super) index_work: IndexWork,
    pub(super) handovers: Handovers,
    pub(super) answer_counts: AnswerCounts,
    /// The oldest moment to which the store can be restored.
    pub(super) oldest: Mutex<Option<OldestMoment>>,
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
            opener,
            data,
            known: ArcSwap::from_pointee(KnownResources::new(resources)),
            candidate: ArcSwapOption::empty(),
            limits,
            space,
            archiving: archiving.map(Arc::new),
            healing: Healing::new(incidents),
            engine: EngineLock::default(),
            readers: ReaderState::default(),
            folder_use: Mutex::new(None),
            recent: Arc::default(),
            before: Mutex::new(None),
            mark: OnceLock::new(),
            attempt: Mutex::default(),
            attempt_changed: Condvar::new(),
            view_in_doubt: AtomicBool::new(false),
            segment_is_damaged: AtomicBool::new(false),
            snapshotting: OneAtATime::default(),
            removed_aside: Counter::default(),
            journal_bytes: AtomicU64::new(0),
            index_work: IndexWork::default(),
            handovers: Handovers::default(),
            answer_counts: AnswerCounts::default(),
            oldest: Mutex::new(None),
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
        self.take_folder()?;
        let durable = self.readers.progress().borrow().durable;
        let before = *self.before.lock();
        let known = self.known.load_full();
        let names = known.names();
        let opening = Opening {
            resources: &known.declared(),
            data: &self.data,
            opener: &*self.opener,
            collections: &names,
            log_keep: self.limits.now().log_keep,
            log_needed: self.handovers.needed_from(),
            before: before.map(|store| (store, durable)),
            view_in_doubt: self.view_in_doubt.load(Ordering::SeqCst),
            healing: &self.healing,
        };
        let opened = opening.run();
        self.limit_aside();
        let opened = opened?;
        self.journal_bytes
            .store(opened.journal_bytes, Ordering::Relaxed);
        self.view_in_doubt.store(false, Ordering::SeqCst);
        let store = opened.log.mark.store;
        *self.before.lock() = Some(store);
        self.mark.get_or_init(|| store.mark());
        let era = self.readers.progress().borrow().era + 1;
        let open = Arc::new(OpenEngine {
            indexes: ArcSwap::from_pointee(IndexCatalog::read(&*opened.engine)?),
            engine: opened.engine,
            era,
            store,
            unapplied: ArcSwapOption::empty(),
            log: Arc::new(Mutex::new(opened.log)),
        });
        self.look_how_far_back(store);
        let names = open.engine.collections();
        self.known.rcu(|known| known.with_names(&names));
        if let Err(fault) = stored_fit::ids(&*open.engine, &self.known.load().declared()) {
            // What can't be read now can't be read next time either: then the view is made again.
            let unreadable = matches!(fault, OpenFault::View(_));
            self.view_in_doubt.store(unreadable, Ordering::SeqCst);
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

    fn take_folder(&self) -> Result<(), OpenFault> {
        let mut folder = self.folder_use.lock();
        if !folder
            .as_ref()
            .is_some_and(|folder| folder.is_of(&self.data.path))
        {
            *folder = None;
            *folder = Some(FolderUse::begin(&self.data.path, &self.healing.incidents)?);
            self.opener.tidy().map_err(OpenFault::Io)?;
            Snapshot::remove_unfinished(&self.data.snapshots())?;
        }
        // A sync may have failed, in this process or in one that was killed.
        if let Err(error) = JournalFiles::forget_cached(&self.data.journal()) {
            tracing::warn!(%error, "the kernel's cache of the journal could not be dropped; it may differ from the disk");
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
            self.opener.switch();
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

    /// Notes that a group may be in the view in part: the view must be made again, by this process or the next.
    pub(super) fn doubt_view(&self, log: &mut CommitLog) {
        self.view_in_doubt.store(true, Ordering::SeqCst);
        log.mark.boot = 0;
        if let Err(error) = log.marks.write(&log.mark) {
            tracing::warn!(%error, "the view is in doubt, and that could not be written down");
        }
    }

    /// Whether it was closed for good.
    pub(super) fn is_closed(&self) -> bool {
        self.attempt.lock().closed
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
        if ended && let Some(folder) = self.folder_use.lock().take() {
            folder.end();
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
        let synced = self.opener.sync().map_err(OpenFault::Io);
        let synced = synced.and_then(|()| {
            log.mark.clean = log.mark.boot != 0;
            let mark = log.mark;
            Ok(log.marks.write_both(&mark)?)
        });
        if let Err(fault) = synced {
            tracing::warn!(%fault, "the store was not closed cleanly: the view may be made again at the next start");
        }
    }

    /// Notes the oldest moment to which the store can be restored.
    pub(super) fn look_how_far_back(&self, store: StoreId) {
        match snapshots::oldest_moment(&self.data, store) {
            Ok(oldest) => *self.oldest.lock() = oldest,
            Err(error) => {
                tracing::debug!(%error, "the files of the store could not be looked through");
            }
        }
    }

    /// Moves a file of the store aside.
    pub(super) fn move_aside(&self, path: &Path, why: &str) -> io::Result<()> {
        data_folder::move_aside(&self.data.path, path, why)
    }

    /// Removes the oldest of what was moved aside, if there is too much of it.
    pub(super) fn limit_aside(&self) {
        match self.data.limit_aside() {
            Ok(removed) => {
                self.removed_aside.inc_by(as_u64(removed));
            }
            Err(error) => {
                tracing::warn!(%error, "what was moved aside can't be looked through or removed: it may fill the disk");
            }
        }
    }

    /// Makes the next group begin a new file of the journal, since the current one is damaged.
    pub(super) fn leave_segment(&self) {
        self.segment_is_damaged.store(true, Ordering::SeqCst);
    }

    /// Whether the next group begins a new file of the journal. Asked once for each group.
    pub(super) fn takes_new_segment(&self) -> bool {
        self.segment_is_damaged.load(Ordering::Relaxed)
            && self.segment_is_damaged.swap(false, Ordering::SeqCst)
    }

    /// Notes that the journal has grown, and returns by how much since the last snapshot.
    pub(super) fn grown(&self, bytes: u64) -> u64 {
        self.journal_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes
    }

    /// Notes that a snapshot is being made: the next one is due when the journal has grown again.
    pub(super) fn forget_growth(&self) {
        self.journal_bytes.store(0, Ordering::Relaxed);
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
