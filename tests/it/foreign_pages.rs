//! Pages of other sites must not write into the store of somebody who runs the daemon on their own machine, nor read it
//! under a name of their own that leads here.

use std::fs;

use serde_json::json;

use crate::client::{self, Client, Response};
use crate::daemon::{self, TestDaemon};

const JSON: (&str, &str) = ("content-type", "application/json");

fn ask(daemon: &TestDaemon, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    let body = (method != "GET").then_some(&b"{\"title\":\"Emma\"}"[..]);
    client::send(daemon.public(), method, path, headers, body)
}

#[test]
fn a_page_of_another_site_may_not_change_anything() {
    let daemon = TestDaemon::start(
        "[route.\"/slow\"]\nfiles = { root = '/usr' }\nmax_in_flight = 1\n\
         [resource.notes]\naccept = [\"text/plain\"]\nmax_in_flight = 1\n",
    );
    let foreign = [
        ("sec-fetch-site", "cross-site"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("origin", "http://127.0.0.1.evil.example"),
        ("origin", "ftp://localhost:1"),
        ("sec-fetch-site", "unheard-of"),
    ];
    let own = format!("http://{}", daemon.public());
    let foreign = foreign.map(|header| vec![header]);
    let twice = [
        vec![("origin", own.as_str()), ("origin", "https://evil.example")],
        vec![("origin", "https://evil.example"), ("origin", own.as_str())],
        vec![
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-site", "cross-site"),
        ],
        vec![("sec-fetch-site", "cross-site"), ("sec-fetch-site", "none")],
    ];
    for headers in foreign.iter().chain(&twice) {
        for (method, path, kind) in [
            ("POST", "/books", "application/json"),
            ("POST", "/notes", "text/plain"),
            ("PUT", "/books/1", "application/json"),
            ("PATCH", "/books/1", "application/json"),
            ("DELETE", "/books/1", "application/json"),
            ("POST", "/slow/", "text/plain"),
        ] {
            let all = [&headers[..], &[("content-type", kind)]].concat();
            let code = ask(&daemon, method, path, &all).expect_problem(403);
            assert_eq!(code, "cross_site", "{method} {path} {headers:?}");
        }
        let import = "/records/books?import=01a210f2-6a46-7604-bfff-fffffffffffe&first=0";
        for path in ["/history/books/1?to=1", import] {
            let answer = client::send(daemon.admin(), "POST", path, headers, Some(b"{}"));
            assert_eq!(
                answer.expect_problem(403),
                "cross_site",
                "{path} {headers:?}"
            );
        }
        // Reading is for the browser to refuse.
        ask(&daemon, "GET", "/books", headers).expect(200);
    }
    assert_eq!(daemon.get("/books").json(), json!([]));
    assert_eq!(daemon.get("/notes").json(), json!([]));
}

#[test]
fn own_pages_and_clients_that_are_no_browsers_may_write() {
    let daemon = TestDaemon::start("");
    let own = format!("http://{}", daemon.public());
    let local = format!("http://localhost:{}", daemon.public().port());
    for headers in [
        &[][..],
        &[("origin", own.as_str())],
        &[("origin", local.as_str())],
        &[("sec-fetch-site", "same-origin"), ("origin", own.as_str())],
        &[("sec-fetch-site", "none")],
    ] {
        let headers = [&[JSON], headers].concat();
        ask(&daemon, "POST", "/books", &headers).expect(201);
    }
}

#[test]
fn the_admin_takes_no_orders_from_foreign_pages() {
    let daemon = TestDaemon::start("[chaos]\nenabled = true\n");
    let order = br#"{"child":"file-cache"}"#;
    let foreign = [("sec-fetch-site", "cross-site")];
    let sent = client::send(daemon.admin(), "POST", "/chaos", &foreign, Some(order));
    sent.expect_problem(403);
    let named = |host: &str| as_host(daemon.admin(), "/metrics", host);
    assert_eq!(named("evil.example").expect_problem(421), "misdirected");
    named("localhost").expect(200);
}

fn as_host(address: std::net::SocketAddr, path: &str, host: &str) -> Response {
    let mut client = Client::connect(address).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n");
    client.write(head.as_bytes()).unwrap();
    client.read_answer(false).unwrap()
}

#[test]
fn a_loopback_listener_answers_to_names_of_this_machine_and_configured_ones() {
    let mut daemon = TestDaemon::prepare("");
    let text = fs::read_to_string(daemon.config()).unwrap();
    let text = text.replace("[server]", "[server]\nhosts = [\"garden.example\"]");
    fs::write(daemon.config(), text).unwrap();
    daemon.spawn();
    daemon.wait_ready();
    let machine = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let port = daemon.public().port();
    for host in [
        "localhost".to_owned(),
        format!("LOCALHOST:{port}"),
        format!("app.localhost:{port}"),
        format!("127.0.0.1:{port}"),
        "127.1.2.3".to_owned(),
        "[::1]".to_owned(),
        machine.trim().to_owned(),
        "garden.example:80".to_owned(),
    ] {
        for path in ["/", "/books"] {
            as_host(daemon.public(), path, &host).expect(200);
        }
    }
    for host in [
        "evil.example",
        "evil.example:3000",
        "localhost.evil.example",
        "sub.garden.example",
        "192.0.2.1",
        "x",
    ] {
        for path in ["/", "/books", "/nothing"] {
            let refused = as_host(daemon.public(), path, host);
            assert_eq!(refused.expect_problem(421), "misdirected", "{host} {path}");
        }
    }
    let mut client = Client::connect(daemon.public()).unwrap();
    client
        .write(b"GET http://evil.example/ HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .unwrap();
    client.read_answer(false).unwrap().expect_problem(421);
    // A client of HTTP/1.0 need not say a name.
    let mut client = Client::connect(daemon.public()).unwrap();
    client.write(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    client.read_answer(false).unwrap().expect(200);
}

#[test]
fn no_request_changes_which_hosts_the_next_one_may_name() {
    let daemon = TestDaemon::start("");
    let accepted = [
        ("http://localhost/PATH HTTP/1.1", "host: evil.example\r\n"),
        ("http://127.0.0.1/PATH HTTP/1.1", "host: localhost\r\n"),
        ("/PATH HTTP/1.1", "host: localhost\r\n"),
        ("/PATH HTTP/1.0", "connection: keep-alive\r\n"),
    ];
    let refused = [
        ("/PATH HTTP/1.1", "host: evil.example\r\n"),
        ("http://evil.example/PATH HTTP/1.1", "host: localhost\r\n"),
        (
            "http://evil.example/PATH HTTP/1.1",
            "host: evil.example\r\n",
        ),
    ];
    for (address, path) in [(daemon.public(), ""), (daemon.admin(), "livez")] {
        // One connection is served by one thread, whose requests share what was accepted.
        let mut client = Client::connect(address).unwrap();
        let mut status = |(target, host): (&str, &str)| {
            let target = target.replace("PATH", path);
            let head = format!("GET {target}\r\n{host}\r\n");
            client.write(head.as_bytes()).unwrap();
            client.read_answer(false).unwrap().status
        };
        for before in accepted.iter().chain(&refused) {
            status(*before);
            for wrong in refused {
                assert_eq!(status(wrong), 421, "{wrong:?} after {before:?}");
            }
            for right in accepted {
                assert_eq!(status(right), 200, "{right:?} after {before:?}");
            }
        }
    }
}

#[test]
fn other_listeners_answer_to_every_name() {
    let mut daemon = TestDaemon::prepare("");
    let text = daemon::toml(daemon.folder(), "").replace("127.0.0.1:0\"]", "0.0.0.0:0\"]");
    let text = text.replace(
        "path = \"/books\"",
        "path = \"/books\"\naccess = \"public\"",
    );
    fs::write(daemon.config(), text).unwrap();
    daemon.spawn();
    daemon.wait_ready();
    let port = daemon.public().port();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    as_host(address, "/books", "site.example").expect(200);
    let foreign = [JSON, ("origin", "https://evil.example")];
    let refused = client::send(address, "POST", "/books", &foreign, Some(b"{}"));
    refused.expect_problem(403);
}
