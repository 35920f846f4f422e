//! The pages of the admin listener: health, the tree and metrics.

use crate::client;
use crate::daemon::{TestDaemon, generation, metric, node, running};

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
fn public_addresses_serve_no_admin_pages() {
    let daemon = TestDaemon::start("");
    for path in ["/metrics", "/supervisor", "/livez", "/chaos"] {
        daemon.get(path).expect_problem(404);
    }
}
