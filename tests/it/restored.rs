//! `perennial restore`: the moment that was asked for, and the daemon that is started with what it made.

use std::path::Path;
use std::process::{Command, Output};
use std::time::SystemTime;

use serde_json::json;

use crate::client;
use crate::daemon::{BINARY, TestDaemon};

fn restore(daemon: &TestDaemon, into: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command
        .arg("restore")
        .arg(daemon.folder().join("data"))
        .arg("--into")
        .arg(into);
    command.args(more).output().unwrap()
}

#[test]
fn a_time_in_the_future_is_refused_and_one_that_has_passed_is_told_with_its_change() {
    let daemon = TestDaemon::start("");
    daemon.post("/books", &json!({"title": "Dune"})).expect(201);
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("new");
    let refused = restore(&daemon, &into, &["--at", "2999-01-01T00:00:00Z"]);
    assert_eq!(refused.status.code(), Some(64), "{refused:?}");
    let told = String::from_utf8(refused.stderr).unwrap();
    let expected = "perennial: --at 2999-01-01T00:00:00.000Z is in the future; leave --at out to restore all that is there\n";
    assert_eq!(told, expected);
    assert!(!into.exists());
    let now = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    let restored = restore(&daemon, &into, &["--at", &now]);
    let told = String::from_utf8(restored.stdout).unwrap();
    let expected = "a store with 1 records, as it was after change 1, of 20";
    assert!(told.contains(expected), "{told}");
}

#[test]
fn a_restored_store_has_no_incident_though_its_view_is_made_at_the_first_start() {
    let daemon = TestDaemon::start("");
    daemon.post("/books", &json!({"title": "Dune"})).expect(201);
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("new");
    assert!(restore(&daemon, &into, &[]).status.success());
    let mut restored = TestDaemon::prepare_on(&into, "");
    for _ in 0..2 {
        restored.restart_to_open();
        assert_eq!(restored.get("/books").json()[0]["title"], "Dune");
        let listed = client::get(restored.admin(), "/incidents").json();
        assert_eq!(listed["incidents"], json!([]));
        restored.kill9();
    }
    // A view that was lost later is one.
    std::fs::remove_dir_all(into.join("view")).unwrap();
    restored.restart_to_open();
    restored.get("/books").expect(200);
    let listed = client::get(restored.admin(), "/incidents").json();
    assert_eq!(
        listed["incidents"][0]["what"],
        "the view of the records was missing"
    );
}
