//! Makes a store from what is left of one of which both copies are damaged: record by record, from all that can be read of
//! the journal, the snapshots and the view, of the data folder and of an archive.
//!
//! Of each record the newest change counts that is whole in any copy. Nothing is written into the folders that are read.
//!
//! Order of reading: [`found`] (what is known of the changes; pure), [`sources`] (the folders that are read), this file.

// Decision: Salvage takes whole pieces only.

mod found;
mod sources;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(crate) use found::LostRecord;
use found::{KnownChanges, Told};
use sources::Sources;

use super::backup::{BackupError, NewStore, Totals};
use super::journal::JournalError;
use crate::num::as_u64;

/// The most damaged places and the most lost records that are named; the others are counted.
const NAMED_MAX: usize = 10_000;

/// The store that was made, and what is missing in it.
#[derive(Debug)]
pub(crate) struct Salvaged {
    /// The last change that was acknowledged, if that is known.
    pub(crate) acknowledged: Option<u64>,
    /// The last change of the new store.
    pub(crate) last: u64,
    /// The records of each resource.
    pub(crate) resources: BTreeMap<String, Totals>,
    /// The first and the last of changes of which no copy is whole.
    pub(crate) missing: Vec<(u64, u64)>,
    /// Places that can't be read.
    pub(crate) damaged: Vec<String>,
    /// Records whose last change is damaged, in order, if something is missing.
    pub(crate) lost: Vec<LostRecord>,
    /// The number of damaged places and lost records that are not named.
    pub(crate) unnamed: u64,
}

/// The reason why nothing was salvaged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SalvageError {
    /// A process uses a folder.
    #[error("process {holder} uses {}; stop it first", .folder.display())]
    InUse {
        folder: PathBuf,
        /// The number of the process.
        holder: String,
    },
    /// A folder is another store's.
    #[error("{} is not of the store in {}; name folders of one store", .other.display(), .first.display())]
    OtherStore {
        /// The folder that says which store it is.
        first: PathBuf,
        other: PathBuf,
    },
    /// A file changed between two readings.
    #[error(
        "the files that are read have changed meanwhile; run the command again when nobody uses them"
    )]
    Changed,
    /// The folders can't be read, or the new store can't be written.
    #[error(transparent)]
    Store(#[from] BackupError),
}

impl From<JournalError> for SalvageError {
    fn from(error: JournalError) -> Self {
        Self::Store(error.into())
    }
}

/// Makes a store in the folder `into`, which must have none, from the folders `from`: data folders and archives of one store.
pub(crate) fn salvage(from: &[PathBuf], into: &Path) -> Result<Salvaged, SalvageError> {
    let mut out = NewStore::begin(into)?;
    let sources = Sources::open(from, &out.scratch())?;
    let mut found = KnownChanges::default();
    let (mut damaged, mut unnamed) = (sources.faults(), 0);
    sources.read(&mut |told| {
        if let Some(place) = found.add(told) {
            if damaged.len() < NAMED_MAX {
                damaged.push(place);
            } else {
                unnamed += 1;
            }
        }
        Ok(())
    })?;
    let last = found.last().max(sources.acknowledged().unwrap_or(0));
    sources.read(&mut |told| {
        if let Told::Change(change) = told
            && found.takes(&change)
        {
            out.add(change)?;
        }
        Ok(())
    })?;
    for numbers in found.numbers() {
        out.add(numbers)?;
    }
    if !found.all_taken() {
        return Err(SalvageError::Changed);
    }
    let missing = found.missing(last);
    let mut losses = found.lost(!missing.is_empty());
    unnamed += as_u64(losses.len().saturating_sub(NAMED_MAX));
    losses.truncate(NAMED_MAX);
    let acknowledged = sources.acknowledged();
    // The copies of the views are in the folder of the unfinished store.
    drop(sources);
    Ok(Salvaged {
        acknowledged,
        last,
        resources: out.finish(last)?,
        missing,
        damaged,
        lost: losses,
        unnamed,
    })
}
