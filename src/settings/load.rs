//! Finds, reads and merges the files: defaults, then files, then the environment.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use config::{Config, ConfigError, File, FileFormat};
use serde::Deserialize as _;
use serde_json::{Map, Value, json};

use super::fault::{Lines, Location, SettingFault, WHOLE};
use super::findings::Findings;
use super::indexes;
use super::keys::{self, Key};
use super::look_threads::LookThreads;
use super::reference;
use super::references;
use super::values::SettingValues;
use super::watched::WatchedPlaces;
use super::{Settings, effects, folders, rules, tls, token_keys};

/// The files that are tried if no file is given.
pub(super) const PLACES: [&str; 2] = ["config/perennial.toml", "/etc/perennial/perennial.toml"];
/// The most files that may include each other.
const FILES_MAX: usize = 1_000;
/// The most times that the files are read if some of them change meanwhile.
const READINGS_MAX: usize = 5;
const INCLUDE: [&str; 1] = ["include"];

/// The settings, and what is worth a look in them.
#[derive(Debug)]
pub struct LoadedSettings {
    /// The settings.
    pub settings: Settings,
    /// Warnings: settings that are allowed but may be mistakes, such as a page that is missing or a pattern that matches nothing.
    pub warnings: Vec<SettingFault>,
    /// The value of every key, to tell what has changed between two readings.
    pub(crate) values: SettingValues,
    /// Whether a file was read in which nothing is written, as in one that is just being saved.
    pub(crate) is_blank: bool,
}

/// The error of loading settings.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file can't be read.
    #[error("{}: can't be read: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// All faults, in the order of their locations.
    #[error("{}", listed(.0))]
    Invalid(Vec<SettingFault>),
}

/// A line for each fault, and their number.
fn listed(faults: &[SettingFault]) -> String {
    let (count, s) = (faults.len(), if faults.len() == 1 { "" } else { "s" });
    let mut lines: Vec<_> = faults.iter().map(SettingFault::to_string).collect();
    lines.push(format!(
        "{count} fault{s} in the settings; nothing was started"
    ));
    lines.join("\n")
}

/// The file to read: the one that is asked for, else `$PERENNIAL_CONFIG`, else the first known place where there is one.
pub fn find(
    asked: Option<PathBuf>,
    env: &BTreeMap<String, String>,
    exists: impl Fn(&Path) -> bool,
) -> Option<PathBuf> {
    let named = env.get("PERENNIAL_CONFIG");
    // An empty variable is how some shells and units take one back.
    let named = named.filter(|path| !path.is_empty()).map(PathBuf::from);
    let mut known = PLACES.map(PathBuf::from).into_iter();
    asked.or(named).or_else(|| known.find(|path| exists(path)))
}

/// The folders that are looked at on the disk when settings are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckedFolders {
    /// None: enough to ask a running daemon.
    None,
    /// All but that of the data, which the store itself refuses with an exit code of its own: for a start.
    AllButData,
    /// All.
    All,
}

/// Reads the settings in `path`, or the defaults without one, and what `env` overrides.
pub fn load(
    path: Option<&Path>,
    env: &BTreeMap<String, String>,
    checked: CheckedFolders,
) -> Result<LoadedSettings, LoadError> {
    load_on(path, env, checked, None, &LookThreads::default())
}

/// The same with the settings that are in force, if there are some, whose folders are no reason against new settings; and with
/// threads that earlier readings may have left at folders that do not answer.
pub(super) fn load_on(
    path: Option<&Path>,
    env: &BTreeMap<String, String>,
    checked: CheckedFolders,
    in_force: Option<&Settings>,
    threads: &LookThreads,
) -> Result<LoadedSettings, LoadError> {
    let mut found = written(path, env)?;
    let looks =
        (checked != CheckedFolders::None).then(|| folders::begin(&found, in_force, threads));
    rules::check(&mut found);
    if checked != CheckedFolders::None {
        tls::times(&mut found, checked, in_force, SystemTime::now());
        token_keys::permissions(&mut found);
    }
    // The disk answers meanwhile.
    let merged = merged(path, &mut found);
    if let Some(looks) = looks {
        looks.tell(&mut found, checked == CheckedFolders::All);
    }
    loaded(path, merged, found)
}

/// All that is written in the files, as they were at one moment, and in the environment.
fn written(path: Option<&Path>, env: &BTreeMap<String, String>) -> Result<Findings, LoadError> {
    let mut readings = 0;
    loop {
        let mut found = Findings::default();
        if let Some(path) = path {
            read_all(path, &mut found)?;
        }
        found.environment(env);
        tls::read(&mut found);
        token_keys::read(&mut found);
        readings += 1;
        match found.read.changed() {
            Some(_) if readings < READINGS_MAX => {}
            Some(changed) => {
                let path = changed.to_owned();
                let problem =
                    "it is written again and again while it is read; try again when that has ended";
                let error = io::Error::other(problem);
                return Err(LoadError::Unreadable { path, error });
            }
            None => return Ok(found),
        }
    }
}

/// The value that `read` makes of one key, if nothing is wrong with it, whatever else is wrong. The error has all that is wrong
/// if it could not be read.
pub(super) fn one<T>(
    path: Option<&Path>,
    env: &BTreeMap<String, String>,
    key: &[&str],
    read: impl FnOnce(&Findings) -> Option<T>,
) -> Result<T, LoadError> {
    let found = written(path, env)?;
    let in_doubt = rules::in_doubt(&found, key);
    let value = (!in_doubt).then(|| read(&found));
    value.flatten().ok_or(LoadError::Invalid(found.faults))
}

/// The settings of these parts, whatever is wrong with the others, which have their defaults. The error has all that is wrong, if
/// one of these parts could not be read.
pub(super) fn parts(
    path: Option<&Path>,
    env: &BTreeMap<String, String>,
    parts: &[&[&str]],
) -> Result<Settings, LoadError> {
    let mut found = written(path, env)?;
    rules::check(&mut found);
    if !parts.iter().any(|part| rules::part_in_doubt(&found, part)) {
        found.leave_only(parts);
    }
    let merged = merged(path, &mut found);
    loaded(path, merged, found).map(|loaded| loaded.settings)
}

/// The places on the disk that decide what the settings in `path` are.
pub(super) fn places(path: &Path) -> WatchedPlaces {
    let mut found = Findings::default();
    // A file that can't be read was looked for.
    drop(read_all(path, &mut found));
    tls::read(&mut found);
    token_keys::read(&mut found);
    let absolute = found.files.iter().map(std::path::absolute);
    let files: Vec<_> = absolute.flatten().collect();
    let read_link = |path: &Path| fs::read_link(path).ok();
    WatchedPlaces::of(files.iter().map(PathBuf::as_path), read_link)
}

/// The settings, if nothing wrong was found so far.
fn merged(path: Option<&Path>, found: &mut Findings) -> Option<Settings> {
    if !found.faults.is_empty() {
        return None;
    }
    let merged = merge(found);
    // The walk found no fault, but serde can't read a value: the table of keys and the field disagree.
    let unread = |error: ConfigError| {
        let path = path.unwrap_or(Path::new("defaults"));
        found.fault(Lines::new(path, "").location(0), &WHOLE, error.to_string());
    };
    merged.map_err(unread).ok()
}

/// The settings with what is worth a look in them, if nothing wrong was found.
fn loaded(
    path: Option<&Path>,
    merged: Option<Settings>,
    mut found: Findings,
) -> Result<LoadedSettings, LoadError> {
    if let Some(settings) = merged.filter(|_| found.faults.is_empty()) {
        effects::check(&settings, &mut found);
        found
            .warnings
            .sort_by(|one, other| one.location.cmp(&other.location));
        let warnings = std::mem::take(&mut found.warnings);
        return Ok(LoadedSettings {
            settings,
            is_blank: path.is_some() && found.is_blank(),
            values: SettingValues::of(found),
            warnings,
        });
    }
    let mut faults = found.faults;
    faults.sort_by(|one, other| one.location.cmp(&other.location));
    Err(LoadError::Invalid(faults))
}

/// Merges what was written over the defaults, and reads the result.
fn merge(found: &Findings) -> Result<Settings, ConfigError> {
    let defaults = reference::defaults(found.named("route").is_empty());
    let mut merged = Config::builder().add_source(File::from_str(&defaults, FileFormat::Toml));
    let mut tree = tree(found);
    // They may be thousands, and have nothing to be merged with.
    let named = ["route", "resource"].map(|name| tree.shift_remove_entry(name));
    for (name, value) in tree {
        let value = config::Value::deserialize(value).map_err(unread)?;
        merged = merged.set_override(name, value)?;
    }
    let mut merged: Map<String, Value> = merged.build()?.try_deserialize()?;
    merged.extend(named.into_iter().flatten());
    let mut settings: Settings = serde_json::from_value(merged.into()).map_err(unread)?;
    let ids = settings.resources.iter();
    let ids: BTreeMap<_, _> = ids.map(|(name, it)| (name.clone(), it.ids)).collect();
    let ids = |name: &str| ids.get(name).copied().unwrap_or_default();
    for (name, resource) in &mut settings.resources {
        if resource.path.is_empty() {
            resource.path = format!("/{name}");
        }
        if let Some(schema) = found.schemas.get(name) {
            resource.schema = Arc::new(references::resolved(schema, ids));
        }
        resource.indexes = indexes::of(found, name);
    }
    settings.tls.take_pairs(found);
    if let Some(jwt) = &mut settings.auth.jwt {
        jwt.keys = found.token_keys.as_ref().map(|(_, keys)| keys.clone());
    }
    Ok(settings)
}

fn unread(error: serde_json::Error) -> ConfigError {
    ConfigError::Message(error.to_string())
}

/// The written values of the keys that have a field, as one table of tables.
fn tree(found: &Findings) -> Map<String, Value> {
    let mut tree = Map::new();
    // A resource may have defaults only, and is there all the same.
    for name in found.named("resource") {
        insert(&mut tree, &["resource", &name], json!({}));
    }
    for (path, (value, _)) in &found.written {
        let path = path.parts();
        if keys::find(&path).is_some_and(Key::has_field) {
            insert(&mut tree, &path, value.clone());
        }
    }
    tree
}

fn insert(table: &mut Map<String, Value>, path: &[impl AsRef<str>], value: Value) {
    match path {
        [] => {}
        [name] => drop(table.insert(name.as_ref().to_owned(), value)),
        [name, below @ ..] => {
            if let Value::Object(inner) = table.entry(name.as_ref()).or_insert_with(|| json!({})) {
                insert(inner, below, value);
            }
        }
    }
}

/// Reads a file and what it includes, and what those include; each file once, whatever it is called.
fn read_all(path: &Path, found: &mut Findings) -> Result<(), LoadError> {
    let mut seen = HashSet::new();
    let mut ahead = VecDeque::from([(path.to_owned(), None)]);
    while let Some((path, included)) = ahead.pop_front() {
        let real = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
        if !seen.insert(real) {
            continue;
        }
        if let Some(place) = included.clone().filter(|_| seen.len() > FILES_MAX) {
            let problem = format!("more than {FILES_MAX} files; include fewer");
            found.fault(place, &INCLUDE, problem);
            break;
        }
        found.files.push(path.clone());
        let text = match (found.read.read(&path), included) {
            (Ok(bytes), _) => decode(found, &path, bytes),
            (Err(error), None) => return Err(LoadError::Unreadable { path, error }),
            (Err(error), Some(place)) => {
                unreadable(found, place, &path, &error);
                continue;
            }
        };
        for (name, place) in found.file(&path, &text) {
            let pattern = path.parent().unwrap_or(Path::new("")).join(name);
            found.files.push(pattern.clone());
            match expand(&pattern) {
                Ok(files) => {
                    if files.is_empty() {
                        let problem = format!("no file matches {}", pattern.display());
                        found.warn(place.clone(), &INCLUDE, problem);
                    }
                    ahead.extend(files.into_iter().map(|file| (file, Some(place.clone()))));
                }
                Err(error) => unreadable(found, place, &pattern, &error),
            }
        }
    }
    Ok(())
}

/// The text of a file. Where it is none that is a fault, and the rest is read all the same.
fn decode(found: &mut Findings, path: &Path, bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| {
        let at = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
        let place = Lines::new(path, &text).location(at);
        found.fault(
            place,
            &WHOLE,
            "is not UTF-8; save the file in that encoding",
        );
        text
    })
}

fn unreadable(found: &mut Findings, place: Location, path: &Path, error: &io::Error) {
    let problem = format!("{} can't be read: {error}", path.display());
    found.fault(place, &INCLUDE, problem);
}

/// The files that a pattern means: itself, or, with one `*` in its last part, those that match, in order.
fn expand(pattern: &Path) -> io::Result<Vec<PathBuf>> {
    let Some((before, after)) = file_name(pattern).split_once('*') else {
        return Ok(vec![pattern.to_owned()]);
    };
    let folder = pattern.parent().unwrap_or(Path::new("."));
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // The folder may be created later, so a missing one is not a fault.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if is_meant(file_name(&path), before, after) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Whether a pattern that has one `*` between these texts means a file of this name.
pub(super) fn is_meant(name: &str, before: &str, after: &str) -> bool {
    let long = name.len() >= before.len() + after.len();
    // As a shell does it: what editors leave behind is hidden.
    let hidden = name.starts_with('.') && !before.starts_with('.');
    long && !hidden && name.starts_with(before) && name.ends_with(after)
}

/// The last part of a path; empty if it is not UTF-8.
fn file_name(path: &Path) -> &str {
    path.file_name().and_then(OsStr::to_str).unwrap_or_default()
}
