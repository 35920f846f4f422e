//! NDJSON: a JSON object a line.

use std::io::{BufRead, Read as _};

use super::format::{ReadFault, RowSink, too_long};
use crate::num::as_u64;

/// Reads all lines that are not blank. A line that is longer than a record may be is skipped, and is a wrong row.
pub(super) fn read(
    mut input: &mut dyn BufRead,
    record_bytes: usize,
    sink: &mut impl RowSink,
) -> Result<(), ReadFault> {
    // The end of a line, and one byte more than is allowed.
    let most = as_u64(record_bytes).saturating_add(3);
    for number in 1.. {
        let mut line = Vec::new();
        if (&mut input).take(most).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let whole = line.ends_with(b"\n");
        let text = line.trim_ascii();
        if text.len() > record_bytes {
            if !whole {
                input.skip_until(b'\n')?;
            }
            sink.row(number, Err(too_long(record_bytes)))?;
        } else if !text.is_empty() {
            sink.row(number, Ok(text.to_vec()))?;
        }
    }
    Ok(())
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
    fn a_line_may_have_exactly_the_most_bytes() {
        for end in ["", "\n", "\r\n"] {
            let mut kept = KeptRows::default();
            let text = format!("{{\"a\":1}}{end}");
            read(&mut text.as_bytes(), 7, &mut kept).unwrap();
            assert_eq!(kept.rows, [(1, Ok("{\"a\":1}".to_owned()))]);
        }
    }
}
