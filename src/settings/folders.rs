//! Looks for what the settings name on the disk. The folders of routes must exist and must not hold the records or the logs,
//! which anybody could download then; their error pages should exist.
//!
//! `perennial check` and each start look once. The file cache finds out when a folder vanishes later.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::fault::{Location, SettingFault};
use super::keys;
use super::walk::Findings;

const LOGS: [&str; 3] = ["logging", "file", "dir"];

/// How long the folders of all routes together may take to answer, and before them those of the data and the logs. A folder
/// on a network disk that is away may never do so.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// The result of looking at the folder of a route.
struct FolderReport {
    /// The reason why it can't be served, if there is one.
    fault: Option<String>,
    /// The error pages that it does not hold.
    missing: Vec<String>,
}

/// A route's folder that is being looked at.
struct Pending {
    route: String,
    folder: PathBuf,
    location: Location,
    look: Receiver<FolderReport>,
}

/// Adds folders that can't be served to the faults, and missing pages and folders that do not answer to the warnings.
pub(super) fn check(found: &mut Findings) {
    let private = private(found);
    let private = on_a_thread(move || {
        private
            .into_iter()
            .map(|(what, path)| (what, real(&path)))
            .collect()
    });
    // Without an answer the start finds out what is wrong with the data.
    let private: Arc<Vec<Private>> = Arc::new(private.recv_timeout(ANSWER_MAX).unwrap_or_default());
    let until = Instant::now() + ANSWER_MAX;
    let left = || until.saturating_duration_since(Instant::now());
    let routes = found.named("route").into_iter();
    let pending: Vec<_> = routes
        .filter_map(|(route, _)| look_at(found, route, Arc::clone(&private)))
        .collect();
    for Pending {
        route,
        folder,
        location,
        look,
    } in pending
    {
        let root = key(&route, &["files", "root"]);
        let Ok(look) = look.recv_timeout(left()) else {
            let problem = format!(
                "{} does not answer; requests for it get 503 until it does",
                absolute(&folder)
            );
            let warning = SettingFault::new(location, &root, problem);
            found.warnings.push(warning);
            continue;
        };
        if let Some(problem) = look.fault {
            found.fault(location, &root, problem);
        }
        let errors = key(&route, &["errors"]);
        let Some((_, location)) = found.written.get(&errors).cloned() else {
            continue;
        };
        let missing = look.missing.into_iter();
        let warnings = missing.map(|text| SettingFault::new(location.clone(), &errors, text));
        found.warnings.extend(warnings);
    }
}

fn key(route: &str, rest: &[&str]) -> Vec<String> {
    let parts = ["route", route].into_iter().chain(rest.iter().copied());
    parts.map(str::to_owned).collect()
}

/// Runs `look` on a thread of its own, which a folder that never answers keeps until the process ends.
fn on_a_thread<T: Send + 'static>(look: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (answer, looked) = channel();
    let begun = thread::Builder::new().name("folders".to_owned());
    // Without a thread there is no answer, as from a folder that does not answer; and nobody waits for one that is late.
    drop(begun.spawn(move || drop(answer.send(look()))));
    looked
}

/// Begins to look at the folder of a route.
fn look_at(found: &Findings, route: String, private: Arc<Vec<Private>>) -> Option<Pending> {
    let (root, location) = found.written.get(&key(&route, &["files", "root"]))?;
    let folder = root.as_str()?;
    if folder.is_empty() || folder.contains('\0') {
        return None;
    }
    let folder = PathBuf::from(folder);
    let pages = found.written.get(&key(&route, &["errors"]));
    let pages = pages.and_then(|(pages, _)| pages.as_object()).into_iter();
    let pages = pages.flat_map(|pages| pages.values().filter_map(Value::as_str));
    let files: Vec<_> = pages
        .map(|page| folder.join(page.trim_start_matches('/')))
        .collect();
    let looked_at = folder.clone();
    let look = on_a_thread(move || {
        let fault = folder_fault(&looked_at).or_else(|| holds_fault(&looked_at, &private));
        let missing = match fault {
            Some(_) => Vec::new(),
            None => missing_files(&files),
        };
        FolderReport { fault, missing }
    });
    Some(Pending {
        route,
        folder,
        location: location.clone(),
        look,
    })
}

/// A folder that nobody may download, with what it holds.
type Private = (&'static str, PathBuf);

/// The folders that nobody may download.
fn private(found: &Findings) -> Vec<Private> {
    let path = |key: &[&str]| {
        let written = found.value_of(key).and_then(Value::as_str);
        let default = keys::find(key).map(|key| key.value.trim_matches('"'));
        PathBuf::from(written.or(default).unwrap_or_default())
    };
    let records = !found.named("resource").is_empty();
    let logs = found.value_of(&LOGS).is_some();
    let records = records.then(|| ("records", path(&["server", "data"])));
    let logs = logs.then(|| ("logs", path(&LOGS)));
    records.into_iter().chain(logs).collect()
}

fn holds_fault(folder: &Path, private: &[Private]) -> Option<String> {
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

/// A page may come with the next version of the site, so a missing one is only a warning.
fn missing_files(files: &[PathBuf]) -> Vec<String> {
    let missing = files.iter().filter(|file| !file.is_file());
    missing
        .map(|file| format!("there is no file {}", absolute(file)))
        .collect()
}
