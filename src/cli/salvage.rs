//! `perennial salvage`: a store from what is left of one of which both copies are damaged.

use std::path::{Path, PathBuf};

use super::backup::exit_of;
use super::{Exit, complain, config_fault, print, say};
use crate::settings::SettingsSource;
use crate::storage::{SalvageError, Salvaged, salvage};

pub(super) fn run(settings: &SettingsSource, from: Vec<PathBuf>, into: &Path) -> Exit {
    let from = if from.is_empty() {
        let folders = settings.data().and_then(|data| {
            let archive = settings.archive()?.filter(|folder| folder.is_dir());
            Ok(std::iter::once(data).chain(archive).collect())
        });
        match folders {
            Ok(folders) => folders,
            Err(error) => return config_fault(&error),
        }
    } else {
        from
    };
    match salvage(&from, into) {
        Ok(salvaged) => told(&salvaged, into),
        Err(error @ SalvageError::InUse { .. }) => complain(&error, Exit::TryAgain),
        Err(SalvageError::Store(error)) => complain(&error, exit_of(&error)),
        Err(error @ (SalvageError::OtherStore { .. } | SalvageError::Changed)) => {
            complain(&error, Exit::Failed)
        }
    }
}

/// Prints what came out, and on stderr what did not.
fn told(salvaged: &Salvaged, into: &Path) -> Exit {
    for place in &salvaged.damaged {
        say(format_args!("not read: {place}"));
    }
    for (first, last) in &salvaged.missing {
        let changes = if first == last {
            format!("change {first}")
        } else {
            format!("changes {first} to {last}")
        };
        say(format_args!(
            "missing: {changes}; a record that was changed there came out as it was before, and one that was deleted may be there again"
        ));
    }
    for record in &salvaged.lost {
        say(format_args!("missing: {record}"));
    }
    if salvaged.unnamed > 0 {
        say(format_args!(
            "and {} more that are not named",
            salvaged.unnamed
        ));
    }
    if salvaged.acknowledged.is_none() {
        say(format_args!(
            "missing: which change was acknowledged last is not known, so changes after {} may have been lost",
            salvaged.last
        ));
    }
    let totals = salvaged.resources.values();
    let records: u64 = totals.map(|totals| totals.records).sum();
    let resources = salvaged.resources.iter();
    let lines = resources.map(|(name, totals)| format!("  {name}: {}\n", totals.records));
    let printed = print(&format!(
        "{}: a store with {records} records, up to change {}\n{}",
        into.display(),
        salvaged.last,
        lines.collect::<String>()
    ));
    let whole = salvaged.missing.is_empty() && salvaged.acknowledged.is_some();
    printed.and_then(|| if whole { Exit::Ok } else { Exit::Data })
}
