//! What a reload changes of the children while they serve: the bounds of connections, listeners, and request handlers.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::client::{self, Client, Response};
use crate::daemon::{TestDaemon, toml};

/// Rewrites the settings of a daemon: each of these pairs is a key of `server` and its value.
fn rewrite(daemon: &TestDaemon, server: &[(&str, &str)]) {
    let mut text = toml(daemon.folder(), "");
    for (key, value) in server {
        let kept = text.lines().filter(|line| !line.starts_with(key));
        let mut lines: Vec<_> = kept.map(str::to_owned).collect();
        let at = lines.iter().position(|line| line == "[server]").unwrap() + 1;
        lines.insert(at, format!("{key} = {value}"));
        text = lines.join("\n");
    }
    fs::write(daemon.config(), text).unwrap();
}

fn reload(daemon: &TestDaemon) -> Response {
    client::post(daemon.admin(), "/reload", &Value::Null)
}

/// Prepares and starts a daemon with these settings.
fn start(server: &[(&str, &str)]) -> TestDaemon {
    let mut daemon = TestDaemon::prepare("");
    rewrite(&daemon, server);
    daemon.spawn();
    daemon.wait_ready();
    daemon
}

#[test]
fn the_bound_of_connections_grows_and_shrinks_and_nobody_who_is_in_notices() {
    let daemon = start(&[("max_connections", "1")]);
    // Its request has a body that is still to come, so it gives way to nobody.
    let busy = |daemon: &TestDaemon| {
        let mut client = Client::connect_with(daemon.public(), Duration::from_secs(20)).unwrap();
        let head = "POST /books HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n";
        client.write(head.as_bytes()).unwrap();
        client
    };
    let full = |daemon: &TestDaemon| {
        let full = crate::daemon::metric(&daemon.metrics(), "perennial_listener_full_total", "");
        full.unwrap()
    };
    let mut first = busy(&daemon);
    daemon.wait_until("the first is in", |daemon| {
        daemon
            .metrics()
            .contains("perennial_http_requests_in_flight 1")
    });
    let before = full(&daemon);
    let mut second = busy(&daemon);
    daemon.wait_until("the second waits", |daemon| full(daemon) > before);
    rewrite(&daemon, &[("max_connections", "2")]);
    reload(&daemon).expect(200);
    second.write(b"{}").unwrap();
    second.read_answer(false).unwrap().expect(201);
    let mut second = {
        drop(second);
        busy(&daemon)
    };
    daemon.wait_until("two are in", |daemon| {
        daemon
            .metrics()
            .contains("perennial_http_requests_in_flight 2")
    });
    rewrite(&daemon, &[("max_connections", "1")]);
    reload(&daemon).expect(200);
    first.write(b"{}").unwrap();
    first.read_answer(false).unwrap().expect(201);
    drop(first);
    // One is inside, and that is all that there may be.
    let before = full(&daemon);
    let mut third = busy(&daemon);
    daemon.wait_until("the third waits", |daemon| full(daemon) > before);
    second.write(b"{}").unwrap();
    second.read_answer(false).unwrap().expect(201);
    drop(second);
    third.write(b"{}").unwrap();
    third.read_answer(false).unwrap().expect(201);
}
