//! The table `[supervision]` acts: a death takes its siblings down with it by the strategy, in order and under load, and
//! no client notices; the limits end the daemon, and the backoff holds a child back.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::daemon::{TestDaemon, generation, metric, node, running};
use crate::faults::{Chaos, ENDLESS};
use crate::load::{self, Mix, Traffic};

const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until all of the tree runs, and returns it.
#[track_caller]
fn settled(daemon: &TestDaemon) -> Value {
    let until = Instant::now() + PATIENCE;
    loop {
        let tree = daemon.tree();
        if running(&tree) {
            return tree;
        }
        assert!(Instant::now() < until, "not all of it runs: {tree}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Kills each child under traffic; `shares` tells whose lives go with it.
fn drill(strategy: &str, deaths: usize, shares: &[(&str, &[&str])]) {
    let table = format!("[supervision]\nstrategy = \"{strategy}\"\n");
    let daemon = TestDaemon::start(&ENDLESS.replace("[supervision]\n", &table));
    let traffic = Traffic::start(daemon.public(), Mix::small());
    for (child, with_it) in shares {
        for _ in 0..deaths {
            let before = settled(&daemon);
            let mut chaos = Chaos::new(daemon.admin());
            assert!(chaos.kill(child, None));
            let after = settled(&daemon);
            for name in with_it.iter().chain([child]) {
                let lives = generation(&after, name) - generation(&before, name);
                assert_eq!(lives, 1, "{name} after the death of {child}");
            }
        }
    }
    let outcome = traffic.stop();
    println!(
        "{strategy}: {} deaths, {} of {} failed, p99 {:?}",
        deaths * shares.len(),
        outcome.failed,
        outcome.requests,
        outcome.p99()
    );
    assert_eq!(
        outcome.failed, 0,
        "failed requests: {:#?}",
        outcome.failures
    );
    assert_eq!(outcome.closed, 0, "kept connections ended by the server");
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
fn one_death_more_than_max_restarts_within_the_period_ends_the_daemon_with_70() {
    let limits =
        "[chaos]\nenabled = true\n[supervision]\nmax_restarts = { count = 2, within = \"1h\" }\n";
    let mut daemon = TestDaemon::start(limits);
    let mut chaos = Chaos::new(daemon.admin());
    assert!(chaos.kill("file-cache", None));
    assert!(chaos.kill("file-cache", None));
    let tree = settled(&daemon);
    assert_eq!(tree["restarts_in_window"], 2);
    daemon.chaos(&json!({ "child": "file-cache" }));
    assert_eq!(daemon.wait_exit(PATIENCE).code(), Some(70));
    let said = daemon.last_words("perennial: gave up");
    assert!(said.contains("child file-cache died too often"), "{said}");
}

#[test]
fn a_child_that_dies_and_gets_nothing_done_is_held_back_by_the_backoff() {
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
    let until = Instant::now() + PATIENCE;
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
    // Whoever needs the child waits for it, and is served.
    daemon.get("/").expect(200);
    let tree = settled(&daemon);
    let waited = node(&tree, "file-cache").unwrap()["restart_seconds_total"].as_f64();
    assert!(waited.unwrap() >= 0.4, "{waited:?}");
}
