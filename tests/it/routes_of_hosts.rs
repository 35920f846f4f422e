//! Routes of one host, and requests for hosts that are not known.

use std::fs;
use std::process::Command;

use crate::client::{Client, Response};
use crate::daemon::{BINARY, TestDaemon};
use crate::reload::reload;

fn ask(client: &mut Client, host: &str, path: &str) -> Response {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    client.write(request.as_bytes()).unwrap();
    client.read_answer(false).unwrap()
}

fn get(daemon: &TestDaemon, host: &str, path: &str) -> Response {
    let mut client = Client::connect(daemon.public()).unwrap();
    let answer = ask(&mut client, host, path);
    // The host of an absolute target counts alone.
    let absolute = ask(&mut client, "localhost", &format!("http://{host}{path}"));
    assert_eq!(absolute.status, answer.status);
    answer
}

const ROUTES: &str = "[route.\"example.org/\"]\nrespond = { status = 200, body = \"of example.org\" }\n\
     [route.\"example.org/app\"]\nrespond = { status = 200, body = \"app of example.org\" }\n\
     [route.\"shop.example.org/app\"]\nrespond = { status = 200, body = \"app of shop\" }\n\
     [route.\"/app\"]\nrespond = { status = 200, body = \"app\" }\n";

#[test]
fn a_host_has_routes_of_its_own_before_those_of_all() {
    let daemon = TestDaemon::start(ROUTES);
    for (host, path, body) in [
        ("example.org", "/", "of example.org"),
        ("EXAMPLE.ORG:8080", "/x", "of example.org"),
        ("example.org.", "/app/x", "app of example.org"),
        ("example.org", "/%61pp", "app of example.org"),
        ("shop.example.org", "/app", "app of shop"),
        ("shop.example.org", "/", "<h1>first</h1>"),
        ("localhost", "/app", "app"),
        ("localhost", "/", "<h1>first</h1>"),
        // Resources are at every host.
        ("example.org", "/books", "[]"),
    ] {
        assert_eq!(
            get(&daemon, host, path).expect(200).text(),
            body,
            "{host} {path}"
        );
    }
    // A connection may change its host from request to request.
    let mut kept = Client::connect(daemon.public()).unwrap();
    for (host, body) in [
        ("example.org", "app of example.org"),
        ("localhost", "app"),
        ("shop.example.org", "app of shop"),
    ] {
        assert_eq!(ask(&mut kept, host, "/app").text(), body);
    }
    get(&daemon, "evil.example", "/").expect(421);
    let metrics = daemon.metrics();
    assert!(metrics.contains("route=\"example.org/app\""), "{metrics}");
    let explained = Command::new(BINARY)
        .args(["explain", "GET", "http://example.org/app/x", "--config"])
        .arg(daemon.config())
        .output()
        .unwrap();
    let told = String::from_utf8(explained.stdout).unwrap();
    assert!(
        told.contains("example.org/app: the longest prefix"),
        "{told}"
    );
    assert!(told.contains("example.org is served"), "{told}");
}

#[test]
fn a_reload_adds_and_removes_hosts() {
    let daemon = TestDaemon::start("");
    get(&daemon, "example.org", "/").expect(421);
    let before = fs::read_to_string(daemon.config()).unwrap();
    fs::write(daemon.config(), format!("{before}{ROUTES}")).unwrap();
    reload(&daemon, "").expect(200);
    assert_eq!(
        get(&daemon, "example.org", "/").expect(200).text(),
        "of example.org"
    );
    // An answer that says so itself is no reason against a reload.
    let broken = "[route.\"example.org/\"]\nrespond = { status = 503 }\n";
    fs::write(daemon.config(), format!("{before}{broken}")).unwrap();
    reload(&daemon, "").expect(200);
    get(&daemon, "example.org", "/app").expect(503);
    fs::write(daemon.config(), before).unwrap();
    reload(&daemon, "").expect(200);
    get(&daemon, "example.org", "/").expect(421);
}
