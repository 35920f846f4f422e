//! Makes parcels of the rows of a file.

use std::sync::mpsc::SyncSender;

use super::format::{ParsedRow, ReadFault, RowSink, too_long};
use super::rows_in::{RowsCheck, RowsIn, hash_of};
use super::sending::{ParcelRow, RowFate, RowParcel};
use crate::admin::{Catalogue, PARCEL_BYTES, PARCEL_LINES};
use crate::cli::say;

/// The rows one after the other that may be no records: a file that has more is something else than it is read as, and may have
/// no end.
const WRONG_ROWS_MAX: u64 = 1000;

/// Makes parcels of rows.
pub(super) struct Importer<'a> {
    pub(super) catalogue: &'a Catalogue,
    pub(super) name: &'a str,
    /// The number of the next row.
    pub(super) row: u64,
    /// The row that this run begins with.
    pub(super) from: u64,
    /// The rows that earlier runs have brought.
    pub(super) rows_in: RowsIn,
    pub(super) next: RowParcel,
    /// The rows since the last one that looks like a record.
    pub(super) wrong_rows: u64,
    pub(super) sender: SyncSender<RowParcel>,
    /// The members of a `db.json` that can't be imported.
    pub(super) left_out: u64,
    /// Whether the rows are of a resource that there is.
    pub(super) declared: bool,
    /// Whether there was something to import.
    pub(super) found: bool,
}

impl Importer<'_> {
    /// Sends what there is, if there is something.
    pub(super) fn flush(&mut self) -> Result<(), ReadFault> {
        if self.next.rows.is_empty() {
            return Ok(());
        }
        let resource = self.next.resource.clone();
        let next = RowParcel {
            resource,
            ..RowParcel::default()
        };
        let full = std::mem::replace(&mut self.next, next);
        self.sender.send(full).map_err(|_| ReadFault::Stopped)
    }
}

impl RowSink for Importer<'_> {
    fn begin(&mut self, array: &str, first: &str) -> Result<(), ReadFault> {
        self.flush()?;
        array.clone_into(&mut self.next.resource);
        self.declared = self.catalogue.resources.contains_key(array);
        self.found |= self.declared;
        if !self.declared {
            self.left_out += 1;
            let what = format!("{}: the array", self.name);
            say(undeclared(array, &what, first));
        }
        Ok(())
    }

    fn no_array(&mut self, member: &str) {
        self.left_out += 1;
        let name = self.name;
        say(format_args!(
            "{name}: {member} is no array of records, and is left out"
        ));
    }

    fn row(&mut self, line: u64, row: ParsedRow) -> Result<(), ReadFault> {
        let number = self.row;
        self.row += 1;
        if number < self.from {
            return Ok(());
        }
        let is_record = row.as_ref().is_ok_and(|text| looks_like_a_record(text));
        self.wrong_rows = if is_record { 0 } else { self.wrong_rows + 1 };
        let next = &mut self.next;
        let fate = match row {
            _ if self.rows_in.has(number) => RowFate::IsIn,
            // It is counted, so that an import that goes on finds its place, whatever is declared by then.
            Ok(_) if !self.declared => RowFate::LeftOut,
            Ok(text) if text.len() > self.catalogue.record_bytes => {
                RowFate::Wrong(vec![too_long(self.catalogue.record_bytes)])
            }
            Ok(text) => {
                next.body.extend_from_slice(&text);
                let hash = hash_of(number, &text);
                RowFate::Sent { hash }
            }
            Err(fault) => RowFate::Wrong(vec![fault]),
        };
        next.body.push(b'\n');
        next.rows.push(ParcelRow { line, fate });
        if next.rows.len() == PARCEL_LINES || next.body.len() >= PARCEL_BYTES {
            self.flush()?;
        }
        if self.wrong_rows == WRONG_ROWS_MAX {
            let fault = format!(
                "has {WRONG_ROWS_MAX} rows one after the other that are no records, up to line {line}: is it what --format says?"
            );
            return Err(ReadFault::Syntax(fault));
        }
        Ok(())
    }
}

/// Whether a row may be a JSON object.
fn looks_like_a_record(text: &[u8]) -> bool {
    text.starts_with(b"{") && text.ends_with(b"}")
}

/// Compares rows with those of an earlier version of the file.
pub(super) struct Comparer<'a>(pub(super) RowsCheck<'a>);

impl RowSink for Comparer<'_> {
    fn begin(&mut self, _: &str, _: &str) -> Result<(), ReadFault> {
        Ok(())
    }

    fn no_array(&mut self, _: &str) {}

    fn row(&mut self, _: u64, row: ParsedRow) -> Result<(), ReadFault> {
        let more = self.0.row(row.as_deref().ok());
        if more {
            Ok(())
        } else {
            Err(ReadFault::Stopped)
        }
    }
}

/// Says that a resource is not declared, and what to write so that it is. `first` is the JSON of its first record.
pub(super) fn undeclared(name: &str, what: &str, first: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let key = if !name.is_empty() && name.chars().all(bare) {
        name.to_owned()
    } else {
        serde_json::Value::from(name).to_string()
    };
    let first: Option<serde_json::Value> = serde_json::from_str(first).ok();
    let counted =
        first.is_some_and(|first| first.get("id").is_some_and(serde_json::Value::is_number));
    let id = if counted { "id = \"sequence\"\n" } else { "" };
    format!(
        "{what} {name} is left out: the running daemon has no resource of this name. Write into its settings, have it read them again (perennial reload), and import it:\n\n[resource.{key}]\naccess = \"public\"  # for everybody who can connect\n{id}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_declared_is_told_with_its_settings() {
        let told = undeclared("comments", "the array", "{\"id\": 1}");
        assert!(told.starts_with("the array comments is left out"), "{told}");
        assert!(told.ends_with("[resource.comments]\naccess = \"public\"  # for everybody who can connect\nid = \"sequence\"\n"), "{told}");
        let told = undeclared("my things", "the array", "{\"id\": \"x\"}");
        assert!(told.contains("[resource.\"my things\"]"), "{told}");
        assert!(!told.contains("sequence"), "{told}");
    }
}
