//! The state of an import, in a file beside the one that is imported: by it the same command goes on where it was cut.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

/// What is imported, and how. Only the same can go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ImportSubject {
    pub(super) bytes: u64,
    /// The time of the file's last change, in nanoseconds since 1970.
    pub(super) modified_ns: u64,
    pub(super) resource: Option<String>,
    pub(super) format: String,
    pub(super) upsert: bool,
}

/// The progress of an import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ImportState {
    /// A UUID of version 7, made when the import began.
    pub(super) import: String,
    pub(super) subject: ImportSubject,
    /// The rows that were answered.
    pub(super) rows: u64,
    /// The last change of the store that came from them, or that was there before them.
    pub(super) change: u64,
    pub(super) created: u64,
    pub(super) replaced: u64,
    pub(super) refused: u64,
}

/// The reason why an import can't go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum StateFault {
    #[error(
        "{0} is from an import of another file, or of another version of this one, or with other options; remove it to begin again"
    )]
    Other(String),
    #[error("{0} can't be read; remove it to begin again")]
    Unreadable(String, #[source] io::Error),
    #[error(
        "the store has {now} changes, but had {then} when the import was cut: it is another one, or an older copy; remove {path} to begin again"
    )]
    Store { path: String, now: u64, then: u64 },
}

impl ImportSubject {
    pub(super) fn of(
        file: &fs::File,
        resource: Option<String>,
        format: String,
        upsert: bool,
    ) -> io::Result<Self> {
        let about = file.metadata()?;
        let since = about.modified()?.duration_since(UNIX_EPOCH);
        let modified_ns = u64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX);
        Ok(Self {
            bytes: about.len(),
            modified_ns,
            resource,
            format,
            upsert,
        })
    }
}

impl ImportState {
    /// The state of an import that begins after the change `change`.
    pub(super) fn new(subject: ImportSubject, import: uuid::Uuid, change: u64) -> Self {
        Self {
            import: import.to_string(),
            subject,
            rows: 0,
            change,
            created: 0,
            replaced: 0,
            refused: 0,
        }
    }

    /// The file of the state of an import of `file`.
    pub(super) fn path(file: &Path) -> PathBuf {
        let mut name = file.as_os_str().to_owned();
        name.push(".import");
        name.into()
    }

    /// Reads a state, if there is one.
    pub(super) fn load(path: &Path) -> Result<Option<Self>, StateFault> {
        let unreadable = |error| StateFault::Unreadable(path.display().to_string(), error);
        match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(error)),
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(|error| unreadable(error.into())),
        }
    }

    /// Whether it may go on with this subject in a store whose last change is `now`.
    pub(super) fn goes_on(
        &self,
        subject: &ImportSubject,
        now: u64,
        path: &Path,
    ) -> Result<(), StateFault> {
        let path = path.display().to_string();
        if self.subject != *subject {
            return Err(StateFault::Other(path));
        }
        if now < self.change {
            let then = self.change;
            return Err(StateFault::Store { path, now, then });
        }
        Ok(())
    }

    /// Writes the state in one step.
    pub(super) fn save(&self, path: &Path) -> io::Result<()> {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        fs::write(&part, serde_json::to_vec(self)?)?;
        fs::rename(&part, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> ImportSubject {
        ImportSubject {
            bytes: 10,
            modified_ns: 5,
            resource: Some("books".to_owned()),
            format: "csv".to_owned(),
            upsert: false,
        }
    }

    #[test]
    fn a_state_is_read_as_it_was_written_and_goes_on_only_with_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = ImportState::path(&folder.path().join("books.csv"));
        assert!(path.ends_with("books.csv.import"));
        assert!(ImportState::load(&path).unwrap().is_none());
        let state = ImportState::new(subject(), uuid::Uuid::now_v7(), 7);
        state.save(&path).unwrap();
        let read = ImportState::load(&path).unwrap().unwrap();
        assert_eq!(read, state);
        read.goes_on(&subject(), 7, &path).unwrap();
        let older = read.goes_on(&subject(), 6, &path);
        assert!(matches!(older, Err(StateFault::Store { .. })));
        let changes: [fn(&mut ImportSubject); 4] = [
            |subject| subject.bytes = 11,
            |subject| subject.modified_ns = 6,
            |subject| subject.resource = None,
            |subject| subject.upsert = true,
        ];
        for change in changes {
            let mut other = subject();
            change(&mut other);
            let other = read.goes_on(&other, 7, &path);
            assert!(matches!(other, Err(StateFault::Other(_))));
        }
        fs::write(&path, "{").unwrap();
        assert!(ImportState::load(&path).is_err());
    }
}
