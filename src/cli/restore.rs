//! `perennial restore`: a store as it was at a moment.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::backup::exit_of;
use super::{Exit, LoadOrSay as _, complain, print};
use crate::backup::{self, BackupPlace, BackupRunError};
use crate::settings::{CheckedFolders, SettingsSource};
use crate::storage::{BackupError, Manifest, Moment, restore_backup, restore_folder};

/// Reads a moment as people write it.
pub(super) fn moment(text: &str) -> Result<Moment, &'static str> {
    if let Ok(change) = text.parse() {
        return Ok(Moment::Change(change));
    }
    let time = humantime::parse_rfc3339(text)
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .and_then(|since| u64::try_from(since.as_millis()).ok());
    time.map(Moment::Time)
        .ok_or("write the number of a change, or a time such as 2026-11-29T14:00:00Z")
}

/// Reads the settings only as far as they are needed: those of backups for a folder or bucket with some, and the data folder if
/// no other is named.
pub(super) fn run(
    settings: SettingsSource,
    from: &Path,
    at: Moment,
    into: Option<PathBuf>,
) -> Exit {
    let into = match into.map_or_else(|| settings.data_or_say(), Ok) {
        Ok(into) => into,
        Err(exit) => return exit,
    };
    let Some(place) = BackupPlace::with_backups(from) else {
        return told(restore(from, at, &into), &into);
    };
    settings.with(CheckedFolders::None, |loaded, _| {
        match backup::restore(&loaded.settings.backup, &place, at, &into) {
            Ok(manifest) => told(Ok(manifest), &into),
            Err(BackupRunError::Restore { error, .. }) => told(Err(error), &into),
            Err(error) => complain(&error, Exit::Failed),
        }
    })
}

/// Prints what became of a restoring.
fn told(restored: Result<Manifest, BackupError>, into: &Path) -> Exit {
    match restored {
        Ok(manifest) => {
            let (records, last) = (manifest.records(), manifest.last);
            let resources = manifest.of_clients();
            let lines = resources.map(|(name, totals)| format!("  {name}: {}\n", totals.records));
            print(&format!(
                "{}: a store with {records} records, as it was after change {last}\n{}",
                into.display(),
                lines.collect::<String>()
            ))
        }
        Err(error) => complain(&error, exit_of(&error)),
    }
}

fn restore(source: &Path, at: Moment, into: &Path) -> Result<Manifest, BackupError> {
    if source == Path::new("-") {
        restore_backup(&mut io::stdin().lock(), at, into)
    } else if source.is_dir() {
        restore_folder(source, at, into)
    } else {
        let mut file = File::open(source).map_err(BackupError::Input)?;
        restore_backup(&mut file, at, into)
    }
}
