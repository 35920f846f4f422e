//! Answers that are always the same, methods that a route leaves out, and the preset of headers.

use std::process::Command;

use serde_json::json;

use crate::client::{self, Response};
use crate::daemon::{BINARY, TestDaemon};

fn start() -> TestDaemon {
    TestDaemon::start(
        "[route.\"/gone\"]\nrespond = { status = 410, body = \"Gone.\\n\" }\nheaders = { X-A = \"b\" }\n\
         [route.\"/robots.txt\"]\nrespond = { status = 200, body = \"User-agent: *\" }\nmethods = [\"GET\"]\n\
         [route.\"/config.json\"]\nrespond = { status = 200, body = '{\"a\":1}', content_type = \"application/json\" }\n\
         [route.\"/nothing\"]\nrespond = { status = 204 }\nheaders = \"secure\"\n\
         [route.\"/teapot\"]\nrespond = { status = 418 }\n\
         headers = { preset = \"secure\", x-frame-options = \"DENY\" }\n\
         [resource.notes]\nmethods = [\"GET\", \"POST\"]\n\
         cors = { origins = [\"https://app.example.org\"] }\n",
    )
}

fn send(daemon: &TestDaemon, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut all = vec![("content-type", "application/json")];
    all.extend_from_slice(headers);
    let body = matches!(method, "POST" | "PUT" | "PATCH").then_some(&b"{}"[..]);
    client::send(daemon.public(), method, path, &all, body)
}

#[test]
fn a_fixed_answer_is_given_below_its_path_and_to_each_method() {
    let daemon = start();
    for path in ["/gone", "/gone/", "/gone/with/the/wind?x=1", "/%67one"] {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let answer = send(&daemon, method, path, &[]).expect(410);
            assert_eq!(answer.text(), "Gone.\n", "{method} {path}");
            assert_eq!(
                answer.header("content-type"),
                Some("text/plain; charset=utf-8")
            );
            assert_eq!(answer.header("x-a"), Some("b"));
        }
        let head = send(&daemon, "HEAD", path, &[]).expect(410);
        assert_eq!(
            (head.header("content-length"), &*head.body),
            (Some("6"), &b""[..])
        );
        send(&daemon, "OPTIONS", path, &[]).expect(204);
    }
    assert_eq!(send(&daemon, "GET", "/goner", &[]).status, 404);
    let found = send(&daemon, "GET", "/config.json", &[]).expect(200);
    assert_eq!(found.json(), json!({ "a": 1 }));
    assert_eq!(found.header("content-type"), Some("application/json"));
    let nothing = send(&daemon, "GET", "/nothing", &[]).expect(204);
    assert_eq!(nothing.header("content-type"), None);
}

#[test]
fn only_the_methods_of_a_route_are_allowed_and_listed() {
    let daemon = start();
    for (method, path, status) in [
        ("GET", "/robots.txt", 200),
        ("HEAD", "/robots.txt", 200),
        ("POST", "/robots.txt", 405),
        ("DELETE", "/robots.txt/below", 405),
        ("OPTIONS", "/robots.txt", 204),
        ("GET", "/notes", 200),
        ("POST", "/notes", 201),
        ("PUT", "/notes/1", 405),
        ("PATCH", "/notes/1", 405),
        ("DELETE", "/notes?a=1", 405),
        ("OPTIONS", "/notes", 204),
        ("PROPFIND", "/notes", 405),
    ] {
        let answer = send(&daemon, method, path, &[]).expect(status);
        let allow = match (status, path) {
            (405 | 204, "/robots.txt" | "/robots.txt/below" | "/notes/1") => {
                Some("GET, HEAD, OPTIONS")
            }
            (405 | 204, _) => Some("GET, HEAD, POST, OPTIONS"),
            _ => None,
        };
        assert_eq!(answer.header("allow"), allow, "{method} {path}");
    }
    for (method, path, answer) in [
        ("PUT", "/notes/1", "405"),
        ("GET", "/notes/1", "200,"),
        ("POST", "/robots.txt", "405"),
        ("GET", "/robots.txt", "200"),
        ("GET", "/gone/x", "410"),
    ] {
        let mut explain = Command::new(BINARY);
        let words = ["explain", method, path, "--config"];
        let told = explain.args(words).arg(daemon.config()).output().unwrap();
        let told = String::from_utf8(told.stdout).unwrap();
        let mut lines = told.lines().map(|line| line.split_whitespace().take(2));
        assert!(lines.any(|line| line.eq(["answer", answer])), "{told}");
    }
    let before = [
        ("origin", "https://app.example.org"),
        ("access-control-request-method", "DELETE"),
    ];
    let answer = send(&daemon, "OPTIONS", "/notes", &before).expect(204);
    let allowed = answer.header("access-control-allow-methods");
    assert_eq!(allowed, Some("GET, HEAD, POST, OPTIONS"));
    let batch = json!({ "mode": "gather", "ops": [
        { "method": "POST", "path": "/notes", "body": {} },
        { "method": "DELETE", "path": "/notes/1" },
    ]});
    let done = client::post(daemon.public(), "/_batch", &batch)
        .expect(200)
        .json();
    let statuses = done["results"].as_array().unwrap().iter();
    let statuses: Vec<_> = statuses.map(|result| result["status"].clone()).collect();
    assert_eq!(statuses, [201, 405]);
    let document = daemon.get("/_openapi.json").json();
    let operations = |path: &str| {
        let item = document["paths"][path].as_object().unwrap();
        let methods = item.keys().filter(|key| *key != "parameters");
        methods.cloned().collect::<Vec<_>>()
    };
    assert_eq!(operations("/notes"), ["get", "head", "post", "options"]);
    assert_eq!(operations("/notes/{id}"), ["get", "head", "options"]);
}

#[test]
fn the_preset_adds_headers_and_what_is_written_beside_it_counts_more() {
    let daemon = start();
    let all = send(&daemon, "GET", "/nothing", &[]);
    let teapot = send(&daemon, "GET", "/teapot", &[]).expect(418);
    for (name, value, other) in [
        ("x-content-type-options", "nosniff", "nosniff"),
        ("x-frame-options", "SAMEORIGIN", "DENY"),
        (
            "referrer-policy",
            "strict-origin-when-cross-origin",
            "strict-origin-when-cross-origin",
        ),
    ] {
        assert_eq!(all.header(name), Some(value));
        assert_eq!(teapot.header(name), Some(other));
    }
    assert_eq!(teapot.header("preset"), None);
}
