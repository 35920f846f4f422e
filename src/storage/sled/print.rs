//! Prints and checks the journal of a store that need not be open.

use std::io::{self, Write};
use std::path::Path;

use super::data_folder::DataFolder;
use crate::record::RecordId;
use crate::storage::journal::{
    JournalChange, JournalEffect, JournalError, JournalFiles, Marks, MarksFound, Reach, Snapshot,
    StoreId,
};

/// The reason why a journal was not printed to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrintError {
    /// There is none.
    #[error("{0} has no store: name the data folder of one (server.data)")]
    NoStore(String),
    /// It is damaged or can't be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Its end is missing.
    #[error("the journal ends at change {last}, but change {acknowledged} was acknowledged")]
    Short {
        /// The last change that is there.
        last: u64,
        acknowledged: u64,
    },
    /// Without the marks nobody knows where it should end.
    #[error(
        "the file marks can't be read, and without it nobody knows where the journal should end"
    )]
    NoMarks,
    /// The output can't be written.
    #[error(transparent)]
    Output(#[from] io::Error),
}

/// Writes each change from `from` on, or else from the oldest that is kept, as a line of JSON to `out`.
pub(crate) fn print_journal(
    data: &Path,
    from: Option<u64>,
    out: &mut dyn Write,
) -> Result<(), PrintError> {
    let folder = DataFolder::new(data);
    let (store, _) = find(&folder)?;
    let files = JournalFiles::find(&folder.journal(), store)?;
    let first = files.first().unwrap_or(1);
    let begin = from.unwrap_or(first).max(first);
    let reach = files.read::<PrintError>(begin.saturating_sub(1), |changes| {
        let mut wanted = changes.iter().filter(|change| change.seq >= begin);
        Ok(wanted.try_for_each(|change| writeln!(out, "{}", line(change)))?)
    })?;
    match reach {
        Reach::End(_) => Ok(()),
        Reach::Damage { error, .. } => Err(error.into()),
    }
}

/// Reads the snapshots and the journal behind the oldest. Returns the number of the last change if they are whole, and have
/// all that was acknowledged.
pub(crate) fn verify_journal(data: &Path) -> Result<u64, PrintError> {
    let folder = DataFolder::new(data);
    let (store, acknowledged) = find(&folder)?;
    let mut base = 0;
    for snapshot in Snapshot::find(&folder.snapshots(), store)? {
        snapshot.read::<JournalError>(|_| Ok(()))?;
        base = snapshot.seq;
    }
    let files = JournalFiles::find(&folder.journal(), store)?;
    let last = match files.read::<PrintError>(base, |_| Ok(()))? {
        Reach::End(end) => end.last,
        Reach::Damage { error, .. } => return Err(error.into()),
    };
    match acknowledged {
        Some(acknowledged) if last < acknowledged => Err(PrintError::Short { last, acknowledged }),
        Some(_) => Ok(last),
        None => Err(PrintError::NoMarks),
    }
}

/// The store of a folder, and the last change that was acknowledged, if the marks can be read.
fn find(folder: &DataFolder) -> Result<(StoreId, Option<u64>), PrintError> {
    if let MarksFound::Found { mark, .. } = Marks::read(&folder.path)? {
        return Ok((mark.store, Some(mark.acknowledged)));
    }
    let found = JournalFiles::store_of(&folder.journal())?;
    let none = || PrintError::NoStore(folder.path.display().to_string());
    Ok((found.ok_or_else(none)?, None))
}

impl PrintError {
    /// Whether what is stored is damaged, and not only out of reach.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Short { .. } | Self::NoMarks => true,
            Self::Journal(error) => error.is_damage(),
            Self::NoStore(_) | Self::Output(_) => false,
        }
    }
}

fn line(change: &JournalChange) -> serde_json::Value {
    let id = RecordId::from_key(&change.key).map(|id| id.to_string());
    let (kind, bytes) = match &change.effect {
        JournalEffect::Put { json, .. } => ("put", json.len()),
        JournalEffect::Delete => ("delete", 0),
        JournalEffect::Numbers { .. } => ("numbers", 0),
    };
    serde_json::json!({
        "change": change.seq,
        "at_ms": change.at_ms,
        "kind": kind,
        "resource": change.collection,
        "id": id,
        "bytes": bytes,
    })
}
