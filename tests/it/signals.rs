//! SIGHUP and SIGUSR1: a new log level, and log files that are opened again.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::daemon::{TestDaemon, toml};

const TIMEOUT: Duration = Duration::from_secs(20);

fn rewrite(daemon: &TestDaemon, more: &str) {
    fs::write(daemon.config(), toml(daemon.folder(), more)).unwrap();
}

#[test]
fn sighup_applies_a_lower_and_a_higher_log_level() {
    let mut daemon = TestDaemon::start("[logging]\nlevel = \"info\"");
    rewrite(&daemon, "[logging]\nlevel = \"error\"");
    daemon.sighup();
    daemon.wait_for_log("taken over level=\"error\"");
    rewrite(&daemon, "[logging]\nlevel = \"debug\"");
    daemon.sighup();
    daemon.wait_for_log("taken over level=\"debug\"");
    daemon.sigterm();
    assert_eq!(daemon.wait_exit(TIMEOUT).code(), Some(0));
    daemon.wait_for_log("DEBUG child stopped");

    let mut quiet = TestDaemon::start("");
    rewrite(&quiet, "[logging]\nlevel = \"error\"");
    quiet.sighup();
    quiet.wait_for_log("taken over level=\"error\"");
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
    daemon.wait_for_log("the settings are wrong, nothing has changed");
    rewrite(&daemon, "[limits]\nbody = \"2 MiB\"");
    daemon.sighup();
    daemon.wait_for_log(
        "they apply from the next start on: limits.body from the default to \"2 MiB\"",
    );
    rewrite(&daemon, "[resource.empty]");
    daemon.sighup();
    daemon.wait_for_log("next start on: resource.empty from the default to {}");
    fs::remove_file(daemon.config()).unwrap();
    daemon.sighup();
    daemon.wait_for_log("can't be read: No such file or directory");
    daemon.get("/").expect(200);
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
