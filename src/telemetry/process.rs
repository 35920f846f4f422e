//! The `process_*` metrics that every Prometheus client library exposes, read from `/proc`.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::rows::{MetricSource, Rows};
use crate::num::as_u64;

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
        let spent = Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default();
        let help = "User and system CPU time spent, in seconds";
        rows.counter("process_cpu_seconds", help, spent.as_secs_f64());
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let bytes = |field| Some(field_of(&status, field)?.saturating_mul(1024));
        if let Some(bytes) = bytes("VmRSS") {
            rows.gauge("process_resident_memory_bytes", "Resident memory", bytes);
        }
        if let Some(bytes) = bytes("VmSize") {
            rows.gauge("process_virtual_memory_bytes", "Virtual memory", bytes);
        }
        if let Some(threads) = field_of(&status, "Threads") {
            rows.gauge("process_threads", "Threads", threads);
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

/// A number out of `/proc/PID/status`; memory is in units of 1024 bytes.
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
}
