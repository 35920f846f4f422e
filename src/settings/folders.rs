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

use super::Settings;
use super::backup::BackupTo;
use super::fault::Location;
use super::findings::Findings;
use super::keys;
use super::look_threads::{BegunLooks, LookThreads};
use super::real_paths::{RealPaths, real};
use super::rules::resource_paths;
use super::shared_folders;
use super::texts::PATH;
use serde_json::Value;

const DATA: [&str; 2] = ["server", "data"];
const BACKUPS: [&str; 2] = ["backup", "to"];
const ARCHIVE: [&str; 2] = ["storage", "archive"];
const LOGS: [&str; 3] = ["logging", "file", "dir"];

/// The longest time that the folders of all routes together may take to answer, and before them those of the data and the logs.
/// A folder on a network disk that is away may never do so.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// The result of a look at the folder of a route, or the reason why it can't be served.
type FolderResult = Result<Served, FolderRefusal>;

/// The reason why the folder of a route can't be served.
enum FolderRefusal {
    /// It may not be served.
    Fault(String),
    /// It can't be read, and the daemon that runs serves it already: the same would be so without new settings.
    Away(String),
}

/// The folder of a route as it is on the disk.
struct Served {
    /// The path without links.
    real: PathBuf,
    /// The error pages that it does not hold.
    missing: Vec<String>,
    /// The page of `files.fallback`, if it does not hold it.
    no_fallback: Vec<String>,
    /// Its files and folders that other routes or resources hide, each with the key of the one that hides it.
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

/// A look at all folders that was begun.
pub(super) struct FolderLooks {
    private: Arc<Vec<Private>>,
    folders: Arc<Vec<FolderOfRoute>>,
    looks: BegunLooks<FolderOfRoute, FolderResult>,
}

/// Looks at the folders that nobody may download, and begins to look at those of routes: the settings can be read meanwhile.
pub(super) fn begin(
    found: &Findings,
    in_force: Option<&Settings>,
    threads: &LookThreads,
) -> FolderLooks {
    let private = Arc::new(private(found));
    let private = threads.begin(&private, ANSWER_MAX, Private::looked_at);
    // Without an answer the start finds out what is wrong with the data.
    let private: Arc<Vec<Private>> = Arc::new(private.answers().into_iter().flatten().collect());
    let folders = served_folders(found, in_force);
    let (paths, known) = (Arc::new(RealPaths::default()), Arc::clone(&private));
    let look = move |folder: &FolderOfRoute| folder.look(&known, &paths);
    FolderLooks {
        looks: threads.begin(&folders, ANSWER_MAX, look),
        private,
        folders,
    }
}

impl FolderLooks {
    /// Adds folders that can't be served or written to the faults; missing pages, and folders that do not answer, to the
    /// warnings. Faults of the data folder are told only if `data` is true.
    pub(super) fn tell(self, found: &mut Findings, data: bool) {
        for folder in self.private.iter() {
            let location = folder.location.clone();
            if folder.key == BACKUPS || folder.key == ARCHIVE {
                copies(found, folder, &self.private);
            } else if let Some(problem) = &folder.fault
                && (data || folder.key != DATA)
            {
                found.fault(location, folder.key, problem);
            }
        }
        let looked = self.looks.answers().into_iter();
        routes(found, self.folders.iter().zip(looked));
    }
}

/// Adds what is wrong with the folders of routes, or worth a look.
fn routes<'a>(
    found: &mut Findings,
    folders: impl Iterator<Item = (&'a FolderOfRoute, Option<FolderResult>)>,
) {
    let mut served: HashMap<OsString, String> = HashMap::new();
    let (mut hidden, mut all) = (Vec::new(), Vec::new());
    for (FolderOfRoute { route, path, .. }, looked) in folders {
        let root = ["route", route, "files", "root"];
        match looked {
            Some(Ok(folder)) => {
                for problem in folder.missing {
                    found.warn_of(&["route", route, "errors"], problem);
                }
                for problem in folder.no_fallback {
                    found.warn_of(&["route", route, "files", "fallback"], problem);
                }
                hidden.extend(folder.hidden);
                all.push((route.clone(), folder.real.clone()));
                let real = folder.real.into_os_string();
                if let Some(other) = served.get(&real) {
                    let problem = format!(
                        "route.{other:?} serves this folder, too, so that each of its files has two addresses"
                    );
                    found.warn_of(&root, problem);
                }
                served.entry(real).or_insert_with(|| route.clone());
            }
            Some(Err(FolderRefusal::Fault(problem))) => found.fault_of(&root, problem),
            Some(Err(FolderRefusal::Away(problem))) => {
                let problem = format!(
                    "{problem}; the daemon serves it already, so that this is no reason against other settings"
                );
                found.warn_of(&root, problem);
            }
            None => {
                let folder = absolute(path);
                let problem =
                    format!("{folder} does not answer; requests for it get 503 until it does");
                found.warn_of(&root, problem);
            }
        }
    }
    shared_folders::check(found, &all);
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
    fallback: Option<PathBuf>,
    /// The routes and resources below the route.
    below: Vec<Below>,
    /// Whether the daemon that runs serves it at this route.
    in_force: bool,
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
    fn look(&self, private: &[Private], paths: &RealPaths) -> FolderResult {
        if let Some(fault) = folder_fault(&self.path) {
            return Err(if self.in_force {
                FolderRefusal::Away(fault)
            } else {
                FolderRefusal::Fault(fault)
            });
        }
        let real = paths.of(&self.path);
        if let Some(fault) = holds_fault(&self.path, &real, private) {
            return Err(FolderRefusal::Fault(fault));
        }
        let hidden = self.below.iter();
        let hidden = hidden.map(|below| (below.by.clone(), real.join(&below.path)));
        Ok(Served {
            missing: missing_files(&self.pages),
            no_fallback: missing_files(self.fallback.as_slice()),
            hidden: hidden.filter(|(_, file)| file.exists()).collect(),
            real,
        })
    }
}

/// The folders of all routes whose paths are right.
fn served_folders(found: &Findings, in_force: Option<&Settings>) -> Arc<Vec<FolderOfRoute>> {
    let mut below = below(found);
    let is_in_force = |route: &str, path: &Path| {
        let known = in_force.and_then(|settings| settings.routes.get(route));
        let folder = known.and_then(|route| route.target.folder());
        folder.is_some_and(|folder| folder.root == path)
    };
    let routes = found.named("route").into_iter();
    let folders = routes.filter_map(|route| {
        let path = found.value_of(&["route", &route, "files", "root"])?;
        let right = path.as_str().filter(|_| PATH.fault(path, "").is_none());
        let path = PathBuf::from(right?);
        let pages = found.value_of(&["route", &route, "errors"]);
        let pages = pages.and_then(Value::as_object).into_iter();
        let pages = pages.flat_map(|pages| pages.values().filter_map(Value::as_str));
        let fallback = found.value_of(&["route", &route, "files", "fallback"]);
        let fallback = fallback
            .and_then(Value::as_str)
            .map(|page| below_folder(&path, page));
        Some(FolderOfRoute {
            pages: pages.map(|page| below_folder(&path, page)).collect(),
            fallback,
            below: below.remove(&route).unwrap_or_default(),
            in_force: is_in_force(&route, &path),
            path,
            route,
        })
    });
    Arc::new(folders.collect())
}

/// The routes and resources below each route, unless a longer route is between them.
fn below(found: &Findings) -> BTreeMap<String, Vec<Below>> {
    let routes = BTreeSet::from_iter(found.named("route"));
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
    let needed = found.located("resource").into_iter().next();
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

fn below_folder(folder: &Path, page: &str) -> PathBuf {
    folder.join(page.trim_start_matches('/'))
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
