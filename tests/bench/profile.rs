//! Tells where the CPU time of a request goes.
//!
//! perf (Debian's `linux-perf`) samples a server while it is loaded. A sample in the kernel counts for the system call that it is
//! under, and a sample in the program for the crate of its function (in this crate for the room; a function that was inlined
//! counts for the one that it is in). The figures are microseconds for each request: the share of the samples times the CPU
//! time of a request.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// Samples each second.
const FREQUENCY: &str = "1999";
/// A part with a smaller share of every column is added up with others.
const SMALL: f64 = 0.01;
/// The beginnings of the names of parts in the kernel, and of those of this crate.
const KERNEL: &str = "kernel: ";
const OURS: &str = "our ";
/// Time in the kernel that is not under a system call.
const FAULTS: &str = "interrupts and faults";

/// Microseconds for each part.
pub(crate) type Parts = BTreeMap<String, f64>;

/// The parts of a request's CPU time, which `load` returns in microseconds after it has loaded the process `pid`.
pub(crate) fn parts(pid: u32, folder: &Path, load: impl FnOnce() -> f64) -> Parts {
    let data = folder.join("perf.data");
    let perf = Recording::start(pid, &data);
    let request_us = load();
    perf.stop();
    let mut script = Command::new("perf");
    let script = script.args(["script", "-F", "ip,sym,dso", "-i"]).arg(&data);
    let script = script.stderr(Stdio::null()).output().expect("perf runs");
    let counts = counts(&String::from_utf8_lossy(&script.stdout));
    let all: f64 = counts.values().sum();
    let each = |(part, count): (String, f64)| (part, count / all * request_us);
    counts.into_iter().map(each).collect()
}

/// perf while it samples a server.
struct Recording(Child);

impl Recording {
    fn start(pid: u32, data: &Path) -> Self {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        let pids: Vec<String> = children
            .split_whitespace()
            .map(str::to_owned)
            .chain([pid.to_string()])
            .collect();
        let mut perf = Command::new("perf");
        perf.args(["record", "-e", "cpu-clock", "-g", "-F", FREQUENCY, "-p"]);
        perf.arg(pids.join(",")).arg("-o").arg(data);
        perf.stdout(Stdio::null()).stderr(Stdio::null());
        let perf = perf.spawn().expect("perf runs (Debian: linux-perf)");
        // perf does not tell when it has begun; what it misses at the start is like the rest.
        thread::sleep(Duration::from_millis(300));
        Self(perf)
    }

    fn stop(mut self) {
        let pid = self.0.id().to_string();
        let sent = Command::new("kill").args(["-INT", &pid]).status();
        assert!(sent.and_then(|_| self.0.wait()).is_ok(), "perf ends");
    }
}

/// Samples of each part, of the text that `perf script` prints: the frames of a sample, the innermost one first, and an empty
/// line after each sample.
fn counts(script: &str) -> BTreeMap<String, f64> {
    let mut counts = BTreeMap::new();
    for sample in script.split("\n\n") {
        let frames: Vec<(&str, &str)> = sample.lines().filter_map(frame).collect();
        if let Some(part) = part(&frames) {
            *counts.entry(part).or_insert(0.0) += 1.0;
        }
    }
    counts
}

/// Symbol and file of a line such as `  55d0 perennial::wire::Head::read (/usr/bin/perennial)`.
fn frame(line: &str) -> Option<(&str, &str)> {
    let (_, rest) = line.trim().split_once(' ')?;
    let (symbol, file) = rest.rsplit_once(" (")?;
    Some((symbol, file.trim_end_matches(')')))
}

fn part(frames: &[(&str, &str)]) -> Option<String> {
    let (symbol, file) = frames.first()?;
    if file.starts_with('[') && !file.contains("vdso") {
        let kernel = frames.iter().take_while(|(_, file)| file.starts_with('['));
        let call = kernel.filter_map(|(symbol, _)| symbol.strip_prefix("__x64_sys_"));
        return Some(format!("{KERNEL}{}", call.last().unwrap_or(FAULTS)));
    }
    if symbol.starts_with("_rjem") || symbol.contains("rallocx") || symbol.contains("jemalloc") {
        return Some("allocator".to_owned());
    }
    let program = Path::new(file).file_name().unwrap_or_default();
    let part = crate_of(symbol);
    Some(part.unwrap_or_else(|| program.to_string_lossy().into_owned()))
}

/// The crate of a Rust function, of this crate the room: the first path in its name that is not of the standard library.
fn crate_of(symbol: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut paths = symbol
        .split(|c| !plain(c))
        .filter(|path| path.contains("::") && !path.starts_with(':'))
        .peekable();
    paths.peek()?;
    let foreign = paths.find(|path| {
        !["core::", "alloc::", "std::"]
            .iter()
            .any(|own| path.starts_with(own))
    });
    let mut names = foreign.unwrap_or("std::").split("::");
    let name = names.next()?;
    match names.next() {
        Some(room) if name == "perennial" => Some(format!("{OURS}{room}")),
        _ => Some(name.to_owned()),
    }
}

/// One server with one load.
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) parts: Parts,
    /// The column that it is compared with, and the highest allowed ratio to it.
    pub(crate) aim: Option<(usize, f64)>,
}

impl Column {
    fn all(&self) -> f64 {
        self.sum(|_| true)
    }

    /// The sum of the parts that `of` chooses.
    fn sum(&self, of: impl Fn(&str) -> bool) -> f64 {
        let parts = self.parts.iter().filter(|(part, _)| of(part));
        // The sum of nothing is -0.0.
        parts.map(|(_, us)| us).sum::<f64>() + 0.0
    }
}

/// Prints a table in Markdown with a row for each part, and below it the names of the parts that it adds up, which are small in
/// every column.
pub(crate) fn print(title: &str, columns: &[Column]) {
    println!("\n## {title}\n");
    row("us of CPU time for each request", columns, |column| {
        column.name.clone()
    });
    println!("| --- |{}", " ---: |".repeat(columns.len()));
    figures("all", columns, Column::all);
    if columns.iter().any(|column| column.aim.is_some()) {
        row("times the server beside it", columns, |column| {
            let beside = column.aim.and_then(|(at, _)| columns.get(at));
            beside.map_or_else(String::new, |beside| {
                format!("{:.2}", column.all() / beside.all())
            })
        });
        row("aim", columns, |column| {
            column
                .aim
                .map_or_else(String::new, |(_, aim)| format!("{aim:.2}"))
        });
    }
    let mut small = Vec::new();
    for (side, of_kernel) in [("the kernel", true), ("the program", false)] {
        figures(side, columns, |column| {
            column.sum(|part| is_of_kernel(part) == of_kernel)
        });
        let names = columns.iter().flat_map(|column| column.parts.keys());
        let names: BTreeSet<&String> = names
            .filter(|part| is_of_kernel(part) == of_kernel)
            .collect();
        let share = |column: &Column, part: &str| {
            column.parts.get(part).copied().unwrap_or_default() / column.all()
        };
        let largest = |part: &str| {
            let shares = columns.iter().map(|column| share(column, part));
            shares.fold(0.0, f64::max)
        };
        let mut by_size: Vec<(f64, &str)> = names
            .iter()
            .map(|part| (largest(part), part.as_str()))
            .collect();
        by_size.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        let (shown, rest): (Vec<_>, Vec<_>) =
            by_size.into_iter().partition(|(share, _)| *share >= SMALL);
        for (_, part) in shown {
            figures(&format!("- {}", plain(part)), columns, |column| {
                column.sum(|other| other == part)
            });
        }
        if !rest.is_empty() {
            figures("- the rest", columns, |column| {
                column.sum(|other| rest.iter().any(|(_, part)| other == *part))
            });
            let names: Vec<String> = rest.iter().map(|(_, part)| plain(part)).collect();
            small.push(format!("of {side}: {}", names.join(", ")));
        }
    }
    println!("\nThe rest {}.", small.join("; "));
}

fn is_of_kernel(part: &str) -> bool {
    part.starts_with(KERNEL)
}

/// The name of a part in a table.
fn plain(part: &str) -> String {
    match (part.strip_prefix(KERNEL), part.strip_prefix(OURS)) {
        (Some(FAULTS), _) => FAULTS.to_owned(),
        (Some(name), _) | (None, Some(name)) => format!("`{name}`"),
        (None, None) => part.to_owned(),
    }
}

fn figures(name: &str, columns: &[Column], of: impl Fn(&Column) -> f64) {
    row(name, columns, |column| format!("{:.1}", of(column)));
}

fn row(name: &str, columns: &[Column], of: impl Fn(&Column) -> String) {
    let cells: Vec<String> = columns.iter().map(of).collect();
    println!("| {name} | {} |", cells.join(" | "));
}
