//! Finding, reading and merging: defaults < files < environment.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use config::{Config, File, FileFormat};

use super::Settings;
use super::raw::Raw;
use super::reference;
use super::rules;
use super::value::Plain;
use super::violation::{Place, Violation};
use super::walk::Walk;

/// Where settings are looked for when nobody says where they are.
const PLACES: [&str; 2] = ["config/perennial.toml", "/etc/perennial/perennial.toml"];
/// How many files may include each other.
const FILES_MAX: usize = 1_000;

/// Why there are no settings.
#[derive(Debug)]
pub enum LoadError {
    /// A file can't be read.
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// All that is wrong, in the order of places.
    Invalid(Vec<Violation>),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, source } => {
                write!(f, "{}: can't be read: {source}", path.display())
            }
            Self::Invalid(violations) => {
                for violation in violations {
                    writeln!(f, "{violation}")?;
                }
                let (count, s) = (
                    violations.len(),
                    if violations.len() == 1 { "" } else { "s" },
                );
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
    let mut walk = Walk::default();
    let files = match path {
        Some(path) => read_all(path, &mut walk)?,
        None => Vec::new(),
    };
    walk.environment(env);
    rules::check(&mut walk);
    if walk.violations.is_empty() {
        let unseen = match merge(&files, &walk).and_then(|raw| raw.settings(&walk.schemas)) {
            Ok(settings) => return Ok(settings),
            Err(problem) => problem,
        };
        let place = Place::File {
            path: path.unwrap_or(Path::new("defaults")).to_owned(),
            line: 1,
            column: 1,
        };
        walk.fault(place, &[], &unseen);
    }
    walk.violations
        .sort_by_key(|violation| match &violation.place {
            Place::File { path, line, column } => (path.clone(), *line, *column),
            Place::Variable(name) => (PathBuf::from("~").join(name), 0, 0),
        });
    Err(LoadError::Invalid(walk.violations))
}

/// Every key that the files name, with its value as TOML: to tell what has changed between two readings.
pub(crate) fn written(path: Option<&Path>) -> BTreeMap<String, String> {
    let texts = path.and_then(|path| read_all(path, &mut Walk::default()).ok());
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
fn read_all(path: &Path, walk: &mut Walk) -> Result<Vec<String>, LoadError> {
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
            walk.fault(place, &include_key(), &problem);
            break;
        }
        let text = match (fs::read(&path), included) {
            (Ok(bytes), _) => decode(walk, &path, bytes),
            (Err(source), None) => return Err(LoadError::Unreadable { path, source }),
            (Err(source), Some(place)) => {
                unreadable(walk, place, &path, &source);
                continue;
            }
        };
        for (name, place) in walk.file(&path, &text) {
            let pattern = path.parent().unwrap_or(Path::new("")).join(name);
            match expand(&pattern) {
                Ok(files) => {
                    ahead.extend(files.into_iter().map(|file| (file, Some(place.clone()))));
                }
                Err(source) => unreadable(walk, place, &pattern, &source),
            }
        }
        texts.push(text);
    }
    Ok(texts)
}

/// The text of a file. Where it is none that is a fault, and the rest is read all the same.
fn decode(walk: &mut Walk, path: &Path, bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| {
        let at = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
        let place = Place::at(path, &text, at);
        walk.fault(place, &[], "is not UTF-8; save the file in that encoding");
        text
    })
}

fn include_key() -> [String; 1] {
    ["include".to_owned()]
}

fn unreadable(walk: &mut Walk, place: Place, path: &Path, source: &io::Error) {
    let problem = format!("{} can't be read: {source}", path.display());
    walk.fault(place, &include_key(), &problem);
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
        // A folder for later is no fault.
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

fn merge(files: &[String], walk: &Walk) -> Result<Raw, String> {
    let mut merged =
        Config::builder().add_source(File::from_str(&reference::defaults(), FileFormat::Toml));
    for text in files {
        merged = merged.add_source(File::from_str(text, FileFormat::Toml));
    }
    for (path, (value, place)) in &walk.written {
        if let Place::Variable(_) = place {
            let set = merged.set_override(path.join("."), plain(value));
            merged = set.map_err(|error| error.to_string())?;
        }
    }
    let raw = merged.build().and_then(Config::try_deserialize);
    raw.map_err(|error| error.to_string())
}

fn plain(value: &Plain) -> config::Value {
    let kind = match value {
        Plain::Bool(yes) => (*yes).into(),
        Plain::Integer(number) => (*number).into(),
        Plain::Float(number) => (*number).into(),
        Plain::Text(text) => text.clone().into(),
        Plain::Array(items) => items.iter().map(plain).collect::<Vec<_>>().into(),
        Plain::Table(_) | Plain::Other(_) => config::ValueKind::Nil,
    };
    config::Value::new(None, kind)
}
