//! The memory that this process may use: what the machine has, or what its control group allows.

use std::fs;

use rustix::system::sysinfo;

use crate::num::as_usize;
use crate::settings::AutoSize;

/// The part of the memory that connections may hold if the settings name no number.
const BUFFERED_DIVISOR: u64 = 8;
/// The least that they may hold then.
const BUFFERED_BYTES_MIN: u64 = 64 << 20;

/// The bytes that `server.max_buffered` stands for.
pub(super) fn buffered_bytes(setting: AutoSize) -> usize {
    as_usize(match setting {
        AutoSize::Auto => (limit() / BUFFERED_DIVISOR).max(BUFFERED_BYTES_MIN),
        AutoSize::Bytes(bytes) => bytes,
    })
}

fn limit() -> u64 {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = limit_files(&groups);
    let limits = limits.iter().filter_map(|file| {
        // Without a limit, the file says "max" or is not there.
        fs::read_to_string(file).ok()?.trim().parse().ok()
    });
    let machine = sysinfo();
    let machine = machine.totalram.saturating_mul(machine.mem_unit.into());
    limits.fold(machine, u64::min)
}

/// The files with the limits of a process's control groups, as `/proc/self/cgroup` names them, and of those around them.
fn limit_files(groups: &str) -> Vec<String> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let (folder, name) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|one| one == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let mut path = path.trim_end_matches('/');
        loop {
            files.push(format!("{folder}{path}/{name}"));
            let Some((above, _)) = path.rsplit_once('/') else {
                break;
            };
            path = above;
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_of_all_groups_around_the_process_count() {
        let groups = "4:memory:/a\n2:cpu,cpuacct:/a\n0::/system.slice/p.service\nnonsense\n";
        assert_eq!(
            limit_files(groups),
            [
                "/sys/fs/cgroup/memory/a/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                "/sys/fs/cgroup/system.slice/p.service/memory.max",
                "/sys/fs/cgroup/system.slice/memory.max",
                "/sys/fs/cgroup/memory.max",
            ]
        );
        assert_eq!(limit_files("0::/\n"), ["/sys/fs/cgroup/memory.max"]);
        assert!(limit() > 0);
        assert_eq!(buffered_bytes(AutoSize::Bytes(7)), 7);
    }
}
