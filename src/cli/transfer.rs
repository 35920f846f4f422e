//! `perennial export` and `perennial import`: records out of a running daemon, and into it.
//!
//! Order of reading: `format` (the three formats, and the trait that readers of files push rows into), `ndjson`, `table` (CSV)
//! and `database` (`db.json`), which read and write them; `export`; `import`, with `importer`, which makes
//! parcels of rows, `sending`, which sends them, `seen_rows`, what a dry run notices, and `import_state` with `rows_in`, by which an import that was cut or had wrong
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
mod sending;
mod table;
mod waiting;

use std::fs::Metadata;
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
    /// One word is a file if it is `-` or ends like one; else it is a resource, whose name never does. `device` is another name
    /// of `-`.
    fn of(words: &[String], device: &str) -> Self {
        let file = |word: &String| {
            let is_stream = word == device;
            PathBuf::from(if is_stream { STREAM } else { word.as_str() })
        };
        match words {
            [one] if one == STREAM || one == device || Format::of(Path::new(one)).is_some() => {
                Self {
                    resource: None,
                    file: Some(file(one)),
                }
            }
            words => Self {
                resource: words.first().cloned(),
                file: words.get(1).map(file),
            },
        }
    }
}

fn is_stream(file: &Path) -> bool {
    file.as_os_str() == STREAM
}

/// Whether this is a file on the disk, and no pipe or device: only such a file can be read again by an import that goes on later,
/// and has a place beside it.
fn is_kept(file: &Path) -> bool {
    !is_stream(file) && !is_descriptor(file) && file.metadata().is_ok_and(|about| about.is_file())
}

/// Whether this is a pipe, a terminal or another device, which takes bytes and can't be replaced by a file.
fn is_device(file: &Path) -> bool {
    let is_device = |about: Metadata| !about.is_file() && !about.is_dir();
    is_descriptor(file) || file.metadata().is_ok_and(is_device)
}

/// Whether this is the name of an open descriptor, such as /dev/fd/3, or a link to one.
fn is_descriptor(file: &Path) -> bool {
    let link = file.read_link().unwrap_or_default();
    [file, &link].iter().any(|path| {
        let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
        folder.is_some_and(|folder| folder.starts_with("/proc"))
    })
}

/// The part of the admin's address for a resource.
fn records_path(resource: &str) -> String {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    let resource = utf8_percent_encode(resource, NON_ALPHANUMERIC);
    format!("/records/{resource}")
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn one_word_is_a_file_by_its_ending_or_a_resource() {
        let named = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
            let named = Named::of(&words, "/dev/stdin");
            let file = named.file.map(|file| file.display().to_string());
            (named.resource.unwrap_or_default(), file.unwrap_or_default())
        };
        let pair = |one: &str, two: &str| (one.to_owned(), two.to_owned());
        assert_eq!(named(&[]), pair("", ""));
        assert_eq!(named(&["books"]), pair("books", ""));
        assert_eq!(named(&["db.json"]), pair("", "db.json"));
        assert_eq!(named(&["-"]), pair("", "-"));
        assert_eq!(named(&["books", "x"]), pair("books", "x"));
        assert_eq!(named(&["/dev/stdin"]), pair("", "-"));
        assert_eq!(named(&["books", "/dev/stdin"]), pair("books", "-"));
    }

    #[test]
    fn nothing_is_kept_beside_a_descriptor_or_a_device() {
        let folder = tempfile::tempdir().unwrap();
        let on_disk = folder.path().join("books.csv");
        let file = File::create(&on_disk).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("books.csv", &link).unwrap();
        assert!(
            [&on_disk, &link]
                .iter()
                .all(|file| is_kept(file) && !is_device(file))
        );
        let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
        let descriptors = [format!("/dev/fd/{fd}"), format!("/proc/self/fd/{fd}")];
        for name in descriptors.iter().map(String::as_str).chain(["/dev/null"]) {
            assert!(
                !is_kept(Path::new(name)) && is_device(Path::new(name)),
                "{name}"
            );
        }
        assert!(!is_device(folder.path()) && !is_device(&folder.path().join("new")));
    }
}
