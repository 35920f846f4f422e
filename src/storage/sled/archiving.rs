//! Archiving: the journal and the snapshots are copied to another disk, on threads of their own. Only the callers of writes wait
//! for them, and only if `storage.archive_sync` says so.

// Decision: The caller of a write waits for the archive, not the writer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::data_folder::DataFolder;
use super::holder::Holder;
use super::limits::SharedLimits;
use super::store::SledStore;
use crate::settings::StorageSettings;
use crate::storage::StoreError;
use crate::storage::journal::{Archive, ArchiveError, ArchiveFolders, JournalFiles};
use crate::supervision::contain;
use crate::telemetry::{Counter, Rows};

/// The text for writes that would wait for an archive that can't be written.
pub(super) const UNARCHIVED: &str = "each write waits for the archive (storage.archive_sync), which can't be written now; the daemon's log says why";
/// The time after which a client may come again then.
const ARCHIVE_RETRY: Duration = Duration::from_secs(1);

/// The time between two looks for new changes; each copies all there are.
const LOOK: Duration = Duration::from_millis(200);
/// The same for snapshots.
const SNAPSHOT_LOOK: Duration = Duration::from_secs(10);
/// The pause after a failure; it doubles up to the longest.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// The outcome of the last attempt to write an archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum ArchiveState {
    #[default]
    Works,
    /// It could not be written the last time.
    Fails,
    /// It was not written in time, without an error.
    Hangs,
}

/// The state of an archive.
#[derive(Debug, Clone, Copy, Default)]
struct ArchiveReached {
    /// The last change that it has.
    last: u64,
    state: ArchiveState,
}

/// The archive of a store.
pub(super) struct Archiving {
    folders: ArchiveFolders,
    limits: SharedLimits,
    reached: watch::Sender<ArchiveReached>,
    /// The thread that copies changes.
    copier: OnceLock<Thread>,
    /// The last moment at which it had all changes.
    complete: Mutex<Instant>,
    /// Whether it can be written.
    works: AtomicBool,
    gaps: Counter,
    failures: Counter,
    given_up: Counter,
}

impl Archiving {
    pub(super) fn new(
        data: &DataFolder,
        settings: &StorageSettings,
        limits: &SharedLimits,
    ) -> Option<Self> {
        Some(Self {
            folders: ArchiveFolders {
                journal: data.journal(),
                snapshots: data.snapshots(),
                archive: settings.archive.clone()?,
            },
            limits: limits.clone(),
            reached: watch::Sender::default(),
            copier: OnceLock::new(),
            complete: Mutex::new(Instant::now()),
            works: AtomicBool::new(false),
            gaps: Counter::default(),
            failures: Counter::default(),
            given_up: Counter::default(),
        })
    }

    /// Up to which change the journal may be removed, if it needs nothing up to `unneeded` itself.
    pub(super) fn removable(&self, unneeded: u64, files: &JournalFiles, full: bool) -> u64 {
        let last = self.last();
        let (lacking, backlog) = (files.bytes_after(last), self.limits.now().archive_backlog);
        let (removable, given_up) = removable(unneeded, last, lacking, backlog, full);
        if given_up {
            self.given_up.inc();
            tracing::warn!(
                archived = last,
                removed = unneeded,
                "the journal is not kept any longer for the archive, which will lack changes: make it work again"
            );
        }
        removable
    }

    /// The last change that it has.
    fn last(&self) -> u64 {
        self.reached.borrow().last
    }

    /// Whether it could not be written the last time, or not in time.
    pub(super) fn fails(&self) -> bool {
        self.reached.borrow().state != ArchiveState::Works
    }

    /// Waits until it has a change, for `limit` at most. False if it does not get there, or can't be written. A disk that
    /// hangs returns no error, so the first wait in vain counts as one.
    pub(super) async fn has(&self, change: u64, limit: Duration) -> bool {
        let mut reached = self.reached.subscribe();
        if let Some(copier) = self.copier.get() {
            copier.unpark();
        }
        let settled = |now: &ArchiveReached| now.last >= change || now.state != ArchiveState::Works;
        let reached = timeout(limit, reached.wait_for(settled)).await;
        let hangs = |reached: &mut ArchiveReached| {
            let is_new = reached.last < change && reached.state == ArchiveState::Works;
            if is_new {
                reached.state = ArchiveState::Hangs;
            }
            is_new
        };
        if reached.is_err() && self.reached.send_if_modified(hangs) {
            let archive = self.folders.archive.display();
            tracing::warn!(%archive, ?limit, "a write waited for the archive in vain: writes are refused until the archive is written again; look at its disk");
        }
        reached.is_ok_and(|reached| reached.is_ok_and(|now| now.last >= change))
    }

    /// Writes the families of the archive.
    pub(super) fn write(&self, rows: &mut Rows<'_>, durable: u64) {
        let changes = durable.saturating_sub(self.last());
        let seconds = match changes {
            0 => 0.0,
            _ => self.complete.lock().elapsed().as_secs_f64(),
        };
        rows.gauge(
            "perennial_archive_lag_seconds",
            "How long ago the archive had all changes; 0 while it has them",
            seconds,
        );
        rows.gauge(
            "perennial_archive_lag_changes",
            "Changes that the archive does not have yet",
            changes,
        );
        rows.metric(
            "perennial_archive_failures",
            "How often the archive could not be read or written",
            &self.failures,
        );
        rows.metric(
            "perennial_archive_gaps",
            "How often changes are missing from the archive, because it was away for too long or the journal was damaged",
            &self.gaps,
        );
        rows.metric(
            "perennial_archive_backlog_dropped",
            "How often the journal removed changes that the archive did not have: storage.archive_backlog, or the disk, was full",
            &self.given_up,
        );
    }

    fn copied(&self, archive: &mut Archive, durable: u64) {
        if archive.last >= durable {
            *self.complete.lock() = Instant::now();
        }
        let (last, state) = (archive.last, ArchiveState::Works);
        let before = self.reached.send_replace(ArchiveReached { last, state });
        if before.state == ArchiveState::Hangs {
            tracing::info!(archive = %self.folders.archive.display(), "the archive is written again");
        }
        self.gaps.inc_by(std::mem::take(&mut archive.gaps));
    }
}

/// Up to which change the journal may be removed, and whether changes are removed that the archive lacks.
fn removable(unneeded: u64, archived: u64, lacking: u64, backlog: u64, full: bool) -> (u64, bool) {
    if archived >= unneeded {
        (unneeded, false)
    } else if full || lacking > backlog {
        (unneeded, true)
    } else {
        (archived, false)
    }
}

/// Archives a store as long as it is used.
pub(super) fn in_background(holder: &Arc<Holder>) {
    let Some(archiving) = &holder.journal.archiving else {
        return;
    };
    let mut changes = ChangeCopier {
        holder: Arc::clone(holder),
        archiving: Arc::clone(archiving),
        open: None,
    };
    let (of, to) = (Arc::clone(holder), Arc::clone(archiving));
    if let Some(copier) = repeat("archive", holder, LOOK, move || changes.copy()) {
        archiving.copier.get_or_init(|| copier);
    }
    repeat("archive-snapshots", holder, SNAPSHOT_LOOK, move || {
        copy_snapshots(&of, &to)
    });
}

/// Does `work` on a thread of its own until the store is closed for good. After a failure it waits, longer each time.
fn repeat(
    name: &'static str,
    holder: &Arc<Holder>,
    look: Duration,
    mut work: impl FnMut() -> Result<(), ArchiveError> + Send + 'static,
) -> Option<Thread> {
    let holder = Arc::clone(holder);
    let repeat = move || {
        let mut failures = Failures::default();
        while !holder.is_closed() {
            let done = contain(&mut work);
            let fault = match done {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(panic) => Some(panic.to_string()),
            };
            std::thread::park_timeout(failures.told(&holder, fault).unwrap_or(look));
        }
    };
    let thread = std::thread::Builder::new().name(name.to_owned());
    match thread.spawn(repeat) {
        Ok(thread) => Some(thread.thread().clone()),
        Err(error) => {
            tracing::error!(%error, "no thread for the archive: nothing is archived until the daemon is started again");
            None
        }
    }
}

/// The failures since the last success.
#[derive(Default)]
struct Failures {
    pause: Duration,
    told: Option<String>,
}

impl Failures {
    /// Tells a failure once, and its end. Returns how long to wait.
    fn told(&mut self, holder: &Holder, fault: Option<String>) -> Option<Duration> {
        let archiving = holder.journal.archiving.as_ref()?;
        let archive = archiving.folders.archive.display();
        let Some(fault) = fault else {
            if self.told.take().is_some() {
                tracing::info!(%archive, "the archive is written again");
            }
            self.pause = Duration::ZERO;
            return None;
        };
        archiving.failures.inc();
        if self.told.as_ref() != Some(&fault) {
            tracing::warn!(%archive, "the archive is not written: {fault}. Writes go on, the journal keeps what the archive lacks, and it is tried again");
            self.told = Some(fault);
        }
        self.pause = (self.pause * 2).clamp(RETRY_MIN, RETRY_MAX);
        Some(self.pause)
    }
}

/// Copies the changes.
struct ChangeCopier {
    holder: Arc<Holder>,
    archiving: Arc<Archiving>,
    /// The archive, and how often the store was opened before it was.
    open: Option<(u64, Archive)>,
}

impl ChangeCopier {
    /// Copies what there is.
    fn copy(&mut self) -> Result<(), ArchiveError> {
        let copied = self.copy_once();
        if copied.is_err() {
            self.archiving.works.store(false, Ordering::Relaxed);
            let fails = |reached: &mut ArchiveReached| reached.state = ArchiveState::Fails;
            self.archiving.reached.send_modify(fails);
        }
        copied
    }

    fn copy_once(&mut self) -> Result<(), ArchiveError> {
        let archiving = &self.archiving;
        // After a failure, or if the store was opened again, its files may be others.
        let before = self.open.take();
        let Some((store, era)) = self.holder.look(|open| (open.store, open.era)) else {
            return Ok(());
        };
        let mut archive = match before {
            Some((at, archive)) if at == era => archive,
            before => {
                archiving.works.store(false, Ordering::Relaxed);
                drop(before);
                Archive::open(archiving.folders.clone(), store)?
            }
        };
        let durable = self.holder.readers.progress().borrow().durable;
        let gaps = archive.gaps;
        let advanced = archive.advance(durable);
        if archive.gaps > gaps || advanced.as_ref().is_err_and(ArchiveError::is_damage) {
            self.holder.ask_for_scrub();
        }
        advanced?;
        archiving.works.store(true, Ordering::Relaxed);
        archiving.copied(&mut archive, durable);
        self.open = Some((era, archive));
        Ok(())
    }
}

/// Copies snapshots, and removes what is too old.
fn copy_snapshots(holder: &Holder, archiving: &Archiving) -> Result<(), ArchiveError> {
    if let Some(store) = holder.look(|open| open.store)
        && archiving.works.load(Ordering::Relaxed)
    {
        archiving.folders.copy_snapshots(store)?;
        if let Some(keep) = archiving.limits.now().archive_keep {
            let now = SystemTime::now();
            archiving.folders.thin_out(store, keep, now)?;
        }
    }
    Ok(())
}

impl SledStore {
    /// The archive, if writes wait for it; an error if it can't be written.
    pub(super) fn working_archive(&self) -> Result<Option<&Archiving>, StoreError> {
        let waits = self.waited_for_archive();
        if waits.is_some_and(Archiving::fails) {
            return Err(StoreError::Unready {
                told: UNARCHIVED.to_owned(),
                retry_after: ARCHIVE_RETRY,
            });
        }
        Ok(waits)
    }

    /// Waits until the archive has all that was written until now.
    pub(super) async fn archived(&self, waits: Option<&Archiving>) -> Result<(), StoreError> {
        if let Some(archiving) = waits {
            let change = self.holder.readers.progress().borrow().durable;
            let limit = self.holder.limits.now().flush_limit;
            if !archiving.has(change, limit).await {
                return Err(StoreError::OutcomeUnknown);
            }
        }
        Ok(())
    }

    /// The archive, if writes wait for it.
    pub(super) fn waited_for_archive(&self) -> Option<&Archiving> {
        let archiving = self.holder.journal.archiving.as_deref()?;
        self.holder
            .limits
            .now()
            .waits_for_archive
            .then_some(archiving)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_keeps_what_the_archive_lacks_within_a_bound() {
        for (archived, lacking, full, expected) in [
            (90, 0, false, (50, false)),
            (50, 500, true, (50, false)),
            (20, 100, false, (20, false)),
            (20, 101, false, (50, true)),
            (20, 10, true, (50, true)),
        ] {
            let removed = removable(50, archived, lacking, 100, full);
            assert_eq!(removed, expected, "{archived} {lacking} {full}");
        }
    }
}
