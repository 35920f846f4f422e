//! `perennial export` and `perennial import`: records out of a running daemon, and into it.
//!
//! Order of reading: `format` (the three formats, and the trait that readers of files push rows into), `ndjson`, `table` (CSV)
//! and `database` (`db.json`), which read and write them; `export`; `import`, with `importer`, which makes
//! parcels of rows, `shipping`, which sends them, `seen_rows`, what a dry run notices, and `import_state` with `rows_in`, by which an import that was cut or had wrong
//! rows goes on; `meter` shows how far it is.

mod database;
mod export;
mod format;
mod import;
mod import_state;
mod importer;
mod meter;
mod ndjson;
mod rows_in;
mod seen_rows;
mod shipping;
mod table;

use std::path::{Path, PathBuf};

pub(super) use export::ExportArgs;
use format::Format;
pub(super) use import::ImportArgs;

/// The name of stdin and stdout.
const STREAM: &str = "-";

/// The names of a resource and a file on the command line, either of which may be left out.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Named {
    resource: Option<String>,
    file: Option<PathBuf>,
}

impl Named {
    /// One word is a file if it is `-` or ends like one; else it is a resource, whose name never does.
    fn of(words: &[String]) -> Self {
        match words {
            [one] if one == STREAM || Format::of(Path::new(one)).is_some() => Self {
                resource: None,
                file: Some(one.into()),
            },
            words => Self {
                resource: words.first().cloned(),
                file: words.get(1).map(PathBuf::from),
            },
        }
    }
}

fn is_stream(file: &Path) -> bool {
    file.as_os_str() == STREAM
}

/// The part of the admin's address for a resource.
fn records_path(resource: &str) -> String {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    let resource = utf8_percent_encode(resource, NON_ALPHANUMERIC);
    format!("/records/{resource}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_word_is_a_file_by_its_ending_or_a_resource() {
        let named = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
            let named = Named::of(&words);
            let file = named.file.map(|file| file.display().to_string());
            (named.resource.unwrap_or_default(), file.unwrap_or_default())
        };
        let pair = |one: &str, two: &str| (one.to_owned(), two.to_owned());
        assert_eq!(named(&[]), pair("", ""));
        assert_eq!(named(&["books"]), pair("books", ""));
        assert_eq!(named(&["db.json"]), pair("", "db.json"));
        assert_eq!(named(&["-"]), pair("", "-"));
        assert_eq!(named(&["books", "x"]), pair("books", "x"));
    }
}
