//! Lists that are asked for again: answers that are kept are those that a look at the records would give.

use serde_json::json;

use super::*;
use crate::client::Client;
use crate::daemon::metric;
use crate::reload::{reload, rewrite};

/// The head of a list that depends on its records, and its records.
fn head_and_body(list: &Response) -> (Vec<Option<&str>>, String) {
    let names = ["etag", "x-total-count", "content-range", "vary"];
    let head = names.map(|name| list.header(name)).to_vec();
    (head, list.text())
}

/// How many lists were answered from memory.
fn again(daemon: &TestDaemon) -> f64 {
    metric(&daemon.metrics(), "perennial_http_lists_again_total", "").unwrap()
}

#[test]
fn a_list_that_is_asked_for_again_is_the_one_that_is_read() {
    let daemon = TestDaemon::start(RESOURCES);
    let queries = [
        "",
        "n=1",
        "n_gte=1&_sort=-n,id",
        "_page=2&_limit=3",
        "_page=1&_limit=100",
        "_limit=2&_after=",
        "range=[1,3]",
        "_fields=n&_meta=true",
        "q=x",
    ];
    let mut random = fastrand::Rng::with_seed(7);
    let mut number = 0;
    for step in 0..400 {
        let id = format!("b{}", random.u32(0..12));
        let path = format!("/books/{id}");
        match random.u32(0..8) {
            0 => {
                let record = json!({"id": id, "n": random.u32(0..3), "title": "x"});
                daemon.post("/books", &record);
            }
            1 => {
                let change = format!(r#"{{"n":{}}}"#, random.u32(0..3));
                ask(&daemon, "PATCH", &path, &[MERGE], &change);
            }
            2 => {
                ask(&daemon, "DELETE", &path, &[], "");
            }
            _ => {}
        }
        let query = queries[random.usize(..queries.len())];
        let path = format!("/books?{query}");
        number += 1;
        let read = format!("{path}&_={number}").replace("?&", "?");
        let (read, first, second) = (daemon.get(&read), daemon.get(&path), daemon.get(&path));
        let wanted = head_and_body(&read);
        assert_eq!(head_and_body(&first), wanted, "step {step}, {query}");
        assert_eq!(head_and_body(&second), wanted, "step {step}, {query}");
        assert_eq!(first.header("link"), second.header("link"), "{query}");
    }
    let again = again(&daemon);
    assert!(again >= 400.0, "{again} lists were answered from memory");
}

#[test]
fn an_answer_that_is_given_again_follows_the_head_of_its_request() {
    let daemon = TestDaemon::start(RESOURCES);
    for n in 0..4 {
        make(&daemon, "/books", &json!({"n": n}));
    }
    let path = "/books?_page=1&_limit=3";
    let list = daemon.get(path).expect(200);
    let etag = list.header("etag").unwrap();
    let before = again(&daemon);
    let same = ask(&daemon, "GET", path, &[("if-none-match", etag)], "").expect(304);
    assert_eq!(same.text(), "");
    assert_eq!(same.header("x-total-count"), Some("4"));
    let head = ask(&daemon, "HEAD", path, &[], "").expect(200);
    assert_eq!(head_and_body(&head).0, head_and_body(&list).0);
    assert_eq!(
        (head.header("link"), head.text().as_str()),
        (list.header("link"), "")
    );
    ask(&daemon, "GET", path, &[("if-match", "\"other\"")], "").expect(412);
    ask(&daemon, "GET", path, &[("accept", "text/html")], "").expect(406);
    assert!((again(&daemon) - before - 2.0).abs() < 0.1);
    // Other heads that make another answer are other lists.
    for _ in 0..2 {
        let secure = [("x-forwarded-proto", "https")];
        let links = ask(&daemon, "GET", path, &secure, "");
        assert!(links.header("link").unwrap().starts_with("<https://"));
        let lenient = [("prefer", "handling=lenient")];
        let list = ask(&daemon, "GET", path, &lenient, "");
        assert_eq!(list.header("preference-applied"), Some("handling=lenient"));
        assert_eq!(daemon.get(path).header("preference-applied"), None);
    }
}

#[test]
fn a_list_that_waits_for_its_turn_is_answered_again_too() {
    let daemon = TestDaemon::start("[resource.films]\nmax_in_flight = 1\n");
    make(&daemon, "/films", &json!({"n": 1}));
    let first = daemon.get("/films").expect(200);
    let second = daemon.get("/films").expect(200);
    assert_eq!(head_and_body(&second), head_and_body(&first));
    assert!((again(&daemon) - 1.0).abs() < 0.1);
}

const RELATED: &str = "
[resource.books.fields]
title = { type = 'string' }
[resource.reviews.fields]
book = { type = 'ref', to = 'books' }
";

#[test]
fn a_list_with_records_of_others_changes_with_them() {
    let daemon = TestDaemon::start(RELATED);
    make(&daemon, "/books", &json!({"id": "a", "title": "Dune"}));
    let reviews = || {
        let list = daemon.get("/books?_embed=reviews").expect(200).json();
        list[0]["reviews"].as_array().unwrap().len()
    };
    assert_eq!(reviews(), 0);
    assert_eq!(reviews(), 0);
    make(&daemon, "/reviews", &json!({"book": "a"}));
    assert_eq!(reviews(), 1);
}

#[test]
fn the_list_of_a_resource_that_a_reload_adds_is_counted() {
    let daemon = TestDaemon::start("");
    rewrite(&daemon, "[resource.fresh]\n");
    reload(&daemon, "").expect(200);
    let mut client = Client::connect(daemon.public()).unwrap();
    // The daemon asks for this list itself before the resource is in force, by no name.
    client
        .write(b"GET /fresh?_limit=1 HTTP/1.0\r\n\r\n")
        .unwrap();
    let list = client.read_answer(false).unwrap().expect(200);
    assert_eq!(list.header("x-total-count"), Some("0"));
}

#[test]
fn a_reload_ends_what_was_kept_and_may_keep_nothing() {
    let daemon = TestDaemon::start(RESOURCES);
    for n in 0..4 {
        make(&daemon, "/books", &json!({"n": n}));
    }
    let list = |records: usize| {
        let list = daemon.get("/books").expect(200).json();
        assert_eq!(list.as_array().unwrap().len(), records);
    };
    list(4);
    list(4);
    let limits = |limits: &str| {
        rewrite(&daemon, &format!("{RESOURCES}\n[limits]\n{limits}\n"));
        reload(&daemon, "").expect(200);
    };
    limits("list_records = 3");
    list(3);
    list(3);
    limits("kept_lists = '0 B'");
    let kept = again(&daemon);
    list(4);
    list(4);
    assert!((again(&daemon) - kept).abs() < 0.1);
}
