//! The formats of files with records, and what their readers give.

use std::cell::Cell;
use std::io::{self, Read};
use std::path::Path;

use clap::ValueEnum;

/// The bytes that a record may take in a file beyond its own length, such as spaces between its members.
const SLACK_BYTES: u64 = 64 * 1024;

/// A format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// A JSON object a line
    Ndjson,
    /// A table with a header row
    Csv,
    /// An object of arrays, one for each resource, as json-server has it
    #[value(name = "db.json", alias = "json")]
    Database,
}

impl Format {
    /// The format of a file by the ending of its name.
    pub(super) fn of(file: &Path) -> Option<Self> {
        let ending = file.extension()?.to_str()?.to_ascii_lowercase();
        match ending.as_str() {
            "ndjson" | "jsonl" => Some(Self::Ndjson),
            "csv" => Some(Self::Csv),
            "json" => Some(Self::Database),
            _ => None,
        }
    }
}

/// A record in a file: JSON without a line break, or what is wrong with it.
pub(super) type ParsedRow = Result<Vec<u8>, String>;

/// Takes what a reader finds in a file.
pub(super) trait RowSink {
    /// The rows of an array of this name follow, the first of which is this JSON.
    fn begin(&mut self, array: &str, first: &str) -> Result<(), ReadFault>;

    /// Reports a member of a `db.json` that is not an array.
    fn no_array(&mut self, member: &str);

    /// The row that begins in this line.
    fn row(&mut self, line: u64, row: ParsedRow) -> Result<(), ReadFault>;
}

/// The reason why a file was not read to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadFault {
    #[error("can't be read: {0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Syntax(String),
    /// Nobody takes the rows any more: the reason is told elsewhere.
    #[error("was not read to its end")]
    Stopped,
}

/// The fault of a row that is longer than a record may be.
pub(super) fn too_long(record_bytes: usize) -> String {
    format!("a record may have {record_bytes} bytes (limits.body)")
}

/// The place up to which a file was read.
pub(super) struct FilePlace {
    lines: Cell<u64>,
    /// The line in which the last record ended.
    ended: Cell<u64>,
    /// The bytes since the last record.
    bytes: Cell<u64>,
    bytes_max: u64,
}

impl FilePlace {
    /// At the beginning of a file whose records may have so many bytes.
    pub(super) fn new(record_bytes: usize) -> Self {
        Self {
            lines: Cell::new(1),
            ended: Cell::new(1),
            bytes: Cell::new(0),
            bytes_max: crate::num::as_u64(record_bytes).saturating_mul(2) + SLACK_BYTES,
        }
    }

    pub(super) fn line(&self) -> u64 {
        self.lines.get()
    }

    /// A record has ended.
    pub(super) fn next_record(&self) {
        self.bytes.set(0);
        self.ended.set(self.line());
    }

    /// The reason why the file can't be read on from here. `quote` is the line of a quote that is open here.
    pub(super) fn fault(&self, error: io::Error, quote: Option<u64>) -> ReadFault {
        let most = self.bytes_max;
        if self.bytes.get() <= most {
            return ReadFault::Io(error);
        }
        ReadFault::Syntax(match quote {
            Some(line) => {
                format!("has a quote in line {line}, which is not closed within {most} bytes")
            }
            None => format!(
                "has a record near line {} without an end within {most} bytes; is a line break missing, or a bracket not closed?",
                self.ended.get()
            ),
        })
    }
}

/// Reads a file and notes the place; fails at a record that is so long that it can't be one.
pub(super) struct Placed<'a, R> {
    pub(super) inner: R,
    pub(super) place: &'a FilePlace,
}

impl<R: Read> Read for Placed<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let place = self.place;
        let new = buffer.get(..read).unwrap_or_default();
        let breaks = memchr::memchr_iter(b'\n', new).count();
        place
            .lines
            .set(place.lines.get() + crate::num::as_u64(breaks));
        place
            .bytes
            .set(place.bytes.get() + crate::num::as_u64(read));
        if place.bytes.get() > place.bytes_max {
            return Err(io::Error::other("a record without an end"));
        }
        Ok(read)
    }
}

/// Replaces the line breaks between the parts of a JSON text; in strings JSON has none.
pub(super) fn one_line(json: &str) -> Vec<u8> {
    let mut text = json.as_bytes().to_vec();
    for byte in &mut text {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    text
}

/// A sink that keeps all, for tests of readers.
#[cfg(test)]
#[derive(Default)]
pub(super) struct KeptRows {
    pub(super) rows: Vec<(u64, Result<String, String>)>,
    pub(super) names: Vec<String>,
}

#[cfg(test)]
impl RowSink for KeptRows {
    fn begin(&mut self, array: &str, first: &str) -> Result<(), ReadFault> {
        self.names.push(format!("{array} {first}"));
        Ok(())
    }

    fn no_array(&mut self, member: &str) {
        self.names.push(format!("no array {member}"));
    }

    fn row(&mut self, line: u64, row: ParsedRow) -> Result<(), ReadFault> {
        let row = row.map(|text| String::from_utf8(text).unwrap());
        self.rows.push((line, row));
        Ok(())
    }
}
