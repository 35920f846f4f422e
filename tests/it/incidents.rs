//! The list of what was damaged or failed, which outlives the process.

use std::fs;
use std::process::Command;

use crate::client;
use crate::daemon::{BINARY, TestDaemon, metric};

#[test]
fn a_store_that_could_not_be_opened_for_some_time_is_listed_after_a_restart_too() {
    let mut holder = TestDaemon::start("");
    let mut daemon = TestDaemon::prepare_on(&holder.folder().join("data"), "");
    daemon.restart();
    let refused = client::get(daemon.admin(), "/readyz/storage").expect(503);
    assert!(refused.text().contains("in use by process"));
    holder.kill9();
    let opened = |daemon: &TestDaemon| client::get(daemon.admin(), "/readyz").status == 200;
    daemon.wait_until("the store is open", opened);
    let metrics = daemon.metrics();
    let counted = metric(&metrics, "perennial_incidents_total", "unavailable");
    assert_eq!(counted, Some(1.0));
    let kept = holder.folder().join("data/incidents.ndjson");
    let is_written = |_: &TestDaemon| {
        let text = fs::read_to_string(&kept).unwrap_or_default();
        text.contains("\"unavailable\"") && text.ends_with('\n')
    };
    daemon.wait_until("the incident is written", is_written);
    daemon.kill9();
    daemon.restart();
    daemon.wait_until("the incidents before are read", |daemon| {
        let listed = client::get(daemon.admin(), "/incidents").json();
        let mut listed = listed["incidents"].as_array().into_iter().flatten();
        let unavailable = listed.find(|incident| incident["kind"] == "unavailable");
        unavailable.is_some_and(|incident| incident["seconds"].as_f64() > Some(0.0))
    });
    let admin = daemon.admin().to_string();
    let status = ["status", "--admin", &admin];
    let status = Command::new(BINARY).args(status).output().unwrap();
    let text = String::from_utf8(status.stdout).unwrap();
    let listed = text.split("last incidents:\n").nth(1).unwrap_or_default();
    assert!(listed.contains("in use by process"), "{text}");
}
