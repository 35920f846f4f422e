//! SIGHUP and SIGUSR1: settings that are read again, and log files that are opened again.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client;
use crate::daemon::{TestDaemon, toml};
use crate::drills::strace_available;

const TIMEOUT: Duration = Duration::from_secs(20);

fn rewrite(daemon: &TestDaemon, more: &str) {
    fs::write(daemon.config(), toml(daemon.folder(), more)).unwrap();
}

/// Waits until the settings were read again so often that this is their number.
#[track_caller]
fn wait_generation(daemon: &TestDaemon, number: u64) {
    daemon.wait_until("the settings are in force", |daemon| {
        let tree = client::get(daemon.admin(), "/supervisor").json();
        tree["settings"]["generation"] == number
    });
}

#[test]
fn sighup_applies_a_lower_and_a_higher_log_level() {
    let mut daemon = TestDaemon::start("[logging]\nlevel = \"info\"");
    rewrite(&daemon, "[logging]\nlevel = \"error\"");
    daemon.sighup();
    wait_generation(&daemon, 2);
    rewrite(&daemon, "[logging]\nlevel = \"debug\"");
    daemon.sighup();
    wait_generation(&daemon, 3);
    daemon.wait_for_log("logging.level from \"error\" to \"debug\"");
    daemon.sigterm();
    assert_eq!(daemon.wait_exit(TIMEOUT).code(), Some(0));
    daemon.wait_for_log("DEBUG child stopped");

    let mut quiet = TestDaemon::start("");
    rewrite(&quiet, "[logging]\nlevel = \"error\"");
    quiet.sighup();
    wait_generation(&quiet, 2);
    quiet.sigterm();
    assert_eq!(quiet.wait_exit(TIMEOUT).code(), Some(0));
    let stderr = quiet.stderr();
    assert!(
        !stderr.contains("SIGTERM") && !stderr.contains("DEBUG"),
        "{stderr}"
    );
}

#[test]
fn sighup_logs_wrong_settings_and_those_that_need_a_restart() {
    let daemon = TestDaemon::start("");
    rewrite(&daemon, "[logging]\nlevel = \"loud\"");
    daemon.sighup();
    daemon.wait_for_log(": logging.level: \"loud\" is not a level");
    daemon.wait_for_log("the settings are refused, nothing has changed");
    rewrite(&daemon, "[storage]\ncache = \"2 MiB\"");
    daemon.sighup();
    daemon.wait_for_log(
        "storage.cache from \"128 MiB\" to \"2 MiB\": start the daemon again for this",
    );
    fs::remove_file(daemon.config()).unwrap();
    daemon.sighup();
    daemon.wait_for_log("can't be read: No such file or directory");
    daemon.get("/").expect(200);
}

/// A log that is read when the same has happened again must not end with what came before.
#[test]
fn each_outcome_of_a_reload_is_logged_though_the_one_before_was_the_same() {
    const TIMES: usize = 4;
    let mut daemon = TestDaemon::start("");
    let wrong = "[logging]\nlevel = \"loud\"";
    for (more, status) in [(wrong, 422), ("", 200)] {
        rewrite(&daemon, more);
        for _ in 0..TIMES {
            let reloaded = client::post(daemon.admin(), "/reload", &Value::Null);
            reloaded.expect(status);
        }
    }
    daemon.sigterm();
    assert_eq!(daemon.wait_exit(TIMEOUT).code(), Some(0));
    let log = daemon.stderr();
    for outcome in [
        "ERROR reload: the settings are refused, nothing has changed\n",
        ": logging.level: \"loud\" is not a level",
        "INFO the settings were read again: nothing has changed\n",
    ] {
        assert_eq!(log.matches(outcome).count(), TIMES, "{outcome}: {log}");
    }
    assert!(!log.contains("left out"), "{log}");
}

/// Whether the process catches SIGHUP, which is the first of the signals.
fn catches_sighup(daemon: &TestDaemon) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let caught = status
        .lines()
        .find_map(|line| line.strip_prefix("SigCgt:\t"));
    u64::from_str_radix(caught.unwrap(), 16).unwrap() & 1 == 1
}

#[test]
fn signals_that_come_at_once_are_not_lost_and_end_nothing() {
    let mut daemon = TestDaemon::prepare("");
    daemon.spawn();
    daemon.wait_until("SIGHUP is caught", catches_sighup);
    daemon.sighup();
    daemon.sigusr1();
    daemon.wait_ready();
    daemon.wait_for_log("SIGHUP: the settings are read again");
    daemon.wait_for_log("SIGUSR1: there is no log file to open again");
    daemon.wait_for_log("the settings were read again: nothing has changed");
}

#[test]
#[ignore = "needs strace: .ci/run runs it"]
fn sighup_and_sigusr1_are_caught_before_the_settings_are_read() {
    if !strace_available() {
        return;
    }
    let mut daemon = TestDaemon::prepare("");
    let calls = daemon.folder().join("calls");
    let traced = "trace=rt_sigaction,openat";
    daemon.run_under(&["strace", "-D", "-o", calls.to_str().unwrap(), "-e", traced]);
    daemon.spawn();
    daemon.wait_ready();
    let calls = fs::read_to_string(calls).unwrap();
    let first = |what: &str| {
        let at = calls.lines().position(|line| line.contains(what));
        at.unwrap_or_else(|| panic!("no {what} in {calls}"))
    };
    let read = first("perennial.toml");
    for signal in ["SIGHUP", "SIGUSR1"] {
        let caught = first(&format!("rt_sigaction({signal}, {{sa_handler=0x"));
        assert!(caught < read, "{calls}");
    }
}

#[track_caller]
fn wait_written(file: &Path, text: &str) {
    let until = Instant::now() + TIMEOUT;
    while !fs::read_to_string(file).is_ok_and(|written| written.contains(text)) {
        assert!(Instant::now() < until, "no {text} in {}", file.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn sigusr1_opens_the_log_files_again_after_they_were_moved_away() {
    let logs = tempfile::tempdir().unwrap();
    let path = logs.path().display();
    let more = format!("[logging]\naccess = true\nfile = {{ dir = '{path}', rotate = \"never\" }}");
    let daemon = TestDaemon::start(&more);
    let (file, moved) = (logs.path().join("perennial.json"), logs.path().join("old"));
    // Another thread writes the log files, a little later.
    wait_written(&file, "\"ready\"");
    fs::rename(&file, &moved).unwrap();
    daemon.get("/first").expect_problem(404);
    let (access, old) = (
        logs.path().join("access.json"),
        logs.path().join("access.old"),
    );
    wait_written(&access, "/first");
    fs::rename(&access, &old).unwrap();
    daemon.sigusr1();
    daemon.wait_for_log("SIGUSR1: log files are opened again");
    daemon.sighup();
    daemon.wait_for_log("SIGHUP");
    wait_written(&file, "SIGHUP");
    let before = fs::read_to_string(&moved).unwrap();
    assert!(!before.contains("SIGHUP"), "{before}");
    daemon.get("/second").expect_problem(404);
    wait_written(&access, "/second");
    let before = fs::read_to_string(&old).unwrap();
    assert!(!before.contains("/second"), "{before}");
}

#[test]
fn sigusr1_without_log_files_is_logged() {
    let daemon = TestDaemon::start("");
    daemon.sigusr1();
    daemon.wait_for_log("SIGUSR1: there is no log file to open again");
}
