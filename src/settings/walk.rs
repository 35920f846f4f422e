//! The walk over a file: finds every fault there is, with its location.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Lines, Location, SettingFault, WHOLE};
use super::findings::Findings;
use super::json_schema;
use super::key_path::KeyPath;
use super::keys::{self, COMING};
use super::kind::Kind;
use super::references::WrittenReference;
use super::route_place;
use super::texts::{INCLUDE, name_fault};
use crate::record::{Schema, nearest};

/// One file while it is walked.
pub(super) struct Walk<'a> {
    found: &'a mut Findings,
    text: &'a str,
    lines: &'a Lines<'a>,
    /// The path of the key that is looked at.
    key: Vec<String>,
}

impl Walk<'_> {
    /// Looks at the key `name` of the table that is looked at.
    pub(super) fn below<T>(&mut self, name: &str, look: impl FnOnce(&mut Self) -> T) -> T {
        self.key.push(name.to_owned());
        let looked = look(self);
        self.key.pop();
        looked
    }

    /// Notes what is wrong with the key that is looked at.
    pub(super) fn fault(&mut self, at: Range<usize>, problem: impl Into<String>) {
        let location = self.location(at);
        self.found.fault(location, &self.key, problem);
    }

    /// Notes that the field that is looked at refers to the records of a resource.
    pub(super) fn refers(&mut self, to: &str, at: Range<usize>) {
        let mut key = self.key.clone();
        key.push("to".to_owned());
        let location = self.location(at);
        let to = to.to_owned();
        self.found
            .references
            .push(WrittenReference { key, to, location });
    }

    fn location(&self, at: Range<usize>) -> Location {
        self.lines.location(at.start)
    }

    fn table(&mut self, table: &DeTable<'_>) {
        for (name, value) in table {
            self.below(name.get_ref(), |walk| walk.entry(name.span(), value));
        }
    }

    fn entry(&mut self, at: Range<usize>, value: &Spanned<DeValue<'_>>) {
        if let Some(key) = keys::find(&self.key) {
            self.value(key.kind, value);
            let mut written = json(value.get_ref());
            if let (Kind::SchemaFile, Some(name)) = (key.kind, written.as_str()) {
                written = self.schema_file(name, value.span());
            }
            let location = self.location(at.clone());
            match self.found.written.entry(KeyPath::of(&self.key)) {
                Entry::Vacant(free) => drop(free.insert((written, location))),
                Entry::Occupied(taken) => {
                    let (_, before) = taken.get();
                    let problem = format!("written before, at {before}; keep one of the two");
                    self.fault(at, problem);
                }
            }
            return;
        }
        let names = keys::names_below(&self.key);
        if names.is_empty() {
            self.fault(at, unknown(&self.key));
            return;
        }
        let fault = match self.key.as_slice() {
            [kind, name] if kind == "route" => route_place::fault(name),
            [kind, name] if kind == "resource" => name_fault(name),
            [auth, keys, name] if auth == "auth" && (keys == "keys" || keys == "users") => {
                name_fault(name)
            }
            _ => None,
        };
        if let Some(problem) = fault {
            self.fault(at.clone(), problem);
        }
        if let DeValue::Table(members) = value.get_ref() {
            let location = self.location(at);
            let tables = &mut self.found.tables;
            tables.entry(KeyPath::of(&self.key)).or_insert(location);
            self.table(members);
            return;
        }
        let problem = match names.as_slice() {
            ["*"] => "must be a table".to_owned(),
            names => format!("must be a table with keys of {}", names.join(", ")),
        };
        self.fault(value.span(), problem);
    }

    /// Finds what is wrong with a value; of a list or a table, with each of its items.
    fn value(&mut self, kind: Kind, value: &Spanned<DeValue<'_>>) {
        match (kind, value.get_ref()) {
            (Kind::Fields, DeValue::Table(table)) => {
                let list = self.fields(table, true);
                let schema = Schema::from(list);
                if let [_, resource, _] = self.key.as_slice() {
                    let schemas = &mut self.found.schemas;
                    schemas.entry(resource.clone()).or_insert(schema);
                }
            }
            (Kind::List { items: kind, .. } | Kind::OneOrMore(kind), DeValue::Array(items))
                if !items.is_empty() =>
            {
                for item in items {
                    self.value(*kind, item);
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
                        self.fault(name.span(), problem);
                    }
                }
            }
            (kind, of) => {
                if let Some(problem) = kind.fault(&json(of), &self.shown(value)) {
                    self.fault(value.span(), problem);
                }
            }
        }
    }

    /// Reads the schema file of the resource that is looked at. Returns its name and its content, which both are the value of the
    /// key.
    fn schema_file(&mut self, name: &str, at: Range<usize>) -> Value {
        let path = self.lines.path().parent().unwrap_or(Path::new(""));
        let path = path.join(name);
        self.found.files.push(path.clone());
        let text = match self.found.read.read(&path).map(String::from_utf8) {
            Ok(Ok(text)) => text,
            Ok(Err(_)) => {
                self.fault(at, format!("{} is not UTF-8", path.display()));
                return Value::Null;
            }
            Err(error) => {
                self.fault(at, format!("{} can't be read: {error}", path.display()));
                return Value::Null;
            }
        };
        let fields = json_schema::read(self.found, &self.key, &path, &text);
        if let ([_, resource, _], Some(fields)) = (self.key.as_slice(), fields) {
            let schemas = &mut self.found.schemas;
            schemas
                .entry(resource.clone())
                .or_insert(Schema::Fields(fields));
        }
        let content: Value = serde_json::from_str(&text).unwrap_or_default();
        serde_json::json!([name, content])
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
    pub(super) fn file(&mut self, file: &Path, text: &str) -> Vec<(PathBuf, Location)> {
        let (table, errors) = DeTable::parse_recoverable(text);
        let lines = Lines::new(file, text);
        for error in errors {
            let location = lines.location(error.span().unwrap_or_default().start);
            let problem = error.message().trim_end_matches('\n').replace('\n', "; ");
            self.faults
                .push(SettingFault::new(location, &WHOLE, problem));
        }
        let mut walk = Walk {
            found: self,
            text,
            lines: &lines,
            key: Vec::new(),
        };
        walk.table(table.get_ref());
        let Some((included, location)) = self.written.remove(&KeyPath::of(&["include"])) else {
            return Vec::new();
        };
        let items = included.as_array().into_iter().flatten();
        items
            .filter(|item| INCLUDE.fault(item, "").is_none())
            .filter_map(|item| Some((item.as_str()?.into(), location.clone())))
            .collect()
    }

    /// Walks the environment: `PERENNIAL__SERVER__ADMIN` is `server.admin`, in capital or small letters. Only keys without
    /// a name that the operator chooses can be reached.
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
            let key = flat.find(|key| key.path.replace('-', "_") == wanted);
            let path: Vec<_> = key
                .map_or(wanted.as_str(), |key| key.path)
                .split('.')
                .map(str::to_owned)
                .collect();
            let Some(key) = key else {
                let elsewhere = keys::find(&path).is_some() || !keys::names_below(&path).is_empty();
                let problem = if elsewhere {
                    "not a setting that can be given by the environment".to_owned()
                } else {
                    unknown(&path)
                };
                self.fault(location, &path, problem);
                continue;
            };
            // This character replaces bytes that are not UTF-8.
            if text.contains(char::REPLACEMENT_CHARACTER) {
                self.fault(location, &path, "is not UTF-8; write it in that encoding");
                continue;
            }
            let value = key.kind.of_variable(text);
            let (kind, items) = match (key.kind, &value) {
                (Kind::List { items: kind, .. }, Value::Array(items)) => (*kind, items.as_slice()),
                (kind, value) => (kind, std::slice::from_ref(value)),
            };
            for item in items {
                if let Some(problem) = kind.fault(item, &item.to_string()) {
                    self.fault(location.clone(), &path, problem);
                }
            }
            if let Some((before, other @ Location::Variable(_))) =
                self.written.get(&KeyPath::of(&path))
                && *before != value
            {
                let problem = format!("{other} gives another value; keep one of the two");
                self.fault(location.clone(), &path, problem);
            }
            self.written.insert(KeyPath::of(&path), (value, location));
        }
    }
}

fn unknown(path: &[String]) -> String {
    let (name, above) = path
        .split_last()
        .map_or(("", path), |(name, above)| (name.as_str(), above));
    if let Some(deeper) = keys::named_below(above, name) {
        return format!("unknown here; did you mean {deeper}?");
    }
    if COMING.contains(&name) {
        return "not available in this release; take it out".to_owned();
    }
    let names = keys::names_below(above);
    if let Some(near) = nearest(name, names.iter().copied()) {
        return format!("unknown; did you mean {near}?");
    }
    match keys::named_below(&WHOLE, name) {
        Some(elsewhere) => format!("unknown here; did you mean {elsewhere}?"),
        None => format!("unknown; known here are {}", names.join(", ")),
    }
}

/// A TOML value as JSON; what has no counterpart is null, also inside lists and tables.
pub(super) fn json(value: &DeValue<'_>) -> Value {
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
