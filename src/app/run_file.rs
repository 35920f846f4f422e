//! A small file in the data folder that says that a daemon serves: it is removed by a stop in order, so one that is left
//! behind tells the next start that the last run was killed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The file of one run. Whatever goes wrong with it is logged, and stops nothing.
#[derive(Debug)]
pub(super) struct RunFile {
    path: PathBuf,
    written: bool,
}

impl RunFile {
    /// The file in this data folder.
    pub(super) fn new(data: &Path) -> Self {
        Self {
            path: data.join("running"),
            written: false,
        }
    }

    /// Says so if the last run did not stop in order.
    pub(super) fn tell_last(&self) {
        match fs::read_to_string(&self.path) {
            Ok(text) => {
                let mut lines = text.lines();
                let pid = lines.next().unwrap_or("unknown");
                let started = lines.next().unwrap_or("unknown");
                let runs = lines
                    .next()
                    .is_some_and(|born| birth(pid).as_deref() == Some(born));
                if !runs {
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

    /// Says that this process serves.
    pub(super) fn write(&mut self) {
        let pid = std::process::id().to_string();
        let started = humantime::format_rfc3339_seconds(SystemTime::now());
        let born = birth(&pid).unwrap_or_default();
        match fs::write(&self.path, format!("{pid}\n{started}\n{born}\n")) {
            Ok(()) => self.written = true,
            Err(error) => tracing::warn!(
                %error, file = %self.path.display(),
                "cannot note that the daemon runs; the next start can't tell whether it was killed"
            ),
        }
    }

    /// The daemon has stopped in order.
    pub(super) fn remove(&self) {
        if self.written
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(%error, file = %self.path.display(), "cannot remove the note that the daemon runs");
        }
    }
}

/// When a living process was started, in ticks since the boot: a number that its pid can't share with an earlier process.
fn birth(pid: &str) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    birth_in(&stat).map(str::to_owned)
}

/// The 20th word behind the name of the program, which is in parentheses and may hold spaces.
fn birth_in(stat: &str) -> Option<&str> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(19)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_of_this_process_is_known_and_that_of_none_is_not() {
        let own = birth(&std::process::id().to_string()).unwrap();
        assert!(own.parse::<u64>().is_ok_and(|ticks| ticks > 0), "{own}");
        assert_eq!(birth("no pid"), None);
    }

    #[test]
    fn a_name_with_parentheses_and_spaces_hides_nothing() {
        let words: Vec<_> = (1..30).map(|word| word.to_string()).collect();
        assert_eq!(
            birth_in(&format!("7 (a) b (c)) {}", words.join(" "))),
            Some("20")
        );
        assert_eq!(birth_in("7 (a) S"), None);
    }

    #[test]
    fn only_a_file_of_its_own_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("running");
        fs::write(&path, "1\n").unwrap();
        let mut file = RunFile::new(folder.path());
        file.remove();
        assert!(path.exists());
        file.write();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(&std::process::id().to_string()), "{text}");
        file.remove();
        assert!(!path.exists());
    }
}
