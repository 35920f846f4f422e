//! The files of the store, as this process uses them through all openings of the store.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::data_folder::{self, DataFolder};
use super::engine::{OpenFault, Opener};
use super::folder_use::FolderUse;
use super::opening::{CommitLog, MOVED};
use crate::incidents::Incidents;
use crate::num::as_u64;
use crate::storage::journal::{JournalError, JournalFiles, Mark, Snapshot, StoreId};
use crate::telemetry::Counter;

/// The files of the store, which one process uses at a time, and what this process knows of them from one opening to the next.
pub(super) struct StoreFiles {
    pub(super) data: DataFolder,
    pub(super) opener: Box<dyn Opener>,
    /// The use of the data folder, from the first attempt to open the store on until it is closed for good.
    folder_use: Mutex<Option<FolderUse>>,
    /// The store that was open before, if one was.
    before: Mutex<Option<StoreId>>,
    /// The part of the store in `ETag`s, which stays the same: another store is not opened later.
    mark: OnceLock<String>,
    /// Whether a group may be in the view in part: then the next opening makes the view again.
    view_in_doubt: AtomicBool,
    /// Whether the folder may have what an earlier run left unfinished.
    untidy: AtomicBool,
    /// Folders of what was moved aside that were removed.
    pub(super) removed_aside: Counter,
}

impl StoreFiles {
    pub(super) fn new(data: DataFolder, opener: Box<dyn Opener>) -> Self {
        Self {
            data,
            opener,
            folder_use: Mutex::new(None),
            before: Mutex::new(None),
            mark: OnceLock::new(),
            view_in_doubt: AtomicBool::new(false),
            untidy: AtomicBool::new(false),
            removed_aside: Counter::default(),
        }
    }

    /// Takes the data folder for this process before the store is opened, unless it has it already.
    pub(super) fn take(&self, incidents: &Arc<Incidents>) -> Result<(), OpenFault> {
        let mut folder = self.folder_use.lock();
        if !folder
            .as_ref()
            .is_some_and(|folder| folder.is_of(&self.data.path))
        {
            // Nothing is made in the place of a folder that was moved away: it could not be put back.
            if self.before.lock().is_some() && !self.data.has_store() {
                return Err(OpenFault::Replaced(MOVED.to_owned()));
            }
            *folder = None;
            *folder = Some(FolderUse::begin(&self.data.path, incidents)?);
            self.opener.choose();
            self.untidy.store(true, Ordering::SeqCst);
        }
        // A sync may have failed, in this process or in one that was killed.
        if let Err(error) = JournalFiles::forget_cached(&self.data.journal()) {
            tracing::warn!(%error, "the kernel's cache of the journal could not be dropped; it may differ from the disk");
        }
        Ok(())
    }

    /// Removes what a process that was killed left unfinished, once after the folder was taken. Not before it is certain that the
    /// store is not refused: a refusal changes nothing.
    pub(super) fn tidy(&self) -> Result<(), OpenFault> {
        if self.untidy.load(Ordering::SeqCst) {
            self.opener.tidy().map_err(OpenFault::Io)?;
            self.data.remove_restored().map_err(OpenFault::Io)?;
            Snapshot::remove_unfinished(&self.data.snapshots())?;
            self.untidy.store(false, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Gives the data folder back, after everything is closed.
    pub(super) fn give_back(&self) {
        if let Some(folder) = self.folder_use.lock().take() {
            folder.end();
        }
    }

    /// The store that was open before, if one was.
    pub(super) fn before(&self) -> Option<StoreId> {
        *self.before.lock()
    }

    /// Notes that the store of this mark was opened.
    pub(super) fn opened(&self, mark: &Mark) {
        self.view_in_doubt.store(false, Ordering::SeqCst);
        *self.before.lock() = Some(mark.store);
        self.mark.get_or_init(|| mark.tag());
    }

    /// The part of the store in `ETag`s, from the first opening on.
    pub(super) fn mark(&self) -> Option<&str> {
        self.mark.get().map(String::as_str)
    }

    /// Whether the next opening makes the view again.
    pub(super) fn is_view_in_doubt(&self) -> bool {
        self.view_in_doubt.load(Ordering::SeqCst)
    }

    /// Notes whether the view that was just opened can't be read: then the next opening makes it again.
    pub(super) fn view_fails(&self, fails: bool) {
        self.view_in_doubt.store(fails, Ordering::SeqCst);
    }

    /// Notes that a group may be in the view in part: the view must be made again, by this process or the next.
    pub(super) fn doubt_view(&self, log: &mut CommitLog) {
        self.view_in_doubt.store(true, Ordering::SeqCst);
        log.mark.boot = 0;
        if let Err(error) = log.marks.write(&log.mark) {
            tracing::warn!(%error, "the view may lack or have a part of a group, and the note of that could not be written");
        }
    }

    /// Writes the marks again if they were removed or damaged. Returns whether that was so.
    pub(super) fn put_marks_back(&self, log: &mut CommitLog) -> Result<bool, JournalError> {
        if !self.is_in_place() {
            return Ok(false);
        }
        if let Err(error) = self.data.make_way() {
            tracing::warn!(%error, "something else is in the place of a file or a folder of the store, and could not be moved aside");
        }
        log.marks.put_back(&self.data.path, &log.mark)
    }

    /// Whether the folder that this process uses is still in its place. Nothing is made in the place of one that was moved away.
    pub(super) fn is_in_place(&self) -> bool {
        let folder = self.folder_use.lock();
        folder
            .as_ref()
            .is_some_and(|folder| folder.is_of(&self.data.path))
    }

    /// Moves a file of the store aside.
    pub(super) fn move_aside(&self, path: &Path, why: &str) -> io::Result<()> {
        data_folder::move_aside(&self.data.path, path, why)
    }

    /// Removes the oldest of what was moved aside before `since`, if there is too much of it.
    pub(super) fn limit_aside(&self, since: u64) {
        match self.data.limit_aside(since) {
            Ok(removed) => {
                self.removed_aside.inc_by(as_u64(removed));
            }
            Err(error) => {
                tracing::warn!(%error, "what was moved aside can't be looked through or removed: it may fill the disk");
            }
        }
    }
}
