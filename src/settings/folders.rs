//! Looks for what the settings name on the disk. The folders of routes must exist and must not hold the records or the logs,
//! which anybody could download then; their error pages should exist, and each file should have one address. Nor may the
//! folder of the backups or of the archive be in that of the data.
//!
//! `perennial check` and each start look once. The file cache finds out when a folder vanishes later.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::backup::BackupTo;
use super::fault::Location;
use super::keys;
use super::look_threads::LookThreads;
use super::rules::resource_paths;
use super::texts::PATH;
use super::walk::Findings;
use serde_json::Value;

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
#[derive(Clone)]
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
    fn looked_at(&self) -> Self {
        let mut folder = self.clone();
        folder.look();
        folder
    }

    fn look(&mut self) {
        if self.key == BACKUPS || self.key == ARCHIVE {
            self.path = real(&self.path);
            let (folder, what) = (self.path.display(), self.what);
            let missing =
                format!("there is no folder {folder}; until there is one, no {what} are written");
            self.fault = (!self.path.is_dir()).then_some(missing);
            return;
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
    }
}

/// Adds folders that can't be served or written to the faults; missing pages, and folders that do not answer, to the
/// warnings. The data folder is looked at if `data` says so.
pub(super) fn check(found: &mut Findings, data: bool, threads: &LookThreads) {
    let private = Arc::new(private(found));
    let private = threads.look_at_all(&private, ANSWER_MAX, Private::looked_at);
    // Without an answer the start finds out what is wrong with the data.
    let private: Arc<Vec<Private>> = Arc::new(private.into_iter().flatten().collect());
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
    let folders = served_folders(found);
    let paths = Arc::new(RealPaths::default());
    let look = move |folder: &FolderOfRoute| folder.look(&private, &paths);
    let looked = threads.look_at_all(&folders, ANSWER_MAX, look);
    let mut served: HashMap<OsString, String> = HashMap::new();
    let mut hidden = Vec::new();
    for (FolderOfRoute { route, path, .. }, looked) in folders.iter().zip(looked) {
        let root = ["route", route, "files", "root"];
        match looked {
            Some(Ok(folder)) => {
                for problem in folder.missing {
                    found.warn_of(&["route", route, "errors"], problem);
                }
                hidden.extend(folder.hidden);
                let real = folder.real.into_os_string();
                if let Some(other) = served.get(&real) {
                    let problem = format!(
                        "route.{other:?} serves this folder, too, so that each of its files has two addresses"
                    );
                    found.warn_of(&root, problem);
                }
                served.entry(real).or_insert_with(|| route.clone());
            }
            Some(Err(problem)) => found.fault_of(&root, problem),
            None => {
                let folder = absolute(path);
                let problem =
                    format!("{folder} does not answer; requests for it get 503 until it does");
                found.warn_of(&root, problem);
            }
        }
    }
    // A route may show again what it hides: a folder within the other one.
    for (by, file) in hidden
        .into_iter()
        .filter(|(_, file)| !served.contains_key(file.as_os_str()))
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

/// The folder of a route, and what is looked for there.
struct FolderOfRoute {
    route: String,
    path: PathBuf,
    pages: Vec<PathBuf>,
    /// The routes and resources below the route.
    below: Vec<Below>,
}

/// A route or a resource below a route.
struct Below {
    /// Its name.
    by: String,
    /// Its path from there.
    path: String,
}

impl FolderOfRoute {
    /// Looks at the disk.
    fn look(&self, private: &[Private], paths: &RealPaths) -> Looked {
        if let Some(fault) = folder_fault(&self.path) {
            return Err(fault);
        }
        let real = paths.of(&self.path);
        if let Some(fault) = holds_fault(&self.path, &real, private) {
            return Err(fault);
        }
        let hidden = self.below.iter();
        let hidden = hidden.map(|below| (below.by.clone(), real.join(&below.path)));
        Ok(Served {
            missing: missing_files(&self.pages),
            hidden: hidden.filter(|(_, file)| file.exists()).collect(),
            real,
        })
    }
}

/// The folders of all routes whose paths are right.
fn served_folders(found: &Findings) -> Arc<Vec<FolderOfRoute>> {
    let mut below = below(found);
    let routes = found.named("route").into_iter();
    let folders = routes.filter_map(|(route, _)| {
        let path = found.value_of(&["route", &route, "files", "root"])?;
        let right = path.as_str().filter(|_| PATH.fault(path, "").is_none());
        let path = PathBuf::from(right?);
        let pages = found.value_of(&["route", &route, "errors"]);
        let pages = pages.and_then(Value::as_object).into_iter();
        let pages = pages.flat_map(|pages| pages.values().filter_map(Value::as_str));
        Some(FolderOfRoute {
            pages: pages
                .map(|page| path.join(page.trim_start_matches('/')))
                .collect(),
            below: below.remove(&route).unwrap_or_default(),
            path,
            route,
        })
    });
    Arc::new(folders.collect())
}

/// The routes and resources below each route, unless a longer route is between them.
fn below(found: &Findings) -> BTreeMap<String, Vec<Below>> {
    let routes = found.named("route").into_iter().map(|(prefix, _)| prefix);
    let routes: BTreeSet<String> = routes.collect();
    let resources = resource_paths(found).into_iter();
    let resources = resources.map(|(name, path, _)| (name, path));
    let all = routes.iter().map(|prefix| (prefix.clone(), prefix.clone()));
    let mut below: BTreeMap<String, Vec<Below>> = BTreeMap::new();
    for (by, path) in resources.chain(all) {
        if let Some((route, path)) = nearest_above(&path, |above| routes.contains(above)) {
            let path = path.to_owned();
            below
                .entry(route.to_owned())
                .or_default()
                .push(Below { by, path });
        }
    }
    below
}

/// The longest of the routes that a path is below, and the rest of the path.
fn nearest_above(path: &str, is_route: impl Fn(&str) -> bool) -> Option<(&str, &str)> {
    let mut slashes = path.match_indices('/').rev();
    slashes.find_map(|(at, _)| {
        let (above, rest) = path.split_at_checked(at)?;
        let above = if above.is_empty() { "/" } else { above };
        let rest = rest.strip_prefix('/').filter(|rest| !rest.is_empty())?;
        is_route(above).then_some((above, rest))
    })
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

fn holds_fault(folder: &Path, root: &Path, private: &[Private]) -> Option<String> {
    let held = private.iter().find(|held| held.path.starts_with(root))?;
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

/// Finds paths without links. Many folders mostly stand in one, whose own path is found once.
#[derive(Debug, Default)]
struct RealPaths {
    parents: Mutex<HashMap<PathBuf, PathBuf>>,
}

impl RealPaths {
    fn of(&self, path: &Path) -> PathBuf {
        self.in_parent(path).unwrap_or_else(|| real(path))
    }

    /// The path, unless it is a link itself.
    fn in_parent(&self, path: &Path) -> Option<PathBuf> {
        let path = std::path::absolute(path).ok()?;
        let (parent, name) = (path.parent()?, path.file_name()?);
        // Not held while the disk is asked, which may not answer.
        let known = self.parents.lock().get(parent).cloned();
        let real = if let Some(known) = known {
            known
        } else {
            let found = fs::canonicalize(parent).ok()?;
            let mut parents = self.parents.lock();
            parents.insert(parent.to_owned(), found.clone());
            found
        };
        let real = real.join(name);
        let is = fs::symlink_metadata(&real).ok()?;
        (!is.is_symlink()).then_some(real)
    }
}

fn folder_fault(folder: &Path) -> Option<String> {
    let unread = fs::read_dir(folder).err()?;
    let folder_is = fs::metadata(folder);
    let folder = absolute(folder);
    Some(match folder_is {
        Ok(is) if is.is_dir() => format!("{folder} can't be read: {unread}"),
        Ok(_) => format!("{folder} is not a folder; name the folder that the file is in"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            format!("there is no folder {folder}; create it, or name another one")
        }
        Err(error) => format!("{folder} can't be used: {error}"),
    })
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_path_is_below_the_longest_route_above_it() {
        let routes = ["/", "/a", "/a/b", "/c/d"];
        for (path, above) in [
            ("/", None),
            ("/x", Some(("/", "x"))),
            ("/ab", Some(("/", "ab"))),
            ("/a", Some(("/", "a"))),
            ("/a/x/y", Some(("/a", "x/y"))),
            ("/a/b", Some(("/a", "b"))),
            ("/a/b/c", Some(("/a/b", "c"))),
            ("/c", Some(("/", "c"))),
            ("x", None),
        ] {
            let found = nearest_above(path, |route| routes.contains(&route));
            assert_eq!(found, above, "{path}");
        }
        assert_eq!(nearest_above("/x", |_| false), None);
    }

    #[test]
    fn a_path_without_links_is_the_one_that_the_system_finds() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("a/b")).unwrap();
        std::os::unix::fs::symlink("a", at("link")).unwrap();
        std::os::unix::fs::symlink("b", at("a/link")).unwrap();
        let paths = RealPaths::default();
        for name in [
            "a",
            "a/b",
            "a/b/",
            "link",
            "link/b",
            "link/link",
            "a/../a/b",
            "a/b/..",
            "link/..",
        ] {
            for _ in 0..2 {
                assert_eq!(
                    paths.of(&at(name)),
                    fs::canonicalize(at(name)).unwrap(),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn four_times_the_routes_are_four_times_the_comparisons() {
        let comparisons = |count: usize| {
            let routes: BTreeSet<_> = (0..count).map(|n| format!("/site/{n}")).collect();
            let compared = Cell::new(0);
            for route in &routes {
                nearest_above(route, |above| {
                    compared.set(compared.get() + 1);
                    routes.contains(above)
                });
            }
            compared.get()
        };
        assert_eq!(comparisons(4_000), 4 * comparisons(1_000));
    }
}
