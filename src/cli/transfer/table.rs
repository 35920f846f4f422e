//! CSV: a header row with the names of members, then a row for each record.
//!
//! An empty cell is a member that is not there. Every other cell is JSON if it can be read as such by the type of its field:
//! a number, `true`, `false`, an array, an object, `null`; else it is the text. A text that would be read as something else is
//! written as JSON, in quotes. In a field of type `string` or `datetime`, and in the id, only `null` and a text in quotes are
//! read as JSON.

use std::collections::HashSet;
use std::io::{self, BufRead, Read, Write};

use csv::{ByteRecord, ReaderBuilder, Terminator};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::format::{FilePlace, Placed, ReadFault, RowSink, one_line};
use crate::num::as_u64;

/// The way in which the cells of a column are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    /// Texts: also those that look like numbers.
    Text,
    Boolean,
    /// JSON, or else a text.
    Json,
}

/// The fields of a resource with their types; `None` where any object is a record.
pub(super) type DeclaredFields<'a> = Option<&'a [(String, String)]>;

impl Column {
    pub(super) fn of(name: &str, fields: DeclaredFields<'_>) -> Self {
        let kind = fields.and_then(|fields| fields.iter().find(|(known, _)| known == name));
        match kind.map(|(_, kind)| kind.as_str()) {
            _ if name == "id" => Self::Text,
            Some("string") => Self::Text,
            Some("boolean") => Self::Boolean,
            Some(_) | None => Self::Json,
        }
    }

    /// The JSON of a cell; `None` if it is empty.
    fn read(self, cell: &str) -> Option<Vec<u8>> {
        let json = || serde_json::from_str::<&RawValue>(cell).ok();
        let json = match self {
            _ if cell.is_empty() => return None,
            Self::Text if cell == "null" || cell.starts_with('"') => json(),
            Self::Boolean if cell.eq_ignore_ascii_case("true") => return Some(b"true".to_vec()),
            Self::Boolean if cell.eq_ignore_ascii_case("false") => return Some(b"false".to_vec()),
            Self::Text => None,
            Self::Boolean | Self::Json => json(),
        };
        Some(match json {
            Some(json) => one_line(json.get()),
            None => Value::from(cell).to_string().into_bytes(),
        })
    }

    /// The cell of a value.
    fn cell(self, value: &Value) -> String {
        match value {
            Value::String(text) => {
                let json = Value::from(text.as_str()).to_string();
                let same = self.read(text).is_some_and(|read| read == json.as_bytes());
                if same { text.clone() } else { json }
            }
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_) => value.to_string(),
        }
    }
}

/// Passes on the bytes of a table, and knows whether they end within quotes: a table that was cut there, or in which a quote is
/// missing, has its last rows in one cell.
struct QuoteReader<R> {
    inner: R,
    at: CellPart,
    line: u64,
    /// The line of the last quote that began a cell.
    quote: u64,
    ended: bool,
}

/// The part of a cell up to which a table was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CellPart {
    Start,
    Plain,
    Quoted,
    /// Behind a quote within quotes, which ends them unless another one follows.
    Quote,
}

impl CellPart {
    fn next(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Quoted, b'"') => Self::Quote,
            (Self::Start | Self::Quote, b'"') | (Self::Quoted, _) => Self::Quoted,
            (Self::Start | Self::Plain | Self::Quote, b',' | b'\n') => Self::Start,
            (Self::Start | Self::Plain | Self::Quote, _) => Self::Plain,
        }
    }
}

impl<R> QuoteReader<R> {
    fn new(inner: R) -> Self {
        Self {
            inner,
            at: CellPart::Start,
            line: 1,
            quote: 1,
            ended: false,
        }
    }

    fn byte(&mut self, byte: u8) {
        let before = self.at;
        self.at = before.next(byte);
        if before == CellPart::Start && self.at == CellPart::Quoted {
            self.quote = self.line;
        }
        self.line += u64::from(byte == b'\n');
    }

    /// The line of the quote that is open where it was read up to.
    fn open_quote(&self) -> Option<u64> {
        (self.at == CellPart::Quoted).then_some(self.quote)
    }

    /// The line of a quote that the whole table does not close.
    fn unclosed_quote(&self) -> Option<u64> {
        self.open_quote().filter(|_| self.ended)
    }
}

impl<R: Read> Read for QuoteReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let bytes = buffer.get(..read).unwrap_or_default();
        for byte in bytes {
            self.byte(*byte);
        }
        self.ended |= read == 0;
        Ok(read)
    }
}

/// Reads all rows below the header.
pub(super) fn read(
    input: &mut dyn BufRead,
    record_bytes: usize,
    fields: DeclaredFields<'_>,
    sink: &mut impl RowSink,
) -> Result<(), ReadFault> {
    let place = &FilePlace::new(record_bytes);
    // The last row ends as all others do, which makes no row more.
    let inner = input.chain(&b"\n"[..]);
    let mut table = ReaderBuilder::new();
    // With CRLF the reader would end a row before its last byte, and count the lines of the next one wrongly.
    let lines = Terminator::Any(b'\n');
    let table = table.flexible(true).has_headers(false).terminator(lines);
    let inner = Placed { inner, place };
    let mut table = table.from_reader(QuoteReader::new(inner));
    let mut row = ByteRecord::new();
    if !next_row(&mut table, &mut row, place)? {
        return Ok(());
    }
    let crlf = row
        .iter()
        .next_back()
        .is_some_and(|cell| cell.ends_with(b"\r"));
    let columns = header(&cells(&row, crlf), fields)?;
    while next_row(&mut table, &mut row, place)? {
        place.next_record();
        if let Some(line) = table.get_ref().unclosed_quote() {
            let fault = format!("has a quote in line {line}, which is never closed");
            return Err(ReadFault::Syntax(fault));
        }
        let cells = cells(&row, crlf);
        if cells == [b""] {
            continue;
        }
        let breaks = cells
            .iter()
            .map(|cell| memchr::memchr_iter(b'\n', cell).count());
        let after = as_u64(breaks.sum::<usize>()) + 1;
        let line = table.position().line().saturating_sub(after);
        sink.row(line, object(&columns, &cells))?;
    }
    Ok(())
}

/// Reads the next row; false if there is none. Rows of any length and any bytes are read, so that nothing fails but the file.
fn next_row<R: Read>(
    table: &mut csv::Reader<QuoteReader<R>>,
    row: &mut ByteRecord,
    place: &FilePlace,
) -> Result<bool, ReadFault> {
    let read = table.read_byte_record(row);
    read.map_err(|error| place.fault(error.into(), table.get_ref().open_quote()))
}

/// The cells of a row; in a file with CRLF the last one has the first half of its end.
fn cells(row: &ByteRecord, crlf: bool) -> Vec<&[u8]> {
    let mut cells: Vec<_> = row.iter().collect();
    if let Some(last) = cells.last_mut().filter(|_| crlf) {
        *last = last.strip_suffix(b"\r").unwrap_or(last);
    }
    cells
}

/// The names in the header as JSON, with their columns.
fn header(row: &[&[u8]], fields: DeclaredFields<'_>) -> Result<Vec<(String, Column)>, ReadFault> {
    let mut names = Vec::new();
    let mut known = HashSet::new();
    for cell in row {
        let Ok(name) = std::str::from_utf8(cell) else {
            return Err(ReadFault::Syntax(
                "has a header that is not UTF-8".to_owned(),
            ));
        };
        if name.is_empty() || !known.insert(name) {
            let fault = format!("has {name:?} in its header, which is empty or there twice");
            return Err(ReadFault::Syntax(fault));
        }
        names.push(name);
    }
    let names = names.into_iter();
    Ok(names
        .map(|name| (Value::from(name).to_string(), Column::of(name, fields)))
        .collect())
}

/// The record of a row.
fn object(columns: &[(String, Column)], row: &[&[u8]]) -> Result<Vec<u8>, String> {
    if row.len() != columns.len() {
        let (cells, names) = (row.len(), columns.len());
        return Err(format!("the row has {cells} cells, the header {names}"));
    }
    let mut text = b"{".to_vec();
    for ((name, column), cell) in columns.iter().zip(row) {
        let cell = std::str::from_utf8(cell).map_err(|_| format!("{name} is not UTF-8"))?;
        let Some(value) = column.read(cell) else {
            continue;
        };
        if text.len() > 1 {
            text.push(b',');
        }
        text.extend_from_slice(name.as_bytes());
        text.push(b':');
        text.extend_from_slice(&value);
    }
    text.push(b'}');
    Ok(text)
}

/// Writes records as rows.
pub(super) struct TableWriter<W: Write> {
    columns: Vec<(String, Column)>,
    out: csv::Writer<W>,
}

impl<W: Write> TableWriter<W> {
    /// Writes the header.
    pub(super) fn new(names: Vec<String>, fields: DeclaredFields<'_>, out: W) -> csv::Result<Self> {
        let mut out = csv::Writer::from_writer(out);
        out.write_record(&names)?;
        let column = |name: String| {
            let column = Column::of(&name, fields);
            (name, column)
        };
        let columns = names.into_iter().map(column).collect();
        Ok(Self { columns, out })
    }

    /// Writes a record. False if it has a member that the header does not have.
    pub(super) fn write(&mut self, record: &Map<String, Value>) -> csv::Result<bool> {
        let mut written = 0;
        for (name, column) in &self.columns {
            let value = record.get(name);
            written += usize::from(value.is_some());
            let cell = value.map_or_else(String::new, |value| column.cell(value));
            self.out.write_field(cell)?;
        }
        self.out.write_record(None::<&[u8]>)?;
        Ok(written == record.len())
    }

    pub(super) fn end(mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::super::format::KeptRows;
    use super::*;

    fn fields() -> Vec<(String, String)> {
        let field = |name: &str, kind: &str| (name.to_owned(), kind.to_owned());
        vec![
            field("title", "string"),
            field("year", "integer"),
            field("lent", "boolean"),
            field("tags", "array"),
        ]
    }

    fn rows(text: &str, fields: DeclaredFields<'_>) -> Vec<(u64, Result<String, String>)> {
        let mut kept = KeptRows::default();
        read(&mut text.as_bytes(), 1000, fields, &mut kept).unwrap();
        kept.rows
    }

    #[test]
    fn cells_are_read_by_the_type_of_their_field() {
        let fields = fields();
        let text = "id,title,year,lent,tags,other\r\n7,1984,1949,TRUE,\"[\"\"a\"\",\n1]\",1.50\r\n\r\n,null,x,no,,\"a \"\"b\"\"\"\n,\"\"\"null\"\"\",\"  \",false,[,";
        let rows = rows(text, Some(&fields));
        let row = |line, text: &str| (line, Ok(text.to_owned()));
        let expected = [
            row(
                2,
                r#"{"id":"7","title":"1984","year":1949,"lent":true,"tags":["a", 1],"other":1.50}"#,
            ),
            row(
                5,
                r#"{"title":null,"year":"x","lent":"no","other":"a \"b\""}"#,
            ),
            row(6, r#"{"title":"null","year":"  ","lent":false,"tags":"["}"#),
        ];
        assert_eq!(rows, expected);
    }

    #[test]
    fn a_row_of_another_length_is_wrong_and_so_is_a_header() {
        let found = rows("a,b\n1\n1,2,3\n1,2", None);
        let told: Vec<_> = found
            .iter()
            .map(|(line, row)| (*line, row.is_ok()))
            .collect();
        assert_eq!(told, [(2, false), (3, false), (4, true)]);
        let fault = "the row has 1 cells, the header 2".to_owned();
        assert_eq!(found[0].1, Err(fault));
        for header in ["a,a\n", "a,\n"] {
            let read = read(&mut header.as_bytes(), 10, None, &mut KeptRows::default());
            assert!(matches!(read, Err(ReadFault::Syntax(_))), "{header}");
        }
        assert_eq!(rows("", None), []);
        assert_eq!(rows("a,b", None), []);
    }

    #[test]
    fn a_row_without_an_end_ends_the_reading_and_those_before_it_are_rows() {
        for (text, endless) in [
            ("a,b\n1,2\n", b'x'),
            ("a,b\n1,2\n", b','),
            ("a,b\n1,2\n", 0),
            ("", b'x'),
            ("", 0),
            ("a,b\n1,2\n3,\"\n", b'\n'),
            ("a,b\n1,\"2\"\n\"\"\"3\n", b'x'),
        ] {
            let mut kept = KeptRows::default();
            let endless = text.as_bytes().chain(io::repeat(endless));
            let mut input = io::BufReader::new(endless);
            let told = read(&mut input, 100, None, &mut kept).unwrap_err();
            let told = told.to_string();
            let expected = if text.ends_with(",2\n") || text.is_empty() {
                "has a record near line "
            } else {
                "has a quote in line 3, which is not closed within 65736 bytes"
            };
            assert!(told.starts_with(expected), "{text}: {told}");
            assert_eq!(kept.rows.len(), usize::from(!text.is_empty()));
        }
    }

    #[test]
    fn a_header_of_many_names_is_read_at_once() {
        let names: Vec<_> = (0..200_000).map(|n| n.to_string()).collect();
        let text = names.join(",");
        read(
            &mut text.as_bytes(),
            4 << 20,
            None,
            &mut KeptRows::default(),
        )
        .unwrap();
    }

    #[test]
    fn a_quote_that_is_never_closed_takes_no_rows_with_it() {
        for (text, rows, line) in [
            ("a,b\n1,x\n2,\"abc\n3,y\n4,z\n", 1, Some(3)),
            ("a,b\n1,x\n2,\"abc", 1, Some(3)),
            ("a,b\n1,\"x\ny\"\n2,\"a\"\"", 1, Some(4)),
            ("a,b\n1,\"x\n\",\"y\nz", 0, Some(3)),
            ("a,b\n1,x\n2,\"a\"\"b\n\"\n", 2, None),
            ("a,b\n1,x\n2,5\" wide\n", 2, None),
            ("a,b\n1,x\n2,\"\"", 2, None),
            ("a,b\n1,x\n2,\"abc\"", 2, None),
        ] {
            let mut kept = KeptRows::default();
            let read = read(&mut text.as_bytes(), 1 << 20, None, &mut kept);
            assert_eq!(kept.rows.len(), rows, "{text}");
            let told = read.err().map(|error| error.to_string());
            let wanted =
                line.map(|line| format!("has a quote in line {line}, which is never closed"));
            assert_eq!(told, wanted, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        let record = serde_json::json!({
            "id": "1", "title": "", "year": 9_007_199_254_740_993_i64, "lent": null, "tags": [{"a": "x\ny"}],
            "any": "5", "text": "plain, \"quoted\"\r\nlines", "null": "null", "space": " 1 ", "float": 0.1, "empty": {},
            "umlaut": "\u{e4}\u{1f600}", "truth": "true",
        });
        let Value::Object(record) = record else {
            panic!()
        };
        let own = fields();
        for fields in [None, Some(own.as_slice())] {
            let mut text = Vec::new();
            let names = record.keys().cloned().collect();
            let mut table = TableWriter::new(names, fields, &mut text).unwrap();
            assert!(table.write(&record).unwrap());
            table.end().unwrap();
            let text = String::from_utf8(text).unwrap();
            let rows = rows(&text, fields);
            let read = rows[0].1.as_ref().unwrap();
            assert_eq!(*read, Value::from(record.clone()).to_string(), "{text}");
        }
        let mut table = TableWriter::new(vec!["a".to_owned()], None, Vec::new()).unwrap();
        assert!(!table.write(&record).unwrap());
    }
}
