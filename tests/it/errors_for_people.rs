//! Errors are pages for people and problem+json for programs; and conditions on files are kept.

use std::fs;

use crate::client;
use crate::daemon::{self, TestDaemon};

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

#[test]
fn an_error_is_a_page_for_who_prefers_html_and_problem_json_for_others() {
    let daemon = TestDaemon::start("");
    for (method, path, status) in [
        ("GET", "/nope", 404),
        ("GET", "/books/nope", 404),
        ("POST", "/", 405),
        ("GET", "/books?_page=x", 400),
        ("GET", "/%00", 400),
    ] {
        let ask =
            |accept: &str| client::send(daemon.public(), method, path, &[("accept", accept)], None);
        for accept in [
            BROWSER,
            "text/html, application/json;q=0.5",
            "text/html, */*",
        ] {
            let page = ask(accept).expect(status);
            let kind = page.header("content-type");
            assert_eq!(kind, Some("text/html; charset=utf-8"), "{path} {accept}");
            let text = page.text();
            let id = page.header("x-request-id").unwrap();
            assert!(
                text.starts_with("<!doctype html>") && text.contains(id),
                "{text}"
            );
            assert!(text.len() < 2000, "small");
        }
        for accept in [
            "*/*",
            "application/json",
            "application/json, text/plain, */*",
        ] {
            ask(accept).expect_problem(status);
        }
    }
    let head = client::send(
        daemon.public(),
        "HEAD",
        "/nope",
        &[("accept", BROWSER)],
        None,
    );
    assert_eq!(
        head.expect(404).header("content-type"),
        Some("text/html; charset=utf-8")
    );
}

#[test]
fn a_page_shows_what_a_client_sent_and_does_not_carry_it_out() {
    let daemon = TestDaemon::start("");
    let path = "/books?%3Cscript%3Ealert(1)%3C/script%3E=1&_page=0";
    let accept = [("accept", BROWSER)];
    let page = client::send(daemon.public(), "GET", path, &accept, None);
    assert!((400..500).contains(&page.status) || page.status == 200);
    assert!(!page.text().contains("<script"), "{}", page.text());
}

#[test]
fn an_error_page_of_a_route_is_for_clients_that_accept_html() {
    let daemon = start_with_pages();
    let ask = |accept: &str| {
        let headers = [("accept", accept)];
        client::send(daemon.public(), "GET", "/shop/nothing", &headers, None)
    };
    for accept in [BROWSER, "*/*", "text/html"] {
        assert_eq!(ask(accept).expect(404).text(), "<h1>lost</h1>", "{accept}");
    }
    for accept in [
        "application/json",
        "application/problem+json, text/html;q=0.2",
        "application/json, text/plain, */*",
        "image/png",
    ] {
        ask(accept).expect_problem(404);
    }
}

fn start_with_pages() -> TestDaemon {
    let mut daemon = TestDaemon::prepare("");
    let site = daemon.site("").display().to_string();
    let route = format!(
        "[route.\"/shop\"]\nfiles = {{ root = '{site}' }}\nerrors = {{ 404 = '/lost.html' }}\n"
    );
    fs::write(daemon.site("lost.html"), "<h1>lost</h1>").unwrap();
    fs::write(daemon.config(), daemon::toml(daemon.folder(), &route)).unwrap();
    daemon.spawn();
    daemon.wait_ready();
    daemon
}

#[test]
fn conditions_on_files_are_kept_in_their_order() {
    let daemon = TestDaemon::start("[file_cache]\nmax_file = '100 B'\n");
    fs::write(daemon.site("large.txt"), "x".repeat(200)).unwrap();
    let (early, late) = (
        "Thu, 01 Jan 1998 00:00:00 GMT",
        "Fri, 01 Jan 2100 00:00:00 GMT",
    );
    for path in ["/", "/large.txt"] {
        let etag = daemon
            .get(path)
            .expect(200)
            .header("etag")
            .unwrap()
            .to_owned();
        let etag = etag.as_str();
        let (im, inm) = ("if-match", "if-none-match");
        let (ims, ius) = ("if-modified-since", "if-unmodified-since");
        // The tag of a large file may be weak, and a weak one never matches strongly.
        let named = if etag.starts_with("W/") { 412 } else { 200 };
        for (headers, status) in [
            (&[(im, etag)][..], named),
            (&[(im, "*")], 200),
            (&[(im, "\"other\"")], 412),
            (&[(im, "\"other\""), (inm, etag)], 412),
            (&[(im, "*"), (ius, early)], 200),
            (&[(ius, early)], 412),
            (&[(ius, late)], 200),
            (&[(ius, early), (ims, late)], 412),
            (&[(inm, etag)], 304),
            (&[(inm, "\"other\""), (ims, late)], 200),
            (&[(ims, late)], 304),
            (&[(ims, late), (ims, late)], 200),
            (&[(ims, early)], 200),
        ] {
            for _ in 0..2 {
                let answer = client::send(daemon.public(), "GET", path, headers, None);
                let answer = answer.expect(status);
                assert_eq!(answer.header("etag"), Some(etag), "{path} {headers:?}");
            }
        }
        let failed = [(im, "\"other\"")];
        let failed = client::send(daemon.public(), "GET", path, &failed, None);
        assert_eq!(failed.expect_problem(412), "precondition_failed");
    }
    let absent = [("if-match", "\"other\"")];
    client::send(daemon.public(), "GET", "/nope", &absent, None).expect_problem(404);
}
