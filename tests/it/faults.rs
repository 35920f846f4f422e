//! Children that panic when the test orders it, and the small version of the panic drill.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{self, Client, Response};
use crate::daemon::{TestDaemon, metric, node, restarts};
use crate::load::{self, Acked, Mix, Outcome, Promise, Traffic};
use crate::varied_traffic::{self, VariedTraffic};

/// Settings with `[chaos]` enabled and so many restarts allowed that no supervisor gives up.
pub(crate) const UNLIMITED_RESTARTS: &str = r#"
[chaos]
enabled = true
[supervision]
max_restarts = { count = 1000000, within = "1s" }
backoff = { first = "1ms", factor = 1.0, max = "1ms", jitter = 0.0 }
[file_cache]
revalidate = "50ms"
"#;

/// Every worker with the fault points at which its panic is hardest to recover from.
pub(crate) const CHILDREN: [(&str, &[&str]); 8] = [
    ("admin-handler", &[]),
    ("admin-listener", &[]),
    (
        "writer",
        &[
            "writer.message",
            "writer.in_transaction",
            "writer.before_flush",
            "writer.after_flush",
        ],
    ),
    ("file-cache", &["file-cache.message", "file-cache.loaded"]),
    ("handler-0", &["handler.message"]),
    ("handler-1", &["handler.message"]),
    ("listener-0", &["listener.accepted"]),
    ("listener-1", &[]),
];

const RESTART: Duration = Duration::from_secs(10);
/// How long to wait until a fault point is reached, before an idle child is made to panic instead.
const POINT_TIMEOUT: Duration = Duration::from_secs(1);

/// When the next panic is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Once every message that the last panic affected has been answered. A message is redelivered once, so no caller may
    /// notice these panics.
    AfterAnswers,
    /// As soon as the child runs again. A message may be interrupted twice, and its caller then gets a typed error.
    BackToBack,
}

/// Orders faults through the admin listener, on one kept connection. Failed admin requests are recorded.
pub(crate) struct Chaos {
    admin: SocketAddr,
    open: Option<Client>,
    /// Admin requests that failed.
    pub(crate) failures: Vec<String>,
}

impl Chaos {
    pub(crate) fn new(admin: SocketAddr) -> Self {
        Self {
            admin,
            open: None,
            failures: Vec::new(),
        }
    }

    fn once(&mut self, order: Option<&Value>) -> io::Result<Response> {
        let mut client = match self.open.take() {
            Some(client) => client,
            None => Client::connect(self.admin)?,
        };
        let answer = match order {
            Some(order) => client.post("/chaos", order),
            None => client.get("/supervisor"),
        }?;
        if answer.keep_alive {
            self.open = Some(client);
        }
        Ok(answer)
    }

    /// Sends an order, or with `None` asks for the tree. Records a failure and returns `None`.
    pub(crate) fn ask(&mut self, order: Option<&Value>) -> Option<Response> {
        let failure = match self.once(order) {
            Ok(answer) if answer.status < 300 => return Some(answer),
            Ok(answer) => format!("{order:?}: {} {}", answer.status, answer.text()),
            Err(error) => format!("{order:?}: {error}"),
        };
        self.failures.push(failure);
        None
    }

    /// The generation of the child, or the sum over all children that share its fault points; `None` while one of them is
    /// not running.
    fn generation_sum(&mut self, child: &str, point: Option<&str>) -> Option<u64> {
        let tree = self.ask(None)?.json();
        let wanted = |name: &str| match point {
            Some(_) => name.starts_with(family(child)),
            None => name == child,
        };
        let mut sum = 0;
        for leaf in leaves(&tree) {
            if leaf["name"].as_str().is_some_and(wanted) {
                if leaf["state"] != "running" {
                    return None;
                }
                sum += leaf["generation"].as_u64()?;
            }
        }
        Some(sum)
    }

    #[track_caller]
    fn wait_for_generation(&mut self, child: &str, point: Option<&str>) -> u64 {
        let until = Instant::now() + RESTART;
        loop {
            if let Some(sum) = self.generation_sum(child, point) {
                return sum;
            }
            assert!(
                Instant::now() < until,
                "{child} is not running: {:?}",
                self.failures
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn wait_for_restart(&mut self, child: &str, point: Option<&str>, before: u64) -> bool {
        let until = Instant::now() + point.map_or(RESTART, |_| POINT_TIMEOUT);
        while Instant::now() < until {
            if self
                .generation_sum(child, point)
                .is_some_and(|now| now > before)
            {
                return true;
            }
            thread::sleep(Duration::from_millis(1));
        }
        false
    }

    /// Waits until the child, and those that share its fault points, have answered every message that they hold now.
    #[track_caller]
    pub(crate) fn wait_until_answered(&mut self, child: &str) {
        let until = Instant::now() + RESTART;
        // First the queue must hold no older message, then no older message may be in flight. The age in flight alone is not
        // enough: it starts again when a message is redelivered.
        for age in ["oldest_message_seconds", "in_flight_seconds"] {
            let since = Instant::now();
            while !self.none_older(child, age, since) {
                assert!(
                    Instant::now() < until,
                    "{child} has not answered its messages"
                );
                thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Whether, by this figure, no message of the child and those that share its fault points is older than `since`.
    fn none_older(&mut self, child: &str, figure: &str, since: Instant) -> bool {
        let passed = since.elapsed().as_secs_f64();
        let Some(answer) = self.ask(None) else {
            return false;
        };
        let tree = answer.json();
        let mut family = leaves(&tree).into_iter().filter(|leaf| {
            let name = leaf["name"].as_str().unwrap_or_default();
            name.starts_with(family(child))
        });
        family.all(|leaf| {
            let age = &leaf["slot"][figure];
            let idle = age.as_f64() == Some(0.0);
            idle || age.as_f64().is_some_and(|age| age < passed)
        })
    }

    /// Makes the child panic once and waits for its restart. False if it panicked idle because the point was not reached.
    #[track_caller]
    pub(crate) fn kill(&mut self, child: &str, point: Option<&str>) -> bool {
        let before = self.wait_for_generation(child, point);
        if let Some(point) = point {
            self.ask(Some(&json!({ "point": point, "hits": 1 })));
            if self.wait_for_restart(child, Some(point), before) {
                return true;
            }
        }
        let before = self.wait_for_generation(child, None);
        self.ask(Some(&json!({ "child": child })));
        let back = self.wait_for_restart(child, None, before);
        assert!(back, "{child} was not restarted: {:?}", self.failures);
        point.is_none()
    }
}

/// A child's name without its number: all handlers share the fault points of `handler-0`.
fn family(child: &str) -> &str {
    child.trim_end_matches(|c: char| c.is_ascii_digit())
}

fn leaves(tree: &Value) -> Vec<&Value> {
    match tree["children"].as_array() {
        Some(children) => children.iter().flat_map(leaves).collect(),
        None => vec![tree],
    }
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
    assert_eq!(restarts(&daemon.tree(), "writer"), 4);
    load::assert_kept(&acked, &load::tokens(daemon.public()));
    load::assert_unchanged(daemon.public(), &acked);
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
