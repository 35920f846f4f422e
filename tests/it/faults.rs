//! The panic drill: children panic under load, and no request fails. Here is its small version; `drills` has the large one.

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::access::new_key;
use crate::chaos::{CHILDREN, Chaos, RESTART, UNLIMITED_RESTARTS, family, leaves};
use crate::client::{self, Client};
use crate::daemon::{TestDaemon, metric, node, restarts};
use crate::load::{self, Acked, Mix, Outcome, Promise, Traffic};
use crate::tls;
use crate::varied_traffic::{self, VariedTraffic};

/// When the next panic is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Once every message that the last panic affected has been answered. A message is redelivered once, so no caller may
    /// notice these panics.
    AfterAnswers,
    /// As soon as the child runs again. A message may be interrupted twice, and its caller then gets a typed error.
    BackToBack,
}

/// The result for one child: a row of the printed table.
pub(crate) struct Row {
    pub(crate) child: &'static str,
    pub(crate) panics: u64,
    /// The fault points at which it panicked.
    pub(crate) panicked_at: Vec<&'static str>,
    /// Fault points that were not reached in time; it panicked idle instead.
    pub(crate) not_reached: Vec<&'static str>,
    pub(crate) restarts: u64,
    pub(crate) seen: Outcome,
}

/// Makes `child` panic `panics` times under `traffic`: by turns idle and at one of its fault points.
#[track_caller]
pub(crate) fn drill(
    daemon: &TestDaemon,
    chaos: &mut Chaos,
    traffic: &Traffic,
    (child, points): (&'static str, &'static [&'static str]),
    panics: u64,
    pace: Pace,
) -> Row {
    let before = family_restarts(&daemon.tree(), child);
    let mut turn = points.iter().cycle();
    let mut row = Row {
        child,
        panics,
        panicked_at: Vec::new(),
        not_reached: Vec::new(),
        restarts: 0,
        seen: Outcome::default(),
    };
    for number in 0..panics {
        let point = if number % 2 == 1 { turn.next() } else { None };
        let reached = chaos.kill(child, point.copied());
        if pace == Pace::AfterAnswers {
            chaos.wait_until_answered(child);
        }
        match point {
            Some(point) if reached => row.panicked_at.push(point),
            Some(point) => row.not_reached.push(point),
            None => {}
        }
    }
    let until = Instant::now() + RESTART;
    while row.restarts < panics && Instant::now() < until {
        row.restarts = family_restarts(&daemon.tree(), child) - before;
        thread::sleep(Duration::from_millis(5));
    }
    row.seen = traffic.take();
    row
}

/// Restarts of the child and of those that share its fault points.
fn family_restarts(tree: &Value, child: &str) -> u64 {
    let names = leaves(tree)
        .into_iter()
        .filter_map(|leaf| leaf["name"].as_str());
    let family = names.filter(|name| name.starts_with(family(child)));
    family.map(|name| restarts(tree, name)).sum()
}

/// Drills each child under load, stops the load, and checks everything that must hold at this pace.
pub(crate) fn drill_all(mix: Mix, panics: u64, pace: Pace) {
    let mut daemon = TestDaemon::prepare(UNLIMITED_RESTARTS);
    let socket = varied_traffic::prepare(&daemon);
    daemon.restart();
    let mix = mix.replacing(daemon.site("index.html"));
    let traffic = Traffic::start(daemon.public(), mix);
    let varied = VariedTraffic::start(daemon.public(), &socket);
    let mut chaos = Chaos::new(daemon.admin());
    let mut rows = Vec::new();
    for child in CHILDREN {
        rows.push(drill(&daemon, &mut chaos, &traffic, child, panics, pace));
    }
    let rest = traffic.stop();
    print_table(&rows, &rest, pace);
    let mut all = varied.stop();
    println!(
        "over a unix socket, HTTP/2 and with large pages: {} of {} failed",
        all.failed, all.requests
    );
    all.add(rest);
    for row in &mut rows {
        all.add(std::mem::take(&mut row.seen));
    }
    println!("acknowledged writes: {}", all.acked.len());
    load::assert_kept(&all.acked, &load::tokens(daemon.public()));
    load::assert_unchanged(daemon.public(), &all.acked);
    assert!(!all.acked.is_empty(), "nothing was written");
    if pace == Pace::AfterAnswers {
        assert_eq!(all.failed, 0, "failed requests: {:#?}", all.failures);
    }
    assert_eq!(
        all.untyped, 0,
        "failures that are no problem+json: {:#?}",
        all.failures
    );
    assert_eq!(all.closed, 0, "connections that the server closed");
    assert_eq!(
        chaos.failures,
        Vec::<String>::new(),
        "failed admin requests"
    );
    assert_counted(&daemon, &rows);
    for (row, (child, points)) in rows.iter().zip(CHILDREN) {
        for point in points {
            let times = |seen: &[&str]| seen.iter().filter(|at| *at == point).count();
            let (panicked, not_reached) = (times(&row.panicked_at), times(&row.not_reached));
            assert!(
                panicked > 0 && panicked >= not_reached,
                "{child} panicked at {point} {panicked} times, and did not reach it {not_reached} times"
            );
        }
    }
}

/// Checks that the tree and the metrics count the same restarts, and that no message was lost.
fn assert_counted(daemon: &TestDaemon, rows: &[Row]) {
    let tree = daemon.tree();
    let metrics = daemon.metrics();
    let lost = metric(&metrics, "perennial_lost_messages_total", "");
    assert_eq!(lost, Some(0.0), "lost messages");
    for row in rows {
        let child = row.child;
        assert!(
            row.restarts >= row.panics,
            "{child}: {} restarts",
            row.restarts
        );
        assert_eq!(
            node(&tree, child).map(|n| &n["state"]),
            Some(&json!("running"))
        );
        let counted: f64 = metrics
            .lines()
            .filter(|line| !line.starts_with('#') && line.contains("restarts_total"))
            .filter(|line| line.contains(&format!("\"{child}\"")))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum();
        let in_tree = restarts(&tree, child).to_string();
        assert_eq!(counted.to_string(), in_tree, "{child} in /metrics");
    }
}

fn print_table(rows: &[Row], rest: &Outcome, pace: Pace) {
    println!("settings:{UNLIMITED_RESTARTS}");
    println!("pace: {pace:?}");
    println!(
        "{:<15} {:>7} {:>9} {:>10} {:>8} {:>7} {:>7} {:>9} {:>9}",
        "child",
        "panics",
        "at points",
        "not reached",
        "restarts",
        "failed",
        "closed",
        "requests",
        "p99 (ms)"
    );
    for row in rows {
        println!(
            "{:<15} {:>7} {:>9} {:>10} {:>8} {:>7} {:>7} {:>9} {:>9.1}",
            row.child,
            row.panics,
            row.panicked_at.len(),
            row.not_reached.len(),
            row.restarts,
            row.seen.failed,
            row.seen.closed,
            row.seen.requests,
            row.seen.p99().as_secs_f64() * 1e3
        );
        for failure in row.seen.failures.iter().take(3) {
            println!("    {failure}");
        }
    }
    println!(
        "after the drills: {} of {} failed",
        rest.failed, rest.requests
    );
}

#[test]
fn twenty_panics_of_each_child_fail_no_request() {
    drill_all(Mix::small(), 20, Pace::AfterAnswers);
}

/// Drills each child while every client speaks TLS, shows a key, is counted, and gets compressed answers. No request fails.
pub(crate) fn drill_with_rules(mix: Mix, panics: u64) {
    let (secret, key) = new_key(&["ci"]);
    let mut daemon = tls::prepare(&format!("{UNLIMITED_RESTARTS}{key}"));
    let rate = "rate = { requests = 1000000, per = \"key\" }\n";
    let text = fs::read_to_string(daemon.config()).unwrap();
    let text = text.replace(
        "[resource.books]\n",
        &format!("access = [\"key:ci\"]\n{rate}\n[resource.books]\naccess = {{ read = \"public\", write = [\"key:*\"] }}\ncompress = [\"gzip\"]\n{rate}"),
    );
    fs::write(daemon.config(), text).unwrap();
    fs::write(daemon.site("index.html"), "a page ".repeat(1_000)).unwrap();
    daemon.restart();
    let target = (daemon.tls(), Arc::new(tls::config(&daemon, &["cert.pem"])));
    let headers = vec![
        ("authorization", format!("Bearer {secret}")),
        ("accept-encoding", "gzip".to_owned()),
    ];
    let traffic = Traffic::start_with(daemon.public(), Some(target), mix.sending(headers));
    let mut chaos = Chaos::new(daemon.admin());
    let mut rows = Vec::new();
    for child in CHILDREN {
        rows.push(drill(
            &daemon,
            &mut chaos,
            &traffic,
            child,
            panics,
            Pace::AfterAnswers,
        ));
    }
    let rest = traffic.stop();
    print_table(&rows, &rest, Pace::AfterAnswers);
    let mut all = rest;
    for row in &mut rows {
        all.add(std::mem::take(&mut row.seen));
    }
    println!("acknowledged writes: {}", all.acked.len());
    load::assert_kept(&all.acked, &load::tokens(daemon.public()));
    load::assert_unchanged(daemon.public(), &all.acked);
    assert!(!all.acked.is_empty(), "nothing was written");
    assert_eq!(all.failed, 0, "failed requests: {:#?}", all.failures);
    assert_eq!(all.closed, 0, "connections that the server closed");
    assert_eq!(
        chaos.failures,
        Vec::<String>::new(),
        "failed admin requests"
    );
    assert_counted(&daemon, &rows);
    client::get(daemon.public(), "/").expect(401);
}

#[test]
fn panics_of_each_child_fail_no_request_over_tls_with_a_key_a_rate_and_compression() {
    drill_with_rules(Mix::small(), 10);
}

/// A supervisor panics each time it is told that a child died. Its other children run on, and no request fails.
#[test]
fn a_supervisor_that_panics_restarts_no_child_and_fails_no_request() {
    let daemon = TestDaemon::start(UNLIMITED_RESTARTS);
    let traffic = Traffic::start(daemon.public(), Mix::small());
    let mut chaos = Chaos::new(daemon.admin());
    let points = [
        ("perennial.event", "file-cache"),
        ("storage.event", "writer"),
        ("request-handlers.event", "handler-0"),
        ("listeners.event", "listener-0"),
        ("admin.event", "admin-handler"),
    ];
    for (point, child) in points.iter().cycle().take(50) {
        daemon.chaos(&json!({ "point": point, "hits": 1 }));
        assert!(chaos.kill(child, None));
        chaos.wait_until_answered(child);
    }
    let seen = traffic.stop();
    assert_eq!(seen.failed, 0, "{:#?}", seen.failures);
    let tree = daemon.tree();
    for (_, child) in points {
        assert_eq!(restarts(&tree, child), 10, "{child}");
    }
    for untouched in [
        "handler-1",
        "admin-listener",
        "storage",
        "listeners",
        "request-handlers",
    ] {
        assert_eq!(restarts(&tree, untouched), 0, "{untouched}");
    }
    let stderr = daemon.stderr();
    let adoptions = stderr
        .matches("supervisor panicked, adopting its children")
        .count();
    assert_eq!(adoptions, 50);
}

#[test]
fn the_tree_shows_the_restart_and_its_cause_after_an_idle_panic() {
    let daemon = TestDaemon::start(UNLIMITED_RESTARTS);
    let mut chaos = Chaos::new(daemon.admin());
    assert!(chaos.kill("file-cache", None));
    let tree = daemon.tree();
    let child = node(&tree, "file-cache").unwrap();
    assert_eq!(restarts(&tree, "file-cache"), 1);
    assert!(child["last_exit"].is_string(), "{child}");
    let exit = &child["exits"][0];
    assert_eq!(
        (&exit["cause"], &exit["generation"]),
        (&json!("panic"), &json!(1))
    );
    assert_eq!(exit["restart_delay_seconds"], json!(0.0));
    assert_eq!(exit["at"], child["last_exit_at"], "{child}");
    assert!(
        exit["at"].as_str().is_some_and(|at| at.ends_with('Z')),
        "{child}"
    );
    daemon.get("/").expect(200);
}

#[test]
fn a_panic_during_the_commit_neither_loses_nor_repeats_a_write() {
    let daemon = TestDaemon::start(UNLIMITED_RESTARTS);
    let mut acked = Acked::new();
    for &point in CHILDREN[2].1 {
        daemon.chaos(&json!({ "point": point, "hits": 1 }));
        let record = json!({ "token": point });
        let answer = daemon.post("/books", &record).expect(201);
        let promise = Promise::of(&answer).expect("an id and an ETag");
        acked.insert(point.to_owned(), promise);
    }
    load::assert_kept(&acked, &load::tokens(daemon.public()));
    load::assert_unchanged(daemon.public(), &acked);
    // The writer dies of the last one after its answer, and only the next writer takes another write.
    let answer = daemon.post("/books", &json!({ "token": "after the last death" }));
    answer.expect(201);
    let deaths = u64::try_from(CHILDREN[2].1.len()).unwrap();
    assert_eq!(restarts(&daemon.tree(), "writer"), deaths);
}

#[test]
fn a_message_that_makes_its_child_panic_twice_is_answered_with_a_problem_and_affects_no_other() {
    let daemon = TestDaemon::start(UNLIMITED_RESTARTS);
    let mut client = Client::connect(daemon.public()).unwrap();
    daemon.chaos(&json!({ "point": "writer.fatal", "hits": 2 }));
    let fatal = client.post("/books", &json!({ "token": "fatal" })).unwrap();
    assert!(fatal.status >= 500, "{fatal:?}");
    let status = fatal.status;
    fatal.expect_problem(status);
    let record = json!({ "token": "after" });
    let answer = client.post("/books", &record).unwrap().expect(201);
    let promise = Promise::of(&answer).expect("an id and an ETag");
    fs::write(daemon.site("new.html"), "new").unwrap();
    daemon.chaos(&json!({ "point": "file-cache.message", "hits": 2 }));
    client.get("/new.html").unwrap().expect_problem(500);
    assert_eq!(client.get("/new.html").unwrap().expect(200).text(), "new");
    let kept = load::tokens(daemon.public());
    load::assert_kept(&Acked::from([("after".to_owned(), promise)]), &kept);
    assert_eq!(kept.len(), 1, "the fatal write was not applied: {kept:?}");
    let lost = metric(&daemon.metrics(), "perennial_lost_messages_total", "");
    assert_eq!(lost, Some(0.0), "lost messages");
}

#[test]
fn without_chaos_in_the_settings_no_panic_can_be_ordered() {
    let daemon = TestDaemon::start("");
    let order = json!({ "child": "file-cache" });
    client::post(daemon.admin(), "/chaos", &order).expect_problem(404);
    assert_eq!(restarts(&daemon.tree(), "file-cache"), 0);
}
