//! Rows that only lack records to which they refer. Later rows of the same file may bring these, so such rows wait and are sent
//! again after all others, until none of them goes in any more.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::seen_rows::id_of;
use super::sending::{ParcelRow, RowFate, RowParcel};
use crate::admin::{PARCEL_BYTES, PARCEL_LINES, ParcelDone};

/// The most bytes of rows that wait. Those beyond are refused at once; the same command, given again, sends them.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// A row that waits.
#[derive(Debug)]
pub(super) struct WaitingRow {
    /// Its number in the file, from 0 on.
    pub(super) number: u64,
    pub(super) line: u64,
    pub(super) hash: u64,
    /// The records that it lacks, for people.
    pub(super) faults: Vec<String>,
    pub(super) resource: String,
    pub(super) text: Vec<u8>,
}

/// The rows that wait.
#[derive(Debug, Default)]
pub(super) struct WaitingRows {
    rows: VecDeque<WaitingRow>,
    bytes: usize,
}

impl WaitingRows {
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Takes the rows of a parcel that only lack records; the number of its first row is `first`. Returns their positions in
    /// it. A row without an id does not wait: it might be stored twice if the import is cut.
    pub(super) fn add(
        &mut self,
        parcel: &RowParcel,
        done: &ParcelDone,
        first: u64,
    ) -> BTreeSet<usize> {
        let lacking = done.refused.iter().filter(|line| !line.lacks.is_empty());
        let lacking: BTreeMap<_, _> = lacking.map(|line| (line.at, &line.faults)).collect();
        let mut taken = BTreeSet::new();
        if lacking.is_empty() {
            return taken;
        }
        let lines = parcel.body.split(|byte| *byte == b'\n');
        for ((at, text), (row, number)) in lines.enumerate().zip(parcel.rows.iter().zip(first..)) {
            let (Some(faults), RowFate::Sent { hash }) = (lacking.get(&at), &row.fate) else {
                continue;
            };
            if self.bytes + text.len() <= WAITING_BYTES_MAX && id_of(text).is_some() {
                taken.insert(at);
                self.push(WaitingRow {
                    number,
                    line: row.line,
                    hash: *hash,
                    faults: (*faults).clone(),
                    resource: parcel.resource.clone(),
                    text: text.to_vec(),
                });
            }
        }
        taken
    }

    pub(super) fn push(&mut self, row: WaitingRow) {
        self.bytes += row.text.len();
        self.rows.push_back(row);
    }

    /// Takes the first rows of one resource out, as many as fit into a parcel and no more than `most`.
    pub(super) fn next(&mut self, most: usize) -> Vec<WaitingRow> {
        let mut rows: Vec<WaitingRow> = Vec::new();
        let mut bytes = 0;
        while rows.len() < most.min(PARCEL_LINES) && bytes < PARCEL_BYTES {
            let first = rows.first();
            let fits = |next: &WaitingRow| first.is_none_or(|row| row.resource == next.resource);
            if !self.rows.front().is_some_and(fits) {
                break;
            }
            let Some(row) = self.rows.pop_front() else {
                break;
            };
            bytes += row.text.len() + 1;
            self.bytes -= row.text.len();
            rows.push(row);
        }
        rows
    }

    /// All that wait, in the order of the file.
    pub(super) fn into_sorted(self) -> Vec<WaitingRow> {
        let mut rows = Vec::from(self.rows);
        rows.sort_by_key(|row| row.number);
        rows
    }
}

/// The parcel of some rows of one resource.
pub(super) fn parcel_of(rows: &[WaitingRow]) -> RowParcel {
    let mut parcel = RowParcel::default();
    for row in rows {
        parcel.resource.clone_from(&row.resource);
        parcel.body.extend_from_slice(&row.text);
        parcel.body.push(b'\n');
        parcel.rows.push(ParcelRow {
            line: row.line,
            fate: RowFate::Sent { hash: row.hash },
        });
    }
    parcel
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::RefusedLine;

    fn parcel(resource: &str, rows: &[&str]) -> RowParcel {
        let row = |at| ParcelRow {
            line: at + 1,
            fate: RowFate::Sent { hash: at },
        };
        RowParcel {
            resource: resource.to_owned(),
            body: rows.join("\n").into_bytes(),
            rows: (0..).map(row).take(rows.len()).collect(),
        }
    }

    fn lacking(at: usize) -> RefusedLine {
        RefusedLine {
            at,
            faults: vec![format!("fault {at}")],
            lacks: vec![("books".to_owned(), "b".to_owned())],
        }
    }

    #[test]
    fn rows_with_ids_that_only_lack_records_wait() {
        let mut waiting = WaitingRows::default();
        let rows = ["{\"id\":1}", "{\"id\":2}", "{}", "{\"id\":4}"];
        let done = ParcelDone {
            refused: vec![
                lacking(1),
                lacking(2),
                RefusedLine {
                    lacks: Vec::new(),
                    ..lacking(3)
                },
            ],
            ..ParcelDone::default()
        };
        let taken = waiting.add(&parcel("books", &rows), &done, 10);
        assert_eq!(Vec::from_iter(taken), [1]);
        let rows = waiting.into_sorted();
        let told: Vec<_> = rows.iter().map(|row| (row.number, row.line)).collect();
        assert_eq!(told, [(11, 2)]);
        assert_eq!(rows[0].faults, ["fault 1"]);
    }

    #[test]
    fn rows_of_one_resource_make_a_parcel() {
        let mut waiting = WaitingRows::default();
        let done = |rows: usize| ParcelDone {
            refused: (0..rows).map(lacking).collect(),
            ..ParcelDone::default()
        };
        let rows = ["{\"id\":1}", "{\"id\":2}", "{\"id\":3}"];
        waiting.add(&parcel("books", &rows), &done(3), 0);
        waiting.add(&parcel("films", &rows[..1]), &done(1), 3);
        let first = waiting.next(2);
        assert_eq!(parcel_of(&first).body, b"{\"id\":1}\n{\"id\":2}\n");
        assert_eq!(waiting.next(9).len(), 1, "the other one is of films");
        let last = parcel_of(&waiting.next(9));
        assert_eq!((last.resource.as_str(), last.rows.len()), ("films", 1));
        assert!(waiting.next(9).is_empty());
        assert_eq!(waiting.bytes, 0);
    }
}
