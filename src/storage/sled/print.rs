//! Prints and checks the journal of a store that need not be open.

use std::io::{self, Write};
use std::path::Path;

use super::opening::DataFolder;
use crate::record::RecordId;
use crate::storage::journal::{
    JournalChange, JournalEffect, JournalError, JournalFiles, Marks, MarksFound, Reach, Snapshot,
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
    /// The output can't be written.
    #[error(transparent)]
    Output(#[from] io::Error),
}

/// Writes each change from `from` on as a line of JSON to `out`. Returns the numbers of the first and the last change that were
/// read.
pub(crate) fn print_journal(
    data: &Path,
    from: Option<u64>,
    out: &mut dyn Write,
) -> Result<(u64, u64), PrintError> {
    let folder = DataFolder {
        path: data.to_owned(),
    };
    let none = || PrintError::NoStore(data.display().to_string());
    let store = match Marks::read(data)? {
        MarksFound::Found { mark, .. } => Some(mark.store),
        MarksFound::Absent | MarksFound::Damaged => JournalFiles::store_of(&folder.journal())?,
    };
    let store = store.ok_or_else(none)?;
    let files = JournalFiles::find(&folder.journal(), store)?;
    let first = files.first().unwrap_or(1);
    let begin = from.unwrap_or(first).max(first);
    for snapshot in Snapshot::find(&folder.snapshots(), store)? {
        snapshot.read::<JournalError>(|_| Ok(()))?;
    }
    let reach = files.read::<PrintError>(begin.saturating_sub(1), |changes| {
        let mut wanted = changes.iter().filter(|change| change.seq >= begin);
        Ok(wanted.try_for_each(|change| writeln!(out, "{}", line(change)))?)
    })?;
    match reach {
        Reach::End(end) => Ok((begin, end.last)),
        Reach::Damage { error, .. } => Err(error.into()),
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
