//! One thing that is wrong with the settings, and where.

use std::path::{Path, PathBuf};

/// The location where something was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Location {
    /// A file, with the line and column of the key or value, both counted from 1.
    #[error("{}:{line}:{column}", path.display())]
    File {
        /// The file, as it was named.
        path: PathBuf,
        /// The line.
        line: usize,
        /// The column, in characters.
        column: usize,
    },
    /// An environment variable, by its name.
    #[error("${0}")]
    Variable(String),
}

impl Location {
    /// The location of the byte `at` in the text of a file.
    pub(super) fn at(path: &Path, text: &str, at: usize) -> Self {
        let before = text.get(..at).unwrap_or(text);
        let column = before.rsplit('\n').next().unwrap_or_default();
        Self::File {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
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

/// A key as it would be written in TOML.
pub(super) fn shown(path: &[impl AsRef<str>]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    let parts = path.iter().map(|part| match part.as_ref() {
        part if !part.is_empty() && part.chars().all(plain) => part.to_owned(),
        part => format!("{part:?}"),
    });
    parts.collect::<Vec<_>>().join(".")
}
