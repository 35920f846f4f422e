//! One place that log lines are written to, such as stderr or a file: a bounded queue and a thread that empties it.
//!
//! Whoever logs never waits for the writer, which may be slow or stuck. A line that finds no room in the queue is dropped
//! and counted.

// Decision: Nothing waits for a log.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::{Condvar, Mutex};

use crate::num::as_u64;

/// Bytes that may wait for the writer; as many again may be in its hands.
const QUEUE_BYTES_MAX: usize = 4 << 20;
/// Equal lines that follow each other within this time are written once, with their number.
const FOLD_TIME: Duration = Duration::from_secs(1);
/// The time that a writer has at the end of the process.
pub(super) const CLOSE_WAIT: Duration = Duration::from_secs(1);
/// How long a writer that has no room, but does not wait for it, is left alone.
const RETRY: Duration = Duration::from_millis(10);

/// The way in which the time is put before a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineTime {
    /// The lines have it already.
    None,
    /// In front of the text.
    Text,
    /// As the first member of a JSON object.
    Json,
}

/// A queue of lines and the counters of what became of them.
#[derive(Debug)]
pub(super) struct Output {
    name: &'static str,
    line_time: LineTime,
    queue: Mutex<Queue>,
    news: Condvar,
    idle: Condvar,
    lines: AtomicU64,
    dropped: AtomicU64,
    failing: AtomicBool,
}

#[derive(Debug, Default)]
struct Queue {
    pending: Vec<u8>,
    /// The last line without its time, and how often it came again.
    last: Vec<u8>,
    repeated: u64,
    /// The thread writes.
    busy: bool,
    closed: bool,
}

impl Output {
    /// Starts the thread. `on_tick` is called at least once a second while the writer is not stuck.
    pub(super) fn start(
        name: &'static str,
        line_time: LineTime,
        writer: impl Write + Send + 'static,
        on_tick: impl Fn() + Send + 'static,
    ) -> io::Result<Arc<Self>> {
        let output = Arc::new(Self {
            name,
            line_time,
            queue: Mutex::default(),
            news: Condvar::new(),
            idle: Condvar::new(),
            lines: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            failing: AtomicBool::new(false),
        });
        let worker = Arc::clone(&output);
        std::thread::Builder::new()
            .name(format!("log-{name}"))
            .spawn(move || worker.work(writer, on_tick))?;
        Ok(output)
    }

    /// Takes one line. One that is equal to the line before is only counted.
    pub(super) fn line(&self, line: &[u8]) {
        let mut queue = self.queue.lock();
        if queue.last == line {
            queue.repeated += 1;
            return;
        }
        self.note_repeats(&mut queue);
        let time = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
        if self.push(&mut queue, &with_time(self.line_time, &time, line), 1) {
            queue.last.clear();
            queue.last.extend_from_slice(line);
        }
    }

    /// Takes a block of so many whole lines as they are.
    pub(super) fn block(&self, block: &[u8], lines: u64) {
        self.push(&mut self.queue.lock(), block, lines);
    }

    /// Whether there was room.
    fn push(&self, queue: &mut Queue, text: &[u8], lines: u64) -> bool {
        self.lines.fetch_add(lines, Ordering::Relaxed);
        if queue.pending.len() + text.len() > QUEUE_BYTES_MAX {
            self.dropped.fetch_add(lines, Ordering::Relaxed);
            return false;
        }
        queue.pending.extend_from_slice(text);
        self.news.notify_one();
        true
    }

    fn note_repeats(&self, queue: &mut Queue) {
        queue.last.clear();
        let times = match std::mem::take(&mut queue.repeated) {
            0 => return,
            1 => "once".to_owned(),
            n => format!("{n} times"),
        };
        let time = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
        let text = format!("the last line was repeated {times}");
        let line = match self.line_time {
            LineTime::Json => format!("{{\"level\":\"INFO\",\"message\":\"{text}\"}}\n"),
            LineTime::Text | LineTime::None => format!(" INFO {text}\n"),
        };
        self.push(queue, &with_time(self.line_time, &time, line.as_bytes()), 1);
    }

    /// Lines that were handed over.
    pub(super) fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    /// Lines that were lost: there was no room, or the writer refused them.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Whether the writer refused the last lines.
    pub(super) fn failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Waits until everything is written, but not longer than `patience`.
    pub(super) fn flush(&self, patience: Duration) {
        let mut queue = self.queue.lock();
        self.note_repeats(&mut queue);
        let waits = |queue: &mut Queue| queue.busy || !queue.pending.is_empty();
        self.idle.wait_while_for(&mut queue, waits, patience);
    }

    /// Writes out what is left and ends the thread; gives up on a writer that is stuck.
    pub(super) fn close(&self) {
        self.flush(CLOSE_WAIT);
        self.queue.lock().closed = true;
        self.news.notify_one();
    }

    /// The bytes to be written next, which may be none; `None` at the end.
    fn next(&self) -> Option<Vec<u8>> {
        let mut queue = self.queue.lock();
        queue.busy = false;
        if queue.pending.is_empty() {
            self.idle.notify_all();
            if queue.closed {
                return None;
            }
            if self.news.wait_for(&mut queue, FOLD_TIME).timed_out() {
                self.note_repeats(&mut queue);
            }
        }
        queue.busy = true;
        Some(std::mem::take(&mut queue.pending))
    }

    fn work(&self, mut writer: impl Write, on_tick: impl Fn()) {
        let (mut torn, mut told) = (false, 0);
        while let Some(block) = self.next() {
            on_tick();
            if block.is_empty() {
                continue;
            }
            match self.write(&mut writer, &block, &mut torn) {
                Ok(()) => {
                    let lost = self.dropped() - told;
                    told += lost;
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
            self.dropped.fetch_add(as_u64(lost), Ordering::Relaxed);
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

fn with_time(line_time: LineTime, time: &str, line: &[u8]) -> Vec<u8> {
    match line_time {
        LineTime::None => line.to_vec(),
        LineTime::Text => [time.as_bytes(), b" ", line].concat(),
        LineTime::Json => {
            let rest = line.strip_prefix(b"{").unwrap_or(line);
            [b"{\"timestamp\":\"", time.as_bytes(), b"\",", rest].concat()
        }
    }
}

/// Hands over what the layers of `tracing` write: one whole line for each call.
#[derive(Debug, Clone)]
pub(super) struct LineWriter(pub(super) Arc<Output>);

impl Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.line(line);
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

    fn slow(line_time: LineTime) -> (Arc<Output>, Sender<io::Result<usize>>, Receiver<Vec<u8>>) {
        let ((go, going), (written, blocks)) = (mpsc::channel(), mpsc::channel());
        let disk = SlowDisk { go: going, written };
        (
            Output::start("test", line_time, disk, || {}).unwrap(),
            go,
            blocks,
        )
    }

    fn text(blocks: &Receiver<Vec<u8>>) -> String {
        String::from_utf8(blocks.recv().unwrap()).unwrap()
    }

    #[test]
    fn what_finds_no_room_is_dropped_and_counted_by_lines() {
        let (output, go, _blocks) = slow(LineTime::None);
        let block = vec![b'a'; 1 << 16];
        let most = as_u64(QUEUE_BYTES_MAX / block.len());
        for _ in 0..2 * most + 10 {
            output.block(&block, 3);
        }
        let dropped = output.dropped() / 3;
        assert!((10..=most + 10).contains(&dropped), "{dropped}");
        assert_eq!(output.lines(), 3 * (2 * most + 10));
        drop(go);
    }

    #[test]
    fn a_stuck_writer_does_not_hold_up_the_end() {
        let (output, _go, _blocks) = slow(LineTime::Text);
        output.line(b"never read\n");
        output.flush(Duration::from_millis(20));
        output.close();
    }

    #[test]
    fn what_the_writer_refuses_is_counted_and_a_cut_line_is_ended() {
        let (output, go, blocks) = slow(LineTime::None);
        go.send(Ok(3)).unwrap();
        go.send(Err(io::ErrorKind::StorageFull.into())).unwrap();
        output.block(b"a\nbb\nc\n", 3);
        assert_eq!(text(&blocks), "a\nb");
        output.flush(Duration::from_secs(10));
        assert_eq!((output.dropped(), output.failing()), (2, true));
        // The end of the cut line is refused too, and the lines behind it with it.
        go.send(Err(io::ErrorKind::StorageFull.into())).unwrap();
        output.block(b"x\ny\n", 2);
        output.flush(Duration::from_secs(10));
        assert_eq!((output.dropped(), output.failing()), (4, true));
        go.send(Ok(9)).unwrap();
        go.send(Ok(9)).unwrap();
        output.block(b"d\n", 1);
        assert_eq!([text(&blocks), text(&blocks)], ["\n", "d\n"]);
        output.flush(Duration::from_secs(10));
        assert_eq!((output.dropped(), output.failing()), (4, false));
        output.close();
    }

    #[test]
    fn equal_lines_are_written_once_with_their_number() {
        let (output, go, blocks) = slow(LineTime::Json);
        for line in ["{\"a\":1}\n", "{\"a\":1}\n", "{\"a\":1}\n", "{\"b\":2}\n"] {
            output.line(line.as_bytes());
        }
        for _ in 0..9 {
            go.send(Ok(1 << 20)).unwrap();
        }
        output.close();
        let written: String = blocks
            .try_iter()
            .map(|b| String::from_utf8(b).unwrap())
            .collect();
        let lines: Vec<serde_json::Value> = written
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 3, "{written}");
        assert_eq!((&lines[0]["a"], &lines[2]["b"]), (&1.into(), &2.into()));
        assert_eq!(lines[1]["message"], "the last line was repeated 2 times");
        assert!(lines.iter().all(|line| line["timestamp"].is_string()));
    }
}
