//! The walk over a file: finds every fault there is, with its place.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{self, Kind};
use super::value::{Plain, url_path_fault};
use super::violation::{Place, Violation};

/// What the files say, and what is wrong with them.
#[derive(Debug, Default)]
pub(super) struct Walk {
    pub(super) violations: Vec<Violation>,
    /// Every key that was written, with its value and place.
    pub(super) written: BTreeMap<Vec<String>, (Plain, Place)>,
    /// Where each name of the operator's was first written: routes and resources.
    pub(super) named: BTreeMap<Vec<String>, Place>,
}

/// One file while it is walked.
struct Source<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    fn place(&self, span: Range<usize>) -> Place {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before
            .rsplit('\n')
            .next()
            .unwrap_or_default()
            .chars()
            .count()
            + 1;
        Place::File {
            path: self.path.to_owned(),
            line,
            column,
        }
    }
}

impl Walk {
    /// Walks one file. Returns the files it includes, as written.
    pub(super) fn file(&mut self, path: &Path, text: &str) -> Vec<PathBuf> {
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
            Some((Plain::Array(items), _)) => items
                .into_iter()
                .filter_map(|item| {
                    if let Plain::Text(file) = item {
                        Some(file.into())
                    } else {
                        None
                    }
                })
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
        if let Some(key) = keys::find(&parts) {
            if !key.available() {
                self.fault(source.place(at), path, "not available yet; take it out");
                return;
            }
            let plain = Plain::of(value.get_ref());
            let place = source.place(value.span());
            match plain.fault(key.kind) {
                Some(problem) => self.fault(place, path, &problem),
                None => self.write(path, plain, source.place(at)),
            }
            return;
        }
        if !keys::is_table(&parts) {
            let problem = unknown(&parts);
            self.fault(source.place(at), path, &problem);
            return;
        }
        if let [kind @ ("route" | "resource"), name] = parts.as_slice() {
            let fault = if *kind == "route" {
                url_path_fault(name)
            } else {
                name_fault(name)
            };
            match fault {
                Some(problem) => self.fault(source.place(at), path, &problem),
                None => {
                    self.named
                        .entry(path.clone())
                        .or_insert_with(|| source.place(at));
                }
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
                let problem = match keys::names_below(&parts).join(", ") {
                    names if names.is_empty() => "must be a table".to_owned(),
                    names => format!("must be a table with keys of {names}"),
                };
                self.fault(source.place(value.span()), path, &problem);
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
            let flat = |key: &&keys::Key| !key.path.contains('*') && key.kind != Kind::Includes;
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
            match plain.fault(key.kind) {
                Some(problem) => self.fault(place, &path, &problem),
                None => {
                    self.written.insert(path, (plain, place));
                }
            }
        }
    }

    pub(super) fn fault(&mut self, place: Place, path: &[String], problem: &str) {
        self.violations.push(Violation {
            place,
            key: shown(path),
            problem: problem.to_owned(),
        });
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
    let names = keys::names_below(above);
    match keys::nearest(name, &names) {
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
