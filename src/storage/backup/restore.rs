//! Makes a store from a backup, or from the files of a data folder or an archive, as it was at a moment.

use std::collections::BTreeMap;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;

use super::manifest::{Census, Manifest};
use super::new_store::NewStore;
use super::write::{FolderChanges, store_of};
use super::{BackupError, MAGIC};
use crate::storage::DataFolder;
use crate::storage::journal::{JournalChange, JournalFiles, Reach, Snapshot, StreamReader};

/// The latest time that has four digits for its year, in milliseconds since 1970.
const LATEST_MS: u64 = 253_402_300_799_999;

/// The moment to which a store is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// After the last change.
    Latest,
    /// After the change of this number.
    Change(u64),
    /// Before the first change that is later than this time, in milliseconds since 1970.
    Time(u64),
}

/// Reads a backup whole. Returns what it says of itself, if it has the records that it says it has.
pub(crate) fn verify_backup(from: &mut dyn Read) -> Result<Manifest, BackupError> {
    read_backup(from, |_, _| Ok(()))
}

/// Shows the changes of a backup to `visit`, with its base.
fn read_backup(
    from: &mut dyn Read,
    mut visit: impl FnMut([u64; 2], JournalChange) -> Result<(), BackupError>,
) -> Result<Manifest, BackupError> {
    let stream = StreamReader::begin(BufReader::new(from), MAGIC)?;
    let base = stream.head.numbers;
    let mut census = Census::default();
    let (last, text): (u64, Bytes) = stream.read(BackupError::from, |changes| {
        changes.into_iter().try_for_each(|change| {
            census.add(&change);
            visit(base, change)
        })
    })?;
    let manifest: Manifest =
        serde_json::from_slice(&text).map_err(|_| BackupError::OtherRecords)?;
    if manifest.last == last && manifest.resources == census.totals() {
        Ok(manifest)
    } else {
        Err(BackupError::OtherRecords)
    }
}

/// Restores the store in a backup into the folder `into`, which must not have one. The store gets a new id, so that its
/// `ETag`s are not taken for those of the old one. Returns the manifest of what was restored.
pub(crate) fn restore_backup(
    from: &mut dyn Read,
    at: Moment,
    into: &Path,
) -> Result<Manifest, BackupError> {
    let mut restore = Restore::begin(into, at)?;
    let manifest = read_backup(from, |base, change| restore.add(base, change))?;
    let end_ms = manifest.taken_ms.max(manifest.last_ms);
    restore.cut.may_end([manifest.last, end_ms], end_ms)?;
    restore.finish(manifest)
}

/// The same from a data folder or an archive.
pub(crate) fn restore_folder(
    source: &Path,
    at: Moment,
    into: &Path,
) -> Result<Manifest, BackupError> {
    let folder = DataFolder::new(source);
    let (store, acknowledged) = store_of(&folder)?;
    let mut files = JournalFiles::find(&folder.journal(), store)?;
    if at != Moment::Latest {
        files = files.before_newer();
    }
    let snapshots = Snapshot::find(&folder.snapshots(), store)?;
    let mut fitting = Vec::new();
    for snapshot in &snapshots {
        if match at {
            Moment::Latest => true,
            Moment::Change(change) => snapshot.seq <= change,
            Moment::Time(time) => snapshot.written_ms()? <= time,
        } {
            fitting.push(Some(snapshot.clone()));
        }
    }
    if files.has_first(snapshots.is_empty()) {
        fitting.push(None);
    }
    if fitting.is_empty() {
        return Err(before_all(files, snapshots)?);
    }
    let acknowledged = acknowledged.filter(|_| at == Moment::Latest).unwrap_or(0);
    let changes = FolderChanges::choose(files, &Arc::default(), fitting.into_iter(), acknowledged)?;
    let changes = changes.ok_or(BackupError::Short { acknowledged })?;
    let mut restore = Restore::begin(into, at)?;
    let base = changes.base;
    let (mut last, mut last_ms) = (base[0], base[1]);
    let reach = changes.read(|change| {
        if change.seq > last {
            (last, last_ms) = (change.seq, change.at_ms);
        }
        restore.add(base, change)
    })?;
    if let Reach::Damage { error, .. } = reach
        && !restore.cut.passed
        && at != Moment::Change(last)
    {
        return Err(BackupError::Store(error));
    }
    restore.cut.may_end([last, last_ms], u64::MAX)?;
    restore.finish(Manifest {
        program: env!("CARGO_PKG_VERSION").to_owned(),
        store: store.to_string(),
        first: base[0],
        first_ms: base[1],
        last,
        last_ms,
        taken_ms: last_ms,
        resources: BTreeMap::default(),
    })
}

/// The answer to a moment before the oldest snapshot, behind which the journal begins: it says which moments there are.
fn before_all(
    files: JournalFiles,
    mut snapshots: Vec<Snapshot>,
) -> Result<BackupError, BackupError> {
    snapshots.reverse();
    let oldest = FolderChanges::choose(files, &Arc::default(), snapshots.into_iter().map(Some), 0)?;
    let oldest = oldest.ok_or(BackupError::Short { acknowledged: 0 })?;
    let mut last = oldest.base;
    oldest.read(|change| {
        last = last.max([change.seq, change.at_ms]);
        Ok(())
    })?;
    Ok(out_of_range(oldest.base, last))
}

fn out_of_range(from: [u64; 2], to: [u64; 2]) -> BackupError {
    BackupError::OutOfRange {
        first: from[0],
        last: to[0],
        from: moment_text(from[1]),
        to: moment_text(to[1]),
    }
}

/// A time in milliseconds since 1970, as people write it.
pub(crate) fn moment_text(ms: u64) -> String {
    let time = UNIX_EPOCH + Duration::from_millis(ms.min(LATEST_MS));
    humantime::format_rfc3339_millis(time).to_string()
}

/// Chooses the changes that belong to the moment. Pure.
#[derive(Debug)]
struct Cut {
    at: Moment,
    base: [u64; 2],
    /// The first moment that can be had: the base, or else the first change.
    begin: Option<[u64; 2]>,
    /// The last change that belongs to it, and its time.
    last: [u64; 2],
    passed: bool,
}

impl Cut {
    fn new(at: Moment) -> Self {
        Self {
            at,
            base: [0; 2],
            begin: None,
            last: [0; 2],
            passed: false,
        }
    }

    /// Whether a change belongs to it. The changes of the snapshot come first, then all others in order.
    fn takes(&mut self, base: [u64; 2], change: &JournalChange) -> bool {
        if self.base != base {
            (self.base, self.last, self.begin) = (base, base, Some(base));
        }
        if change.seq <= base[0] {
            return true;
        }
        self.begin.get_or_insert([change.seq, change.at_ms]);
        self.passed |= match self.at {
            Moment::Latest => false,
            Moment::Change(last) => change.seq > last,
            Moment::Time(time) => change.at_ms > time,
        };
        if !self.passed {
            self.last = [change.seq, change.at_ms];
        }
        !self.passed
    }

    /// Looks whether the moment lies within what was read: up to the time `end_ms`, and the change `last` with its time.
    fn may_end(&self, last: [u64; 2], end_ms: u64) -> Result<(), BackupError> {
        let begin = self.begin.unwrap_or_default();
        let inside = match self.at {
            Moment::Latest => true,
            Moment::Change(change) => (begin[0]..=last[0]).contains(&change),
            Moment::Time(time) => begin[1] <= time && time <= end_ms,
        };
        if inside {
            Ok(())
        } else {
            Err(out_of_range(begin, last))
        }
    }
}

/// A store that is being made from the changes up to a moment.
struct Restore {
    out: NewStore,
    cut: Cut,
}

impl Restore {
    fn begin(into: &Path, at: Moment) -> Result<Self, BackupError> {
        Ok(Self {
            out: NewStore::begin(into)?,
            cut: Cut::new(at),
        })
    }

    fn add(&mut self, base: [u64; 2], change: JournalChange) -> Result<(), BackupError> {
        if self.cut.takes(base, &change) {
            self.out.add(change)?;
        }
        Ok(())
    }

    /// Ends the store and moves it to its place. `manifest` is that of the source.
    fn finish(self, manifest: Manifest) -> Result<Manifest, BackupError> {
        let [last, last_ms] = self.cut.last;
        Ok(Manifest {
            last,
            last_ms,
            resources: self.out.finish(last)?,
            ..manifest
        })
    }
}
