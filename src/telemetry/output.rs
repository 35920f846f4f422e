//! A place that log lines are written to (stderr, stdout or a file): a bounded queue, and a thread that empties it.
//!
//! Whoever logs never waits for the writer, which may be slow or stuck. A line that finds no room in the queue is dropped
//! and counted.

// Decision: Nothing waits for a log.
// Decision: A log keeps its queue and its thread, and changes its writer.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::logs::LogsError;
use super::metrics::Counter;
use super::readable::push_readable;
use crate::num::as_u64;

/// Bytes that may wait for the writer; as many again may be in its hands.
const QUEUE_BYTES_MAX: usize = 4 << 20;
/// The longest time between two calls of `on_tick`.
const TICK: Duration = Duration::from_secs(1);
/// The longest time that [`Output::close`] waits for the writer at the end of the process.
const CLOSE_WAIT: Duration = Duration::from_secs(1);
/// The pause before the next attempt at a pipe that is full and does not block.
const RETRY: Duration = Duration::from_millis(10);

/// A queue of lines, and the counters of what became of them.
#[derive(Debug)]
pub(super) struct Output {
    /// The label `output` of the metrics.
    pub(super) name: &'static str,
    queue: Mutex<Queue>,
    news: Condvar,
    idle: Condvar,
    /// Lines that were handed over.
    pub(super) lines: Counter,
    /// Lines that were lost: there was no room, or the writer refused them.
    pub(super) dropped: Counter,
    /// Whether the writer refused the last lines.
    failing: AtomicBool,
}

/// Something that lines can be written to.
pub(crate) struct LogWriter(Box<dyn Write + Send>);

impl LogWriter {
    pub(super) fn new(writer: impl Write + Send + 'static) -> Self {
        Self(Box::new(writer))
    }
}

// Written by hand, because a writer can't be shown.
impl fmt::Debug for LogWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogWriter").finish_non_exhaustive()
    }
}

/// The next work of the thread: bytes to write, possibly none, and then a writer to change to, if there is one.
struct Work {
    block: Vec<u8>,
    next_writer: Option<LogWriter>,
}

#[derive(Debug, Default)]
struct Queue {
    pending: Vec<u8>,
    /// The writer that replaces the present one, and how many of the bytes that wait still go to that.
    next_writer: Option<(usize, LogWriter)>,
    /// The thread writes.
    busy: bool,
    closed: bool,
}

impl Queue {
    fn has_work(&self) -> bool {
        !self.pending.is_empty() || self.next_writer.is_some()
    }
}

impl Output {
    /// Starts the thread. `on_tick` is called at least once a second while the writer is not stuck.
    pub(super) fn start(
        name: &'static str,
        writer: LogWriter,
        on_tick: impl Fn() + Send + 'static,
    ) -> Result<Arc<Self>, LogsError> {
        let output = Arc::new(Self {
            name,
            queue: Mutex::default(),
            news: Condvar::new(),
            idle: Condvar::new(),
            lines: Counter::default(),
            dropped: Counter::default(),
            failing: AtomicBool::new(false),
        });
        let worker = Arc::clone(&output);
        let thread = std::thread::Builder::new().name(format!("log-{name}"));
        thread
            .spawn(move || worker.work(writer, on_tick))
            .map_err(LogsError::Thread)?;
        Ok(output)
    }

    /// Queues `block`, which holds so many whole lines, or drops it if there is no room.
    pub(super) fn push(&self, block: &[u8], lines: u64) {
        let mut queue = self.queue.lock();
        self.lines.inc_by(lines);
        if queue.pending.len() + block.len() > QUEUE_BYTES_MAX {
            self.dropped.inc_by(lines);
            return;
        }
        queue.pending.extend_from_slice(block);
        self.news.notify_one();
    }

    /// Lines that are queued from now on go to `writer`; those that wait go to the present one, which is dropped then.
    pub(super) fn replace_writer(&self, writer: LogWriter) {
        let mut queue = self.queue.lock();
        let waiting = queue.next_writer.take().map(|(waiting, _)| waiting);
        let waiting = waiting.unwrap_or(queue.pending.len());
        queue.next_writer = Some((waiting, writer));
        self.news.notify_one();
    }

    /// Whether the writer refused the last lines.
    pub(super) fn failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Waits until everything is written, but not longer than `patience`.
    pub(super) fn flush(&self, patience: Duration) {
        let mut queue = self.queue.lock();
        let waits = |queue: &mut Queue| queue.busy || queue.has_work();
        self.idle.wait_while_for(&mut queue, waits, patience);
    }

    /// Writes out what is left and ends the thread; gives up on a writer that is stuck.
    pub(super) fn close(&self) {
        self.flush(CLOSE_WAIT);
        self.queue.lock().closed = true;
        self.news.notify_one();
    }

    /// `None` at the end.
    fn next(&self) -> Option<Work> {
        let mut queue = self.queue.lock();
        queue.busy = false;
        if !queue.has_work() {
            self.idle.notify_all();
            if queue.closed {
                return None;
            }
            self.news.wait_for(&mut queue, TICK);
        }
        queue.busy = true;
        let mut block = std::mem::take(&mut queue.pending);
        let next = queue.next_writer.take();
        let next_writer = next.map(|(waiting, writer)| {
            queue.pending = block.split_off(waiting);
            writer
        });
        Some(Work { block, next_writer })
    }

    fn work(&self, mut writer: LogWriter, on_tick: impl Fn()) {
        let (mut torn, mut told) = (false, 0);
        while let Some(Work { block, next_writer }) = self.next() {
            on_tick();
            if !block.is_empty() {
                let written = self.write(&mut writer.0, &block, &mut torn);
                self.tell(written, &mut told);
            }
            if let Some(next) = next_writer {
                writer = next;
            }
        }
    }

    /// Logs a change of whether lines are written, and how many more than `told` were lost.
    fn tell(&self, written: io::Result<()>, told: &mut u64) {
        match written {
            Ok(()) => {
                let lost = self.dropped.get() - *told;
                *told += lost;
                if self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!(output = self.name, lost, "this log can be written again");
                } else if lost > 0 {
                    tracing::warn!(
                        output = self.name,
                        lost,
                        "lines of this log were dropped: it is read or written too slowly"
                    );
                }
            }
            Err(error) => {
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::error!(
                        output = self.name,
                        %error,
                        "this log can't be written: its lines are lost until it can be again"
                    );
                }
            }
        }
    }

    /// Writes a block. Lines that are not written whole are counted as dropped; one that was cut gets its end first.
    fn write(&self, writer: &mut impl Write, block: &[u8], torn: &mut bool) -> io::Result<()> {
        let end = if *torn {
            self.write_some(writer, b"\n").0
        } else {
            Ok(())
        };
        *torn &= end.is_err();
        let (result, written) = match end {
            Ok(()) => self.write_some(writer, block),
            Err(error) => (Err(error), 0),
        };
        let result = result.and_then(|()| writer.flush());
        let (done, rest) = block.split_at(written.min(block.len()));
        if result.is_err() {
            let lost = rest.split_inclusive(|byte| *byte == b'\n').count();
            self.dropped.inc_by(as_u64(lost));
            *torn |= done.last().is_some_and(|byte| *byte != b'\n');
        }
        result
    }

    fn write_some(&self, writer: &mut impl Write, bytes: &[u8]) -> (io::Result<()>, usize) {
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match writer.write(rest) {
                Ok(0) => return (Err(io::ErrorKind::WriteZero.into()), written),
                Ok(more) => written += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.news.wait_for(&mut self.queue.lock(), RETRY);
                }
                Err(error) => return (Err(error), written),
            }
        }
        (Ok(()), written)
    }
}

/// The layers of `tracing` write one whole line in each call.
impl Write for &Output {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match std::str::from_utf8(line) {
            Ok(text) if !text.is_ascii() || text.contains('\u{7f}') => {
                let mut readable = Vec::with_capacity(line.len());
                push_readable(&mut readable, text);
                self.push(&readable, 1);
            }
            Ok(_) | Err(_) => self.push(line, 1),
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{self, Receiver, Sender};

    /// A disk that takes a block only when it is told to.
    struct SlowDisk {
        go: Receiver<io::Result<usize>>,
        written: Sender<Vec<u8>>,
    }

    impl Write for SlowDisk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = self.go.recv().map_err(io::Error::other)??;
            let taken = taken.min(bytes.len());
            let part = bytes.get(..taken).unwrap_or_default();
            self.written.send(part.to_vec()).map_err(io::Error::other)?;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn slow() -> (Arc<Output>, Sender<io::Result<usize>>, Receiver<Vec<u8>>) {
        let ((go, going), (written, blocks)) = (mpsc::channel(), mpsc::channel());
        let disk = SlowDisk { go: going, written };
        (
            Output::start("test", LogWriter::new(disk), || {}).unwrap(),
            go,
            blocks,
        )
    }

    fn text(blocks: &Receiver<Vec<u8>>) -> String {
        String::from_utf8(blocks.recv().unwrap()).unwrap()
    }

    #[test]
    fn what_finds_no_room_is_dropped_and_counted_by_lines() {
        let (output, go, _blocks) = slow();
        let block = vec![b'a'; 1 << 16];
        let most = as_u64(QUEUE_BYTES_MAX / block.len());
        for _ in 0..2 * most + 10 {
            output.push(&block, 3);
        }
        let dropped = output.dropped.get() / 3;
        assert!((10..=most + 10).contains(&dropped), "{dropped}");
        assert_eq!(output.lines.get(), 3 * (2 * most + 10));
        drop(go);
    }

    #[test]
    fn what_an_event_quotes_can_not_steer_a_terminal() {
        let (output, go, blocks) = slow();
        go.send(Ok(1000)).unwrap();
        let line =
            "\u{1b}[2mred\u{1b}[0m caf\u{e9} \u{7f}\u{85}\u{9b}31m\u{2028}\u{202e}\u{2066}\n";
        (&*output).write_all(line.as_bytes()).unwrap();
        // The colours of this line are our own.
        let wanted =
            "\u{1b}[2mred\u{1b}[0m caf\u{e9} \\u007f\\u0085\\u009b31m\\u2028\\u202e\\u2066\n";
        assert_eq!(text(&blocks), wanted);
        output.close();
    }

    #[test]
    fn lines_that_wait_go_to_the_old_writer_and_those_behind_to_the_new_one() {
        let (output, go, old) = slow();
        let ((new_go, going), (written, new)) = (mpsc::channel(), mpsc::channel());
        output.push(b"1\n", 1);
        output.push(b"2\n", 1);
        let (never, _none) = mpsc::channel();
        let skipped = SlowDisk {
            go: mpsc::channel().1,
            written: never,
        };
        output.replace_writer(LogWriter::new(skipped));
        let disk = SlowDisk { go: going, written };
        output.replace_writer(LogWriter::new(disk));
        output.push(b"3\n", 1);
        output.push(b"4\n", 1);
        for _ in 0..2 {
            // The thread may have taken the first line alone.
            go.send(Ok(100)).unwrap();
            new_go.send(Ok(100)).unwrap();
        }
        output.flush(Duration::from_secs(10));
        output.close();
        let all = |blocks: Receiver<Vec<u8>>| blocks.iter().flatten().collect::<Vec<u8>>();
        assert_eq!(all(old), b"1\n2\n", "it is closed then");
        assert_eq!(all(new), b"3\n4\n");
        assert_eq!((output.lines.get(), output.dropped.get()), (4, 0));
    }

    #[test]
    fn a_stuck_writer_does_not_hold_up_the_end() {
        let (output, _go, _blocks) = slow();
        output.push(b"never read\n", 1);
        output.flush(Duration::from_millis(20));
        output.close();
    }

    #[test]
    fn what_the_writer_refuses_is_counted_and_a_cut_line_is_ended() {
        let (output, go, blocks) = slow();
        go.send(Ok(3)).unwrap();
        go.send(Err(io::ErrorKind::StorageFull.into())).unwrap();
        output.push(b"a\nbb\nc\n", 3);
        assert_eq!(text(&blocks), "a\nb");
        output.flush(Duration::from_secs(10));
        assert_eq!((output.dropped.get(), output.failing()), (2, true));
        // The end of the cut line is refused too, and the lines behind it with it.
        go.send(Err(io::ErrorKind::StorageFull.into())).unwrap();
        output.push(b"x\ny\n", 2);
        output.flush(Duration::from_secs(10));
        assert_eq!((output.dropped.get(), output.failing()), (4, true));
        go.send(Ok(9)).unwrap();
        go.send(Ok(9)).unwrap();
        output.push(b"d\n", 1);
        assert_eq!([text(&blocks), text(&blocks)], ["\n", "d\n"]);
        output.flush(Duration::from_secs(10));
        assert_eq!((output.dropped.get(), output.failing()), (4, false));
        output.close();
    }
}
