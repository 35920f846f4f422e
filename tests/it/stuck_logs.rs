//! Logs that nobody reads: a full pipe on stderr or stdout, a full disk under the log files.

use std::fs;
use std::io::{PipeReader, PipeWriter, Write as _, pipe};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::client::{self, Client};
use crate::daemon::{BINARY, TestDaemon, metric};

const LIMIT: Duration = Duration::from_secs(20);
/// What a pipe of Linux holds.
const PIPE_BYTES: usize = 64 << 10;

/// A pipe that takes no byte more; it is stuck as long as its reader is kept and does not read.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = pipe().unwrap();
    writer.write_all(&vec![b'\n'; PIPE_BYTES]).unwrap();
    (reader, writer)
}

/// Answers, a change of the log level, and the end by SIGTERM must not wait for the log.
fn assert_alive(public: SocketAddr, admin: SocketAddr) {
    let until = Instant::now() + LIMIT;
    for n in 0..400 {
        client::get(public, "/").expect(200);
        let mut broken = Client::connect(public).unwrap();
        broken.write(b"no http\r\n\r\n").unwrap();
        drop(broken.read_answer(false));
        if n % 50 == 0 {
            client::get(admin, "/livez").expect(200);
            client::get(admin, "/readyz").expect(200);
        }
        assert!(Instant::now() < until, "too slow at {n}");
    }
}

fn wait_exit(process: &mut Child) -> Option<i32> {
    let until = Instant::now() + LIMIT;
    loop {
        if let Some(status) = process.try_wait().unwrap() {
            return status.code();
        }
        assert!(Instant::now() < until, "it does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_stuck_stderr_stops_neither_answers_nor_the_end() {
    let daemon = TestDaemon::prepare("");
    let logs = daemon.folder().join("logs");
    let (reader, stderr) = full_pipe();
    let mut process = Command::new(BINARY)
        .arg("--config")
        .arg(daemon.config())
        .env("PERENNIAL__LOGGING__LEVEL", "debug")
        .env("PERENNIAL__LOGGING__FILE__DIR", &logs)
        .env("PERENNIAL__LOGGING__FILE__ROTATE", "never")
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .unwrap();
    let file = logs.join("perennial.json");
    let until = Instant::now() + LIMIT;
    let log = loop {
        let log = fs::read_to_string(&file).unwrap_or_default();
        if log.contains("\"ready\"") {
            break log;
        }
        assert!(Instant::now() < until, "not ready: {log}");
        std::thread::sleep(Duration::from_millis(5));
    };
    let address = |words: &str| -> SocketAddr {
        let (_, rest) = log.split_once(words).unwrap();
        rest.split('"').next().unwrap().parse().unwrap()
    };
    let admin = address("admin on http://");
    assert_alive(address("listening on http://"), admin);
    let metrics = client::get(admin, "/metrics").expect(200).text();
    let lines = metric(&metrics, "perennial_log_lines_total", "stderr");
    assert!(lines.is_some_and(|lines| lines > 5.0), "{metrics}");
    let begun = Instant::now();
    let pid = process.id().to_string();
    assert!(Command::new("kill").arg(&pid).status().unwrap().success());
    assert_eq!(wait_exit(&mut process), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(8), "{begun:?}");
    let log = fs::read_to_string(&file).unwrap();
    assert!(log.contains("\"stopped\""), "{log}");
    drop(reader);
}

#[test]
fn a_stuck_stdout_with_the_access_log_stops_neither_answers_nor_the_end() {
    let mut daemon = TestDaemon::prepare("[logging]\naccess = true\n");
    let (reader, stdout) = full_pipe();
    daemon.set_stdin(OwnedFd::from(stdout));
    daemon.run_under(&["sh", "-c", "exec \"$@\" 1>&0", "sh"]);
    daemon.spawn();
    daemon.wait_ready();
    assert_alive(daemon.public(), daemon.admin());
    daemon.sigterm();
    assert_eq!(daemon.wait_exit(LIMIT).code(), Some(0));
    drop(reader);
}

#[test]
fn a_log_file_that_cannot_be_written_is_told_once_on_stderr_and_by_a_metric() {
    let daemon = TestDaemon::prepare("");
    let logs = daemon.folder().join("logs");
    fs::create_dir(&logs).unwrap();
    std::os::unix::fs::symlink("/dev/full", logs.join("perennial.json")).unwrap();
    let more = format!(
        "[logging]\nfile = {{ dir = '{}', rotate = \"never\" }}",
        logs.display()
    );
    let mut daemon = TestDaemon::prepare(&more);
    daemon.spawn();
    daemon.wait_ready();
    daemon.wait_for_log("this log can't be written");
    let failing = metric(&daemon.metrics(), "perennial_log_failing", "file");
    assert_eq!(failing, Some(1.0));
    for _ in 0..3 {
        daemon.sighup();
        daemon.get("/").expect(200);
    }
    daemon.sigterm();
    assert_eq!(daemon.wait_exit(LIMIT).code(), Some(0));
    let told = daemon.stderr_from("starting");
    assert_eq!(
        told.matches("this log can't be written").count(),
        1,
        "{told}"
    );
}

#[test]
fn a_client_causes_a_limited_number_of_lines() {
    let daemon = TestDaemon::start("[logging]\nlevel = \"debug\"");
    for _ in 0..600 {
        let mut client = Client::connect(daemon.public()).unwrap();
        client.write(b"no http\r\n\r\n").unwrap();
        drop(client.read_answer(false));
    }
    daemon.wait_for_log("more lines like this one were left out");
    let limited = metric(&daemon.metrics(), "perennial_log_lines_limited_total", "");
    assert!(limited.is_some_and(|lines| lines > 0.0), "{limited:?}");
}
