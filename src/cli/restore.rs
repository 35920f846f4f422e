//! `perennial restore`: a store as it was at a moment.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::backup::exit_of;
use super::{Exit, LoadOrSay as _, complain, config_fault, print, say};
use crate::backup::{self, BackupPlace, BackupRunError};
use crate::settings::SettingsSource;
use crate::storage::{BackupError, Manifest, Moment, moment_text, restore_backup, restore_folder};

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
    settings: &SettingsSource,
    from: &Path,
    at: Moment,
    into: Option<PathBuf>,
) -> Exit {
    if let Moment::Time(time) = at
        && is_future(time, SystemTime::now())
    {
        let time = moment_text(time);
        say(format_args!(
            "perennial: --at {time} is in the future; leave --at out to restore all that is there"
        ));
        return Exit::Usage;
    }
    let into = match into.map_or_else(|| settings.data_or_say(), Ok) {
        Ok(into) => into,
        Err(exit) => return exit,
    };
    let Some(place) = BackupPlace::with_backups(from) else {
        return told(restore(from, at, &into), at, &into);
    };
    let settings = match settings.for_backups() {
        Ok(settings) => settings,
        Err(error) => return config_fault(&error),
    };
    let tell = |name: String, other: Option<String>| {
        say(format_args!("restoring from {name}"));
        if let Some(other) = other {
            say(format_args!(
                "{other} is a backup of another store, of before or after a restore, and may have this moment, too; if that is the one you want, name this file instead of its folder"
            ));
        }
    };
    match backup::restore(&settings.backup, &place, at, &into, tell) {
        Ok(manifest) => told(Ok(manifest), at, &into),
        Err(BackupRunError::Restore { error, .. }) => told(Err(error), at, &into),
        Err(error) => complain(&error, Exit::Failed),
    }
}

/// Whether a time in milliseconds since 1970 is after `now`: nobody knows what a store will be then.
fn is_future(time: u64, now: SystemTime) -> bool {
    now < UNIX_EPOCH + Duration::from_millis(time)
}

/// Prints what became of a restoring. Whoever named a time hears that of the last change before it.
fn told(restored: Result<Manifest, BackupError>, at: Moment, into: &Path) -> Exit {
    match restored {
        Ok(manifest) => {
            let time = match at {
                Moment::Time(_) => format!(", of {}", moment_text(manifest.last_ms)),
                Moment::Latest | Moment::Change(_) => String::new(),
            };
            let (records, last) = (manifest.records(), manifest.last);
            let resources = manifest.of_clients();
            let lines = resources.map(|(name, totals)| format!("  {name}: {}\n", totals.records));
            print(&format!(
                "{}: a store with {records} records, as it was after change {last}{time}\n{}",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_after_now_is_in_the_future() {
        let now = UNIX_EPOCH + Duration::from_secs(1);
        assert_eq!(
            [999, 1000, 1001].map(|time| is_future(time, now)),
            [false, false, true]
        );
    }
}
