//! The pages of the admin listener: health, the tree and metrics.

use std::collections::VecDeque;
use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};

use crate::chaos::UNLIMITED_RESTARTS;
use crate::client::{self, Client};
use crate::daemon::{BINARY, TestDaemon, generation, metric, node, restarts, running, toml};

#[test]
fn health_is_reported_for_the_daemon_and_for_each_part() {
    let daemon = TestDaemon::start("");
    for path in ["/livez", "/readyz", "/readyz/storage", "/readyz/file-cache"] {
        client::get(daemon.admin(), path).expect(200);
    }
    client::get(daemon.admin(), "/readyz/no-such-part").expect_problem(404);
    client::get(daemon.admin(), "/no-such-page").expect_problem(404);
}

#[test]
fn a_part_is_found_by_every_spelling_of_its_name() {
    let route = |prefix: &str| format!("[route.\"{prefix}\"]\nfiles = {{ root = '/usr' }}\n");
    let daemon = TestDaemon::start(&(route("/a b") + &route("/caf\u{e9}")));
    for name in ["files:/a%20b", "files%3A%2Fcaf%C3%A9", "%73torage"] {
        client::get(daemon.admin(), &format!("/readyz/{name}")).expect(200);
        let parts = client::get(daemon.admin(), &format!("/readyz?exclude={name}"));
        let parts = parts.expect(200).json()["parts"].clone();
        assert_eq!(
            parts.as_object().map(serde_json::Map::len),
            Some(6),
            "{parts}"
        );
    }
    let wrong = client::get(daemon.admin(), "/readyz?exclude=files:/a%2520b");
    wrong.expect_problem(400);
}

#[test]
fn the_tree_shows_every_child_running() {
    let daemon = TestDaemon::start("");
    let tree = daemon.tree();
    assert_eq!(tree["name"], "perennial");
    assert!(running(&tree), "{tree}");
    for (parent, children) in [
        ("admin", &["admin-handler", "admin-listener"][..]),
        ("storage", &["writer"]),
        ("request-handlers", &["handler-0", "handler-1"]),
        ("listeners", &["listener-0"]),
    ] {
        let parent = node(&tree, parent).expect(parent);
        assert_eq!(parent["kind"], "supervisor");
        for child in children {
            let child = node(parent, child).expect(child);
            assert_eq!(child["kind"], "worker");
        }
    }
    assert!(generation(&tree, "file-cache") > 0);
}

#[test]
fn metrics_are_in_the_prometheus_text_format() {
    let daemon = TestDaemon::start("");
    daemon.get("/").expect(200);
    let answer = client::get(daemon.admin(), "/metrics").expect(200);
    let content_type = answer.header("content-type").unwrap_or_default();
    assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8");
    let text = answer.text();
    assert_eq!(
        metric(&text, "perennial_lost_messages_total", ""),
        Some(0.0),
        "{text}"
    );
    for line in text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        let value = line.rsplit(' ').next().unwrap_or_default();
        assert!(value.parse::<f64>().is_ok(), "not a sample: {line}");
    }
}

#[test]
fn restarts_are_counted_from_zero_and_timed_before_the_first_death() {
    let daemon = TestDaemon::start("");
    let text = daemon.metrics();
    let name = "perennial_child_restarts_total";
    for child in [
        "storage",
        "writer",
        "file-cache",
        "handler-0",
        "listener-0",
        "admin-handler",
    ] {
        for cause in [
            "panic",
            "error",
            "hung",
            "start_failed",
            "killed",
            "lost",
            "escalated",
        ] {
            let row = format!("{name}{{child=\"{child}\",cause=\"{cause}\"}} 0");
            assert!(text.lines().any(|line| line == row), "{row}\n{text}");
        }
        let count = format!("perennial_child_restart_seconds_count{{child=\"{child}\"}} 0");
        assert!(text.lines().any(|line| line == count), "{count}\n{text}");
    }
    let kind = "# TYPE perennial_child_restart_seconds histogram";
    assert!(text.lines().any(|line| line == kind), "{text}");
}

#[test]
fn public_addresses_serve_no_admin_pages() {
    let daemon = TestDaemon::start("");
    for path in ["/metrics", "/supervisor", "/livez", "/chaos"] {
        daemon.get(path).expect_problem(404);
    }
}

const FLOOD: usize = 1000;
/// A second on a machine of one's own, and more where other tests run at the same time. Without room for new clients it
/// would be the ten seconds of `limits.header_timeout`.
const PROMPT: Duration = Duration::from_secs(6);

/// One of many clients that each keep a connection to the admin listener.
fn hold(admin: SocketAddr, n: usize) -> Option<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&admin, Duration::from_secs(5)).ok()?;
    stream.set_nonblocking(true).ok()?;
    let text = match n % 4 {
        0 => String::new(),
        1 => "GET /livez HTTP/1.1\r\nHos".to_owned(),
        2 => "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        _ => "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(5),
    };
    // It may be closed already, and a socket that is full takes no more: either is what this client wants.
    drop(stream.write(text.as_bytes()));
    Some(stream)
}

#[test]
fn health_is_answered_promptly_whatever_a_thousand_other_clients_do() {
    raise_descriptors();
    let daemon = TestDaemon::start("");
    let admin = daemon.admin();
    // A thousand clients at once, and a new one for each that goes, until the daemon is gone.
    thread::spawn(move || {
        let mut held: VecDeque<_> = (0..FLOOD).filter_map(|n| hold(admin, n)).collect();
        for n in FLOOD.. {
            held.pop_front();
            let Some(next) = hold(admin, n) else { return };
            held.push_back(next);
            // As many as a debug build can accept beside other tests: what is tested is the order, not the speed.
            thread::sleep(Duration::from_millis(10));
        }
    });
    thread::sleep(Duration::from_millis(200));
    for _ in 0..10 {
        for path in ["/livez", "/readyz", "/readyz/storage"] {
            let begun = Instant::now();
            // The listener may close this connection too, as one of the oldest.
            let answer =
                (0..3).find_map(|_| Client::connect(admin).and_then(|mut c| c.get(path)).ok());
            answer.expect("an answer").expect(200);
            let took = begun.elapsed();
            assert!(took < PROMPT, "{path} took {took:?}");
        }
        let begun = Instant::now();
        let check = Command::new(BINARY)
            .arg("--config")
            .arg(daemon.config())
            .arg("healthcheck")
            .env("PERENNIAL__SERVER__ADMIN", admin.to_string())
            .output()
            .unwrap();
        let took = begun.elapsed();
        assert!(check.status.success(), "{check:?}");
        assert!(took < PROMPT, "healthcheck took {took:?}");
    }
    let closed = metric(
        &daemon.metrics(),
        "perennial_admin_connections_closed_total",
        "",
    );
    assert!(closed > Some(100.0), "{closed:?}");
}

fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let current = limit.maximum;
    setrlimit(Resource::Nofile, Rlimit { current, ..limit }).unwrap();
}

#[test]
fn a_wrong_order_is_a_problem_that_names_what_there_is() {
    let daemon = TestDaemon::start(UNLIMITED_RESTARTS);
    let admin = daemon.admin();
    for (order, detail) in [
        (json!({ "point": "nonsense" }), "writer.message"),
        (json!({ "point": "" }), "handler.message"),
        (json!({ "point": "writer" }), "listener.accepted"),
        (json!({ "point": "nobody.idle" }), "writer.idle"),
        (json!({ "child": "nonsense" }), "file-cache"),
        (json!({ "child": "storage" }), "writer"),
        (
            json!({ "child": "writer", "point": "writer.message" }),
            "write {",
        ),
        (json!({ "child": "writer", "hits": 3 }), "write {"),
        (
            json!({ "points": "writer.message" }),
            "`points` means nothing here",
        ),
        (json!({ "point": 7 }), "a text is wanted, not the number 7"),
        (
            json!({ "child": ["writer"] }),
            "a text is wanted, not an array",
        ),
        (json!({ "point": "writer.message", "hits": 0 }), "nonzero"),
        (json!({ "point": "writer.message", "hits": -1 }), "nonzero"),
        (json!({ "point": "writer.message", "hits": "1" }), "nonzero"),
        (
            json!({ "point": "writer.message", "hits": 5_000_000_000_u64 }),
            "nonzero",
        ),
        (json!({}), "write {"),
        (json!([]), "write {"),
        (json!(null), "write {"),
        (json!("writer"), "write {"),
    ] {
        let answer = client::post(admin, "/chaos", &order);
        let text = answer.text();
        assert_eq!(answer.status, 422, "{order}: {text}");
        answer.expect_problem(422);
        assert!(
            text.contains(&detail.replace('"', "\\\"")),
            "{order}: {text}"
        );
    }
    for body in ["", "{", "point=writer.message"] {
        client::send(admin, "POST", "/chaos", &[], Some(body.as_bytes())).expect_problem(400);
    }
    client::send(admin, "PUT", "/chaos", &[], Some(b"{}")).expect_problem(405);
    assert_eq!(restarts(&daemon.tree(), "writer"), 0);
}

#[test]
fn a_web_page_can_order_nothing() {
    let daemon = TestDaemon::start(UNLIMITED_RESTARTS);
    let (admin, body) = (daemon.admin(), br#"{"child":"writer"}"#);
    let own = format!("http://{admin}");
    for header in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("origin", "http://127.0.0.1:1"),
        ("origin", own.as_str()),
    ] {
        client::send(admin, "POST", "/chaos", &[header], Some(body)).expect_problem(403);
    }
    // A page can send a form to any path without being asked, but no header of its own.
    for path in [
        "/chaos",
        "/supervisor/writer/restart",
        "/history/books/1?to=1",
        "/records/books?import=01a210f2-6a46-7604-bfff-fffffffffffe&first=0",
        "/reload",
    ] {
        for field in ["", "Perennial-Admin: 0\r\n"] {
            let mut client = Client::connect(admin).unwrap();
            let head = format!("POST {path} HTTP/1.1\r\nHost: {admin}\r\n{field}");
            let form = "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}";
            client.write((head + form).as_bytes()).unwrap();
            let answer = client.read_answer(false).unwrap();
            let text = answer.text();
            assert_eq!(answer.expect_problem(403), "cross_site");
            assert!(
                text.contains("send the header Perennial-Admin: 1"),
                "{text}"
            );
        }
    }
    assert_eq!(restarts(&daemon.tree(), "writer"), 0);
    let headers = [("sec-fetch-site", "none")];
    client::send(admin, "POST", "/chaos", &headers, Some(body)).expect(204);
}

/// What the list says is what there is: each point is armed in turn, and everything that passes points is done.
#[test]
fn every_fault_point_that_is_listed_is_passed() {
    let daemon = TestDaemon::start(UNLIMITED_RESTARTS);
    let known = client::get(daemon.admin(), "/chaos").expect(200).json();
    let children = known["children"].as_array().unwrap();
    let names: Vec<_> = children.iter().filter_map(Value::as_str).collect();
    for child in [
        "writer",
        "file-cache",
        "handler-0",
        "listener-0",
        "admin-handler",
    ] {
        assert!(names.contains(&child), "{child} is not in {names:?}");
    }
    let points = known["points"].as_object().unwrap();
    assert!(points.len() > 15, "{known}");
    // Only a view that has grown large, new resources, new handlers, a comparison with stored records, a list that no index serves or a
    // schedule of backups lead to these; other tests pass them.
    let beyond = |point: &String| {
        point.starts_with("compaction.")
            || point.starts_with("backup.")
            || point == "writer.declaring"
            || point == "handler.hanging_start"
            // New listeners lead to this one.
            || point == "listener.hanging_start"
            || point == "storage.held_comparison"
            || point == "storage.held_scan"
    };
    let points = points.keys().filter(|point| !beyond(point));
    for (n, point) in points.enumerate() {
        daemon.chaos(&json!({ "point": point }));
        let pending = || {
            let known = client::get(daemon.admin(), "/chaos").expect(200).json();
            known["points"][point].as_u64().unwrap()
        };
        let until = Instant::now() + Duration::from_secs(10);
        while pending() > 0 {
            assert!(Instant::now() < until, "{point} was never passed");
            // A child that dies is an event of its supervisor, and passes its idle point first.
            let dies = names
                .iter()
                .find(|name| point.starts_with(&format!("{name}.")));
            let below = [
                ("storage.", "writer"),
                ("settings.", "reloader"),
                ("request-handlers.", "handler-0"),
                ("listeners.", "listener-0"),
                ("admin.", "admin-handler"),
                ("perennial.", "file-cache"),
            ];
            let below = below.iter().find(|(above, _)| point.starts_with(above));
            if let Some(child) = dies.copied().or(below.map(|(_, child)| *child)) {
                client::post(daemon.admin(), "/chaos", &json!({ "child": child }));
            }
            fs::write(daemon.site(&format!("{n}.html")), "new").unwrap();
            if point.starts_with("reload.") {
                let more = format!(
                    "{UNLIMITED_RESTARTS}[limits]\nidle_timeout = \"{}s\"",
                    n + 1
                );
                fs::write(daemon.config(), toml(daemon.folder(), &more)).unwrap();
                client::post(daemon.admin(), "/reload", &json!({})).expect(200);
            }
            // A fault that is fatal is answered with a problem.
            drop(
                Client::connect(daemon.public())
                    .and_then(|mut client| client.get(&format!("/{n}.html"))),
            );
            drop(
                Client::connect(daemon.public())
                    .and_then(|mut client| client.post("/books", &json!({}))),
            );
        }
    }
}

/// The values of `href` and `src` of a page.
fn links(page: &str) -> Vec<&str> {
    let starts = ["href=\"", "src=\""];
    let found = starts.iter().flat_map(|start| page.split(start).skip(1));
    found.filter_map(|rest| rest.split('"').next()).collect()
}

#[test]
fn the_pages_link_only_to_what_this_daemon_serves() {
    let mut shipped = TestDaemon::prepare_shipped();
    shipped.spawn();
    shipped.wait_ready();
    let admin = client::get(shipped.admin(), "/").expect(200);
    let text = admin.text();
    for link in links(&text) {
        assert!(link.starts_with('/') || link.starts_with("data:"), "{link}");
        assert!(!link.contains(' '), "{link}");
        if link.starts_with('/') {
            client::get(shipped.admin(), link).expect(200);
        }
    }
    let page = shipped.get("/").expect(200).text();
    for link in links(&page) {
        assert!(link.starts_with("data:") && !link.contains(' '), "{link}");
    }
    assert!(!page.contains("<script"), "{page}");
}

#[test]
fn the_operators_page_needs_no_script_and_loads_nothing_from_elsewhere() {
    let daemon = TestDaemon::start("");
    let answer = client::get(daemon.admin(), "/").expect(200);
    let policy = answer.header("content-security-policy").unwrap_or_default();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    let page = answer.text();
    for part in [
        "<html lang=\"en\">",
        "<header>",
        "<nav aria-label=",
        "<main>",
        "<h1>",
        "Ready: every part can serve.",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    for child in [
        "admin-handler",
        "writer",
        "file-cache",
        "handler-1",
        "listener-0",
    ] {
        assert!(page.contains(&format!(">{child}</strong>")), "{child}");
    }
    // What the policy forbids, or what would take the page away while the daemon is down.
    for part in [
        "style=",
        "<style",
        "http-equiv",
        "onclick",
        "http://",
        "https://",
    ] {
        assert!(!page.contains(part), "{part} is in {page}");
    }
}

#[test]
fn metrics_come_in_the_format_that_the_client_wants_more() {
    let daemon = TestDaemon::start("");
    let prometheus =
        "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
    for (accept, open) in [
        (prometheus, true),
        ("application/openmetrics-text", true),
        (
            "application/openmetrics-text;q=0.1, text/plain;q=0.9",
            false,
        ),
        (
            "application/openmetrics-text;version=1.0.0; q=0.000, text/plain",
            false,
        ),
        ("application/openmetrics-text;q=0", false),
        ("*/*", false),
        ("text/plain", false),
        ("", false),
    ] {
        let headers = [("accept", accept)];
        let answer = client::send(daemon.admin(), "GET", "/metrics", &headers, None);
        let answer = answer.expect(200);
        let kind = answer.header("content-type").unwrap_or_default();
        assert_eq!(
            kind.starts_with("application/openmetrics-text"),
            open,
            "{accept}"
        );
    }
}
