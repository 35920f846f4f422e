//! A daemon that can't start: it prints every cause on stderr, stops what had started, and exits with the documented code.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::daemon::{BINARY, TestDaemon};

const TIMEOUT: Duration = Duration::from_secs(20);

#[test]
fn handlers_that_cannot_start_are_all_named_and_the_exit_code_is_70() {
    let mut daemon = TestDaemon::prepare("");
    let text = fs::read_to_string(daemon.config()).unwrap();
    let text = text.replace("handlers = 2", "handlers = 40");
    fs::write(daemon.config(), text).unwrap();
    // An arbiter needs five descriptors: 90 are enough for the store and some handlers, but not for all 40.
    daemon.run_under(&["sh", "-c", "ulimit -n 90; exec \"$@\"", "sh"]);
    daemon.spawn();
    assert_eq!(daemon.wait_exit(TIMEOUT).code(), Some(70));
    let stderr = daemon.stderr_from("ERROR could not start:");
    let causes: Vec<_> = stderr.lines().skip(1).collect();
    assert!(causes.len() > 1, "{stderr}");
    for cause in &causes {
        assert!(cause.starts_with("  request-handlers/handler-"), "{cause}");
        assert!(cause.contains("Too many open files"), "{cause}");
    }
    assert!(causes.last().unwrap().contains("handler-39"), "{stderr}");
    assert!(
        !daemon.stderr().contains(" ready"),
        "the daemon was never ready"
    );
}

#[test]
fn an_unusable_store_is_reported_once_and_the_exit_code_is_65() {
    let mut daemon = TestDaemon::prepare("");
    fs::write(daemon.folder().join("data"), "a file").unwrap();
    let mut check = Command::new(BINARY);
    let output = check.arg("check").arg(daemon.config()).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{told}");
    assert!(told.contains("server.data: "), "{told}");
    daemon.spawn();
    assert_eq!(daemon.wait_exit(TIMEOUT).code(), Some(65));
    let stderr = daemon.stderr_from(" ERROR ");
    assert!(stderr.contains("can't be used"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}
