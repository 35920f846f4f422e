//! Pages of other sites that may use a route, as a browser asks for them and reads their answers.

use std::fs;

use crate::client::{self, Response};
use crate::daemon::{self, TestDaemon};

const APP: &str = "https://app.example.org";
const JSON: (&str, &str) = ("content-type", "application/json");

const ROUTES: &str = "[route.\"/open\"]\nfiles = { root = 'SITE' }\ncors.origins = [\"*\"]\n\
    [route.\"/closed\"]\nfiles = { root = 'SITE' }\ncors.origins = []\n\
    [resource.notes]\naccess = \"public\"\ndelay = \"1h\"\nmax_in_flight = 1\n\
    cors = { origins = [\"https://app.example.org\", \"http://localhost:5173\"], credentials = true }\n";

/// The settings with these routes, whose files are those of the site.
fn written(daemon: &TestDaemon, routes: &str) -> String {
    let site = daemon.folder().join("site");
    let text = routes.replace("SITE", site.to_str().unwrap());
    daemon::toml(daemon.folder(), &text)
}

fn start(routes: &str) -> TestDaemon {
    let mut daemon = TestDaemon::prepare("");
    fs::write(daemon.config(), written(&daemon, routes)).unwrap();
    daemon.spawn();
    daemon.wait_ready();
    daemon
}

/// The question of a browser before a page of `origin` sends a request.
fn before(to: &TestDaemon, path: &str, origin: &str, method: &str) -> Response {
    let headers = [
        ("origin", origin),
        ("access-control-request-method", method),
        ("access-control-request-headers", "content-type,if-match"),
    ];
    client::send(to.public(), "OPTIONS", path, &headers, None)
}

fn from(to: &TestDaemon, method: &str, path: &str, origin: &str) -> Response {
    let body = (method == "POST").then_some(&b"{\"title\":\"Emma\"}"[..]);
    let headers = [("origin", origin), JSON];
    client::send(to.public(), method, path, &headers, body)
}

/// Whether an answer says that it differs by the page that asks.
fn varies(answer: &Response) -> bool {
    let mut fields = answer
        .headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("vary"));
    fields.any(|(_, value)| value == "Origin")
}

fn allowed(answer: &Response) -> Option<&str> {
    answer.header("access-control-allow-origin")
}

#[test]
fn a_browser_that_asks_is_told_what_a_page_may_send_before_the_request_would_wait() {
    let daemon = start(ROUTES);
    let answer = before(&daemon, "/notes", APP, "POST").expect(204);
    for (name, value) in [
        ("access-control-allow-origin", APP),
        ("access-control-allow-credentials", "true"),
        (
            "access-control-allow-methods",
            "GET, HEAD, POST, PATCH, DELETE, OPTIONS",
        ),
        ("access-control-allow-headers", "content-type,if-match"),
        ("access-control-max-age", "600"),
        (
            "vary",
            "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
        ),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    for (path, origin, methods) in [
        (
            "/notes/1",
            "http://localhost:5173",
            "GET, HEAD, PUT, PATCH, DELETE, OPTIONS",
        ),
        ("/open/x", "https://any.example", "GET, HEAD, OPTIONS"),
        // Nothing was written for these.
        (
            "/books",
            "http://localhost:5173",
            "GET, HEAD, POST, PATCH, DELETE, OPTIONS",
        ),
        (
            "/books/1",
            "https://[::1]:1",
            "GET, HEAD, PUT, PATCH, DELETE, OPTIONS",
        ),
        ("/none", "http://127.0.0.1:8080", "GET, HEAD, OPTIONS"),
    ] {
        let answer = before(&daemon, path, origin, "GET").expect(204);
        let told = if path == "/open/x" { "*" } else { origin };
        assert_eq!(allowed(&answer), Some(told), "{path}");
        assert_eq!(
            answer.header("access-control-allow-methods"),
            Some(methods),
            "{path}"
        );
        let credentials = answer.header("access-control-allow-credentials");
        assert_eq!(
            credentials,
            (path == "/notes/1").then_some("true"),
            "{path}"
        );
    }
    for (path, origin) in [
        ("/notes", "https://evil.example"),
        ("/notes", "https://app.example.org.evil.example"),
        ("/notes", "http://app.example.org"),
        ("/notes", "http://localhost:3001"),
        ("/notes", "null"),
        ("/closed/", "http://localhost:5173"),
        ("/books", APP),
        ("/books", "null"),
        // The resources have different rules.
        ("/_batch", APP),
        ("/_openapi.json", "http://localhost:5173"),
        ("/none", APP),
    ] {
        let answer = before(&daemon, path, origin, "POST");
        assert_eq!(allowed(&answer), None, "{path} {origin}");
        assert_eq!(answer.expect_problem(403), "cross_site", "{path} {origin}");
    }
    // Anything else is a question about the methods.
    let plain = client::send(daemon.public(), "OPTIONS", "/books", &[], None);
    assert_eq!(allowed(&plain.expect(204)), None);
}

#[test]
fn an_answer_says_whether_the_page_may_read_it() {
    let daemon = start(&ROUTES.replace("delay = \"1h\"\nmax_in_flight = 1\n", ""));
    fs::write(daemon.site("a.txt"), "a").unwrap();
    let local = "http://localhost:5173";
    for (path, origin, status, told, vary) in [
        ("/notes", APP, 200, Some(APP), true),
        ("/notes/none", APP, 404, Some(APP), true),
        ("/notes?_limit=x", APP, 400, Some(APP), true),
        ("/notes", "https://evil.example", 200, None, true),
        ("/open/a.txt", APP, 200, Some("*"), false),
        ("/open/none", APP, 404, Some("*"), false),
        ("/closed/a.txt", local, 200, None, false),
        ("/a.txt", local, 200, Some(local), true),
        ("/a.txt", APP, 200, None, true),
        ("/none", local, 404, Some(local), true),
    ] {
        let answer = from(&daemon, "GET", path, origin).expect(status);
        assert_eq!(allowed(&answer), told, "{path} {origin}");
        assert_eq!(varies(&answer), vary, "{path} {origin}");
        let exposed = answer.header("access-control-expose-headers");
        assert_eq!(exposed.is_some(), told.is_some(), "{path} {origin}");
        if let Some(exposed) = exposed {
            assert!(
                exposed.contains("X-Total-Count, Content-Range"),
                "{exposed}"
            );
        }
    }
    // A cache that keeps answers for several pages must know that they differ, whoever asked first.
    let plain = client::send(daemon.public(), "GET", "/notes", &[], None).expect(200);
    assert!(varies(&plain));
    let plain = client::send(daemon.public(), "GET", "/open/a.txt", &[], None).expect(200);
    assert_eq!(allowed(&plain), Some("*"));
    let plain = client::send(daemon.public(), "GET", "/a.txt", &[], None).expect(200);
    assert!(!varies(&plain));
}

#[test]
fn a_page_changes_only_what_it_may_use() {
    let daemon = start(&ROUTES.replace("delay = \"1h\"\nmax_in_flight = 1\n", ""));
    let local = "http://localhost:5173";
    for (path, origin, status) in [
        ("/notes", APP, 201),
        ("/notes", local, 201),
        ("/notes", "http://localhost:3001", 403),
        ("/notes", "https://evil.example", 403),
        ("/books", local, 201),
        ("/books", APP, 403),
        ("/books", "null", 403),
        ("/_batch", local, 403),
        ("/_batch", APP, 403),
    ] {
        let answer = from(&daemon, "POST", path, origin).expect(status);
        let told = (status == 201).then_some(origin);
        assert_eq!(allowed(&answer), told, "{path} {origin}");
    }
    // A browser that names no origin, or two, tells nothing that could be allowed.
    for headers in [
        &[("sec-fetch-site", "cross-site")][..],
        &[("origin", APP), ("origin", "https://evil.example")],
    ] {
        let headers = [&[JSON], headers].concat();
        let answer = client::send(daemon.public(), "POST", "/notes", &headers, Some(b"{}"));
        answer.expect_problem(403);
    }
}

#[test]
fn what_belongs_to_all_resources_follows_the_rule_that_they_share() {
    let cors = "cors.origins = [\"https://app.example.org\"]\n";
    let mut daemon = TestDaemon::prepare(&format!("[resource.notes]\n{cors}"));
    let text = fs::read_to_string(daemon.config()).unwrap();
    let books = "[resource.books]\n";
    fs::write(
        daemon.config(),
        text.replace(books, &format!("{books}{cors}")),
    )
    .unwrap();
    daemon.spawn();
    daemon.wait_ready();
    for path in ["/_batch", "/_docs", "/_openapi.json"] {
        let answer = before(&daemon, path, APP, "GET").expect(204);
        assert_eq!(allowed(&answer), Some(APP), "{path}");
    }
}

#[test]
fn a_listener_that_other_machines_reach_lets_only_the_pages_in_that_were_named() {
    let mut daemon = TestDaemon::prepare("");
    let text = written(&daemon, ROUTES).replace("127.0.0.1:0\"]", "0.0.0.0:0\"]");
    let text = text.replace(
        "path = \"/books\"",
        "path = \"/books\"\naccess = \"public\"",
    );
    let text = text.replace("delay = \"1h\"\nmax_in_flight = 1\n", "");
    fs::write(daemon.config(), text).unwrap();
    daemon.spawn();
    daemon.wait_ready();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], daemon.public().port()));
    for (path, origin, status, told) in [
        ("/books", "http://localhost:5173", 403, None),
        (
            "/notes",
            "http://localhost:5173",
            201,
            Some("http://localhost:5173"),
        ),
        ("/notes", APP, 201, Some(APP)),
    ] {
        let answer = client::send(
            address,
            "POST",
            path,
            &[("origin", origin), JSON],
            Some(b"{}"),
        );
        let answer = answer.expect(status);
        assert_eq!(allowed(&answer), told, "{path} {origin}");
    }
    let read = client::send(
        address,
        "GET",
        "/books",
        &[("origin", "http://localhost:1")],
        None,
    );
    let read = read.expect(200);
    assert_eq!(
        (allowed(&read), read.header("vary")),
        (None, Some("Prefer"))
    );
}
