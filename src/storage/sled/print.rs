//! Prints the journal of a store that need not be open.

use std::io::{self, Write};
use std::path::Path;

use super::data_folder::DataFolder;
use super::owner::{identify, tag_of};
use super::past::PastOf;
use super::snapshots::first_change;
use crate::record::{HistoryQuery, RecordId};
use crate::storage::RecordHistory;
use crate::storage::journal::{JournalChange, JournalEffect, JournalError, JournalFiles, StoreId};

/// The reason why a journal was not read to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrintError {
    /// There is none.
    #[error("{0} has no store: name the data folder of one (server.data)")]
    NoStore(String),
    /// There is one of the format before the journal.
    #[error("{0} has a store of an older format: start the daemon, which takes it over")]
    Old(String),
    /// Nothing tells which store it is.
    #[error(
        "{0} has a store, but neither the file marks nor the journal can be read: keep a copy of the folder, then put back a backup, or have perennial salvage make a store of what can be read"
    )]
    Unnamed(String),
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
    let (store, acknowledged) = store_of(&folder)?;
    let files = JournalFiles::find(&folder.journal(), store)?;
    let first = first_change(&files, &folder, store)?;
    let begin = from.unwrap_or(first).max(first);
    let reach = files.read::<PrintError>(begin.saturating_sub(1), |changes| {
        let mut wanted = changes.iter().filter(|change| change.seq >= begin);
        Ok(wanted.try_for_each(|change| writeln!(out, "{}", line(change)))?)
    })?;
    match files.shortfall(reach, u64::MAX, acknowledged.unwrap_or(0)) {
        Some(error) => Err(error.into()),
        None => Ok(()),
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
    let (store, acknowledged) = store_of(&data)?;
    let past = PastOf {
        data: &data,
        store,
        tag: &tag_of(&data, store)?,
        resource,
        id,
        query,
        until: u64::MAX,
        needed: acknowledged.unwrap_or(0),
    };
    let read = || past.read(|| Ok(()));
    JournalFiles::beside_daemon(
        read,
        |read| matches!(read, Err(PrintError::Journal(error)) if error.is_vanished()),
    )
}

/// The first change that the journal in a data folder has.
pub(crate) fn journal_begins(data: &Path) -> Result<u64, PrintError> {
    let data = DataFolder::new(data);
    let (store, _) = store_of(&data)?;
    let files = JournalFiles::find(&data.journal(), store)?;
    Ok(first_change(&files, &data, store)?)
}

/// The number of the store in a data folder; `None` if none can be read.
pub(crate) fn store_in(data: &Path) -> Option<u128> {
    let (store, _) = store_of(&DataFolder::new(data)).ok()?;
    Some(store.0)
}

/// The store of a folder, and the last change that was acknowledged, if that is known.
pub(super) fn store_of(folder: &DataFolder) -> Result<(StoreId, Option<u64>), PrintError> {
    identify(folder)?.ok_or_else(|| PrintError::unknown(folder))
}

impl PrintError {
    /// The error of a folder none of whose parts names its store.
    pub(super) fn unknown(folder: &DataFolder) -> Self {
        let path = folder.path.display().to_string();
        let parts = [folder.journal(), folder.snapshots(), folder.found_view()];
        if folder.is_old() {
            Self::Old(path)
        } else if parts.iter().any(|part| part.exists()) {
            Self::Unnamed(path)
        } else {
            Self::NoStore(path)
        }
    }

    /// Whether what is stored is damaged, and not only out of reach.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Journal(error) => error.is_damage(),
            Self::Unnamed(_) => true,
            Self::NoStore(_) | Self::Old(_) | Self::Output(_) => false,
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
    let mut line = serde_json::Map::new();
    let mut add = |name: &str, value: serde_json::Value| line.insert(name.to_owned(), value);
    add("change", change.seq.into());
    add("at_ms", change.at_ms.into());
    add("kind", kind.into());
    add("resource", change.collection.as_str().into());
    add("id", id.into());
    add("bytes", bytes.into());
    if let Some(by) = &change.by {
        add("by", by.as_ref().into());
    }
    line.into()
}
