//! A server in a process of its own, and what it uses of the machine.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A running server; dropping it stops the process.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    process: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGTERM, so that nginx also stops its worker.
        let pid = self.process.id().to_string();
        let sent = Command::new("kill").arg(&pid).status();
        assert!(sent.and_then(|_| self.process.wait()).is_ok(), "{pid} ends");
    }
}

impl Server {
    /// Starts a server, and waits until it accepts connections.
    pub(crate) fn start(name: &'static str, port: u16, mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let process = command.stderr(Stdio::null()).spawn();
        let process = process.unwrap_or_else(|error| panic!("{name}: {error}"));
        let server = Self {
            name,
            port,
            process,
        };
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "{name} does not answer");
            thread::sleep(Duration::from_millis(20));
        }
        server
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The CPU time that the process and its children have used so far.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let pid = self.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        let all = children.split_whitespace().map(str::to_owned);
        let ticks: u32 = all.chain([pid.to_string()]).map(|pid| ticks(&pid)).sum();
        // sysconf(_SC_CLK_TCK) is 100 on every Linux.
        f64::from(ticks) / 100.0
    }
}

/// User and system time of one process, in clock ticks.
fn ticks(pid: &str) -> u32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let fields = fields.split_whitespace().skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<u32>().ok()).sum()
}

/// A command pinned to one core, if the machine has two or more.
pub(crate) fn pinned(core: usize, program: &str) -> Command {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    if cores < 2 {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string(), program]);
    command
}

/// A port that is free now.
pub(crate) fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

/// The resident memory of a process.
pub(crate) fn resident_kib(pid: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let words = line.unwrap_or_default().split_whitespace();
    words.skip(1).find_map(|word| word.parse().ok()).unwrap()
}
