//! A writer that can be asked to open its file anew, from another thread.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Asks a file that is written by another thread to be opened anew.
#[derive(Debug, Clone)]
pub(crate) struct Reopen {
    asked: Arc<AtomicBool>,
}

impl Reopen {
    /// The next write goes to a file that is opened anew.
    pub(crate) fn ask(&self) {
        self.asked.store(true, Ordering::Release);
    }
}

/// A file that is opened by `open`, now and whenever somebody asks. What can't be opened anew is kept as it was.
pub(super) struct Reopening<W, F> {
    writer: W,
    open: F,
    asked: Arc<AtomicBool>,
}

impl<W, F> fmt::Debug for Reopening<W, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reopening")
    }
}

impl<W: Write, E, F: Fn() -> Result<W, E>> Reopening<W, F> {
    pub(super) fn new(open: F) -> Result<(Self, Reopen), E> {
        let asked = Arc::new(AtomicBool::new(false));
        let reopen = Reopen {
            asked: Arc::clone(&asked),
        };
        let writer = open()?;
        Ok((
            Self {
                writer,
                open,
                asked,
            },
            reopen,
        ))
    }
}

impl<W: Write, E, F: Fn() -> Result<W, E>> Write for Reopening<W, F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.asked.swap(false, Ordering::Acquire)
            && let Ok(writer) = (self.open)()
        {
            self.writer = writer;
        }
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};

    use super::*;

    #[test]
    fn a_file_that_was_moved_away_gets_nothing_more_once_somebody_asks() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("log"), folder.path().join("log.1"));
        let file = path.clone();
        let open = move || OpenOptions::new().create(true).append(true).open(&file);
        let (mut log, reopen) = Reopening::new(open).unwrap();
        log.write_all(b"1").unwrap();
        fs::rename(&path, &moved).unwrap();
        log.write_all(b"2").unwrap();
        reopen.ask();
        log.write_all(b"3").unwrap();
        log.write_all(b"4").unwrap();
        assert_eq!(fs::read(&moved).unwrap(), b"12");
        assert_eq!(fs::read(&path).unwrap(), b"34");
    }

    #[test]
    fn what_cannot_be_opened_again_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (place, moved) = (folder.path().join("a"), folder.path().join("b"));
        fs::create_dir(&place).unwrap();
        let file = place.join("log");
        let open = move || OpenOptions::new().create(true).append(true).open(&file);
        let (mut log, reopen) = Reopening::new(open).unwrap();
        fs::rename(&place, &moved).unwrap();
        reopen.ask();
        log.write_all(b"1").unwrap();
        log.flush().unwrap();
        assert_eq!(fs::read(moved.join("log")).unwrap(), b"1");
    }
}
