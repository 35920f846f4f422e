//! The stderr of a daemon under test: its lines, and the addresses and the readiness that they report.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::ChildStderr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

/// The stderr of one process; a thread reads it and wakes whoever waits for a line.
#[derive(Debug, Default)]
pub(super) struct Stderr {
    lines: Mutex<Lines>,
    changed: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) all: Vec<String>,
    pub(super) listening: Vec<SocketAddr>,
    pub(super) tls: Vec<SocketAddr>,
    pub(super) admin: Option<SocketAddr>,
    pub(super) ready: bool,
    pub(super) ended: bool,
    admin_is_unix: bool,
}

impl Lines {
    fn add(&mut self, line: String) {
        if let Some(address) = address_after(&line, "listening on http://") {
            self.listening.push(address);
        } else if let Some(address) = address_after(&line, "listening on https://") {
            self.tls.push(address);
        } else if let Some(address) = address_after(&line, "admin on http://") {
            self.admin = Some(address);
        } else if line.contains("admin on unix:") {
            self.admin_is_unix = true;
        } else if line.split_whitespace().any(|word| word == "ready") {
            self.ready |=
                (self.admin.is_some() || self.admin_is_unix) && !self.listening.is_empty();
        }
        self.all.push(line);
    }

    /// All lines as one text.
    pub(super) fn text(&self) -> String {
        self.all.join("\n")
    }
}

impl Stderr {
    /// Starts a thread that reads the pipe until the process has ended.
    pub(super) fn read(pipe: ChildStderr) -> Arc<Self> {
        let stderr = Arc::<Self>::default();
        let reader = Arc::clone(&stderr);
        thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                reader.lines().add(line);
                reader.changed.notify_all();
            }
            reader.lines().ended = true;
            reader.changed.notify_all();
        });
        stderr
    }

    pub(super) fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock()
    }

    /// Waits until `wanted` holds, at most so long; returns the lines, and whether it held.
    pub(super) fn wait(
        &self,
        timeout: Duration,
        wanted: impl Fn(&Lines) -> bool,
    ) -> (MutexGuard<'_, Lines>, bool) {
        let until = Instant::now() + timeout;
        let mut lines = self.lines();
        while !wanted(&lines) {
            if lines.ended || self.changed.wait_until(&mut lines, until).timed_out() {
                let held = wanted(&lines);
                return (lines, held);
            }
        }
        (lines, true)
    }
}

fn address_after(line: &str, words: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once(words)?;
    let address: String = rest
        .chars()
        .take_while(|c| c.is_ascii_hexdigit() || ".:[]".contains(*c))
        .collect();
    address.parse().ok()
}
