//! The `process_*` metrics that every Prometheus client library exposes, read from `/proc`.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, getrlimit};

use super::rows::{MetricSource, Rows};
use crate::num::{as_f64, as_u64};

/// Ticks of `/proc/PID/stat` in a second: the same on every machine that Linux offers to programs.
const TICKS: f64 = 100.0;

/// The figures of this process.
#[derive(Debug)]
pub(super) struct ProcessMetrics {
    started: f64,
}

impl ProcessMetrics {
    /// To be called once, when the process starts.
    pub(super) fn new() -> Self {
        let started = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            started: started.map_or(0.0, |since| since.as_secs_f64()),
        }
    }
}

impl MetricSource for ProcessMetrics {
    fn write(&self, rows: &mut Rows<'_>) {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        if let Some(seconds) = cpu_seconds(&stat) {
            let help = "User and system CPU time spent, in seconds";
            rows.counter("process_cpu_seconds", help, seconds);
        }
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        for (name, help, field, unit) in [
            (
                "process_resident_memory_bytes",
                "Resident memory",
                "VmRSS",
                1024,
            ),
            (
                "process_virtual_memory_bytes",
                "Virtual memory",
                "VmSize",
                1024,
            ),
            ("process_threads", "Threads", "Threads", 1),
        ] {
            if let Some(value) = field_of(&status, field) {
                rows.gauge(name, help, value.saturating_mul(unit));
            }
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            // The one that reads the folder does not count.
            let open = as_u64(open.count()).saturating_sub(1);
            rows.gauge("process_open_fds", "Open file descriptors", open);
        }
        if let Some(most) = getrlimit(Resource::Nofile).current {
            rows.gauge(
                "process_max_fds",
                "The limit of open file descriptors",
                most,
            );
        }
        rows.gauge(
            "process_start_time_seconds",
            "When the process was started, in seconds since 1970",
            self.started,
        );
    }
}

/// The words of `/proc/PID/stat` behind the name of the program, which is in parentheses and may hold spaces.
pub(crate) fn stat_words(stat: &str) -> Option<impl Iterator<Item = &str>> {
    let (_, after_name) = stat.rsplit_once(')')?;
    Some(after_name.split_whitespace())
}

/// The CPU time out of `/proc/PID/stat`: the 12th and 13th word behind the name.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut times = stat_words(stat)?.skip(11).map(str::parse::<u64>);
    let (user, system) = (times.next()?.ok()?, times.next()?.ok()?);
    Some(as_f64(user + system) / TICKS)
}

/// A number out of `/proc/PID/status`.
fn field_of(status: &str, name: &str) -> Option<u64> {
    let mut fields = status.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = fields.find(|(found, _)| *found == name)?;
    value.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_of_prometheus() {
        let text = crate::telemetry::exposed(ProcessMetrics::new());
        for name in [
            "process_cpu_seconds_total ",
            "process_resident_memory_bytes ",
            "process_virtual_memory_bytes ",
            "process_open_fds ",
            "process_max_fds ",
            "process_start_time_seconds ",
            "process_threads ",
        ] {
            assert!(
                text.lines().any(|line| line.starts_with(name)),
                "{name}{text}"
            );
        }
    }

    #[test]
    fn a_name_with_parentheses_hides_no_time() {
        let stat = "7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 150 250 0";
        assert_eq!(cpu_seconds(stat), Some(4.0));
        assert_eq!(cpu_seconds("7 (a) S"), None);
    }
}
