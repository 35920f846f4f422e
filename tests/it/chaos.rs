//! Orders panics of children through the admin listener, and waits for their restarts.

use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Client, Response};

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
            "writer.before_answers",
            "writer.before_view",
            "writer.after_view",
        ],
    ),
    ("file-cache", &["file-cache.message", "file-cache.loaded"]),
    ("handler-0", &["handler.message"]),
    ("handler-1", &["handler.message"]),
    ("listener-0", &["listener.accepted"]),
    ("listener-1", &[]),
];

/// How long a child may take to restart.
pub(crate) const RESTART: Duration = Duration::from_secs(10);
/// How long to wait until a fault point is reached, before an idle child is made to panic instead.
const POINT_TIMEOUT: Duration = Duration::from_secs(1);

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
pub(crate) fn family(child: &str) -> &str {
    child.trim_end_matches(|c: char| c.is_ascii_digit())
}

pub(crate) fn leaves(tree: &Value) -> Vec<&Value> {
    match tree["children"].as_array() {
        Some(children) => children.iter().flat_map(leaves).collect(),
        None => vec![tree],
    }
}
