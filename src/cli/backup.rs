//! `perennial backup`: all changes of a store from its oldest snapshot on, in one file.

use std::fs::{self, File};
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;

use super::check::{ASKED_TO_MEND, asked_to_mend};
use super::{Exit, LoadOrSay as _, complain, config_fault, say};
use crate::backup::{BackupPlace, BackupRunError, back_up};
use crate::settings::SettingsSource;
use crate::storage::{
    BackupError, BackupPlan, JournalFiles, Manifest, Untold, moment_text, verify_backup,
};

/// A backup in a folder or bucket needs the settings of backups; one in a file needs only the data folder, whatever else is wrong
/// with the settings.
pub(super) fn run(source: &SettingsSource, target: &Path) -> Exit {
    if let Some(place) = BackupPlace::of(target) {
        let settings = match source.for_backups() {
            Ok(settings) => settings,
            Err(error) => return config_fault(&error),
        };
        return match back_up(&settings, &place) {
            Ok(done) => told(Ok(done), source),
            Err(BackupRunError::Write(error)) => told(Err(error), source),
            Err(error) => complain(&error, Exit::Failed),
        };
    }
    let data = match source.data_or_say() {
        Ok(data) => data,
        Err(exit) => return exit,
    };
    let done = if target == Path::new("-") {
        to_stdout(&data)
    } else {
        to_file(&data, target)
    };
    told(
        done.map(|manifest| (target.display().to_string(), manifest)),
        source,
    )
}

/// Prints what became of a backup.
fn told(done: Result<(String, Manifest), BackupError>, source: &SettingsSource) -> Exit {
    match done {
        Ok((target, manifest)) => {
            let (records, last, first) = (manifest.records(), manifest.last, manifest.first);
            // Before the first change of a store there is no moment.
            let time = match first {
                0 => String::new(),
                _ => format!(", of {}", moment_text(manifest.first_ms)),
            };
            say(format_args!(
                "{target}: {records} records at change {last}; it can be restored to any change from {first} on{time}"
            ));
            Exit::Ok
        }
        Err(error) => {
            if error.is_damage() && asked_to_mend(source) {
                say(ASKED_TO_MEND);
            }
            complain(&error, exit_of(&error))
        }
    }
}

/// The exit code of an error.
pub(super) fn exit_of(error: &BackupError) -> Exit {
    if error.is_damage() {
        Exit::Data
    } else {
        Exit::Failed
    }
}

fn to_stdout(data: &Path) -> Result<Manifest, BackupError> {
    let mut stdout = io::stdout().lock();
    if stdout.is_terminal() {
        let text = "a terminal does not take a backup: redirect stdout, or name a file";
        return Err(BackupError::Output(io::Error::other(text)));
    }
    let untold = Untold::default();
    let manifest = BackupPlan::of(data, &untold)?.write(&mut stdout, &untold)?;
    stdout.flush().map_err(BackupError::Output)?;
    Ok(manifest)
}

/// Writes into a file under another name, reads it back, and only then gives it its name.
fn to_file(data: &Path, target: &Path) -> Result<Manifest, BackupError> {
    if target.exists() {
        return Err(BackupError::Exists(target.to_owned()));
    }
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(".unfinished");
    let unfinished = target.with_file_name(name);
    let write = || write_and_verify(data, &unfinished);
    let is_outdated = |done: &Result<_, _>| matches!(done, Err(BackupError::Vanished));
    let done = JournalFiles::beside_daemon(write, is_outdated);
    let named = done.and_then(|manifest| {
        let folder = target
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let renamed = fs::rename(&unfinished, target)
            .and_then(|()| File::open(folder.unwrap_or(Path::new(".")))?.sync_all());
        renamed.map_err(BackupError::Output)?;
        Ok(manifest)
    });
    if named.is_err() {
        drop(fs::remove_file(&unfinished));
    }
    named
}

fn write_and_verify(data: &Path, unfinished: &Path) -> Result<Manifest, BackupError> {
    let untold = Untold::default();
    let plan = BackupPlan::of(data, &untold)?;
    let mut file = File::create(unfinished).map_err(BackupError::Output)?;
    let written = plan.write(&mut file, &untold)?;
    file.sync_all().map_err(BackupError::Output)?;
    let mut file = File::open(unfinished).map_err(BackupError::Input)?;
    let read = verify_backup(&mut file)?;
    if read == written {
        Ok(read)
    } else {
        Err(BackupError::OtherRecords)
    }
}
