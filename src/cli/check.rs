//! `perennial check`: whether the settings are valid, and whether the data folder is whole. What is wrong with the settings
//! was printed when they were loaded.

use super::{
    AdminArg, Exit, admin_client, complain, config_fault, print, reachable, reload, say, scans,
};
use crate::settings::{LoadedSettings, Settings, SettingsSource};
use crate::storage::{
    DataCheck, DataFinding, FolderFault, PrintError, ViewCheck, check_data, data_fit,
};

pub(super) fn run(
    loaded: &LoadedSettings,
    source: SettingsSource,
    with_data: bool,
    running: Option<AdminArg>,
) -> Exit {
    for warning in &loaded.warnings {
        say(format_args!("{warning} (a warning)"));
    }
    let routes = count(loaded.settings.routes.len(), "route");
    let resources = count(loaded.settings.resources.len(), "resource");
    let printed = print(&format!("{}: ok, {routes}, {resources}\n", source.name()));
    let data_checked = || {
        if with_data {
            data(&source).and_then(|| fit(&loaded.settings))
        } else {
            Exit::Ok
        }
    };
    printed.and_then(data_checked).and_then(|| {
        let Some(admin) = running else {
            return Exit::Ok;
        };
        let file = source.file();
        admin.ask(source, |address| {
            reload::run(address, true, file.as_deref()).and_then(|| scans::run(address))
        })
    })
}

fn count(n: usize, thing: &str) -> String {
    format!("{n} {thing}{}", if n == 1 { "" } else { "s" })
}

/// Prints in what the settings don't fit the records of a data folder that is whole.
fn fit(settings: &Settings) -> Exit {
    let folder = settings.server.data.display();
    match data_fit(&settings.server.data, &settings.resources) {
        Ok(findings) => {
            for finding in &findings {
                say(format_args!("{folder}: {finding}"));
            }
            if findings.iter().any(DataFinding::is_refusal) {
                Exit::Data
            } else {
                Exit::Ok
            }
        }
        Err(error) => complain(&error, Exit::TryAgain),
    }
}

/// Reads the data folder, whatever else is wrong with the settings, and prints what is wrong with it.
pub(super) fn data(source: &SettingsSource) -> Exit {
    let read = source
        .data()
        .and_then(|data| Ok((data, source.cache_bytes()?)));
    let (data, cache_bytes) = match read {
        Ok(read) => read,
        Err(error) => return config_fault(&error),
    };
    let folder = data.display();
    let checked = match check_data(&data, cache_bytes) {
        Ok(checked) => checked,
        Err(error @ PrintError::NoStore(_)) => return complain(&error, Exit::Failed),
        Err(error) if error.is_damage() => return complain(&error, Exit::Data),
        Err(error) => return complain(&error, Exit::TryAgain),
    };
    for finding in &checked.findings {
        say(format_args!("{folder}: {finding}"));
    }
    let asked = checked.mends.is_none() && is_damaged(&checked) && asked_to_mend(source);
    if let (ViewCheck::Failed(why), Some(false)) = (&checked.view, checked.mends) {
        say(format_args!(
            "{folder}: damaged; the view was not compared, so it is not known whether it has all that was acknowledged: {why}"
        ));
        return Exit::TryAgain;
    }
    if let Some(advice) = advice(&checked, asked) {
        if let ViewCheck::NotCompared(why) | ViewCheck::Failed(why) = &checked.view {
            say(format_args!("{folder}: the view was not compared: {why}"));
        }
        say(format_args!("{folder}: damaged; {advice}"));
        return Exit::Data;
    }
    let view = match &checked.view {
        ViewCheck::Compared { records } => format!(", and the view with {records} records"),
        ViewCheck::NotCompared(why) => format!("; the view was not compared: {why}"),
        ViewCheck::Failed(why) => {
            say(format_args!("{folder}: the view was not compared: {why}"));
            return Exit::TryAgain;
        }
    };
    let snapshots = count(checked.snapshots, "snapshot");
    print(&format!(
        "{folder}: whole, up to change {}: the journal, {snapshots}{view}\n",
        checked.last
    ))
}

/// The next step with a damaged folder; `None` if it is whole.
fn advice(checked: &DataCheck, asked: bool) -> Option<&'static str> {
    is_damaged(checked).then_some(match checked.mends {
        Some(true) => {
            "keep a copy of the folder, then start the daemon: another copy has all that was acknowledged"
        }
        Some(false) => {
            "no copy has all that was acknowledged: keep a copy of the folder, then put back a backup, or have perennial salvage make a store of what can be read"
        }
        None if asked => ASKED_TO_MEND,
        None => {
            "the daemon that runs finds it when it reads everything, at its start and every 6 hours, and mends it from the other copy; if it can't, /readyz/storage says so"
        }
    })
}

fn is_damaged(checked: &DataCheck) -> bool {
    checked.findings.iter().any(FolderFault::is_damage)
}

/// The next step when the running daemon knows of damage.
pub(super) const ASKED_TO_MEND: &str = "the daemon that runs was asked to read everything now, and mends it from the other copy; if it can't, /readyz/storage says so";

/// Asks the daemon of these settings to look for damage. False if none answers.
pub(super) fn asked_to_mend(source: &SettingsSource) -> bool {
    let asked = |admin| admin_client::post(&reachable(admin).to_string(), "/scrub").is_ok();
    source.admin().is_ok_and(asked)
}
