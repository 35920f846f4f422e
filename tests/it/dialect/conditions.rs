//! Conditional requests: If-Match and If-None-Match, answered 304, 412 or 428.

use serde_json::{Value, json};

use super::*;

/// The tag of the same revision in another store.
fn another_stores(tag: &str) -> String {
    let (number, mark) = tag.split_once('-').unwrap();
    let first = if mark.starts_with('0') { '1' } else { '0' };
    format!("{number}-{first}{}", &mark[1..])
}

#[test]
fn a_change_is_made_only_to_the_etag_it_names() {
    let daemon = TestDaemon::start(RESOURCES);
    let (book, first) = make(&daemon, "/books", &json!({"n": 0}));
    let put = ask(
        &daemon,
        "PUT",
        &book,
        &[JSON, ("if-match", &first)],
        "{\"n\":1}",
    )
    .expect(200);
    let now = put.header("etag").unwrap().to_owned();
    let weak = format!("W/{now}");
    let foreign = another_stores(&now);
    let stale: [Head<'_>; 7] = [
        &[JSON, ("if-match", &first)],
        &[JSON, ("if-match", &weak)],
        &[JSON, ("if-match", "2")],
        &[JSON, ("if-match", "\"2\"")],
        &[JSON, ("if-match", &foreign)],
        &[JSON, ("if-none-match", "*")],
        &[JSON, ("if-none-match", &weak)],
    ];
    let detail = format!("the current ETag is {now}");
    for head in stale {
        for (method, body) in [("PUT", "{}"), ("PATCH", "{\"m\":1}"), ("DELETE", "")] {
            let answer = ask(&daemon, method, &book, head, body);
            assert_problem(&answer, PRECONDITION_FAILED, &book, &detail, &Value::Null);
            assert_eq!(
                answer.header("etag"),
                Some(now.as_str()),
                "{method} {head:?}"
            );
        }
    }
    let both = format!("{first}, {now}");
    let patched = ask(
        &daemon,
        "PATCH",
        &book,
        &[JSON, ("if-match", &both)],
        "{\"n\":2}",
    );
    let now = patched.expect(200).header("etag").unwrap().to_owned();
    ask(
        &daemon,
        "PATCH",
        &book,
        &[JSON, ("if-none-match", &first)],
        "{\"n\":3}",
    )
    .expect(200);
    let answer = ask(&daemon, "DELETE", &book, &[("if-match", &now)], "");
    assert_eq!(answer.status, 412);
    ask(&daemon, "DELETE", &book, &[("if-match", "*")], "").expect(200);
    let detail = "there is no record with this id";
    for (method, body) in [("PUT", "{}"), ("PATCH", "{}"), ("DELETE", "")] {
        let answer = ask(&daemon, method, &book, &[JSON, ("if-match", "*")], body);
        assert_problem(&answer, PRECONDITION_FAILED, &book, detail, &Value::Null);
        assert_eq!(answer.header("etag"), None, "a missing record has no ETag");
        let advice = "; to create it, send If-None-Match: *, or set upsert = true for the resource";
        let advice = if method == "PUT" { advice } else { "" };
        let absent = format!("{detail}{advice}");
        assert_refused(
            &daemon,
            &[(method, &book, &[JSON], body, NOT_FOUND, &absent)],
        );
    }
}

#[test]
fn a_reader_that_knows_the_etag_is_answered_304() {
    let daemon = TestDaemon::start(RESOURCES);
    let (book, etag) = make(&daemon, "/books", &json!({"n": 0}));
    let weak = format!("\"9\", W/{etag}");
    for known in [etag.as_str(), &weak, "*"] {
        let answer = ask(&daemon, "GET", &book, &[("if-none-match", known)], "").expect(304);
        assert!(answer.body.is_empty());
        assert_eq!(answer.header("etag"), Some(etag.as_str()));
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
        assert_eq!(answer.header("content-type"), None);
    }
    for other in ["\"9\"", "\"1\"", &another_stores(&etag), "x", ""] {
        ask(&daemon, "GET", &book, &[("if-none-match", other)], "").expect(200);
    }
    ask(&daemon, "GET", &book, &[("if-match", &etag)], "").expect(200);
    let answer = ask(&daemon, "GET", &book, &[("if-match", "\"9\"")], "");
    let detail = format!("the current ETag is {etag}");
    assert_problem(&answer, PRECONDITION_FAILED, &book, &detail, &Value::Null);

    let list = daemon.get("/books").expect(200);
    let listed = list.header("etag").unwrap();
    assert_eq!(listed, format!("W/{etag}"));
    let (weak, next) = (format!("\"0\", {listed}"), format!("W/{}", tag(2, &etag)));
    let foreign = another_stores(listed);
    for path in [
        "/books",
        "/books?n=0",
        "/books?_sort=-n",
        "/books?id=x&id=y",
        "/books?_end=0",
    ] {
        for known in [listed, &etag, "*", &weak] {
            let answer = ask(&daemon, "GET", path, &[("if-none-match", known)], "").expect(304);
            let header = |name| answer.header(name);
            assert_eq!(header("etag"), Some(listed), "{path}");
            assert_eq!(header("cache-control"), Some("no-cache"));
            assert_eq!(header("vary"), Some("Prefer"));
        }
        for other in [&next, &foreign, "W/\"1\""] {
            ask(&daemon, "GET", path, &[("if-none-match", other)], "").expect(200);
        }
    }
    ask(&daemon, "PATCH", &book, &[JSON], "{\"n\":1}").expect(200);
    let changed = ask(&daemon, "GET", "/books", &[("if-none-match", listed)], "").expect(200);
    assert_eq!(changed.header("etag"), Some(next.as_str()));
    // Another resource's writes do not change this one's list.
    make(&daemon, "/pens", &json!({}));
    ask(&daemon, "GET", "/books", &[("if-none-match", &next)], "").expect(304);
}

#[test]
fn a_put_creates_a_record_only_with_if_none_match_or_upsert() {
    let daemon = TestDaemon::start(RESOURCES);
    let detail = "there is no record with this id; to create it, send If-None-Match: *, or set upsert = true for the resource";
    assert_refused(
        &daemon,
        &[("PUT", "/books/a", &[JSON], "{}", NOT_FOUND, detail)],
    );
    let once = [JSON, ("if-none-match", "*")];
    let made = ask(&daemon, "PUT", "/books/a", &once, "{\"n\":1}").expect(201);
    assert_eq!(made.location(), Some("/books/a"));
    assert_eq!(made.json(), json!({"id": "a", "n": 1}));
    let etag = made.header("etag").unwrap();
    let again = ask(&daemon, "PUT", "/books/a", &once, "{\"n\":2}");
    let detail = format!("the current ETag is {etag}");
    assert_problem(
        &again,
        PRECONDITION_FAILED,
        "/books/a",
        &detail,
        &Value::Null,
    );
    assert_eq!(again.header("etag"), Some(etag));
    ask(&daemon, "PUT", "/pens/b", &[JSON], "{\"n\":1}").expect(201);
    ask(&daemon, "PUT", "/pens/b", &[JSON], "{\"n\":2}").expect(200);
    ask(&daemon, "PUT", "/pens/c", &[JSON, MINIMAL], "{}").expect(201);
    let detail = "there is no record with this id";
    assert_refused(
        &daemon,
        &[("PATCH", "/pens/d", &[JSON], "{}", NOT_FOUND, detail)],
    );
}

#[test]
fn with_if_match_required_a_change_without_it_is_answered_428() {
    let daemon = TestDaemon::start(RESOURCES);
    let (path, etag) = make(&daemon, "/strict", &json!({"n": 1}));
    let detail = "send If-Match with the ETag of the record that is to be changed";
    let other = ("if-none-match", "\"9\"");
    for (method, body) in [("PUT", "{}"), ("PATCH", "{}"), ("DELETE", "")] {
        assert_refused(
            &daemon,
            &[
                (method, &path, &[JSON], body, PRECONDITION_REQUIRED, detail),
                (
                    method,
                    &path,
                    &[JSON, other],
                    body,
                    PRECONDITION_REQUIRED,
                    detail,
                ),
                (
                    method,
                    "/strict/none",
                    &[JSON],
                    body,
                    PRECONDITION_REQUIRED,
                    detail,
                ),
            ],
        );
    }
    ask(
        &daemon,
        "PUT",
        &path,
        &[JSON, ("if-match", &etag)],
        "{\"n\":2}",
    )
    .expect(200);
    ask(
        &daemon,
        "PUT",
        "/strict/new",
        &[JSON, ("if-none-match", "*")],
        "{}",
    )
    .expect(201);
    ask(&daemon, "DELETE", &path, &[("if-match", "*")], "").expect(200);
}

#[test]
fn entity_tags_stay_through_a_restart_and_are_never_those_of_another_store() {
    let mut daemon = TestDaemon::start(RESOURCES);
    let (path, old) = make(&daemon, "/counted", &json!({"n": 0}));
    let stop = |daemon: &mut TestDaemon| {
        daemon.sigterm();
        daemon.wait_exit(std::time::Duration::from_secs(20));
    };
    stop(&mut daemon);
    daemon.restart();
    assert_eq!(daemon.get(&path).header("etag"), Some(old.as_str()));
    stop(&mut daemon);
    std::fs::remove_dir_all(daemon.folder().join("data")).unwrap();
    daemon.restart();
    let (same, new) = make(&daemon, "/counted", &json!({"n": 1}));
    assert_eq!(same, path);
    assert_ne!(old, new);
    ask(&daemon, "GET", &path, &[("if-none-match", &old)], "").expect(200);
    let list = format!("W/{old}");
    ask(&daemon, "GET", "/counted", &[("if-none-match", &list)], "").expect(200);
    let head = [JSON, ("if-match", old.as_str())];
    ask(&daemon, "PUT", &path, &head, "{}").expect_problem(412);
    let head = [JSON, ("if-match", new.as_str())];
    ask(&daemon, "PUT", &path, &head, "{}").expect(200);
}
