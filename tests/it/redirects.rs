//! Routes that send their clients elsewhere.

use crate::client::{self, Client, Response};
use crate::daemon::TestDaemon;

fn start() -> TestDaemon {
    TestDaemon::start(
        "[route.\"/old\"]\nredirect = { to = \"/books{path}\", permanent = true }\nheaders = { X-A = \"b\" }\n\
         [route.\"/old/deeper\"]\nredirect = { to = \"https://example.org/x{path}?from=here\" }\n\
         [route.\"/all\"]\nredirect = { to = \"/{path}\" }\n",
    )
}

fn asked(daemon: &TestDaemon, method: &str, path: &str) -> (u16, Option<String>) {
    let body = (method == "POST").then_some(&b"{}"[..]);
    let answer: Response = client::send(daemon.public(), method, path, &[], body);
    (answer.status, answer.header("location").map(str::to_owned))
}

#[test]
fn clients_are_sent_where_the_route_leads() {
    let daemon = start();
    for (method, path, status, to) in [
        ("GET", "/old", 308, "/books"),
        ("GET", "/old/1?_a=b", 308, "/books/1?_a=b"),
        ("HEAD", "/old/", 308, "/books/"),
        ("POST", "/old", 308, "/books"),
        ("DELETE", "/old/a%20b", 308, "/books/a%20b"),
        ("GET", "/%6Fld/1", 308, "/books/1"),
        (
            "GET",
            "/old/deeper/1",
            307,
            "https://example.org/x/1?from=here",
        ),
        (
            "GET",
            "/old/deeper?a",
            307,
            "https://example.org/x?from=here&a",
        ),
        ("GET", "/all/%2Fevil.example", 307, "/%2Fevil.example"),
        ("GET", "/all/%5Cevil.example", 307, "/%5Cevil.example"),
        ("GET", "/all/\\evil.example", 307, "/%5Cevil.example"),
    ] {
        let expected = (status, Some(to.to_owned()));
        assert_eq!(asked(&daemon, method, path), expected, "{method} {path}");
    }
    // A path with an empty segment is sent to one without, as everywhere.
    let (status, to) = asked(&daemon, "GET", "/all//evil.example");
    assert_eq!(status, 307);
    assert!(!to.unwrap().starts_with('/'));
    let answer = client::send(daemon.public(), "GET", "/old", &[], None);
    assert_eq!(answer.header("x-a"), Some("b"));
    assert!(answer.body.is_empty());
    assert_eq!(asked(&daemon, "OPTIONS", "/old").0, 204);
    // A page of another site may not send a change, with or without a body.
    let foreign = [("origin", "https://evil.example")];
    for (method, body) in [("DELETE", None), ("POST", Some(&b"{}"[..])), ("POST", None)] {
        let answer = client::send(daemon.public(), method, "/old", &foreign, body);
        assert_eq!(answer.status, 403, "{method}");
    }
    // Neither the names of other routes nor a kept connection is changed by it.
    let mut client = Client::connect(daemon.public()).unwrap();
    for (path, status) in [("/old", 308), ("/older", 404), ("/books", 200), ("/", 200)] {
        assert_eq!(client.get(path).unwrap().status, status, "{path}");
    }
}

#[test]
fn explain_tells_where_a_route_leads() {
    let daemon = start();
    let output = std::process::Command::new(crate::daemon::BINARY)
        .args(["explain", "GET", "/old/deeper/1?a=b", "--config"])
        .arg(daemon.config())
        .output()
        .unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(
        told.contains("307 Temporary Redirect")
            && told.contains("location: https://example.org/x/1?from=here&a=b"),
        "{told}"
    );
}
