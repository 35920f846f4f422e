//! The settings in `[supervision]`: the strategy decides which siblings restart with a child, under load and without failed
//! requests; `max_restarts` ends the daemon; the backoff delays a restart.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::chaos::{Chaos, UNLIMITED_RESTARTS};
use crate::daemon::{TestDaemon, generation, metric, node, running};
use crate::load::{self, Mix, Traffic};

const TIMEOUT: Duration = Duration::from_secs(20);

/// Waits until every child is running, and returns the tree.
#[track_caller]
fn wait_until_all_run(daemon: &TestDaemon) -> Value {
    let until = Instant::now() + TIMEOUT;
    loop {
        let tree = daemon.tree();
        if running(&tree) {
            return tree;
        }
        assert!(Instant::now() < until, "not every child is running: {tree}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Makes each child panic under load; `restarted_with` lists the siblings that must restart with it.
fn drill(strategy: &str, panics: usize, restarted_with: &[(&str, &[&str])]) {
    let table = format!("[supervision]\nstrategy = \"{strategy}\"\n");
    let daemon = TestDaemon::start(&UNLIMITED_RESTARTS.replace("[supervision]\n", &table));
    let traffic = Traffic::start(daemon.public(), Mix::small());
    for (child, with_it) in restarted_with {
        for _ in 0..panics {
            let before = wait_until_all_run(&daemon);
            let mut chaos = Chaos::new(daemon.admin());
            assert!(chaos.kill(child, None));
            let after = wait_until_all_run(&daemon);
            for name in with_it.iter().chain([child]) {
                let restarts = generation(&after, name) - generation(&before, name);
                assert_eq!(restarts, 1, "{name} after the panic of {child}");
            }
        }
    }
    let outcome = traffic.stop();
    println!(
        "{strategy}: {} panics, {} of {} failed, p99 {:?}",
        panics * restarted_with.len(),
        outcome.failed,
        outcome.requests,
        outcome.p99()
    );
    assert_eq!(
        outcome.failed, 0,
        "failed requests: {:#?}",
        outcome.failures
    );
    assert_eq!(outcome.closed, 0, "connections that the server closed");
    let lost = metric(&daemon.metrics(), "perennial_lost_messages_total", "");
    assert_eq!(lost, Some(0.0), "lost messages");
    load::assert_kept(&outcome.acked, &load::tokens(daemon.public()));
}

#[test]
fn rest_for_one_under_load_fails_no_request() {
    drill(
        "rest_for_one",
        20,
        &[
            ("handler-0", &["handler-1"]),
            ("handler-1", &[]),
            ("listener-0", &[]),
            ("writer", &[]),
            (
                "file-cache",
                &["request-handlers", "handler-0", "listeners"],
            ),
        ],
    );
}

#[test]
fn one_for_all_under_load_fails_no_request() {
    drill(
        "one_for_all",
        20,
        &[
            ("handler-0", &["handler-1"]),
            ("handler-1", &["handler-0"]),
            ("writer", &[]),
            (
                "file-cache",
                &["admin", "storage", "writer", "handler-0", "listener-0"],
            ),
        ],
    );
}

#[test]
fn one_restart_more_than_max_restarts_ends_the_daemon_with_70() {
    let limits =
        "[chaos]\nenabled = true\n[supervision]\nmax_restarts = { count = 2, within = \"1h\" }\n";
    let mut daemon = TestDaemon::start(limits);
    let mut chaos = Chaos::new(daemon.admin());
    assert!(chaos.kill("file-cache", None));
    assert!(chaos.kill("file-cache", None));
    let tree = wait_until_all_run(&daemon);
    assert_eq!(tree["restarts_in_window"], 2);
    daemon.chaos(&json!({ "child": "file-cache" }));
    assert_eq!(daemon.wait_exit(TIMEOUT).code(), Some(70));
    let stderr = daemon.stderr_from("gave up");
    assert!(
        stderr.contains("child file-cache died too often"),
        "{stderr}"
    );
}

#[test]
fn the_backoff_delays_the_restart_of_a_child_that_handled_no_message() {
    let table = r#"
[chaos]
enabled = true
[supervision]
max_restarts = { count = 100, within = "1s" }
backoff = { first = "400ms", factor = 1.0, max = "400ms", jitter = 0.0 }
"#;
    let daemon = TestDaemon::start(table);
    let mut chaos = Chaos::new(daemon.admin());
    for _ in 0..2 {
        assert!(chaos.kill("file-cache", None));
    }
    daemon.chaos(&json!({ "child": "file-cache" }));
    let until = Instant::now() + TIMEOUT;
    loop {
        let tree = daemon.tree();
        let child = node(&tree, "file-cache").unwrap();
        if child["state"] == "backoff" {
            let left = child["backoff_seconds"].as_f64().unwrap();
            assert!(left > 0.0 && left <= 0.4, "{child}");
            break;
        }
        assert!(Instant::now() < until, "never in backoff: {child}");
    }
    // A request that needs the child waits for it, and is answered.
    daemon.get("/").expect(200);
    let tree = wait_until_all_run(&daemon);
    let waited = node(&tree, "file-cache").unwrap()["restart_seconds_total"].as_f64();
    assert!(waited.unwrap() >= 0.4, "{waited:?}");
}
