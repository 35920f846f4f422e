//! Proxies that name the client of a connection before anything else (`server.proxy_protocol`).

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::access_log;
use crate::client::Client;
use crate::daemon::TestDaemon;
use crate::reload::reload;
use crate::tls;

const PROXIES: &str = "trusted_proxies = [\"127.0.0.1\"]\nproxy_protocol = true\n";
const TEXT: &[u8] = b"PROXY TCP4 203.0.113.7 127.0.0.1 5000 80\r\n";

/// A daemon with this in `[server]`.
fn with_server(more: &str, server: &str) -> TestDaemon {
    let daemon = tls::prepare(more);
    let text = fs::read_to_string(daemon.config()).unwrap();
    fs::write(
        daemon.config(),
        text.replacen("[server]\n", &format!("[server]\n{server}"), 1),
    )
    .unwrap();
    daemon
}

fn begun_with(daemon: &TestDaemon, header: &[u8]) -> Client {
    let mut client = Client::connect_with(daemon.public(), Duration::from_secs(5)).unwrap();
    client.write(header).unwrap();
    client
}

#[test]
fn the_client_that_a_proxy_names_is_logged_and_counted() {
    let rate = "[logging]\naccess = true\n[route.\"/few\"]\nrespond = { status = 200 }\nrate = { requests = 2, window = \"1h\" }\n";
    let mut daemon = with_server(rate, PROXIES);
    let logs = daemon.folder().join("logs");
    daemon.run_under(&[
        "env",
        &format!("PERENNIAL__LOGGING__FILE__DIR={}", logs.display()),
    ]);
    daemon.restart();
    let other =
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x08\x7f\x00\x00\x01\x13\x88\x00\x50";
    for (header, statuses) in [(TEXT, [200, 200, 429]), (&other[..], [200, 200, 429])] {
        let mut client = begun_with(&daemon, header);
        for status in statuses {
            client.get("/few").unwrap().expect(status);
        }
    }
    // A list of addresses behind it is read on from the client that the header names, which is not trusted.
    let mut client = begun_with(&daemon, b"PROXY TCP6 2001:db8::9 ::1 1 2\r\n");
    let forged = [("x-forwarded-for", "198.51.100.1")];
    client
        .send("GET", "/few", &forged, None)
        .unwrap()
        .expect(200);
    // A health check of the proxy itself names nobody.
    begun_with(&daemon, b"PROXY UNKNOWN\r\n")
        .get("/")
        .unwrap()
        .expect(200);
    access_log::stop(&mut daemon);
    let lines = access_log::lines(&logs);
    let count = |client: &serde_json::Value| {
        lines
            .iter()
            .filter(|line| line["client"] == *client)
            .count()
    };
    for (client, lines) in [
        (json!("203.0.113.7"), 3),
        (json!("203.0.113.8"), 3),
        (json!("2001:db8::9"), 1),
        (json!(null), 1),
        (json!("198.51.100.1"), 0),
    ] {
        assert_eq!(count(&client), lines, "{client}");
    }
}

#[test]
fn a_connection_of_a_proxy_without_a_header_is_closed_and_so_is_a_slow_one() {
    let mut daemon = with_server("[limits]\nheader_timeout = \"300ms\"\n", PROXIES);
    daemon.restart();
    for sent in [
        &b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"[..],
        b"PROXY TCP4 nonsense\r\n",
        b"PROXY TCP4 ",
        b"",
    ] {
        let mut client = begun_with(&daemon, sent);
        assert!(client.read_answer(false).is_err(), "{sent:?}");
    }
    daemon.wait_until("all are counted", |daemon| {
        daemon
            .metrics()
            .contains("perennial_http_proxy_headers_refused_total 4")
    });
    let mut client = begun_with(&daemon, TEXT);
    client.get("/").unwrap().expect(200);
}

#[test]
fn a_header_comes_before_the_handshake_of_tls_and_a_reload_asks_for_it() {
    let mut daemon = with_server("", "");
    daemon.restart();
    begun_with(&daemon, b"").get("/").unwrap().expect(200);
    let text = fs::read_to_string(daemon.config()).unwrap();
    fs::write(
        daemon.config(),
        text.replacen("[server]\n", &format!("[server]\n{PROXIES}"), 1),
    )
    .unwrap();
    reload(&daemon, "").expect(200);
    let config = Arc::new(tls::config(&daemon, &["cert.pem"]));
    let mut client = Client::connect_tls_behind(daemon.tls(), &config, TEXT).unwrap();
    client.get("/").unwrap().expect(200);
    let mut client = Client::connect_tls(daemon.tls(), &config).unwrap();
    assert!(client.get("/").is_err());
}
