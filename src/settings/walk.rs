//! The walk over a file: finds every fault there is, with its location.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Location, SettingFault, shown};
use super::fields;
use super::keys::{self, COMING};
use super::kind::Kind;
use super::texts::{INCLUDE, name_fault, url_path_fault};
use crate::record::{Schema, nearest};

/// The keys and values of the files and the environment, and their faults.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) faults: Vec<SettingFault>,
    /// Faults that may be intended, but are worth a look.
    pub(super) warnings: Vec<SettingFault>,
    /// Every key that was written, with its value, which may be a wrong one, and its location.
    pub(super) written: BTreeMap<Vec<String>, (Value, Location)>,
    /// The location where each route and each resource was first written.
    pub(super) named: BTreeMap<Vec<String>, Location>,
    /// The fields of each resource that declares some, by its name.
    pub(super) schemas: BTreeMap<String, Schema>,
}

/// One file while it is walked.
pub(super) struct Document<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Document<'_> {
    pub(super) fn location(&self, span: Range<usize>) -> Location {
        Location::at(self.path, self.text, span.start)
    }

    /// A value as a message shows it.
    fn shown(&self, value: &Spanned<DeValue<'_>>) -> String {
        match value.get_ref() {
            DeValue::String(text) => format!("{text:?}"),
            DeValue::Array(items) if items.is_empty() => "an empty list".to_owned(),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
            DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => self.text.get(value.span()).unwrap_or_default().to_owned(),
        }
    }
}

impl Findings {
    /// Walks one file. Returns the files it includes, as written, and where.
    pub(super) fn file(&mut self, path: &Path, text: &str) -> Vec<(PathBuf, Location)> {
        let document = Document { path, text };
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let location = document.location(error.span().unwrap_or_default());
            let problem = error.message().trim_end_matches('\n').replace('\n', "; ");
            self.faults.push(SettingFault::new(location, &[], problem));
        }
        self.table(&document, &mut Vec::new(), table.get_ref());
        let Some((included, location)) = self.written.remove(&vec!["include".to_owned()]) else {
            return Vec::new();
        };
        let items = included.as_array().into_iter().flatten();
        items
            .filter(|item| INCLUDE.fault(item, "").is_none())
            .filter_map(|item| Some((item.as_str()?.into(), location.clone())))
            .collect()
    }

    fn table(&mut self, document: &Document<'_>, path: &mut Vec<String>, table: &DeTable<'_>) {
        for (name, value) in table {
            path.push(name.get_ref().to_string());
            self.entry(document, path, name.span(), value);
            path.pop();
        }
    }

    fn entry(
        &mut self,
        document: &Document<'_>,
        path: &mut Vec<String>,
        at: Range<usize>,
        value: &Spanned<DeValue<'_>>,
    ) {
        let parts: Vec<&str> = path.iter().map(String::as_str).collect();
        if let Some(key) = keys::find(&parts) {
            self.value(document, path, key.kind, value);
            self.write(path, json(value.get_ref()), document.location(at));
            return;
        }
        let names = keys::names_below(&parts);
        if names.is_empty() {
            self.fault(document.location(at), path, unknown(&parts));
            return;
        }
        if let [kind @ ("route" | "resource"), name] = parts.as_slice() {
            let fault = if *kind == "route" {
                url_path_fault(name)
            } else {
                name_fault(name)
            };
            if let Some(problem) = fault {
                self.fault(document.location(at.clone()), path, problem);
            }
            if value.get_ref().is_table() {
                let first = self.named.entry(path.clone());
                first.or_insert_with(|| document.location(at));
            }
        }
        if let DeValue::Table(members) = value.get_ref() {
            self.table(document, path, members);
            return;
        }
        let problem = match names.as_slice() {
            ["*"] => "must be a table".to_owned(),
            names => format!("must be a table with keys of {}", names.join(", ")),
        };
        self.fault(document.location(value.span()), path, problem);
    }

    /// Finds what is wrong with a value; of a list or a table, with each of its items.
    fn value(
        &mut self,
        document: &Document<'_>,
        path: &[String],
        kind: Kind,
        value: &Spanned<DeValue<'_>>,
    ) {
        match (kind, value.get_ref()) {
            (Kind::Fields, DeValue::Table(table)) => {
                let fields = fields::read(self, document, path, table);
                if let [_, resource, _] = path {
                    let schema = Schema::Fields(fields);
                    self.schemas.entry(resource.clone()).or_insert(schema);
                }
            }
            (Kind::List { items: kind, .. }, DeValue::Array(items)) if !items.is_empty() => {
                for item in items {
                    self.value(document, path, *kind, item);
                }
            }
            (Kind::Table { fault, .. }, DeValue::Table(members)) => {
                for (name, value) in members {
                    let problem = if let DeValue::String(text) = value.get_ref() {
                        fault(name.get_ref(), text)
                    } else {
                        Some(format!("{:?} must be a text", name.get_ref()))
                    };
                    if let Some(problem) = problem {
                        self.fault(document.location(name.span()), path, problem);
                    }
                }
            }
            (kind, of) => {
                if let Some(problem) = kind.fault(&json(of), &document.shown(value)) {
                    self.fault(document.location(value.span()), path, problem);
                }
            }
        }
    }

    fn write(&mut self, path: &[String], value: Value, location: Location) {
        if let Some((_, before)) = self.written.get(path) {
            let problem = format!("written before, at {before}; keep one of the two");
            self.fault(location, path, problem);
            return;
        }
        self.written.insert(path.to_vec(), (value, location));
    }

    /// Walks the environment: `PERENNIAL__SERVER__ADMIN` is `server.admin`. Only keys without a name that the operator
    /// chooses can be reached.
    pub(super) fn environment(&mut self, env: &BTreeMap<String, String>) {
        for (variable, text) in env {
            let Some(rest) = variable.strip_prefix("PERENNIAL__") else {
                continue;
            };
            let location = Location::Variable(variable.clone());
            let wanted = rest.to_lowercase().replace("__", ".");
            let mut flat = keys::KEYS
                .iter()
                .filter(|key| !key.is_named() && key.path != "include");
            let Some(key) = flat.find(|key| key.path.replace('-', "_") == wanted) else {
                let path: Vec<_> = wanted.split('.').map(str::to_owned).collect();
                let problem = "not a setting that can be given by the environment";
                self.fault(location, &path, problem);
                continue;
            };
            let path: Vec<String> = key.path.split('.').map(str::to_owned).collect();
            // This character replaces bytes that are not UTF-8.
            if text.contains(char::REPLACEMENT_CHARACTER) {
                self.fault(location, &path, "is not UTF-8; write it in that encoding");
                continue;
            }
            let value = key.kind.of_variable(text);
            match (key.kind, &value) {
                (Kind::List { items: kind, .. }, Value::Array(items)) => {
                    let faults = items
                        .iter()
                        .filter_map(|item| kind.fault(item, &item.to_string()));
                    for problem in faults {
                        self.fault(location.clone(), &path, problem);
                    }
                }
                (kind, value) => {
                    let text = value
                        .as_str()
                        .map_or(text.clone(), |text| format!("{text:?}"));
                    if let Some(problem) = kind.fault(value, &text) {
                        self.fault(location.clone(), &path, problem);
                    }
                }
            }
            self.written.insert(path, (value, location));
        }
    }

    /// Notes what is wrong, unless it only follows from what is not TOML at the same location.
    pub(super) fn fault(
        &mut self,
        location: Location,
        path: &[String],
        problem: impl Into<String>,
    ) {
        let told = |fault: &SettingFault| fault.key.is_empty() && fault.location == location;
        if !self.faults.iter().any(told) {
            self.faults.push(SettingFault::new(location, path, problem));
        }
    }

    /// The value of this key, if one was written.
    pub(super) fn value_of(&self, path: &[&str]) -> Option<&Value> {
        self.written(path).map(|(value, _)| value)
    }

    /// The same with its location.
    pub(super) fn written(&self, path: &[&str]) -> Option<&(Value, Location)> {
        let path: Vec<String> = path.iter().map(|part| (*part).to_owned()).collect();
        self.written.get(&path)
    }

    /// The routes (`route`) or resources (`resource`) that were written, by name.
    pub(super) fn named(&self, kind: &str) -> Vec<(String, Location)> {
        let named = self.named.iter();
        named
            .filter(|(key, _)| key.first().is_some_and(|first| first == kind))
            .filter_map(|(key, location)| Some((key.last()?.clone(), location.clone())))
            .collect()
    }

    /// Whether something below this path is wrong.
    pub(super) fn is_faulty_below(&self, path: &[String]) -> bool {
        let above = format!("{}.", shown(path));
        self.faults.iter().any(|v| v.key.starts_with(&above))
    }
}

fn unknown(parts: &[&str]) -> String {
    let (name, above) = parts
        .split_last()
        .map_or(("", &[][..]), |(name, above)| (*name, above));
    let names = keys::names_below(above);
    if let Some(deeper) = keys::named_below(above, name) {
        return format!("unknown here; did you mean {deeper}?");
    }
    // Wherever it is written, it is not available.
    if name == "tls" {
        return "TLS is not available in this release; take it out, and let a proxy in front of the daemon do it".to_owned();
    }
    if COMING.contains(&name) {
        return "not available in this release; take it out".to_owned();
    }
    if let Some(near) = nearest(name, names.iter().copied()) {
        return format!("unknown; did you mean {near}?");
    }
    match keys::named_below(&[], name) {
        Some(elsewhere) => format!("unknown here; did you mean {elsewhere}?"),
        None => format!("unknown; known here are {}", names.join(", ")),
    }
}

/// A TOML value as JSON; what has no counterpart is null, also inside lists and tables.
fn json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(digits) => {
            i64::from_str_radix(digits.as_str(), digits.radix()).map_or(Value::Null, Value::from)
        }
        DeValue::Float(digits) => digits
            .as_str()
            .parse::<f64>()
            .map_or(Value::Null, Value::from),
        DeValue::Boolean(yes) => Value::Bool(*yes),
        DeValue::Datetime(_) => Value::Null,
        DeValue::Array(items) => items.iter().map(|item| json(item.get_ref())).collect(),
        DeValue::Table(members) => members
            .iter()
            .map(|(name, value)| (name.get_ref().to_string(), json(value.get_ref())))
            .collect(),
    }
}
