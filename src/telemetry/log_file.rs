//! A log file: a new one is begun now and then, a limited number is kept, and it is opened again when somebody asks.

use std::fs::{self, File};
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
        let made = fs::create_dir_all(dir);
        made.map_err(|source| LogsError::Folder(dir.clone(), source))?;
        let mut log = Self {
            settings: settings.clone(),
            prefix,
            file: None,
            rests: false,
            reopen,
        };
        let opened = log.open_file();
        log.file = Some(opened.map_err(|source| LogsError::File(dir.clone(), source))?);
        Ok(log)
    }

    /// Tries to make the folder of the log and to write a file there, and takes back what it has made.
    pub(super) fn try_out(settings: &LogFileSettings) -> Result<(), LogsError> {
        let dir = &settings.dir;
        let missing = dir.ancestors().take_while(|above| !above.exists());
        let missing: Vec<_> = missing.collect();
        let file = dir.join(format!(".perennial-{}", std::process::id()));
        let tried = fs::create_dir_all(dir)
            .and_then(|()| File::create_new(&file))
            .and_then(|_| fs::remove_file(&file));
        for made in missing {
            // Some of them may not have been made.
            drop(fs::remove_dir(made));
        }
        tried.map_err(|error| LogsError::Folder(dir.clone(), error))
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

    /// The most files that there may be, the one that is opened included: at each opening the library removes one more, even if
    /// that is the one to be opened. A file that rests removes none: each time it is opened, the last one would be counted as an
    /// old one.
    fn files_max(&self) -> Option<usize> {
        let begins_new_ones = !self.rests && self.settings.rotate != Rotation::Never;
        begins_new_ones.then(|| self.settings.keep.get() + 1)
    }

    fn open_file(&self) -> Result<RollingFileAppender, InitError> {
        let rotation = match self.settings.rotate {
            Rotation::Minutely => Rolled::MINUTELY,
            Rotation::Hourly => Rolled::HOURLY,
            Rotation::Daily => Rolled::DAILY,
            Rotation::Never => Rolled::NEVER,
        };
        let builder = RollingFileAppender::builder()
            .rotation(rotation)
            .filename_prefix(self.prefix)
            .filename_suffix("json");
        let builder = match self.files_max() {
            Some(most) => builder.max_log_files(most),
            None => builder,
        };
        builder.build(&self.settings.dir)
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.reopen.0.swap(false, Ordering::Acquire)
            && let Ok(file) = self.open_file()
        {
            self.file = Some(file);
        }
        if self.file.is_none() {
            self.file = Some(self.open_file().map_err(io::Error::other)?);
        }
        self.file.as_mut().map_or(Ok(0), |file| file.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.file.as_mut().map_or(Ok(()), Write::flush);
        if self.rests {
            self.file = None;
        }
        flushed
    }
}

#[cfg(test)]
mod tests {
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
    fn the_file_that_is_written_is_never_removed_and_old_ones_are() {
        for (rotate, old, left) in [
            (Rotation::Never, "log.2020-01-01.json", true),
            (Rotation::Daily, "log.2020-01-01.json", false),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let old = folder.path().join(old);
            fs::write(&old, "old").unwrap();
            let settings = LogFileSettings {
                rotate,
                ..settings(folder.path())
            };
            let open = || LogFile::open(&settings, "log", Reopen::default()).unwrap();
            for _ in 0..3 {
                let mut log = open();
                log.write_all(b"1").unwrap();
                log.reopen.ask();
                log.write_all(b"2").unwrap();
            }
            let files = fs::read_dir(folder.path()).unwrap();
            let files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
            let current: Vec<_> = files.iter().filter(|path| **path != old).collect();
            assert_eq!(current.len(), 1);
            assert_eq!(fs::read(current[0]).unwrap(), b"121212");
            assert_eq!(files.contains(&old), left);
        }
    }

    #[test]
    fn what_is_no_folder_is_refused_and_trying_it_out_leaves_no_trace() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "").unwrap();
        for (name, good) in [
            ("", true),
            ("a/b", true),
            ("file", false),
            ("file/a", false),
            ("/proc/perennial-logs", false),
        ] {
            let tried = LogFile::try_out(&settings(&at(name)));
            assert_eq!(tried.is_ok(), good, "{name}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "{name}");
        }
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
