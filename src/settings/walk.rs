//! The walk over a file: finds every fault there is, with its place.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fields;
use super::keys::{self, Key};
use super::kind::Kind;
use super::lookup;
use super::value::{Plain, url_path_fault};
use super::violation::{Place, Violation};
use crate::record::{Schema, nearest};

/// What the files say, and what is wrong with them.
#[derive(Debug, Default)]
pub(super) struct Walk {
    pub(super) violations: Vec<Violation>,
    /// Every key that was written, with its value, which may be a wrong one, and its place.
    pub(super) written: BTreeMap<Vec<String>, (Plain, Place)>,
    /// Where each name of the operator's was first written: routes and resources.
    pub(super) named: BTreeMap<Vec<String>, Place>,
    /// What the records of a resource are, by its name.
    pub(super) schemas: BTreeMap<String, Schema>,
}

/// One file while it is walked.
pub(super) struct Source<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    pub(super) fn place(&self, span: Range<usize>) -> Place {
        Place::at(self.path, self.text, span.start)
    }
}

impl Walk {
    /// Walks one file. Returns the files it includes, as written, and where.
    pub(super) fn file(&mut self, path: &Path, text: &str) -> Vec<(PathBuf, Place)> {
        let source = Source { path, text };
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let place = source.place(error.span().unwrap_or_default());
            let problem = error.message().trim_end_matches('\n').replace('\n', "; ");
            self.violations.push(Violation {
                place,
                key: String::new(),
                problem,
            });
        }
        self.table(&source, &mut Vec::new(), table.get_ref());
        match self.written.remove(&vec!["include".to_owned()]) {
            Some((Plain::Array(items), place)) => items
                .iter()
                .filter(|item| item.fault(Kind::Include).is_none())
                .filter_map(|item| Some((item.text()?.into(), place.clone())))
                .collect(),
            _ => Vec::new(),
        }
    }

    fn table(&mut self, source: &Source<'_>, path: &mut Vec<String>, table: &DeTable<'_>) {
        for (name, value) in table {
            path.push(name.get_ref().to_string());
            self.entry(source, path, name.span(), value);
            path.pop();
        }
    }

    fn entry(
        &mut self,
        source: &Source<'_>,
        path: &mut Vec<String>,
        at: Range<usize>,
        value: &Spanned<DeValue<'_>>,
    ) {
        let parts: Vec<&str> = path.iter().map(String::as_str).collect();
        if let Some(key) = lookup::find(&parts) {
            if !key.available() {
                self.fault(source.place(at), path, "not available yet; take it out");
                return;
            }
            match (key.kind, value.get_ref()) {
                (Kind::Fields, DeValue::Table(table)) => self.fields(source, path, table),
                (kind, _) => self.value_faults(source, path, kind, value),
            }
            self.write(path, Plain::of(value.get_ref()), source.place(at));
            return;
        }
        if lookup::below(&parts).next().is_none() {
            let problem = unknown(&parts);
            self.fault(source.place(at), path, &problem);
            return;
        }
        if !lookup::below(&parts).any(Key::available) {
            self.fault(source.place(at), path, "not available yet; take it out");
            return;
        }
        if let [kind @ ("route" | "resource"), name] = parts.as_slice() {
            let fault = if *kind == "route" {
                url_path_fault(name)
            } else {
                name_fault(name)
            };
            if let Some(problem) = fault {
                self.fault(source.place(at.clone()), path, &problem);
            }
            if value.get_ref().is_table() {
                let named = self.named.entry(path.clone());
                named.or_insert_with(|| source.place(at));
            }
        }
        match value.get_ref() {
            DeValue::Table(members) => self.table(source, path, members),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => {
                let problem = match lookup::names_below(&parts).join(", ") {
                    names if names.is_empty() => "must be a table".to_owned(),
                    names => format!("must be a table with keys of {names}"),
                };
                self.fault(source.place(value.span()), path, &problem);
            }
        }
    }

    fn fields(&mut self, source: &Source<'_>, path: &[String], table: &DeTable<'_>) {
        let fields = fields::read(self, source, path, table);
        if let [_, resource, _] = path {
            let schema = Schema::Fields(fields);
            self.schemas.entry(resource.clone()).or_insert(schema);
        }
    }

    /// What is wrong with a value; of a list, with each of its items.
    fn value_faults(
        &mut self,
        source: &Source<'_>,
        path: &[String],
        kind: Kind,
        value: &Spanned<DeValue<'_>>,
    ) {
        match (kind.items(), value.get_ref()) {
            (Some(kind), DeValue::Array(items)) if !items.is_empty() => {
                for item in items {
                    self.value_faults(source, path, kind, item);
                }
            }
            (_, value_only) => {
                if let Some(problem) = Plain::of(value_only).fault(kind) {
                    self.fault(source.place(value.span()), path, &problem);
                }
            }
        }
    }

    fn write(&mut self, path: &[String], value: Plain, place: Place) {
        if let Some((_, before)) = self.written.get(path) {
            let problem = format!("written before, at {before}; keep one of the two");
            self.fault(place, path, &problem);
            return;
        }
        self.written.insert(path.to_vec(), (value, place));
    }

    /// Walks the environment: `PERENNIAL__SERVER__ADMIN` is `server.admin`. Only keys without a name of the operator's
    /// can be reached.
    pub(super) fn environment(&mut self, env: &BTreeMap<String, String>) {
        for (variable, text) in env {
            let Some(rest) = variable.strip_prefix("PERENNIAL__") else {
                continue;
            };
            let place = Place::Variable(variable.clone());
            let wanted = rest.to_lowercase().replace("__", ".");
            let flat = |key: &&Key| !key.path.contains('*') && key.kind != Kind::Includes;
            let found = keys::KEYS
                .iter()
                .filter(flat)
                .find(|key| key.path.replace('-', "_") == wanted);
            let Some(key) = found else {
                let problem = "no setting that can be given by the environment".to_owned();
                self.violations.push(Violation {
                    place,
                    key: wanted,
                    problem,
                });
                continue;
            };
            let path: Vec<String> = key.path.split('.').map(str::to_owned).collect();
            if !key.available() {
                self.fault(place, &path, "not available yet; take it out");
                continue;
            }
            let plain = Plain::of_variable(text, key.kind);
            if let Some(problem) = plain.fault(key.kind) {
                self.fault(place.clone(), &path, &problem);
            }
            self.written.insert(path, (plain, place));
        }
    }

    /// Notes what is wrong, unless it only follows from what is no TOML in the same place.
    pub(super) fn fault(&mut self, place: Place, path: &[String], problem: &str) {
        let told = |v: &Violation| v.key.is_empty() && v.place == place;
        if self.violations.iter().any(told) {
            return;
        }
        self.violations.push(Violation {
            place,
            key: shown(path),
            problem: problem.to_owned(),
        });
    }
}

impl Walk {
    /// The value of this key, if one was written.
    pub(super) fn value(&self, path: &[&str]) -> Option<&Plain> {
        self.written(path).map(|(value, _)| value)
    }

    /// The same with the place.
    pub(super) fn written(&self, path: &[&str]) -> Option<&(Plain, Place)> {
        let path: Vec<String> = path.iter().map(|part| (*part).to_owned()).collect();
        self.written.get(&path)
    }

    /// Whether something below this path is wrong.
    pub(super) fn is_faulty_below(&self, path: &[String]) -> bool {
        let above = format!("{}.", shown(path));
        self.violations.iter().any(|v| v.key.starts_with(&above))
    }
}

/// A key as it would be written in TOML.
fn shown(path: &[String]) -> String {
    let bare = |part: &String| {
        !part.is_empty()
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
    };
    let part = |part: &String| {
        if bare(part) {
            part.clone()
        } else {
            format!("{part:?}")
        }
    };
    path.iter().map(part).collect::<Vec<_>>().join(".")
}

fn unknown(parts: &[&str]) -> String {
    let (name, above) = parts
        .split_last()
        .map_or(("", &[][..]), |(name, above)| (*name, above));
    let names = lookup::names_below(above);
    match nearest(name, names.iter().copied()) {
        Some(near) => format!("unknown; did you mean {near}?"),
        None => format!("unknown; known here are {}", names.join(", ")),
    }
}

fn name_fault(name: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
    let first = name.chars().next().is_some_and(|c| c.is_ascii_lowercase());
    let good = first && name.len() <= 64 && name.chars().all(plain);
    (!good).then(|| {
        format!("{name:?} is no name; use up to 64 of a-z, 0-9, - and _, beginning with a letter")
    })
}
