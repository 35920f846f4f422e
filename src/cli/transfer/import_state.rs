//! The state of an import, in a file beside the one that is imported: by it the same command goes on where it was cut.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::rows_in::{RowsCheck, RowsIn, RowsSent};
use super::sending::{ParcelRow, RowFate};
use crate::admin::ParcelDone;
use crate::num::{as_nanos, as_u64};

/// The file of an import, and the way in which it is imported.
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
    /// The short id of the store.
    pub(super) store: String,
    /// The rows that this run has been through. The next run goes on there if rows were on their way, and else begins with the
    /// first one again: rows that were refused may have been mended.
    pub(super) rows: u64,
    pub(super) rows_in: RowsIn,
    /// The rows after `rows` that may be in, since no answer told of them.
    pub(super) sent: Option<RowsSent>,
    /// The last change of the store that came from it, or that was there before it.
    pub(super) change: u64,
    /// Records that were created and replaced by this run and those before it.
    pub(super) created: u64,
    pub(super) replaced: u64,
    /// Rows that were refused by this run.
    pub(super) refused: u64,
    /// Rows that this run left out, since there is no such resource.
    #[serde(default)]
    pub(super) left_out: u64,
}

/// The reason why an import can't go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum StateFault {
    #[error(
        "{0} is from an import into another resource, in another format or, while rows were on their way, with other options: give the same, or {AGAIN}"
    )]
    Other(String),
    #[error(
        "{path} says that {rows} rows of this file are in the store, and some of them were changed, moved or removed: put them where they were, as they were (rows that were refused may be mended in place), or {AGAIN}"
    )]
    Changed { path: String, rows: u64 },
    #[error(
        "{path} says that rows {first} to {last} of this file were on their way to the store when the import was cut, and some of them were changed since: put them back as they were, give the command once, and change them then; or {AGAIN}"
    )]
    ChangedOnTheWay { path: String, first: u64, last: u64 },
    #[error("{0} can't be read: {AGAIN}")]
    Unreadable(String, #[source] io::Error),
    #[error("{0} is from an import into another store, or into a later state of this one: {AGAIN}")]
    Store(String),
}

/// The advice for whoever does not want an import to go on.
const AGAIN: &str =
    "remove that file to import all rows, which brings those without an id a second time";

impl ImportSubject {
    pub(super) fn of(
        file: &fs::File,
        resource: Option<String>,
        format: String,
        upsert: bool,
    ) -> io::Result<Self> {
        let about = file.metadata()?;
        let since = about.modified()?.duration_since(UNIX_EPOCH);
        let modified_ns = as_nanos(since.unwrap_or_default());
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
    /// The state of an import that begins after the change `change` of the store `store`.
    pub(super) fn new(
        subject: ImportSubject,
        import: uuid::Uuid,
        store: String,
        change: u64,
    ) -> Self {
        Self {
            import: import.to_string(),
            subject,
            store,
            rows: 0,
            rows_in: RowsIn::default(),
            sent: None,
            change,
            created: 0,
            replaced: 0,
            refused: 0,
            left_out: 0,
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

    /// Whether it may go on with this subject in a store whose last change is `now`. If so, it returns whether the file is
    /// another version of the one before: then its rows must be [compared](Self::compared), too.
    pub(super) fn goes_on(
        &self,
        subject: &ImportSubject,
        (store, now): (&str, u64),
        path: &Path,
    ) -> Result<bool, StateFault> {
        let name = path.display().to_string();
        let before = &self.subject;
        let same = before.resource == subject.resource
            && before.format == subject.format
            && (before.upsert == subject.upsert || self.sent.is_none());
        if !same {
            return Err(StateFault::Other(name));
        }
        if self.store != store || now < self.change {
            return Err(StateFault::Store(name));
        }
        Ok((before.bytes, before.modified_ns) != (subject.bytes, subject.modified_ns))
    }

    /// The rows that matter for whether another version of the file may go on.
    pub(super) fn check(&self) -> RowsCheck<'_> {
        RowsCheck::new(&self.rows_in, self.rows, self.sent)
    }

    /// Looks whether it may go on with a file whose rows were compared.
    pub(super) fn compared(&self, check: &RowsCheck<'_>, path: &Path) -> Result<(), StateFault> {
        let path = path.display().to_string();
        if !check.are_in() {
            let rows = self.rows_in.count();
            return Err(StateFault::Changed { path, rows });
        }
        if !check.are_as_sent() {
            let first = self.rows + 1;
            let last = self.rows + self.sent.map_or(0, |sent| sent.rows);
            return Err(StateFault::ChangedOnTheWay { path, first, last });
        }
        Ok(())
    }

    /// The state at the beginning of another run.
    pub(super) fn again(self, subject: ImportSubject) -> Self {
        match self.sent {
            Some(_) => Self { subject, ..self },
            None => Self {
                subject,
                rows: 0,
                refused: 0,
                left_out: 0,
                ..self
            },
        }
    }

    /// Whether nothing is in, and nothing can be.
    pub(super) fn is_without_trace(&self) -> bool {
        self.rows_in.count() == 0 && self.sent.is_none()
    }

    /// Notes what the rows of a parcel have become.
    pub(super) fn answered(&mut self, rows: &[ParcelRow], done: &ParcelDone) {
        let refused: BTreeSet<_> = done.refused.iter().map(|line| line.at).collect();
        for (at, row) in rows.iter().enumerate() {
            let number = self.rows + as_u64(at);
            match &row.fate {
                RowFate::Sent { hash } if !refused.contains(&at) => self.rows_in.add(number, *hash),
                RowFate::Sent { .. } | RowFate::Wrong(_) => {
                    self.rows_in.miss(number);
                    self.refused += 1;
                }
                RowFate::LeftOut => {
                    self.rows_in.miss(number);
                    self.left_out += 1;
                }
                RowFate::IsIn => {}
            }
        }
        self.rows += as_u64(rows.len());
        self.sent = None;
        self.answered_again(done);
    }

    /// Notes that a row which was refused is in after all.
    pub(super) fn went_in(&mut self, number: u64, hash: u64) {
        self.rows_in.add(number, hash);
        self.refused = self.refused.saturating_sub(1);
    }

    /// Notes the answer to rows that were answered before.
    pub(super) fn answered_again(&mut self, done: &ParcelDone) {
        self.change = done.change.unwrap_or(self.change);
        self.created += done.created + done.before;
        self.replaced += done.replaced;
    }

    /// Writes the state in one step. It is on the disk before it takes the place of the state before.
    pub(super) fn save(&self, path: &Path) -> io::Result<()> {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let mut file = fs::File::create(&part)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        let is_first = !path.exists();
        fs::rename(&part, path)?;
        if is_first {
            // After a power cut an older state is as good as this one, but without any all would be sent again.
            let folder = path
                .parent()
                .filter(|folder| !folder.as_os_str().is_empty());
            fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::RefusedLine;

    fn subject() -> ImportSubject {
        ImportSubject {
            bytes: 10,
            modified_ns: 5,
            resource: Some("books".to_owned()),
            format: "csv".to_owned(),
            upsert: false,
        }
    }

    fn state() -> ImportState {
        ImportState::new(subject(), uuid::Uuid::now_v7(), "k3g9q2".to_owned(), 7)
    }

    #[test]
    fn a_state_is_read_as_it_was_written_and_goes_on_only_with_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = ImportState::path(&folder.path().join("books.csv"));
        assert!(path.ends_with("books.csv.import"));
        assert!(ImportState::load(&path).unwrap().is_none());
        let state = state();
        state.save(&path).unwrap();
        let read = ImportState::load(&path).unwrap().unwrap();
        assert_eq!(read, state);
        let store = ("k3g9q2", 7);
        assert!(!read.goes_on(&subject(), store, &path).unwrap());
        for store in [("k3g9q2", 6), ("another", 8)] {
            let older = read.goes_on(&subject(), store, &path);
            assert!(matches!(older, Err(StateFault::Store(_))));
        }
        let with = |change: fn(&mut ImportSubject)| {
            let mut other = subject();
            change(&mut other);
            other
        };
        let others = [
            with(|subject| subject.resource = None),
            with(|subject| subject.format = "ndjson".to_owned()),
        ];
        for other in others {
            let other = read.goes_on(&other, store, &path);
            assert!(matches!(other, Err(StateFault::Other(_))));
        }
        let versions = [
            with(|subject| subject.bytes = 11),
            with(|subject| subject.modified_ns = 6),
        ];
        for other in versions {
            assert!(read.goes_on(&other, store, &path).unwrap());
        }
        let upsert = with(|subject| subject.upsert = true);
        assert!(!read.goes_on(&upsert, store, &path).unwrap());
        let on_the_way = ImportState {
            sent: Some(RowsSent { rows: 1, sum: 0 }),
            ..read
        };
        let refused = on_the_way.goes_on(&upsert, store, &path);
        assert!(matches!(refused, Err(StateFault::Other(_))));
        fs::write(&path, "{").unwrap();
        assert!(ImportState::load(&path).is_err());
    }

    #[test]
    fn a_run_notes_which_rows_are_in_and_the_next_one_begins_again_or_goes_on() {
        let row = |fate| ParcelRow { line: 1, fate };
        let sent = |hash| row(RowFate::Sent { hash });
        let refused = |at| RefusedLine {
            at,
            faults: Vec::new(),
            lacks: Vec::new(),
        };
        let rows = [
            sent(1),
            sent(2),
            row(RowFate::Wrong(Vec::new())),
            row(RowFate::LeftOut),
        ];
        let mut state = state();
        assert!(state.is_without_trace());
        let done = ParcelDone {
            created: 1,
            change: Some(8),
            refused: vec![refused(1)],
            ..ParcelDone::default()
        };
        state.answered(&rows, &done);
        let told = |state: &ImportState| {
            let ImportState {
                rows,
                refused,
                left_out,
                ..
            } = *state;
            (
                rows,
                refused,
                left_out,
                state.rows_in.count(),
                state.rows_in.missing(),
            )
        };
        assert_eq!(told(&state), (4, 2, 1, 1, 3));
        assert_eq!((state.created, state.change), (1, 8));
        // The next run sends those that are not in.
        let mut state = state.again(subject());
        assert_eq!(told(&state), (0, 0, 0, 1, 3));
        let rows = [row(RowFate::IsIn), sent(2), sent(3), row(RowFate::LeftOut)];
        let done = ParcelDone {
            before: 1,
            refused: vec![refused(2)],
            ..ParcelDone::default()
        };
        state.answered(&rows, &done);
        assert_eq!(told(&state), (4, 1, 1, 2, 2));
        assert_eq!((state.created, state.change), (2, 8));
        // Rows on their way are told of first.
        state.sent = Some(RowsSent { rows: 2, sum: 7 });
        let state = state.again(subject());
        assert_eq!(told(&state), (4, 1, 1, 2, 2));
        assert!(!state.is_without_trace());
    }
}
