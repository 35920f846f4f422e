//! The file of incidents: one JSON object a line, appended to. When it has grown it is written anew, with those that are kept.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, openat, renameat};

use super::{Incident, KEPT};
use crate::num::as_u64;
use crate::plain_file::{AT_ONCE, plain};

const NAME: &str = "incidents.ndjson";
/// The name of a file that is being written.
const UNFINISHED: &str = "incidents.new";
/// The largest file.
pub(super) const BYTES_MAX: u64 = 512 << 10;

/// The file in a data folder. It stays in the folder that was there at first: another one that takes its place is not written
/// into.
#[derive(Debug)]
pub(super) struct IncidentFile {
    path: PathBuf,
    folder: Option<File>,
    bytes: u64,
    /// Whether it must be written anew: a part of it can't be read, or a write failed.
    is_broken: bool,
}

impl IncidentFile {
    pub(super) fn new(data: &Path) -> Self {
        Self {
            path: data.to_owned(),
            folder: None,
            bytes: 0,
            is_broken: false,
        }
    }

    fn folder(&mut self) -> io::Result<&File> {
        let folder = match self.folder.take() {
            Some(folder) => folder,
            None => File::open(&self.path)?,
        };
        Ok(self.folder.insert(folder))
    }

    /// The incidents that can be read, at most those that are kept.
    pub(super) fn read(&mut self) -> Vec<Incident> {
        let text = match self.text() {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                tracing::warn!(%error, "the incidents before this run can't be read");
                self.is_broken = true;
                return Vec::new();
            }
        };
        let lines: Vec<_> = text.lines().collect();
        let newest = lines.len().saturating_sub(KEPT);
        let mut found = Vec::new();
        for line in lines.into_iter().skip(newest) {
            match serde_json::from_str(line) {
                Ok(incident) => found.push(incident),
                Err(_) => self.is_broken = true,
            }
        }
        self.is_broken |= !text.is_empty() && !text.ends_with('\n');
        found
    }

    /// The text of the file, without its beginning if it is too long.
    fn text(&mut self) -> io::Result<String> {
        let mut file = self.open(NAME, OFlags::RDONLY)?;
        self.bytes = file.metadata()?.len();
        file.seek(SeekFrom::Start(self.bytes.saturating_sub(BYTES_MAX)))?;
        let mut text = Vec::new();
        file.take(BYTES_MAX).read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Writes the last `new` ones of those that are kept.
    pub(super) fn write(&mut self, kept: &[Incident], new: usize) -> io::Result<()> {
        let lines = |from: usize| -> io::Result<Vec<String>> {
            let lines = kept.iter().skip(from);
            let lines = lines.map(|incident| Ok(format!("{}\n", serde_json::to_string(incident)?)));
            lines.collect()
        };
        let text = lines(kept.len().saturating_sub(new))?.concat();
        let length = as_u64(text.len());
        let written = if self.is_broken || self.bytes.saturating_add(length) > BYTES_MAX {
            self.replace(&newest(&lines(0)?, BYTES_MAX / 2))
        } else {
            self.append(&text)
        };
        self.is_broken = written.is_err();
        written
    }

    fn append(&mut self, text: &str) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND;
        let mut file = self.open(NAME, flags)?;
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
        self.bytes = file.metadata()?.len();
        Ok(())
    }

    fn replace(&mut self, text: &str) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
        let mut file = self.open(UNFINISHED, flags)?;
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
        self.bytes = file.metadata()?.len();
        let folder = self.folder()?;
        renameat(folder, UNFINISHED, folder, NAME)?;
        folder.sync_all()
    }

    fn open(&mut self, name: &str, flags: OFlags) -> io::Result<File> {
        let mode = Mode::from_raw_mode(0o640);
        let file = openat(self.folder()?, name, flags | AT_ONCE, mode)?;
        plain(file.into(), &self.path.join(name))
    }
}

/// The last lines whose bytes together are at most this many.
fn newest(lines: &[String], bytes_max: u64) -> String {
    let mut left = bytes_max;
    let fits = |line: &&String| {
        let length = as_u64(line.len());
        let rest = left.checked_sub(length);
        left = rest.unwrap_or(0);
        rest.is_some()
    };
    let mut found: Vec<_> = lines.iter().rev().take_while(fits).cloned().collect();
    found.reverse();
    found.concat()
}
