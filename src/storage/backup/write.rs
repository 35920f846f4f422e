//! Makes a backup from the files of a data folder.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;

use super::manifest::{Census, Manifest};
use super::{BackupError, MAGIC, no_store};
use crate::storage::journal::{
    JournalChange, JournalError, JournalFiles, Reach, Snapshot, StoreId, StreamHead, StreamWriter,
};
use crate::storage::{DataFolder, TaskProgress, identify, unix_ms};

/// A backup that can be made: where it begins and ends.
#[derive(Debug)]
pub(crate) struct BackupPlan {
    pub(crate) store: StoreId,
    /// The last change that it will have.
    pub(crate) last: u64,
    changes: FolderChanges,
}

/// All changes of a store from a snapshot on, as they are in a folder.
#[derive(Debug)]
pub(super) struct FolderChanges {
    files: JournalFiles,
    /// Counts the bytes that are read.
    counter: Arc<AtomicU64>,
    snapshot: Option<Snapshot>,
    /// The last change of the snapshot, and a time after it in milliseconds since 1970; 0 without a snapshot.
    pub(super) base: [u64; 2],
}

impl FolderChanges {
    /// The first of these snapshots that is whole, if the journal behind it goes up to change `last` at least. `None` in the
    /// list is the journal from its first change on.
    pub(super) fn choose(
        files: JournalFiles,
        counter: &Arc<AtomicU64>,
        candidates: impl Iterator<Item = Option<Snapshot>>,
        last: u64,
    ) -> Result<Option<Self>, BackupError> {
        let (mut fault, counter) = (None, Arc::clone(counter));
        let files = files.counted(&counter);
        for snapshot in candidates {
            match Self::reaches(&files, &counter, snapshot.as_ref()) {
                Ok(reached) if reached >= last => {
                    let base = match &snapshot {
                        Some(snapshot) => [snapshot.seq, snapshot.written_ms()?],
                        None => [0; 2],
                    };
                    return Ok(Some(Self {
                        files,
                        counter,
                        snapshot,
                        base,
                    }));
                }
                Ok(_) => {}
                Err(error) if error.is_damage() => fault = fault.or(Some(error)),
                Err(error) => return Err(error.into()),
            }
        }
        fault.map_or(Ok(None), |fault| Err(fault.into()))
    }

    /// Reads a snapshot and the journal behind it. Returns the last change.
    fn reaches(
        files: &JournalFiles,
        counter: &AtomicU64,
        snapshot: Option<&Snapshot>,
    ) -> Result<u64, JournalError> {
        let mut base = 0;
        if let Some(snapshot) = snapshot {
            snapshot.read_counted::<JournalError>(counter, |_| Ok(()))?;
            base = snapshot.seq;
        }
        Ok(match files.read::<JournalError>(base, |_| Ok(()))? {
            Reach::End(end) => end.last,
            Reach::Damage { last, .. } => last,
        })
    }

    /// The bytes that one reading of them takes.
    fn bytes(&self) -> u64 {
        let snapshot = self.snapshot.as_ref().map_or(0, Snapshot::bytes);
        snapshot + self.files.bytes_to_read(self.base[0])
    }

    /// Shows the changes to `visit`: those of the snapshot, then those after it, in order.
    pub(super) fn read(
        &self,
        mut visit: impl FnMut(JournalChange) -> Result<(), BackupError>,
    ) -> Result<Reach, BackupError> {
        let mut all = |changes: Vec<JournalChange>| changes.into_iter().try_for_each(&mut visit);
        if let Some(snapshot) = &self.snapshot {
            snapshot.read_counted(&self.counter, &mut all)?;
        }
        let [base, _] = self.base;
        self.files.read(base, all)
    }
}

/// The store in a folder, and the last change that was acknowledged, if that is known.
pub(super) fn store_of(folder: &DataFolder) -> Result<(StoreId, Option<u64>), BackupError> {
    identify(folder)?.ok_or_else(|| no_store(&folder.path))
}

impl BackupPlan {
    /// Plans a backup of the store in the folder `data`, up to the last change that was acknowledged. It reads all of the
    /// store, and changes nothing.
    pub(crate) fn of(data: &Path, progress: &dyn TaskProgress) -> Result<Self, BackupError> {
        let folder = DataFolder::new(data);
        let (store, acknowledged) = store_of(&folder)?;
        let files = JournalFiles::find(&folder.journal(), store)?;
        let mut snapshots = Snapshot::find(&folder.snapshots(), store)?;
        let newest = snapshots.first().map_or(0, |snapshot| snapshot.seq);
        let last = match acknowledged {
            Some(acknowledged) => acknowledged,
            // Nobody knows where the journal should end: what can be read counts.
            None => FolderChanges::reaches(&files, progress.counter(), snapshots.first())?,
        };
        // They are read once to see whether they are whole, and once to be copied.
        let oldest = snapshots.last();
        let base = oldest.map_or(0, |oldest| oldest.seq);
        let bytes = oldest.map_or(0, Snapshot::bytes) + files.bytes_to_read(base);
        progress.has_left(2 * bytes);
        let last = last.max(newest);
        snapshots.reverse();
        let candidates = std::iter::once(None).chain(snapshots.into_iter().map(Some));
        let changes = FolderChanges::choose(files, progress.counter(), candidates, last)?;
        let short = BackupError::Short { acknowledged: last };
        let changes = changes.ok_or(short)?;
        Ok(Self {
            store,
            last,
            changes,
        })
    }

    /// Writes the backup.
    pub(crate) fn write(
        &self,
        out: &mut dyn Write,
        progress: &dyn TaskProgress,
    ) -> Result<Manifest, BackupError> {
        progress.has_left(self.changes.bytes());
        let head = StreamHead {
            magic: MAGIC,
            store: self.store,
            numbers: self.changes.base,
        };
        let [first, mut last_ms] = self.changes.base;
        let mut first_ms = last_ms;
        let out = BufWriter::new(out);
        let mut out = StreamWriter::begin(out, &head).map_err(BackupError::Output)?;
        let mut census = Census::default();
        let mut reached = first;
        self.changes.read(|change| {
            if change.seq > self.last {
                return Ok(());
            }
            if change.seq > first {
                (reached, last_ms) = (change.seq, change.at_ms);
                if first_ms == 0 {
                    first_ms = change.at_ms;
                }
            }
            census.add(&change);
            out.add(change).map_err(BackupError::Output)
        })?;
        if reached != self.last {
            return Err(BackupError::Vanished);
        }
        let manifest = Manifest {
            program: env!("CARGO_PKG_VERSION").to_owned(),
            store: self.store.to_string(),
            first: first.max(1).min(self.last),
            first_ms,
            last: self.last,
            last_ms,
            taken_ms: unix_ms(),
            resources: census.totals(),
        };
        let text =
            serde_json::to_vec(&manifest).map_err(|error| BackupError::Output(error.into()))?;
        let written = out.finish(self.last, Bytes::from(text));
        written.map(drop).map_err(BackupError::Output)?;
        Ok(manifest)
    }
}
