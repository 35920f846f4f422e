//! Tells where the CPU time of a request goes.
//!
//! perf (Debian's `linux-perf`) samples a server while it is loaded. A sample in the kernel counts for the system call that it is
//! under, and a sample in the program for the crate of its function (in this crate for the room; a function that was inlined
//! counts for the one that it is in). The figures are microseconds for each request: the share of the samples times the CPU
//! time of a request.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// Samples each second.
const FREQUENCY: &str = "1999";
/// Parts that take less in every column are not printed.
const SMALL_US: f64 = 0.1;

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
        return Some(format!(
            "kernel: {}",
            call.last().unwrap_or("interrupts and faults")
        ));
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
        Some(room) if name == "perennial" => Some(format!("our {room}")),
        _ => Some(name.to_owned()),
    }
}

/// Prints a row for each part, and a column for each server by its name.
pub(crate) fn print(title: &str, columns: &[(&str, Parts)]) {
    println!("\n{title}: us of CPU time for each request");
    print!("{:34}", "");
    for (name, _) in columns {
        print!("{name:>18}");
    }
    println!();
    let mut rows: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (at, (_, column)) in columns.iter().enumerate() {
        for (part, us) in column {
            let side = if part.starts_with("kernel") {
                "the kernel"
            } else {
                "the program"
            };
            for name in [part, side, "all"] {
                let row = rows.entry(name).or_insert_with(|| vec![0.0; columns.len()]);
                if let Some(cell) = row.get_mut(at) {
                    *cell += us;
                }
            }
        }
    }
    let largest = |row: &[f64]| row.iter().copied().fold(0.0, f64::max);
    let mut rows: Vec<(&str, Vec<f64>)> = rows.into_iter().collect();
    rows.retain(|(_, row)| largest(row) >= SMALL_US);
    rows.sort_by(|(_, one), (_, other)| largest(other).total_cmp(&largest(one)));
    for (part, row) in rows {
        print!("{part:34}");
        for us in row {
            print!("{us:>18.1}");
        }
        println!();
    }
}
