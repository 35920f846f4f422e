//! Takes over a store of the format before the journal, in which sled's own files were the only copy.
//!
//! Opening such a store may change it, so a copy is opened. Its records become the first snapshot; then the store is moved
//! aside.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

use super::checked::{self, Checked, LAST_SEQ_KEY, SCHEMA_OLDEST};
use super::data_folder::{self, DataFolder, copy_all};
use super::engine::{Engine, Keyspace, OpenFault, Opener as _};
use super::log::seq_of;
use super::opener::SledOpener;
use super::snapshots;
use crate::plain_file;
use crate::storage::journal::StoreId;

/// The cache of the engine that is only read once.
const CACHE_BYTES: u64 = 64 << 20;

/// Turns the old store in `data` into a first snapshot of the store `store`.
pub(super) fn take_over(data: &DataFolder, store: StoreId) -> Result<(), OpenFault> {
    match read(data, store) {
        // There is nothing to make it again from.
        Err(OpenFault::View(found)) => Err(OpenFault::Damaged(found)),
        read => read,
    }
}

/// Moves the old store aside, when the new one has all of it.
pub(super) fn move_aside(data: &DataFolder) -> Result<(), OpenFault> {
    // The small part first: if the process ends in between, the large one is in the newer folder, which is kept longer.
    let parts = [data.old_mark(), data.old()];
    let there = parts.iter().map(PathBuf::as_path);
    let there: Vec<_> = there.filter(|part| part.exists()).collect();
    if there.is_empty() {
        return Ok(());
    }
    let why = "a store of the format before";
    data_folder::move_all_aside(&data.path, &there, why).map_err(OpenFault::Io)
}

fn read(data: &DataFolder, store: StoreId) -> Result<(), OpenFault> {
    let (old, copy) = (data.old(), data.path.join("sled-copy"));
    tracing::info!(store = %old.display(), "converting a store of the format that had no journal");
    if copy.exists() {
        fs::remove_dir_all(&copy).map_err(OpenFault::Io)?;
    }
    let read = copy_all(&old, &copy).map_err(OpenFault::Io);
    let read = read.and_then(|()| read_copy(data, store, &copy));
    fs::remove_dir_all(&copy).map_err(OpenFault::Io)?;
    read
}

fn read_copy(data: &DataFolder, store: StoreId, copy: &Path) -> Result<(), OpenFault> {
    let engine = SledOpener::new(copy.to_owned(), CACHE_BYTES).open(&[])?;
    let last_seq = check(&*engine, &data.old_mark())?;
    let checked = Checked {
        last_seq,
        ..Checked::default()
    };
    let snapshot = snapshots::of_view(&*engine, &checked, store, data, &AtomicU64::new(0))?;
    tracing::info!(file = %snapshot.path().display(), change = last_seq, "snapshot written");
    Ok(())
}

/// Looks whether the old store has all that was acknowledged, and returns its last change.
fn check(engine: &dyn Engine, mark: &Path) -> Result<u64, OpenFault> {
    let number = |key| -> Result<Option<u64>, OpenFault> {
        let value = engine.get(Keyspace::Meta, key)?;
        Ok(value.as_deref().map(seq_of).transpose()?)
    };
    let Some(found) = checked::version(engine)? else {
        return acknowledged(mark).map_or(Ok(0), |change| {
            Err(OpenFault::Damaged(format!(
                "it is empty, but it was made before, and change {change} was acknowledged"
            )))
        });
    };
    if found >= SCHEMA_OLDEST {
        let known = SCHEMA_OLDEST;
        let back = None;
        return Err(OpenFault::Newer { found, known, back });
    }
    let last_seq = number(LAST_SEQ_KEY)?.unwrap_or(0);
    let acknowledged = acknowledged(mark).unwrap_or(0);
    if last_seq < acknowledged {
        return Err(OpenFault::Damaged(format!(
            "it ends at change {last_seq}, but change {acknowledged} was acknowledged"
        )));
    }
    // A group that an error of the disk cut off has entries in the log of changes, and perhaps records, that nobody was told of.
    let mut logged = last_seq;
    engine.scan(Keyspace::Log, &last_seq.to_be_bytes(), &mut |key, _| {
        logged = seq_of(key).unwrap_or(logged).max(logged);
        true
    })?;
    Ok(logged)
}

/// The last change that was acknowledged, if that is known.
fn acknowledged(mark: &Path) -> Option<u64> {
    let bytes = plain_file::read(mark).ok()?;
    let (seq, crc) = (bytes.get(..8)?, bytes.get(8..12)?);
    let told = u32::from_be_bytes(crc.try_into().ok()?);
    (told == crc32fast::hash(seq))
        .then(|| seq_of(seq).ok())
        .flatten()
}
