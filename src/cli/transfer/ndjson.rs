//! NDJSON: a JSON object a line.

use std::io::{BufRead, Read as _};

use super::format::{ReadFault, RowSink, too_long};
use crate::num::as_u64;

/// A line that is longer ends the reading: nobody knows whether it has an end.
const LINE_BYTES_MAX: u64 = 1 << 30;

/// Reads all lines that are not blank. A line that is longer than a record may be is skipped, and is a wrong row.
pub(super) fn read(
    input: &mut dyn BufRead,
    record_bytes: usize,
    sink: &mut impl RowSink,
) -> Result<(), ReadFault> {
    read_lines(input, record_bytes, LINE_BYTES_MAX, sink)
}

fn read_lines(
    mut input: &mut dyn BufRead,
    record_bytes: usize,
    line_bytes: u64,
    sink: &mut impl RowSink,
) -> Result<(), ReadFault> {
    // The end of a line, and one byte more than is allowed.
    let most = as_u64(record_bytes).saturating_add(3);
    for number in 1.. {
        let mut line = Vec::new();
        if (&mut input).take(most).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let cut = as_u64(line.len()) == most && !line.ends_with(b"\n");
        if cut {
            skip_rest(input, line_bytes, number)?;
        }
        let text = line.trim_ascii();
        if cut || text.len() > record_bytes {
            sink.row(number, Err(too_long(record_bytes)))?;
        } else if !text.is_empty() {
            sink.row(number, Ok(text.to_vec()))?;
        }
    }
    Ok(())
}

/// Skips what is left of a line, if that is less than `bytes`.
fn skip_rest(input: &mut dyn BufRead, bytes: u64, number: u64) -> Result<(), ReadFault> {
    if as_u64(input.take(bytes).skip_until(b'\n')?) < bytes {
        return Ok(());
    }
    let mib = bytes >> 20;
    let fault = format!("has no end of line {number} within {mib} MiB: is it NDJSON?");
    Err(ReadFault::Syntax(fault))
}

#[cfg(test)]
mod tests {
    use super::super::format::KeptRows;
    use super::*;

    #[test]
    fn each_line_is_a_row_whatever_ends_it() {
        let mut kept = KeptRows::default();
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(40));
        let text = format!("{{\"a\":1}}\r\n\n  \n{long}\n{{\"b\":2}}");
        read(&mut text.as_bytes(), 20, &mut kept).unwrap();
        let fault = "a record may have 20 bytes (limits.body)".to_owned();
        let rows = [
            (1, Ok("{\"a\":1}".to_owned())),
            (4, Err(fault)),
            (5, Ok("{\"b\":2}".to_owned())),
        ];
        assert_eq!(kept.rows, rows);
        let mut kept = KeptRows::default();
        read(&mut &b""[..], 20, &mut kept).unwrap();
        assert_eq!(kept.rows, []);
    }

    #[test]
    fn a_line_without_an_end_ends_the_reading_and_those_before_it_are_rows() {
        for endless in *b"x \0" {
            let mut kept = KeptRows::default();
            let text = &b"{\"a\":1}\n"[..];
            let mut input = std::io::BufReader::new(text.chain(std::io::repeat(endless)));
            let fault = read_lines(&mut input, 20, 1 << 20, &mut kept).unwrap_err();
            let told = "has no end of line 2 within 1 MiB: is it NDJSON?";
            assert_eq!(fault.to_string(), told);
            assert_eq!(kept.rows, [(1, Ok("{\"a\":1}".to_owned()))]);
        }
    }

    #[test]
    fn spaces_around_a_record_make_no_lines_of_their_own() {
        let mut kept = KeptRows::default();
        let spaces = " ".repeat(100);
        let text = format!("{{\"a\":1}} {spaces}\n{spaces}{{\"a\":2}}\n{spaces}\n{{\"a\":3}}");
        read(&mut text.as_bytes(), 20, &mut kept).unwrap();
        let fault = || Err("a record may have 20 bytes (limits.body)".to_owned());
        let last = (4, Ok("{\"a\":3}".to_owned()));
        assert_eq!(kept.rows, [(1, fault()), (2, fault()), (3, fault()), last]);
    }

    #[test]
    fn a_line_may_have_exactly_the_most_bytes() {
        for end in ["", "\n", "\r\n"] {
            let mut kept = KeptRows::default();
            let text = format!("{{\"a\":1}}{end}");
            read(&mut text.as_bytes(), 7, &mut kept).unwrap();
            assert_eq!(kept.rows, [(1, Ok("{\"a\":1}".to_owned()))]);
        }
    }
}
