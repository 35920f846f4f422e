//! Finds, reads and merges the files: defaults, then files, then the environment.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::{Config, ConfigError, File, FileFormat};
use serde::Deserialize as _;

use super::fault::{Location, SettingFault};
use super::reference;
use super::walk::Findings;
use super::{Settings, folders, rules};

/// The files that are tried if no file is given.
const PLACES: [&str; 2] = ["config/perennial.toml", "/etc/perennial/perennial.toml"];
/// The most files that may include each other.
const FILES_MAX: usize = 1_000;

/// The settings, and what is worth a look in them.
#[derive(Debug)]
pub struct CheckedSettings {
    /// The settings.
    pub settings: Settings,
    /// What may be meant as it is: pages that are not there, patterns that match nothing.
    pub warnings: Vec<SettingFault>,
}

/// The error of loading settings.
#[derive(Debug)]
pub enum LoadError {
    /// A file can't be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// All faults, in the order of their locations.
    Invalid(Vec<SettingFault>),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, source } => {
                write!(f, "{}: can't be read: {source}", path.display())
            }
            Self::Invalid(faults) => {
                for fault in faults {
                    writeln!(f, "{fault}")?;
                }
                let (count, s) = (faults.len(), if faults.len() == 1 { "" } else { "s" });
                write!(f, "{count} fault{s} in the settings; nothing was started")
            }
        }
    }
}

impl std::error::Error for LoadError {}

/// The file to read: the one that is asked for, else `$PERENNIAL_CONFIG`, else the first known place where there is one.
pub fn find(
    asked: Option<PathBuf>,
    env: &BTreeMap<String, String>,
    exists: impl Fn(&Path) -> bool,
) -> Option<PathBuf> {
    // An empty variable is how some shells and units take one back.
    let named = |env: &BTreeMap<String, String>| {
        let named = env.get("PERENNIAL_CONFIG").cloned();
        named.filter(|path| !path.is_empty())
    };
    let known = || PLACES.iter().map(PathBuf::from).find(|path| exists(path));
    asked
        .or_else(|| named(env).map(PathBuf::from))
        .or_else(known)
}

/// Reads the settings in `path`, or the defaults without one, and what `env` overrides.
pub fn load(path: Option<&Path>, env: &BTreeMap<String, String>) -> Result<Settings, LoadError> {
    let (mut found, files) = walk(path, env)?;
    settings(path, &mut found, &files)
}

/// [`load`], and looks whether the folders and pages that are named are there: before a start.
pub fn check(
    path: Option<&Path>,
    env: &BTreeMap<String, String>,
) -> Result<CheckedSettings, LoadError> {
    let (mut found, files) = walk(path, env)?;
    folders::check(&mut found);
    let settings = settings(path, &mut found, &files)?;
    let warnings = found.warnings;
    Ok(CheckedSettings { settings, warnings })
}

/// Looks at all files and the environment. Returns the texts of the files too.
fn walk(
    path: Option<&Path>,
    env: &BTreeMap<String, String>,
) -> Result<(Findings, Vec<String>), LoadError> {
    let mut found = Findings::default();
    let files = match path {
        Some(path) => read_all(path, &mut found)?,
        None => Vec::new(),
    };
    found.environment(env);
    rules::check(&mut found);
    Ok((found, files))
}

/// The settings, if nothing wrong was found.
fn settings(
    path: Option<&Path>,
    found: &mut Findings,
    files: &[String],
) -> Result<Settings, LoadError> {
    if found.faults.is_empty() {
        match merge(files, found) {
            Ok(settings) => return Ok(settings),
            // The walk found no fault, but serde can't read a value: the table of keys and the field disagree.
            Err(error) => {
                let path = path.unwrap_or(Path::new("defaults")).to_owned();
                let (line, column) = (1, 1);
                let location = Location::File { path, line, column };
                found.fault(location, &[], error.to_string());
            }
        }
    }
    let mut faults = std::mem::take(&mut found.faults);
    faults.sort_by_key(|fault| match &fault.location {
        Location::File { path, line, column } => (path.clone(), *line, *column),
        Location::Variable(name) => (PathBuf::from("~").join(name), 0, 0),
    });
    Err(LoadError::Invalid(faults))
}

/// Every key that the files name, with its value as TOML: to tell what has changed between two readings.
pub(crate) fn written(path: Option<&Path>) -> BTreeMap<String, String> {
    let texts = path.and_then(|path| read_all(path, &mut Findings::default()).ok());
    let mut keys = BTreeMap::new();
    for text in texts.into_iter().flatten() {
        if let Ok(table) = text.parse::<toml::Table>() {
            flatten(&mut keys, String::new(), &toml::Value::Table(table));
        }
    }
    keys
}

fn flatten(keys: &mut BTreeMap<String, String>, key: String, value: &toml::Value) {
    let toml::Value::Table(table) = value else {
        keys.insert(key, value.to_string());
        return;
    };
    // A resource may have defaults only, and is there all the same.
    if table.is_empty() && key.starts_with("resource.") {
        keys.insert(key.clone(), "{}".to_owned());
    }
    for (name, value) in table {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let name = if name.chars().all(plain) {
            name.clone()
        } else {
            format!("{name:?}")
        };
        let dot = if key.is_empty() { "" } else { "." };
        flatten(keys, format!("{key}{dot}{name}"), value);
    }
}

/// Reads a file and what it includes, and what those include; each file once, whatever it is called.
fn read_all(path: &Path, found: &mut Findings) -> Result<Vec<String>, LoadError> {
    let mut texts = Vec::new();
    let mut seen = HashSet::new();
    let mut ahead = VecDeque::from([(path.to_owned(), None)]);
    while let Some((path, included)) = ahead.pop_front() {
        let real = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
        if !seen.insert(real) {
            continue;
        }
        if let Some(place) = included.clone().filter(|_| seen.len() > FILES_MAX) {
            let problem = format!("more than {FILES_MAX} files; include fewer");
            found.fault(place, &include_key(), problem);
            break;
        }
        let text = match (fs::read(&path), included) {
            (Ok(bytes), _) => decode(found, &path, bytes),
            (Err(source), None) => return Err(LoadError::Unreadable { path, source }),
            (Err(source), Some(place)) => {
                unreadable(found, place, &path, &source);
                continue;
            }
        };
        for (name, place) in found.file(&path, &text) {
            let pattern = path.parent().unwrap_or(Path::new("")).join(name);
            match expand(&pattern) {
                Ok(files) => {
                    if files.is_empty() {
                        let problem = format!("no file matches {}", pattern.display());
                        let warning = SettingFault::new(place.clone(), &include_key(), problem);
                        found.warnings.push(warning);
                    }
                    ahead.extend(files.into_iter().map(|file| (file, Some(place.clone()))));
                }
                Err(source) => unreadable(found, place, &pattern, &source),
            }
        }
        texts.push(text);
    }
    Ok(texts)
}

/// The text of a file. Where it is none that is a fault, and the rest is read all the same.
fn decode(found: &mut Findings, path: &Path, bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| {
        let at = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
        let place = Location::at(path, &text, at);
        found.fault(place, &[], "is not UTF-8; save the file in that encoding");
        text
    })
}

fn include_key() -> [String; 1] {
    ["include".to_owned()]
}

fn unreadable(found: &mut Findings, place: Location, path: &Path, source: &io::Error) {
    let problem = format!("{} can't be read: {source}", path.display());
    found.fault(place, &include_key(), problem);
}

/// The files that a pattern means: itself, or, with one `*` in its last part, those that match, in order.
fn expand(pattern: &Path) -> io::Result<Vec<PathBuf>> {
    let name = pattern
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let Some((before, after)) = name.split_once('*') else {
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
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let long = name.len() >= before.len() + after.len();
        // As a shell does it: what editors leave behind is hidden.
        let hidden = name.starts_with('.') && !before.starts_with('.');
        if long && !hidden && name.starts_with(before) && name.ends_with(after) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Merges defaults, files and environment, in this order, and reads the result.
fn merge(files: &[String], found: &Findings) -> Result<Settings, ConfigError> {
    let defaults = reference::defaults(found.named("route").is_empty());
    let mut merged = Config::builder().add_source(File::from_str(&defaults, FileFormat::Toml));
    for text in files {
        merged = merged.add_source(File::from_str(text, FileFormat::Toml));
    }
    for (path, (value, location)) in &found.written {
        if let Location::Variable(_) = location {
            let value = config::Value::deserialize(value)
                .map_err(|error: serde_json::Error| ConfigError::Message(error.to_string()))?;
            merged = merged.set_override(path.join("."), value)?;
        }
    }
    let mut settings: Settings = merged.build()?.try_deserialize()?;
    for (name, resource) in &mut settings.resources {
        if resource.path.is_empty() {
            resource.path = format!("/{name}");
        }
        if let Some(schema) = found.schemas.get(name) {
            resource.schema = Arc::new(schema.clone());
        }
    }
    Ok(settings)
}
