//! Methods: which are allowed, HEAD as a GET without its body, and the Accept header.

use serde_json::{Value, json};

use super::*;

const ITEM: &str = "GET, HEAD, PUT, PATCH, DELETE, OPTIONS";
const LIST: &str = "GET, HEAD, POST, PATCH, DELETE, OPTIONS";

#[test]
fn a_method_that_is_not_allowed_is_a_405_with_those_that_are() {
    let daemon = TestDaemon::start(RESOURCES);
    let (book, _) = make(&daemon, "/books", &json!({}));
    for (path, allow, not) in [
        ("/books", LIST, &["PUT", "TRACE", "PROPFIND", "QUERY"][..]),
        ("/books/", LIST, &["PUT"]),
        ("/pens", LIST, &["PUT"]),
        (&book, ITEM, &["POST", "TRACE", "LINK"]),
        ("/books/not-there", ITEM, &["POST"]),
        ("/books/not,an,id", ITEM, &["POST"]),
    ] {
        for method in not {
            // Whatever else is wrong with the request.
            let text = ("accept", "text/plain");
            for (query, head) in [("", &[JSON][..]), ("?_fields=a&_start=x", &[JSON, text])] {
                let url = format!("{path}{query}");
                let answer = ask(&daemon, method, &url, head, "{\"a\":1}");
                let detail = format!("allowed here: {allow}");
                assert_problem(&answer, NOT_ALLOWED, path, &detail, &Value::Null);
                assert_eq!(answer.header("allow"), Some(allow), "{method} {url}");
            }
        }
    }
}

#[test]
fn where_nothing_is_every_method_is_a_404_that_names_the_nearest_resource() {
    let daemon = TestDaemon::start(RESOURCES);
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
        for path in ["/boks", "/boks/1", "/boks/"] {
            let answer = ask(&daemon, method, path, &[JSON], "{}").expect(404).json();
            let detail = "there is nothing here; did you mean /books?";
            assert_eq!(answer["detail"], detail, "{method} {path}");
        }
        let answer = ask(&daemon, method, "/nothing-like-it", &[JSON], "{}");
        assert_eq!(answer.expect_problem(404), "not_found");
    }
    ask(&daemon, "OPTIONS", "/boks", &[], "").expect(204);
}

#[test]
fn a_slash_behind_the_path_of_a_record_means_nothing() {
    let daemon = TestDaemon::start(RESOURCES);
    let (book, etag) = make(&daemon, "/books", &json!({"title": "Dune"}));
    let same = format!("{book}/");
    assert_eq!(daemon.get(&same).expect(200).header("etag"), Some(&*etag));
    ask(&daemon, "PATCH", &same, &[JSON], "{\"a\":1}").expect(200);
    daemon.get(&format!("{book}/_history/")).expect(200);
    ask(&daemon, "DELETE", &same, &[], "").expect(200);
    daemon.get(&book).expect(404);
}

#[test]
fn options_lists_methods_and_media_types() {
    let daemon = TestDaemon::start(RESOURCES);
    let json = Some("application/json, application/x-ndjson");
    let plain = Some("application/json, text/plain, application/x-ndjson");
    let patch = Some("application/merge-patch+json, application/json-patch+json, application/json");
    let plain_patch = Some(
        "application/merge-patch+json, application/json-patch+json, application/json, text/plain",
    );
    for (path, allow, accept_post, accept_patch) in [
        ("/books", LIST, json, None),
        ("/pens", LIST, plain, None),
        ("/books/x", ITEM, None, patch),
        ("/pens/x", ITEM, None, plain_patch),
    ] {
        let answer = ask(&daemon, "OPTIONS", path, &[], "").expect(204);
        assert_eq!(answer.header("allow"), Some(allow), "{path}");
        assert_eq!(answer.header("accept-post"), accept_post, "{path}");
        assert_eq!(answer.header("accept-patch"), accept_patch, "{path}");
    }
}

#[test]
fn head_is_get_without_its_body() {
    let daemon = TestDaemon::start(RESOURCES);
    let (book, etag) = make(&daemon, "/books", &json!({"title": "Dune"}));
    let known = [("if-none-match", etag.as_str())];
    let list = format!("W/{etag}");
    let listed = [("if-none-match", list.as_str())];
    let cases: [(&str, Head<'_>, u16); 9] = [
        ("/books", &[], 200),
        ("/books?_page=1", &[], 200),
        ("/books?title=Dune&_sort=title", &[], 200),
        ("/books?_limit=x", &[], 400),
        ("/books", &listed, 304),
        (&book, &[], 200),
        (&book, &known, 304),
        (&book, &[("if-match", "\"9\"")], 412),
        ("/books/none", &[], 404),
    ];
    for (path, head, status) in cases {
        let get = ask(&daemon, "GET", path, head, "").expect(status);
        let answer = ask(&daemon, "HEAD", path, head, "").expect(status);
        assert!(answer.body.is_empty(), "{path}");
        let same = |answer: &Response| {
            let mut headers = answer.headers.clone();
            headers.retain(|(name, _)| !["date", "x-request-id"].contains(&name.as_str()));
            headers.sort();
            headers
        };
        assert_eq!(same(&answer), same(&get), "{path}");
    }
}

#[test]
fn a_client_that_does_not_accept_json_is_answered_406_before_any_change() {
    let daemon = TestDaemon::start(RESOURCES);
    let (book, etag) = make(&daemon, "/books", &json!({"title": "Dune"}));
    let detail =
        "this resource answers with application/json, which the request's Accept leaves out";
    let xml: (&str, &str) = ("accept", "application/xml, text/*");
    assert_refused(
        &daemon,
        &[
            ("GET", "/books", &[xml], "", NOT_ACCEPTABLE, detail),
            ("GET", &book, &[xml], "", NOT_ACCEPTABLE, detail),
            ("POST", "/books", &[xml, JSON], "{}", NOT_ACCEPTABLE, detail),
            ("PUT", &book, &[xml, JSON], "{}", NOT_ACCEPTABLE, detail),
            ("PATCH", &book, &[xml, JSON], "{}", NOT_ACCEPTABLE, detail),
            ("DELETE", &book, &[xml], "", NOT_ACCEPTABLE, detail),
        ],
    );
    let browser = [("accept", "text/html,application/xhtml+xml,*/*;q=0.8")];
    let read = ask(&daemon, "GET", &book, &browser, "").expect(200);
    assert_eq!(read.header("etag"), Some(etag.as_str()));
}
