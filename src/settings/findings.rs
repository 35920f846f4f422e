//! The content of the files and the environment: keys with their values and locations, and faults. The walk fills it, and the
//! rules ask it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::fault::{Location, SettingFault, shown};
use super::key_path::KeyPath;
use super::read_files::ReadFiles;
use super::references::WrittenReference;
use super::tls::PairFiles;
use crate::certificates::Pair;
use crate::record::Schema;
use crate::tokens::TokenKeys;

/// The bits of a file that others than its user and group have.
const OTHERS: u32 = 0o007;

/// The keys and values of the files and the environment, and their faults.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) faults: Vec<SettingFault>,
    /// Faults that may be intended, but are worth a look.
    pub(super) warnings: Vec<SettingFault>,
    /// Every key that was written, with its value, which may be a wrong one, and its location.
    pub(super) written: BTreeMap<KeyPath, (Value, Location)>,
    /// The location where each table was first written, by its path: a route and a resource are tables.
    pub(super) tables: BTreeMap<KeyPath, Location>,
    /// Every file and every pattern of files that was looked for.
    pub(super) files: Vec<PathBuf>,
    /// The state of each file when it was read.
    pub(super) read: ReadFiles,
    /// The fields of each resource that declares some, by its name.
    pub(super) schemas: BTreeMap<String, Schema>,
    /// The references of the fields.
    pub(super) references: Vec<WrittenReference>,
    /// The certificates with their files.
    pub(super) pairs: Vec<(PairFiles, Pair)>,
    /// The keys of tokens, and their file.
    pub(super) token_keys: Option<(PathBuf, TokenKeys)>,
}

/// A file that is named by a key.
pub(super) struct NamedFile {
    pub(super) path: PathBuf,
    pub(super) content: Vec<u8>,
}

impl NamedFile {
    /// Its name with a sum of its content, so that a file that was written anew is another value of the key.
    pub(super) fn told(&self) -> Value {
        let sum = crc32c::crc32c(&self.content);
        format!("{} ({sum:08x})", self.path.display()).into()
    }

    /// The warning that every user of the machine can read it, if that is so.
    pub(super) fn open_to_all(path: &Path) -> Option<String> {
        let mode = fs::metadata(path).ok()?.permissions().mode();
        let path = path.display();
        (mode & OTHERS != 0)
            .then(|| format!("{path} can be read by every user of this machine: chmod o= {path}"))
    }
}

impl Findings {
    /// Notes what is wrong, unless it only follows from what is not TOML at the same location.
    pub(super) fn fault(
        &mut self,
        location: Location,
        path: &[impl AsRef<str>],
        problem: impl Into<String>,
    ) {
        let told = |fault: &SettingFault| fault.key.is_empty() && fault.location == location;
        if !self.faults.iter().any(told) {
            self.faults.push(SettingFault::new(location, path, problem));
        }
    }

    /// Notes what is worth a look.
    pub(super) fn warn(
        &mut self,
        location: Location,
        path: &[impl AsRef<str>],
        problem: impl Into<String>,
    ) {
        let warning = SettingFault::new(location, path, problem);
        self.warnings.push(warning);
    }

    /// Notes what is wrong with a key, where it was written; nothing if it was not.
    pub(super) fn fault_of(&mut self, path: &[impl AsRef<str>], problem: impl Into<String>) {
        if let Some((_, location)) = self.written(path).cloned() {
            self.fault(location, path, problem);
        }
    }

    /// Notes what is worth a look at a key, where it was written; nothing if it was not.
    pub(super) fn warn_of(&mut self, path: &[impl AsRef<str>], problem: impl Into<String>) {
        if let Some((_, location)) = self.written(path).cloned() {
            self.warn(location, path, problem);
        }
    }

    /// Notes what is worth a look at a route or a resource.
    pub(super) fn warn_table(&mut self, path: &[&str], problem: impl Into<String>) {
        if let Some(location) = self.tables.get(&KeyPath::of(path)).cloned() {
            self.warn(location, path, problem);
        }
    }

    /// The value of this key, if one was written.
    pub(super) fn value_of(&self, path: &[impl AsRef<str>]) -> Option<&Value> {
        self.written(path).map(|(value, _)| value)
    }

    /// The same with its location.
    pub(super) fn written(&self, path: &[impl AsRef<str>]) -> Option<&(Value, Location)> {
        self.written.get(&KeyPath::of(path))
    }

    /// Reads the file that this key names. It is relative to the file in which it is written.
    pub(super) fn named_file(&mut self, key: &[impl AsRef<str>]) -> Option<NamedFile> {
        let (value, location) = self.written(key).cloned()?;
        let name = value.as_str().filter(|name| !name.is_empty())?;
        let path = match &location {
            Location::File { path, .. } => path.parent().unwrap_or(Path::new("")).join(name),
            Location::Variable(_) => PathBuf::from(name),
        };
        self.files.push(path.clone());
        match self.read.read(&path) {
            Ok(content) => Some(NamedFile { path, content }),
            Err(error) => {
                self.fault_of(key, format!("{} can't be read: {error}", path.display()));
                None
            }
        }
    }

    /// Puts another value in the place of one that was written.
    pub(super) fn set_value(&mut self, path: &[impl AsRef<str>], value: Value) {
        if let Some((written, _)) = self.written.get_mut(&KeyPath::of(path)) {
            *written = value;
        }
    }

    /// The names of the routes (`route`) or resources (`resource`) that were written, in order.
    pub(super) fn named(&self, kind: &str) -> Vec<String> {
        let named = self.located(kind).into_iter();
        named.map(|(name, _)| name).collect()
    }

    /// The same with their locations.
    pub(super) fn located(&self, kind: &str) -> Vec<(String, Location)> {
        self.located_in(&[kind])
    }

    /// The names of the tables in this one, with their locations.
    pub(super) fn located_in(&self, above: &[&str]) -> Vec<(String, Location)> {
        let kind = KeyPath::of(above);
        let below = self.tables.range(&kind..);
        let below = below.take_while(|(path, _)| path.begins_with(&kind));
        let named = below.filter_map(|(path, location)| {
            let name = path.only_part_after(&kind)?;
            Some((name.into_owned(), location.clone()))
        });
        named.collect()
    }

    /// Forgets all that was written in other parts than these, and all faults: the caller makes sure that these have none.
    pub(super) fn leave_only(&mut self, parts: &[&[&str]]) {
        let parts: Vec<_> = parts.iter().map(|part| KeyPath::of(part)).collect();
        let within = |path: &KeyPath| parts.iter().any(|part| path.begins_with(part));
        self.written.retain(|path, _| within(path));
        self.tables.retain(|path, _| within(path));
        self.schemas.clear();
        self.pairs.clear();
        self.token_keys = None;
        self.faults.clear();
        self.warnings.clear();
    }

    /// Whether nothing is written in the files: no key and no table.
    pub(super) fn is_blank(&self) -> bool {
        let mut places = self.written.values().map(|(_, location)| location);
        self.tables.is_empty() && places.all(|place| matches!(place, Location::Variable(_)))
    }

    /// Whether something is wrong with this key itself.
    pub(super) fn is_faulty(&self, path: &[impl AsRef<str>]) -> bool {
        let own = shown(path);
        self.faults.iter().any(|v| v.key == own)
    }

    /// Whether something below this path is wrong.
    pub(super) fn is_faulty_below(&self, path: &[impl AsRef<str>]) -> bool {
        let above = format!("{}.", shown(path));
        self.faults.iter().any(|v| v.key.starts_with(&above))
    }
}
