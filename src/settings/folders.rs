//! What the settings name on the disk: the folders of routes must be there and must not hold the records or the logs, which
//! anybody could download then; their error pages should be there.
//!
//! Looked at by `perennial check` and before a start. A folder that vanishes later is the file cache's business.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::fault::SettingFault;
use super::keys;
use super::walk::Findings;

const LOGS: [&str; 3] = ["logging", "file", "dir"];

/// Adds folders that can't be served to the faults, and pages that are not there to the warnings.
pub(super) fn check(found: &mut Findings) {
    let private = private(found);
    for (prefix, _) in found.named("route") {
        let root = ["route", &prefix, "files", "root"].map(str::to_owned);
        let Some((Value::String(text), location)) = found.written.get(root.as_slice()) else {
            continue;
        };
        if text.is_empty() || text.contains('\0') {
            continue;
        }
        let folder = PathBuf::from(text);
        let location = location.clone();
        let problem = folder_fault(&folder).or_else(|| holds_fault(&folder, &private));
        match problem {
            Some(problem) => found.fault(location, &root, problem),
            None => pages(found, &prefix, &folder),
        }
    }
}

/// The folders that nobody may download, with what they hold.
fn private(found: &Findings) -> Vec<(&'static str, PathBuf)> {
    let path = |key: &[&str]| {
        let written = found.value_of(key).and_then(Value::as_str);
        let default = keys::find(key).map(|key| key.value.trim_matches('"'));
        real(Path::new(written.or(default).unwrap_or_default()))
    };
    let records = !found.named("resource").is_empty();
    let logs = found.value_of(&LOGS).is_some();
    let records = records.then(|| ("records", path(&["server", "data"])));
    let logs = logs.then(|| ("logs", path(&LOGS)));
    records.into_iter().chain(logs).collect()
}

fn holds_fault(folder: &Path, private: &[(&str, PathBuf)]) -> Option<String> {
    let root = real(folder);
    let (what, path) = private.iter().find(|(_, path)| path.starts_with(&root))?;
    Some(format!(
        "{} holds the {what}, in {}, so that anybody could download them; name a folder beside it",
        absolute(folder),
        path.display()
    ))
}

/// The path without links, also of what is not there yet.
fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let known = path.ancestors().find_map(|above| {
        let rest = path.strip_prefix(above).ok()?;
        // `collect` leaves out the slash that joining nothing adds.
        let real = fs::canonicalize(above).ok()?.join(rest);
        Some(real.components().collect())
    });
    known.unwrap_or(path)
}

fn folder_fault(folder: &Path) -> Option<String> {
    match fs::metadata(folder) {
        Ok(is) if is.is_dir() => {
            let error = fs::read_dir(folder).err()?;
            Some(format!("{} can't be read: {error}", absolute(folder)))
        }
        Ok(_) => Some(format!(
            "{} is not a folder; name the folder that the file is in",
            absolute(folder)
        )),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(format!(
            "there is no folder {}; create it, or name another one",
            absolute(folder)
        )),
        Err(error) => Some(format!("{} can't be used: {error}", absolute(folder))),
    }
}

/// The path from the root of the file system, since relative ones depend on the working folder.
fn absolute(folder: &Path) -> String {
    let path = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    path.display().to_string()
}

/// A page may come with the next version of the site, so that a missing one is worth a warning only.
fn pages(found: &mut Findings, prefix: &str, folder: &Path) {
    let key = ["route", prefix, "errors"].map(str::to_owned);
    let Some((Value::Object(pages), location)) = found.written.get(key.as_slice()) else {
        return;
    };
    let missing = pages.values().filter_map(Value::as_str).filter_map(|page| {
        let file = folder.join(page.trim_start_matches('/'));
        (!file.is_file()).then(|| format!("there is no file {}", absolute(&file)))
    });
    let warnings: Vec<_> = missing
        .map(|problem| SettingFault::new(location.clone(), &key, problem))
        .collect();
    found.warnings.extend(warnings);
}
