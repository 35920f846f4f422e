//! A daemon that can't start: every cause stands on stderr, what had started was stopped again, and the exit code says
//! what whoever started it can do about it.

use std::fs;
use std::time::Duration;

use crate::daemon::TestDaemon;

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn handlers_that_get_no_thread_are_all_named_and_the_exit_code_is_70() {
    let mut daemon = TestDaemon::prepare("");
    let text = fs::read_to_string(daemon.config()).unwrap();
    let text = text.replace("handlers = 2", "handlers = 40");
    fs::write(daemon.config(), text).unwrap();
    // An arbiter needs five descriptors: enough for the store and for some handlers, and not for all.
    daemon.run_by(&["sh", "-c", "ulimit -n 90; exec \"$@\"", "sh"]);
    daemon.spawn();
    assert_eq!(daemon.wait_exit(PATIENCE).code(), Some(70));
    let said = daemon.last_words("perennial: could not start:");
    let causes: Vec<_> = said.lines().skip(1).collect();
    assert!(causes.len() > 1, "{said}");
    for cause in &causes {
        assert!(cause.starts_with("  request-handlers/handler-"), "{cause}");
        assert!(cause.contains("Too many open files"), "{cause}");
    }
    assert!(causes.last().unwrap().contains("handler-39"), "{said}");
    assert!(!daemon.stderr().contains(" ready"), "it never was");
}

#[test]
fn a_store_that_cannot_be_used_is_told_once_and_the_exit_code_is_65() {
    let mut daemon = TestDaemon::prepare("");
    fs::write(daemon.folder().join("data"), "a file").unwrap();
    daemon.spawn();
    assert_eq!(daemon.wait_exit(PATIENCE).code(), Some(65));
    let said = daemon.last_words("perennial: ");
    assert!(said.contains("can't be used"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}
