//! The memory of an idle connection, after it has been answered once.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::server::{Server, free_port, resident_kib};
use super::servers::settings_of;
use super::{number, stdout_of};

/// Arguments for `sh`: raises the limit of open files to the maximum, then runs the command that follows.
const WITH_MANY_FILES: [&str; 3] = ["-c", "ulimit -n \"$(ulimit -Hn)\"; exec \"$@\"", "sh"];
/// Open files that a daemon keeps for other purposes than connections and the files that they send, which share the rest.
const OTHER_FILES: u32 = 512;

pub(crate) fn measure(folder: &Path) {
    let hard = stdout_of(Command::new("sh").args(["-c", "ulimit -Hn"]));
    let hard = hard.parse().unwrap_or(u32::MAX);
    let count = number("BENCH_IDLE", 10_000).min(hard.saturating_sub(OTHER_FILES) / 2);
    let port = free_port();
    let settings = folder.join("idle.toml");
    fs::write(&settings, settings_of(folder, port, "")).unwrap();
    let mut command = many_files(env!("CARGO_BIN_EXE_perennial"));
    command.arg("--config").arg(&settings);
    let server = Server::start("perennial", port, command);
    let this = std::env::current_exe().unwrap();
    let mut clients = many_files(&this.display().to_string());
    let words = [
        server.pid().to_string(),
        port.to_string(),
        count.to_string(),
    ];
    println!("{}", stdout_of(clients.arg("--idle").args(words)));
}

fn many_files(program: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(WITH_MANY_FILES).arg(program);
    command
}

/// Holds the connections, in a second process, because the limit of open files counts per process.
pub(crate) fn hold(pid: &str, port: &str, count: &str) {
    let (port, count): (u16, u32) = (port.parse().unwrap(), count.parse().unwrap());
    let before = resident_kib(pid);
    let held: Vec<_> = (0..count).map(|_| connect_and_get(port)).collect();
    // Time to free the memory of the last answers.
    thread::sleep(Duration::from_millis(500));
    let after = resident_kib(pid);
    let each = (after - before) / f64::from(count);
    println!(
        "memory at rest {:.1} MiB (aim 30), {count} idle connections {each:.1} KiB each (aim 8)",
        before / 1024.0
    );
    drop(held);
}

fn connect_and_get(port: u16) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream
        .write_all(b"GET /1k.html HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"xxxxxxxx") {
        let mut bytes = [0; 4096];
        let length = stream.read(&mut bytes).unwrap();
        assert!(length > 0, "an answer");
        answer.extend_from_slice(bytes.get(..length).unwrap_or_default());
    }
    stream
}
