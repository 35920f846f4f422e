//! Where the lines of the access log go: by blocks, through a bounded queue, to a thread that writes them.
//!
//! Nobody who answers requests waits for a disk here: what finds no room is dropped, and counted.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

use super::logs::LogsError;
use super::reopening::{Reopen, Reopening};
use super::rotating::rotating;
use super::rows::{MetricSource, Rows};
use crate::settings::LogSettings;

/// Blocks that may wait for the disk; with the blocks of the edge, four mebibytes.
const BLOCKS_MAX: usize = 256;

/// Takes lines of the access log. Dropping the last one of its [`AccessGuard`] writes out what is left.
#[derive(Debug)]
pub(crate) struct AccessSink {
    queue: Mutex<NonBlocking>,
    refused: ErrorCounter,
    lines: AtomicU64,
    dropped: Arc<AtomicU64>,
}

/// Keeps the access log open.
#[derive(Debug)]
pub(crate) struct AccessGuard {
    _worker: WorkerGuard,
    reopen: Option<Reopen>,
}

impl AccessGuard {
    /// Asks for its file to be opened anew, where it goes to one.
    pub(crate) fn reopen(&self) -> Option<Reopen> {
        self.reopen.clone()
    }
}

impl AccessSink {
    /// The access log as the settings wish it: in files beside the log's, or on stdout where there are none. `None` if
    /// it is not wished for.
    pub(crate) fn open(
        settings: &LogSettings,
    ) -> Result<Option<(Arc<Self>, AccessGuard)>, LogsError> {
        if !settings.access {
            return Ok(None);
        }
        let Some(file) = &settings.file else {
            return Ok(Some(Self::into(io::stdout(), None)));
        };
        std::fs::create_dir_all(&file.dir).map_err(|source| LogsError::Folder {
            dir: file.dir.clone(),
            source,
        })?;
        let settings = file.clone();
        let opened = Reopening::new(move || rotating(&settings, "access"));
        let (appender, reopen) = opened.map_err(|source| LogsError::File {
            dir: file.dir.clone(),
            source,
        })?;
        Ok(Some(Self::into(appender, Some(reopen))))
    }

    fn into(
        writer: impl Write + Send + 'static,
        reopen: Option<Reopen>,
    ) -> (Arc<Self>, AccessGuard) {
        let dropped = Arc::<AtomicU64>::default();
        let writer = CountedWriter {
            writer,
            failed: Arc::clone(&dropped),
        };
        let (queue, worker) = NonBlockingBuilder::default()
            .buffered_lines_limit(BLOCKS_MAX)
            .lossy(true)
            .thread_name("access-log")
            .finish(writer);
        let sink = Self {
            refused: queue.error_counter(),
            queue: Mutex::new(queue),
            lines: AtomicU64::new(0),
            dropped,
        };
        let guard = AccessGuard {
            _worker: worker,
            reopen,
        };
        (Arc::new(sink), guard)
    }

    /// Hands over a block of so many whole lines. Never waits for the disk; the lock is there to know whose block found
    /// no room, and is taken once for many requests.
    pub(crate) fn write(&self, block: &[u8], lines: u64) {
        self.lines.fetch_add(lines, Ordering::Relaxed);
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.refused.dropped_lines();
        let written = queue.write_all(block);
        if written.is_err() || self.refused.dropped_lines() != before {
            self.dropped.fetch_add(lines, Ordering::Relaxed);
        }
    }

    /// Lines that were lost: there was no room, or the disk refused them.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Counts the lines that could not be written: the thread that writes has nobody to tell.
struct CountedWriter<W> {
    writer: W,
    failed: Arc<AtomicU64>,
}

impl<W: Write> Write for CountedWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn write_all(&mut self, block: &[u8]) -> io::Result<()> {
        let written = self.writer.write_all(block);
        if written.is_err() {
            let lines = block.split_inclusive(|byte| *byte == b'\n').count();
            let lines = u64::try_from(lines).unwrap_or(u64::MAX);
            self.failed.fetch_add(lines, Ordering::Relaxed);
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// The metrics of the access log.
#[derive(Debug)]
pub(crate) struct AccessMetrics(pub Arc<AccessSink>);

impl MetricSource for AccessMetrics {
    fn write(&self, rows: &mut Rows<'_>) {
        rows.counter(
            "perennial_access_log_lines",
            "Lines of the access log",
            self.0.lines.load(Ordering::Relaxed),
        );
        rows.counter(
            "perennial_access_log_lines_dropped",
            "Lines of the access log that were lost: the disk is too slow, or refused them",
            self.0.dropped(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{self, Receiver, Sender};

    /// A disk that takes a block only when it is told to.
    struct SlowDisk {
        go: Receiver<()>,
        written: Sender<Vec<u8>>,
    }

    impl Write for SlowDisk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.go.recv().map_err(io::Error::other)?;
            self.written
                .send(bytes.to_vec())
                .map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_finds_no_room_is_dropped_and_counted_by_lines() {
        let ((go, going), (written, blocks)) = (mpsc::channel(), mpsc::channel());
        let disk = SlowDisk { go: going, written };
        let (sink, guard) = AccessSink::into(disk, None);
        let most = u64::try_from(BLOCKS_MAX).unwrap();
        // One is in the disk's hand at most, and the rest fills the queue.
        for _ in 0..most + 10 {
            sink.write(b"a\nb\n", 2);
        }
        let dropped = sink.dropped();
        assert!((18..=20).contains(&dropped), "{dropped}");
        let kept = most + 10 - dropped / 2;
        for _ in 0..kept {
            go.send(()).unwrap();
        }
        for _ in 0..kept {
            assert_eq!(blocks.recv().unwrap(), b"a\nb\n");
        }
        drop(guard);
        assert_eq!(sink.dropped(), dropped);
    }

    #[test]
    fn what_the_disk_refuses_is_counted_by_lines() {
        let ((go, going), (written, _)) = (mpsc::channel(), mpsc::channel());
        let (sink, guard) = AccessSink::into(SlowDisk { go: going, written }, None);
        drop(go);
        sink.write(b"a\nb\nc\n", 3);
        drop(guard);
        assert_eq!(sink.dropped(), 3);
    }
}
