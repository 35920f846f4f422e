//! A reload of the logs: their format, their folder, and whether there is an access log.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::access_log::lines;
use crate::chaos::UNLIMITED_RESTARTS;
use crate::client::Client;
use crate::daemon::{TestDaemon, generation, metric, restarts, running};
use crate::reload::{reload, rewrite};

/// Settings with log files in this folder of the daemon's.
fn logging(daemon: &TestDaemon, folder: &str, more: &str) -> String {
    let dir = daemon.folder().join(folder);
    let dir = dir.display();
    format!("{UNLIMITED_RESTARTS}\n[logging]\nfile.dir = '{dir}'\n{more}\n")
}

#[track_caller]
fn change(daemon: &TestDaemon, more: &str) {
    rewrite(daemon, more);
    reload(daemon, "").expect(200);
}

/// A request's id.
fn ask(daemon: &TestDaemon) -> String {
    let answer = daemon.get("/").expect(200);
    answer.header("x-request-id").unwrap().to_owned()
}

/// The request ids in the access log of this folder of the daemon's.
fn logged(daemon: &TestDaemon, folder: &str) -> Vec<String> {
    let folder = daemon.folder().join(folder);
    let lines = if folder.exists() {
        lines(&folder)
    } else {
        Vec::new()
    };
    let id = |line: &serde_json::Value| line["request_id"].as_str().unwrap().to_owned();
    lines.iter().map(id).collect()
}

/// The files of logs that the daemon has open.
fn open_logs(daemon: &TestDaemon) -> Vec<PathBuf> {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap();
    let links = descriptors.filter_map(|one| fs::read_link(one.unwrap().path()).ok());
    links
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .collect()
}

#[test]
fn the_access_log_is_switched_on_and_off() {
    let daemon = TestDaemon::start("");
    ask(&daemon);
    change(&daemon, &logging(&daemon, "logs", "access = true"));
    let mut expected = vec![ask(&daemon)];
    daemon.wait_until("a line", |daemon| logged(daemon, "logs") == expected);
    assert_eq!(open_logs(&daemon).len(), 2);
    change(&daemon, &logging(&daemon, "logs", "access = false"));
    ask(&daemon);
    daemon.wait_until("it is closed", |daemon| open_logs(daemon).len() == 1);
    change(&daemon, &logging(&daemon, "logs", "access = true"));
    expected.push(ask(&daemon));
    daemon.wait_until("a line more", |daemon| logged(daemon, "logs") == expected);
    change(&daemon, UNLIMITED_RESTARTS);
    daemon.wait_until("both are closed", |daemon| open_logs(daemon).is_empty());
}

#[test]
fn no_line_is_lost_or_torn_while_the_logs_change_under_load() {
    let mut daemon = TestDaemon::prepare("");
    rewrite(&daemon, &logging(&daemon, "logs-0", "access = true"));
    daemon.spawn();
    daemon.wait_ready();
    let ends = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (host, ends) = (daemon.public(), Arc::clone(&ends));
            thread::spawn(move || {
                let (mut ids, mut client) = (Vec::new(), Client::connect(host).unwrap());
                while !ends.load(Ordering::Acquire) {
                    let answer = client.get("/").unwrap().expect(200);
                    ids.push(answer.header("x-request-id").unwrap().to_owned());
                }
                ids
            })
        })
        .collect();
    for round in 1..=20 {
        let folder = format!("logs-{}", round % 4);
        let rotate = ["daily", "never", "hourly"][round % 3];
        let format = ["text", "json"][round % 2];
        let more = format!(
            "access = true\nformat = '{format}'\nfile.rotate = '{rotate}'\nfile.keep = {}",
            round + 10
        );
        change(&daemon, &logging(&daemon, &folder, &more));
        let mine = ask(&daemon);
        daemon.wait_until("the line is in the new folder", |daemon| {
            logged(daemon, &folder).contains(&mine)
        });
    }
    ends.store(true, Ordering::Release);
    let answered = clients.into_iter().flat_map(|one| one.join().unwrap());
    let answered: BTreeSet<String> = answered.collect();
    let dropped = metric(
        &daemon.metrics(),
        "perennial_access_log_lines_dropped_total",
        "",
    );
    assert_eq!(dropped, Some(0.0));
    assert_eq!(open_logs(&daemon).len(), 2, "the old ones are closed");
    daemon.sigterm();
    assert!(daemon.wait_exit(Duration::from_secs(20)).success());
    let ids = (0..4).flat_map(|round| logged(&daemon, &format!("logs-{round}")));
    let ids: Vec<_> = ids.collect();
    assert!(answered.len() > 200, "{}", answered.len());
    assert_eq!(ids.len(), answered.len() + 20, "one line for each answer");
    let ids: BTreeSet<_> = ids.into_iter().collect();
    assert!(answered.is_subset(&ids));
}

#[test]
fn the_log_changes_its_format_and_its_files() {
    let daemon = TestDaemon::start("");
    change(&daemon, &logging(&daemon, "logs", "format = 'json'"));
    daemon.wait_for_log("\"message\":\"the settings are read again and in force\"");
    let file = || {
        let file = fs::read_dir(daemon.folder().join("logs")).unwrap().next();
        fs::read_to_string(file.unwrap().unwrap().path()).unwrap()
    };
    daemon.wait_until("a line in the file", |_| file().contains("in force"));
    let text = daemon.metrics();
    assert!(metric(&text, "perennial_log_lines_total", "file").is_some());
    change(&daemon, UNLIMITED_RESTARTS);
    daemon.wait_for_log("INFO the settings are read again and in force generation=3");
    daemon.wait_until("the file is closed", |daemon| open_logs(daemon).is_empty());
    assert!(!file().contains("\"generation\":3"));
    let text = daemon.metrics();
    assert_eq!(metric(&text, "perennial_log_lines_total", "file"), None);
}

#[test]
fn a_folder_that_cannot_be_written_refuses_the_reload() {
    let daemon = TestDaemon::start("");
    change(&daemon, &logging(&daemon, "logs", "access = true"));
    let wrong = "[logging]\naccess = false\nformat = 'json'\nfile.dir = '/proc/perennial-logs'";
    rewrite(&daemon, wrong);
    for query in ["?dry_run=true", ""] {
        let text = reload(&daemon, query).expect(422).text();
        assert!(text.contains("logging.file.dir"), "{query}: {text}");
        assert!(text.contains("/proc/perennial-logs"), "{query}: {text}");
    }
    assert_eq!(daemon.tree()["settings"]["generation"], 2);
    let id = ask(&daemon);
    daemon.wait_until("a line", |daemon| logged(daemon, "logs") == [id.clone()]);
    assert!(!daemon.stderr().contains("\"message\""), "it is still text");
}

#[test]
fn a_reloader_that_dies_leaves_the_old_logs_or_the_new_ones() {
    for (point, folder) in [("reload.started", "old"), ("reload.replaced", "new")] {
        let daemon = TestDaemon::start(UNLIMITED_RESTARTS);
        change(&daemon, &logging(&daemon, "old", "access = true"));
        let hits = if folder == "old" { 2 } else { 1 };
        daemon.chaos(&json!({ "point": point, "hits": hits }));
        rewrite(&daemon, &logging(&daemon, "new", "access = true"));
        reload(&daemon, "");
        daemon.wait_until("the reloader is there again", |daemon| {
            let tree = daemon.tree();
            running(&tree) && restarts(&tree, "reloader") >= hits
        });
        assert!(generation(&daemon.tree(), "reloader") > 1);
        let id = ask(&daemon);
        daemon.wait_until("a line", |daemon| logged(daemon, folder) == [id.clone()]);
    }
}
