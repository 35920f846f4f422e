//! One run: looks at what is there, and makes, verifies and removes backups. It blocks, on a thread of its own.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::due::{BackupFailures, drill_is_due, next_backup};
use super::metrics::BackupMetrics;
use super::name::{BackupName, store_part};
use super::target::{self, BackupTarget, Found, TargetError};
use super::thinning::superfluous;
use crate::num::{as_millis, as_u64};
use crate::settings::{AutoSize, BackupSettings, BackupTo, Settings};
use crate::storage::{
    BackupError, BackupPlan, BackupTask, JournalFiles, Manifest, Moment, ReadCounter, Store,
    TaskProgress, Untold, restore_backup, spare_bytes, store_in,
};
use crate::supervision::Faults;

/// The fault point in the middle of a backup: some of it was written.
pub(super) const IN_THE_MIDDLE: &str = "backup.in_the_middle";

/// The room that a restore takes at most, compared to the backup.
const ROOM_FACTOR: u64 = 3;

/// All that a run needs.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) to: BackupTo,
    pub(super) settings: BackupSettings,
    /// The folder in which they are verified, each in a new folder.
    pub(super) scratch: PathBuf,
    /// The data folder, and the room that is left free there.
    pub(super) data: PathBuf,
    pub(super) reserve: AutoSize,
    /// The store, if a daemon has it open: it tells how far a run is.
    pub(super) store: Option<Arc<dyn Store>>,
    pub(super) metrics: BackupMetrics,
    pub(super) faults: Faults,
    /// Set when the daemon stops.
    pub(super) stopped: AtomicBool,
}

/// The end of a run that did not fail.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ran {
    /// There is no store yet.
    NoStore,
    /// The newest backup was begun at this moment.
    Newest(u64),
}

/// The reason why there is no new backup, or none that was verified.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackupRunError {
    /// The place failed.
    #[error(transparent)]
    BackupTarget(#[from] TargetError),
    /// The store could not be read, or the backup not be written.
    #[error(transparent)]
    Write(BackupError),
    /// The backup can't be restored.
    #[error("{name} could not be restored: {error}")]
    Restore {
        name: BackupName,
        #[source]
        error: BackupError,
    },
    /// It was restored, but not to what was backed up.
    #[error(
        "{0} is not what was backed up: look whether the disk or the server of the backups works"
    )]
    Differs(BackupName),
    /// Restoring would take room that the store needs.
    #[error("{} has no room for {needed} bytes beside storage.reserve to verify the backup; name a folder with more in backup.scratch", .folder.display())]
    NoRoom { folder: PathBuf, needed: u64 },
    /// There is nothing to restore.
    #[error("{0} has no backup")]
    NoBackup(BackupTo),
    /// The scratch folder failed.
    #[error("{} can't be used for verifying: {error}; name another folder in backup.scratch", .path.display())]
    Scratch {
        path: PathBuf,
        #[source]
        error: io::Error,
    },
}

impl BackupRunError {
    /// Whether a backup is worthless.
    fn is_damage(&self) -> bool {
        match self {
            Self::Restore { error, .. } => error.is_damage(),
            Self::Differs(_) => true,
            Self::BackupTarget(_)
            | Self::Write(_)
            | Self::NoRoom { .. }
            | Self::NoBackup(_)
            | Self::Scratch { .. } => false,
        }
    }
}

/// The seconds since 1970.
pub(super) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}

impl Run {
    /// A run by these settings, for backups at `to`.
    pub(super) fn new(settings: &Settings, to: BackupTo) -> Self {
        let (data, backup) = (settings.server.data.clone(), settings.backup.clone());
        Self {
            to,
            scratch: backup.scratch.clone().unwrap_or_else(|| data.clone()),
            data,
            reserve: settings.storage.reserve,
            settings: backup,
            store: None,
            metrics: BackupMetrics::default(),
            faults: Faults::none(),
            stopped: AtomicBool::new(false),
        }
    }

    fn begin(&self, task: BackupTask) -> Box<dyn TaskProgress + '_> {
        let untold = || -> Box<dyn TaskProgress> { Box::<Untold>::default() };
        let store = self.store.as_deref();
        store.map_or_else(untold, |store| store.begin(task))
    }

    /// Makes a backup if one is due.
    pub(super) fn run(&self) -> Result<Ran, BackupRunError> {
        let Some(store) = store_in(&self.data) else {
            return Ok(Ran::NoStore);
        };
        let (now, begun) = (now(), Instant::now());
        let store = store_part(store);
        let scratch = self.scratch.join(format!("backup-drill-{store:012x}"));
        clean(&scratch)?;
        let target = target::open(&self.to, &self.settings)?;
        let found = target.list()?.of_store(store, now);
        for name in &found.unfinished {
            target.abort(*name)?;
        }
        self.metrics.found(&found);
        let newest = found.backups.last().map(|(newest, _)| newest.taken);
        let due = next_backup(newest, self.settings.every, BackupFailures::default(), now);
        if let Some(newest) = newest.filter(|_| due > now) {
            return Ok(Ran::Newest(newest));
        }
        let (name, manifest) = self.make(&*target, store, now)?;
        let listed = target.list()?.of_store(store, now);
        self.metrics.found(&listed);
        let bytes = listed.backups.last().map_or(0, |(_, bytes)| *bytes);
        let verified = found.verified.last().map(|verified| verified.taken);
        let drill = drill_is_due(self.settings.drill, verified, now);
        if drill {
            self.has_room(&scratch, bytes)?;
            let task = self.begin(BackupTask::Verify);
            task.has_left(bytes);
            let verified = verify(&*target, name, &scratch, &manifest, task.counter());
            if verified.as_ref().is_err_and(BackupRunError::is_damage) {
                // The next attempt makes another one.
                target.remove(name)?;
            }
            verified?;
        }
        let removed = self.thin_out(&*target, &found, name, drill)?;
        self.metrics.found(&target.list()?.of_store(store, now));
        let took = Duration::from_millis(as_millis(begun.elapsed()));
        let (took, records) = (humantime::format_duration(took), manifest.records());
        tracing::info!(backup = %name, to = %self.to, records, bytes, verified = drill, removed, %took, "backup written");
        Ok(Ran::Newest(now))
    }

    /// Makes a backup; again if the store removed a file while it was read.
    pub(super) fn make(
        &self,
        target: &dyn BackupTarget,
        store: u64,
        taken: u64,
    ) -> Result<(BackupName, Manifest), BackupRunError> {
        let make = || {
            let task = self.begin(BackupTask::Write);
            let plan = BackupPlan::of(&self.data, &*task).map_err(BackupRunError::Write)?;
            let name = BackupName {
                taken,
                change: plan.last,
                store,
            };
            let mut out = Watched {
                out: target.begin(name)?,
                run: self,
            };
            let manifest = plan
                .write(&mut out, &*task)
                .map_err(BackupRunError::Write)?;
            out.out.finish()?;
            Ok((name, manifest))
        };
        JournalFiles::beside_daemon(make, |made| {
            matches!(made, Err(BackupRunError::Write(BackupError::Vanished)))
        })
    }

    /// Looks whether a backup of so many bytes can be restored without taking the room that writes need.
    fn has_room(&self, scratch: &Path, bytes: u64) -> Result<(), BackupRunError> {
        let needed = bytes.saturating_mul(ROOM_FACTOR);
        let spare = fs::create_dir_all(scratch).and_then(|()| spare_bytes(scratch, self.reserve));
        let spare = spare.map_err(at(scratch))?;
        if spare >= needed {
            return Ok(());
        }
        clean(scratch)?;
        let folder = scratch.to_owned();
        Err(BackupRunError::NoRoom { folder, needed })
    }

    /// Removes what nothing keeps. Returns how many there were.
    fn thin_out(
        &self,
        target: &dyn BackupTarget,
        before: &Found,
        made: BackupName,
        verified: bool,
    ) -> Result<u64, BackupRunError> {
        let mut names: Vec<_> = before.backups.iter().map(|(name, _)| *name).collect();
        names.push(made);
        let newest_verified = before.verified.last().copied();
        let newest_verified = verified.then_some(made).or(newest_verified);
        let keep = self.settings.keep.or_unwritten();
        let gone = superfluous(names, newest_verified, keep);
        for name in &gone {
            target.remove(*name)?;
        }
        Ok(as_u64(gone.len()))
    }
}

/// Restores a backup and compares what was restored.
fn verify(
    target: &dyn BackupTarget,
    name: BackupName,
    scratch: &Path,
    manifest: &Manifest,
    counter: &AtomicU64,
) -> Result<(), BackupRunError> {
    let from = target.read(name)?;
    let mut from = ReadCounter { from, counter };
    let restored = restore_backup(&mut from, Moment::Latest, scratch);
    drop(from);
    clean(scratch)?;
    let restored = restored.map_err(|error| BackupRunError::Restore { name, error })?;
    if (restored.last, &restored.resources) != (manifest.last, &manifest.resources) {
        return Err(BackupRunError::Differs(name));
    }
    Ok(target.mark_verified(name)?)
}

/// Adds the scratch folder to an error.
fn at(path: &Path) -> impl FnOnce(io::Error) -> BackupRunError + use<'_> {
    move |error| BackupRunError::Scratch {
        path: path.to_owned(),
        error,
    }
}

/// Removes a scratch folder, which may be one that a run before has left.
fn clean(scratch: &Path) -> Result<(), BackupRunError> {
    match fs::remove_dir_all(scratch) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(scratch)(error)),
        _ => Ok(()),
    }
}

/// Writes a backup as long as the daemon runs.
struct Watched<'a> {
    out: Box<dyn target::Unfinished + 'a>,
    run: &'a Run,
}

impl Write for Watched<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.run.stopped.load(Ordering::Relaxed) {
            return Err(io::Error::other("the daemon stops"));
        }
        let written = self.out.write(bytes)?;
        self.run.faults.hit(IN_THE_MIDDLE);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
