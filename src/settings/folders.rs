//! Looks for what the settings name on the disk. The folders of routes must exist and must not hold the records or the logs,
//! which anybody could download then; their error pages should exist, and each file should have one address. Nor may the
//! folder of the backups or of the archive be in that of the data.
//!
//! `perennial check` and each start look once. The file cache finds out when a folder vanishes later.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::backup::BackupTo;
use super::fault::Location;
use super::keys;
use super::rules::resource_paths;
use super::texts::PATH;
use super::walk::Findings;

const DATA: [&str; 2] = ["server", "data"];
const BACKUPS: [&str; 2] = ["backup", "to"];
const ARCHIVE: [&str; 2] = ["storage", "archive"];
const LOGS: [&str; 3] = ["logging", "file", "dir"];

/// How long the folders of all routes together may take to answer, and before them those of the data and the logs. A folder
/// on a network disk that is away may never do so.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// What was found in the folder of a route, or the reason why it can't be served.
type Looked = Result<Served, String>;

/// The folder of a route as it is on the disk.
struct Served {
    /// The path without links.
    real: PathBuf,
    /// The error pages that it does not hold.
    missing: Vec<String>,
    /// What it holds at the addresses of other routes and of resources, each with the key of that one.
    hidden: Vec<(String, PathBuf)>,
}

/// A folder that nobody may download.
struct Private {
    /// The kind of its content, for people, such as records.
    what: &'static str,
    key: &'static [&'static str],
    /// The location of its key, or of a resource that needs it.
    location: Location,
    path: PathBuf,
    /// The reason why it can't be a folder, if there is one.
    fault: Option<String>,
}

impl Private {
    /// The folder that is written for this key, or its default.
    fn new(
        found: &Findings,
        what: &'static str,
        key: &'static [&'static str],
        needed: Location,
    ) -> Self {
        let written = found.written(key).cloned();
        let (value, location) = written.unwrap_or((Value::Null, needed));
        let default = keys::find(key).map(|key| key.value.trim_matches('"'));
        let path = value.as_str().or(default).unwrap_or_default().into();
        Self {
            what,
            key,
            location,
            path,
            fault: None,
        }
    }

    /// Looks at the disk. The folder may be missing, since the start creates it, and only the daemon's user may be able to
    /// read it.
    fn looked_at(mut self) -> Self {
        if self.key == BACKUPS || self.key == ARCHIVE {
            self.path = real(&self.path);
            let (folder, what) = (self.path.display(), self.what);
            let missing =
                format!("there is no folder {folder}; until there is one, no {what} are written");
            self.fault = (!self.path.is_dir()).then_some(missing);
            return self;
        }
        let mut above = self.path.ancestors();
        let blocked = above.find(|above| fs::metadata(above).is_ok_and(|is| !is.is_dir()));
        self.fault = blocked.map(|file| {
            format!(
                "{} is a file where the folder of the {} should be; move it away, or name another folder",
                absolute(file),
                self.what
            )
        });
        self.path = real(&self.path);
        self
    }
}

/// Adds folders that can't be served or written to the faults; missing pages, and folders that do not answer, to the
/// warnings. The data folder is looked at if `data` says so.
pub(super) fn check(found: &mut Findings, data: bool) {
    let private = private(found);
    let private = on_a_thread(move || private.into_iter().map(Private::looked_at).collect());
    // Without an answer the start finds out what is wrong with the data.
    let private: Arc<Vec<Private>> = Arc::new(private.recv_timeout(ANSWER_MAX).unwrap_or_default());
    for folder in private.iter() {
        let location = folder.location.clone();
        if folder.key == BACKUPS || folder.key == ARCHIVE {
            copies(found, folder, &private);
        } else if let Some(problem) = &folder.fault
            && (data || folder.key != DATA)
        {
            found.fault(location, folder.key, problem);
        }
    }
    let until = Instant::now() + ANSWER_MAX;
    let left = || until.saturating_duration_since(Instant::now());
    let routes = found.named("route").into_iter();
    let pending: Vec<_> = routes
        .filter_map(|(route, _)| {
            let (folder, look) = look_at(found, &route, Arc::clone(&private))?;
            Some((route, folder, look))
        })
        .collect();
    let mut served: BTreeMap<PathBuf, String> = BTreeMap::new();
    let mut hidden = Vec::new();
    for (route, folder, look) in pending {
        let root = ["route", &route, "files", "root"];
        match look.recv_timeout(left()) {
            Ok(Ok(folder)) => {
                for problem in folder.missing {
                    found.warn_of(&["route", &route, "errors"], problem);
                }
                hidden.extend(folder.hidden);
                if let Some(other) = served.get(&folder.real) {
                    let problem = format!(
                        "route.{other:?} serves this folder, too, so that each of its files has two addresses"
                    );
                    found.warn_of(&root, problem);
                }
                served.entry(folder.real).or_insert(route);
            }
            Ok(Err(problem)) => found.fault_of(&root, problem),
            Err(_) => {
                let folder = absolute(&folder);
                let problem =
                    format!("{folder} does not answer; requests for it get 503 until it does");
                found.warn_of(&root, problem);
            }
        }
    }
    // A route may show again what it hides: a folder within the other one.
    for (by, file) in hidden
        .into_iter()
        .filter(|(_, file)| !served.contains_key(file))
    {
        let problem = format!("hides {}: requests for it lead here", file.display());
        let table = if by.starts_with('/') {
            "route"
        } else {
            "resource"
        };
        found.warn_table(&[table, &by], problem);
    }
}

/// The folder of the backups or of the archive is never made: it may be that of a disk that is away, which must not keep
/// the daemon from serving.
fn copies(found: &mut Findings, folder: &Private, private: &[Private]) {
    let data = private.iter().find(|other| other.key == DATA);
    if data.is_some_and(|data| folder.path.starts_with(&data.path)) {
        let problem = "is in the data folder, and would be lost together with the records; name a folder on another disk";
        found.fault_of(folder.key, problem);
    } else if let Some(problem) = &folder.fault {
        found.warn_of(folder.key, problem);
    }
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
fn look_at(
    found: &Findings,
    route: &str,
    private: Arc<Vec<Private>>,
) -> Option<(PathBuf, Receiver<Looked>)> {
    let folder = found.value_of(&["route", route, "files", "root"])?;
    let folder = PathBuf::from(
        folder
            .as_str()
            .filter(|_| PATH.fault(folder, "").is_none())?,
    );
    let pages = found.value_of(&["route", route, "errors"]);
    let pages = pages.and_then(Value::as_object).into_iter();
    let files: Vec<_> = pages
        .flat_map(|pages| pages.values().filter_map(Value::as_str))
        .map(|page| folder.join(page.trim_start_matches('/')))
        .collect();
    let looked_at = folder.clone();
    let others = below(found, route);
    let look = on_a_thread(move || {
        let fault = folder_fault(&looked_at).or_else(|| holds_fault(&looked_at, &private));
        if let Some(fault) = fault {
            return Err(fault);
        }
        let real = real(&looked_at);
        let hidden = others.into_iter().map(|(by, path)| (by, real.join(path)));
        Ok(Served {
            missing: missing_files(&files),
            hidden: hidden.filter(|(_, file)| file.exists()).collect(),
            real,
        })
    });
    Some((folder, look))
}

/// The routes and resources below a route, by name, each with its path from there, unless a longer route is between them.
fn below(found: &Findings, route: &str) -> Vec<(String, String)> {
    let routes = found.named("route").into_iter().map(|(prefix, _)| prefix);
    let routes: Vec<_> = routes.collect();
    let resources = resource_paths(found).into_iter();
    let own = resources.map(|(name, path, _)| (name, path));
    let all = routes.iter().map(|prefix| (prefix.clone(), prefix.clone()));
    let inside = |path: &str, prefix: &str| {
        let rest = path.strip_prefix(prefix.trim_end_matches('/'))?;
        let rest = rest.strip_prefix('/').filter(|rest| !rest.is_empty())?;
        Some(rest.to_owned())
    };
    let is_between = |path: &str| {
        let mut longer = routes.iter().filter(|other| other.len() > route.len());
        longer.any(|other| inside(path, other).is_some())
    };
    own.chain(all)
        .filter(|(_, path)| !is_between(path))
        .filter_map(|(name, path)| Some((name, inside(&path, route)?)))
        .collect()
}

/// The folders that nobody may download: that of the records, where there are some, and that of the log files.
fn private(found: &Findings) -> Vec<Private> {
    let needed = found.named("resource").into_iter().next();
    let records = needed.map(|(_, location)| Private::new(found, "records", &DATA, location));
    let written = |what, key: &'static [&'static str]| {
        let (_, location) = found.written(key).cloned()?;
        Some(Private::new(found, what, key, location))
    };
    let to = found.value_of(&BACKUPS).and_then(Value::as_str);
    let to = to.is_some_and(|to| matches!(to.parse(), Ok(BackupTo::Folder(_))));
    let backups = to.then(|| written("backups", &BACKUPS)).flatten();
    let logs = written("logs", &LOGS);
    let archive = written("archived changes", &ARCHIVE);
    let others = [logs, backups, archive].into_iter().flatten();
    records.into_iter().chain(others).collect()
}

fn holds_fault(folder: &Path, private: &[Private]) -> Option<String> {
    let root = real(folder);
    let held = private.iter().find(|held| held.path.starts_with(&root))?;
    Some(format!(
        "{} holds the {}, in {}, so that anybody could download them; name a folder beside it",
        absolute(folder),
        held.what,
        held.path.display()
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
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(format!(
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
