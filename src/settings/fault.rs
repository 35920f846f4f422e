//! One thing that is wrong with the settings, and where.

use std::path::Path;
use std::sync::Arc;

/// The location where something was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Location {
    /// A file, with the line and column of the key or value, both counted from 1.
    #[error("{}:{line}:{column}", path.display())]
    File {
        /// The file, as it was named.
        path: Arc<Path>,
        /// The line.
        line: usize,
        /// The column, in characters.
        column: usize,
    },
    /// An environment variable, by its name.
    #[error("${0}")]
    Variable(String),
}

/// The text of a file, whose lines are counted once.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    path: Arc<Path>,
    text: &'a str,
    /// The first byte of each line but the first.
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(path: &Path, text: &'a str) -> Self {
        let starts = memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at + 1);
        Self {
            path: path.into(),
            text,
            starts: starts.collect(),
        }
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The location of the byte `at`.
    pub(super) fn location(&self, at: usize) -> Location {
        let at = if self.text.is_char_boundary(at) {
            at
        } else {
            self.text.len()
        };
        let before = self.starts.partition_point(|start| *start <= at);
        let last = before.checked_sub(1).and_then(|n| self.starts.get(n));
        let start = last.copied().unwrap_or_default();
        let column = self.text.get(start..at).unwrap_or_default();
        Location::File {
            path: Arc::clone(&self.path),
            line: before + 1,
            column: column.chars().count() + 1,
        }
    }
}

/// One thing that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{location}: {key}{}{problem}", if key.is_empty() { "" } else { ": " })]
pub struct SettingFault {
    /// The location where it was written.
    pub location: Location,
    /// The key, such as `server.admin`; empty for the file as a whole.
    pub key: String,
    /// The fault, and the advice how to mend it.
    pub problem: String,
}

impl SettingFault {
    pub(super) fn new(
        location: Location,
        path: &[impl AsRef<str>],
        problem: impl Into<String>,
    ) -> Self {
        Self {
            location,
            key: shown(path),
            problem: problem.into(),
        }
    }
}

/// The path of a fault that is about no key, but the file as a whole.
pub(super) const WHOLE: [&str; 0] = [];

/// The name of the node of a route or a resource in a plan.
pub(crate) fn node_name(kind: &str, name: &str) -> String {
    shown(&[kind, name])
}

/// A key as it would be written in TOML.
pub(super) fn shown(path: &[impl AsRef<str>]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    let parts = path.iter().map(|part| match part.as_ref() {
        part if !part.is_empty() && part.chars().all(plain) => part.to_owned(),
        part => format!("{part:?}"),
    });
    parts.collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_is_found_in_its_line_by_characters() {
        let lines = Lines::new(Path::new("a"), "\u{e9}b\n\ncd\n");
        for (at, found) in [
            (0, "a:1:1"),
            (2, "a:1:2"),
            (3, "a:1:3"),
            (4, "a:2:1"),
            (5, "a:3:1"),
            (7, "a:3:3"),
            (8, "a:4:1"),
            (9, "a:4:1"),
            (1, "a:4:1"),
        ] {
            assert_eq!(lines.location(at).to_string(), found, "{at}");
        }
        assert_eq!(
            Lines::new(Path::new("a"), "").location(0).to_string(),
            "a:1:1"
        );
    }
}
