//! A small file in the data folder that says that a process uses it: it is removed by a stop in order, so one that is left
//! behind tells the next start that the last run was killed. Only the process that has the lock of the folder reads or
//! writes it.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::plain_file;

/// The file of one run. Whatever goes wrong with it is logged, and stops nothing.
#[derive(Debug)]
pub(super) struct RunFile(PathBuf);

impl RunFile {
    /// Says so if the last run did not stop in order, and that this process uses the folder `data` now.
    pub(super) fn begin(data: &Path) -> Self {
        let file = Self(data.join("running"));
        file.tell_last();
        let started = humantime::format_rfc3339_seconds(SystemTime::now());
        let text = format!("{}\n{started}\n", std::process::id());
        let written = plain_file::create(&file.0);
        if let Err(error) = written.and_then(|mut file| file.write_all(text.as_bytes())) {
            tracing::warn!(
                %error, file = %file.0.display(),
                "cannot note that the daemon runs; the next start can't tell whether it was killed"
            );
        }
        file
    }

    fn tell_last(&self) {
        match plain_file::read(&self.0) {
            Ok(text) => {
                let text = String::from_utf8_lossy(&text);
                let mut lines = text.lines();
                let pid = lines.next().unwrap_or("unknown");
                let started = lines.next().unwrap_or("unknown");
                // This process had the folder before, and it was moved away and put back.
                if pid != std::process::id().to_string() {
                    tracing::warn!(
                        pid,
                        started,
                        "the last run did not stop in order: it was killed, or the machine went down"
                    );
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::debug!(%error, "the file of the last run can't be read"),
        }
    }

    /// The daemon has stopped in order.
    pub(super) fn end(self) {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, file = %self.0.display(), "cannot remove the note that the daemon runs");
            }
            Ok(()) | Err(_) => {}
        }
    }
}
