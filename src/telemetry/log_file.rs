//! A log file: a new one is begun now and then, a limited number is kept, and it is opened again when somebody asks.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing_appender::rolling::{InitError, RollingFileAppender, Rotation as Rolled};

use super::logs::LogsError;
use crate::settings::{LogFileSettings, Rotation};

/// Asks for a log file to be opened again by its name, from any thread.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reopen(Arc<AtomicBool>);

impl Reopen {
    /// The next write goes to a file that is opened again.
    pub(crate) fn ask(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// The writer of a log file. A file that can't be opened again is kept as it was.
pub(super) struct LogFile {
    settings: LogFileSettings,
    prefix: &'static str,
    file: Option<RollingFileAppender>,
    /// It is closed after each block.
    rests: bool,
    reopen: Reopen,
}

impl LogFile {
    /// Opens a file in the folder of the log, which is made if it is missing. Its name begins with `prefix`.
    pub(super) fn open(
        settings: &LogFileSettings,
        prefix: &'static str,
        reopen: Reopen,
    ) -> Result<Self, LogsError> {
        let dir = &settings.dir;
        let made = std::fs::create_dir_all(dir);
        made.map_err(|source| LogsError::Folder(dir.clone(), source))?;
        let opened = open(settings, prefix, Some(settings.keep.get()));
        let file = opened.map_err(|source| LogsError::File(dir.clone(), source))?;
        Ok(Self {
            settings: settings.clone(),
            prefix,
            file: Some(file),
            rests: false,
            reopen,
        })
    }

    /// A file that is open only while a block is written: hardly any line is expected.
    pub(super) fn resting(
        settings: &LogFileSettings,
        prefix: &'static str,
        reopen: Reopen,
    ) -> Self {
        Self {
            settings: settings.clone(),
            prefix,
            file: None,
            rests: true,
            reopen,
        }
    }

    /// The number of files that are kept. A file that rests removes none: each time it is opened, the last one would be counted
    /// as an old one.
    fn keep(&self) -> Option<usize> {
        (!self.rests).then(|| self.settings.keep.get())
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.reopen.0.swap(false, Ordering::Acquire)
            && let Ok(file) = open(&self.settings, self.prefix, self.keep())
        {
            self.file = Some(file);
        }
        let keep = self.keep();
        let file = match &mut self.file {
            Some(file) => file,
            closed => {
                let opened = open(&self.settings, self.prefix, keep);
                closed.insert(opened.map_err(io::Error::other)?)
            }
        };
        file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.file.as_mut().map_or(Ok(()), Write::flush);
        if self.rests {
            self.file = None;
        }
        flushed
    }
}

fn open(
    settings: &LogFileSettings,
    prefix: &str,
    keep: Option<usize>,
) -> Result<RollingFileAppender, InitError> {
    let rotation = match settings.rotate {
        Rotation::Minutely => Rolled::MINUTELY,
        Rotation::Hourly => Rolled::HOURLY,
        Rotation::Daily => Rolled::DAILY,
        Rotation::Never => Rolled::NEVER,
    };
    let builder = RollingFileAppender::builder()
        .rotation(rotation)
        .filename_prefix(prefix)
        .filename_suffix("json");
    let builder = match keep {
        Some(keep) => builder.max_log_files(keep),
        None => builder,
    };
    builder.build(&settings.dir)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::num::NonZeroUsize;
    use std::path::Path;

    use super::*;

    fn settings(dir: &Path) -> LogFileSettings {
        LogFileSettings {
            dir: dir.to_owned(),
            rotate: Rotation::Never,
            keep: NonZeroUsize::MIN,
        }
    }

    fn log_in(dir: &Path) -> LogFile {
        LogFile::open(&settings(dir), "log", Reopen::default()).unwrap()
    }

    #[test]
    fn a_file_that_rests_is_there_once_a_line_comes_and_is_closed_then() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.json");
        let mut log = LogFile::resting(&settings(folder.path()), "log", Reopen::default());
        assert!(!path.exists());
        for line in [b"1", b"2"] {
            log.write_all(line).unwrap();
            log.flush().unwrap();
            assert!(log.file.is_none());
        }
        assert_eq!(fs::read(&path).unwrap(), b"12");
    }

    #[test]
    fn a_file_that_was_moved_away_gets_nothing_more_once_somebody_asks() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("log.json"), folder.path().join("old"));
        let mut log = log_in(folder.path());
        log.write_all(b"1").unwrap();
        fs::rename(&path, &moved).unwrap();
        log.write_all(b"2").unwrap();
        log.reopen.ask();
        log.write_all(b"3").unwrap();
        log.write_all(b"4").unwrap();
        assert_eq!(fs::read(&moved).unwrap(), b"12");
        assert_eq!(fs::read(&path).unwrap(), b"34");
    }

    #[test]
    fn what_cannot_be_opened_again_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (dir, moved) = (folder.path().join("a"), folder.path().join("b"));
        let mut log = log_in(&dir);
        fs::rename(&dir, &moved).unwrap();
        // A file in the place of the folder, which can't be made again then.
        fs::write(&dir, "").unwrap();
        log.reopen.ask();
        log.write_all(b"1").unwrap();
        log.flush().unwrap();
        assert_eq!(fs::read(moved.join("log.json")).unwrap(), b"1");
    }
}
