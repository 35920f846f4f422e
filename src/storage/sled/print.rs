//! Prints the journal of a store that need not be open.

use std::io::{self, Write};
use std::path::Path;

use super::data_folder::DataFolder;
use super::past::PastOf;
use crate::record::{HistoryQuery, RecordId};
use crate::storage::RecordHistory;
use crate::storage::journal::{
    JournalChange, JournalEffect, JournalError, JournalFiles, Marks, MarksFound, Reach, StoreId,
};

/// The reason why a journal was not read to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrintError {
    /// There is none.
    #[error("{0} has no store: name the data folder of one (server.data)")]
    NoStore(String),
    /// It is damaged or can't be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
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
    let (store, _) = store_of(&folder)?;
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

/// Reads the history of a record from the files.
pub(crate) fn read_past(
    data: &Path,
    resource: &str,
    id: &RecordId,
    query: HistoryQuery,
) -> Result<RecordHistory, PrintError> {
    let data = DataFolder::new(data);
    let (store, _) = store_of(&data)?;
    let past = PastOf {
        data: &data,
        store,
        resource,
        id,
        query,
        until: u64::MAX,
    };
    let read = || past.read(|| Ok(()));
    JournalFiles::beside_daemon(
        read,
        |read| matches!(read, Err(PrintError::Journal(error)) if error.is_vanished()),
    )
}

/// The number of the store in a data folder; `None` if none can be read.
pub(crate) fn store_in(data: &Path) -> Option<u128> {
    let (store, _) = store_of(&DataFolder::new(data)).ok()?;
    Some(store.0)
}

/// The store of a folder, and the last change that was acknowledged, if the marks can be read.
pub(super) fn store_of(folder: &DataFolder) -> Result<(StoreId, Option<u64>), PrintError> {
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
