//! Request bodies: which are refused and how, and what is answered to those that are accepted.

use serde_json::{Value, json};

use super::*;

#[test]
fn a_body_that_is_not_a_json_object_is_refused_with_the_position_of_the_error() {
    let daemon = TestDaemon::start(RESOURCES);
    let (path, _) = make(&daemon, "/books", &json!({"title": "Dune"}));
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
    let cases = [
        (
            "{",
            INVALID_JSON,
            "not valid JSON at line 1, column 1: EOF while parsing an object",
        ),
        (
            "nul",
            INVALID_JSON,
            "not valid JSON at line 1, column 3: EOF while parsing a value",
        ),
        (
            "{\"a\":\n1,}",
            INVALID_JSON,
            "not valid JSON at line 2, column 3: trailing comma",
        ),
        (
            "{\"a\":1} x",
            INVALID_JSON,
            "not valid JSON at line 1, column 9: trailing characters",
        ),
        (
            "{a:1}",
            INVALID_JSON,
            "not valid JSON at line 1, column 2: key must be a string",
        ),
        (
            "{\"a\":01}",
            INVALID_JSON,
            "not valid JSON at line 1, column 7: invalid number",
        ),
        (
            "{\"a\":NaN}",
            INVALID_JSON,
            "not valid JSON at line 1, column 6: expected value",
        ),
        (
            "{\"a\":\"\\ud800\"}",
            INVALID_JSON,
            "not valid JSON at line 1, column 13: unexpected end of hex escape",
        ),
        (
            "{\"a\":1,\"a\":1}",
            INVALID_JSON,
            "not valid JSON at line 1, column 10: \"a\" is there twice",
        ),
        (
            "{\"a\":[{\"b\":1,\"\\u0062\":2}]}",
            INVALID_JSON,
            "not valid JSON at line 1, column 21: \"b\" is there twice",
        ),
        (
            &deep,
            INVALID_JSON,
            "not valid JSON at line 1, column 132: recursion limit exceeded",
        ),
        (
            "[]",
            NOT_AN_OBJECT,
            "a record must be a JSON object, this is an array",
        ),
        (
            "[{\"title\":\"Dune\"}]",
            NOT_AN_OBJECT,
            "a record must be a JSON object, this is an array",
        ),
        (
            "null",
            NOT_AN_OBJECT,
            "a record must be a JSON object, this is null",
        ),
        (
            "true",
            NOT_AN_OBJECT,
            "a record must be a JSON object, this is a boolean",
        ),
        (
            "5",
            NOT_AN_OBJECT,
            "a record must be a JSON object, this is a number",
        ),
        (
            "\"x\"",
            NOT_AN_OBJECT,
            "a record must be a JSON object, this is a string",
        ),
    ];
    let places: [(&str, &str, Head<'_>); 5] = [
        ("POST", "/books", &[JSON]),
        ("POST", "/pens", &[TEXT]),
        ("PUT", &path, &[JSON]),
        ("PATCH", &path, &[MERGE]),
        ("DELETE", "/pens", &[JSON]),
    ];
    for (method, path, head) in places {
        for (body, kind, detail) in &cases {
            // A POST of an array makes several records.
            if method == "POST" && body.starts_with('[') {
                continue;
            }
            let detail = if method == "PATCH" && body.starts_with('[') {
                "a merge patch is an object; send operations as application/json-patch+json"
            } else {
                detail
            };
            assert_refused(&daemon, &[(method, path, head, body, *kind, detail)]);
        }
    }
    let empty = client::send(daemon.public(), "POST", "/books", &[JSON], Some(b""));
    assert_problem(
        &empty,
        INVALID_JSON,
        "/books",
        "the body is empty",
        &Value::Null,
    );
    let latin: &[u8] = b"{\"a\":\"\xe4\"}";
    let latin = client::send(daemon.public(), "POST", "/books", &[JSON], Some(latin));
    let detail = "not valid JSON at line 1, column 7: invalid unicode code point";
    assert_problem(&latin, INVALID_JSON, "/books", detail, &Value::Null);
    assert_eq!(listed(&daemon, "/books", "title"), ["Dune"]);
}

#[test]
fn a_body_of_an_unsupported_media_type_is_refused_with_the_supported_ones() {
    let daemon = TestDaemon::start(RESOURCES);
    let (book, _) = make(&daemon, "/books", &json!({"title": "Dune"}));
    let json = "application/json";
    let post = "application/json, application/x-ndjson";
    let both = "application/json, text/plain";
    let pens = "application/json, text/plain, application/x-ndjson";
    let patches = "application/merge-patch+json, application/json-patch+json, application/json";
    for (method, path, kind, header, accepted) in [
        ("POST", "/books", "text/plain", "accept-post", post),
        ("POST", "/books", "", "accept-post", post),
        (
            "POST",
            "/books",
            "application/merge-patch+json",
            "accept-post",
            post,
        ),
        (
            "POST",
            "/books",
            "application/x-www-form-urlencoded",
            "accept-post",
            post,
        ),
        ("POST", "/pens", "text/html", "accept-post", pens),
        ("PUT", &book, "text/plain", "accept", json),
        ("PUT", &book, "application/merge-patch+json", "accept", json),
        ("PATCH", &book, "text/plain", "accept-patch", patches),
        ("DELETE", "/pens", "text/html", "accept", both),
    ] {
        let head = [("content-type", kind)];
        let head = if kind.is_empty() { &head[..0] } else { &head };
        let answer = ask(&daemon, method, path, head, "{\"a\":1}");
        let sent = if kind.is_empty() {
            "the request has no Content-Type".to_owned()
        } else {
            format!("the Content-Type is {kind}")
        };
        let detail = format!("{sent}; send {accepted}");
        assert_problem(&answer, UNSUPPORTED, path, &detail, &Value::Null);
        assert_eq!(answer.header(header), Some(accepted), "{method} {path}");
        assert!(answer.keep_alive);
    }
}

#[test]
fn a_body_that_is_packed_or_in_another_encoding_is_refused_as_such() {
    let daemon = TestDaemon::start(RESOURCES);
    let (book, _) = make(&daemon, "/books", &json!({"title": "Dune"}));
    let wide = ("content-type", "application/json; charset=utf-16");
    let gzip = ("content-encoding", "gzip");
    let coded = "the body is encoded with gzip; send it as it is";
    let encoded = "JSON must be UTF-8, but the Content-Type says utf-16";
    for (method, path) in [
        ("POST", "/books"),
        ("PUT", &book),
        ("PATCH", &book),
        ("DELETE", "/pens"),
        ("POST", "/_batch"),
    ] {
        assert_refused(
            &daemon,
            &[(method, path, &[wide], "{}", UNSUPPORTED, encoded)],
        );
        let answer = ask(&daemon, method, path, &[JSON, gzip], "{}");
        assert_problem(&answer, UNSUPPORTED, path, coded, &Value::Null);
        assert_eq!(answer.header("accept-encoding"), Some("identity"));
    }
    let plain = ("content-encoding", "Identity");
    ask(&daemon, "PATCH", &book, &[JSON, plain], "{}").expect(200);
    for (path, body) in [
        ("/books", "\u{feff}{\"title\":\"Emma\"}"),
        ("/books", "\u{feff}[{\"title\":\"Sula\"}]"),
        ("/_batch", "\u{feff}{\"ops\":[]}"),
    ] {
        let made = ask(&daemon, "POST", path, &[JSON], body);
        assert!([200, 201].contains(&made.status), "{}", made.text());
    }
    assert_eq!(listed(&daemon, "/books", "title"), ["Dune", "Emma", "Sula"]);
}

#[test]
fn a_body_of_two_mebibytes_is_answered_413_for_every_method() {
    let daemon = TestDaemon::start(RESOURCES);
    let (book, _) = make(&daemon, "/books", &json!({"title": "Dune"}));
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(2 << 20));
    for (method, path, kind) in [
        ("POST", "/books", JSON),
        ("PUT", book.as_str(), JSON),
        ("PATCH", &book, MERGE),
        ("DELETE", "/pens", JSON),
    ] {
        let answer = ask(&daemon, method, path, &[kind], &large);
        let detail = "a body may have 1048576 bytes";
        assert_problem(&answer, TOO_LARGE, path, detail, &Value::Null);
    }
    let fits = format!("{{\"a\":\"{}\"}}", "x".repeat((1 << 20) - 8));
    assert_eq!(fits.len(), 1 << 20);
    ask(&daemon, "POST", "/books", &[JSON], &fits).expect(201);
}

#[test]
fn a_patch_may_not_make_a_record_longer_than_the_limit() {
    let daemon = TestDaemon::start("[limits]\nbody = \"4 KiB\"\n");
    let filling = |member: &str, length: usize| json!({ member: "x".repeat(length) }).to_string();
    let (book, _) = make(&daemon, "/books", &json!({"a": "x".repeat(3000)}));
    let answer = ask(&daemon, "PATCH", &book, &[MERGE], &filling("b", 3000));
    let detail = "the record would have more than 4096 bytes";
    assert_problem(&answer, TOO_LARGE, &book, detail, &Value::Null);
    assert_eq!(daemon.get(&book).json().as_object().unwrap().len(), 2);
    ask(&daemon, "PATCH", &book, &[MERGE], &filling("b", 900)).expect(200);
    ask(&daemon, "PATCH", &book, &[MERGE], "{\"a\":null}").expect(200);
}

#[test]
fn a_write_is_answered_with_the_record_or_with_prefer_minimal_without() {
    let daemon = TestDaemon::start(RESOURCES);
    let made = ask(
        &daemon,
        "POST",
        "/books",
        &[JSON],
        "{\"title\": \"Dune\", \"n\": 1.0}",
    );
    let made = made.expect(201);
    let path = made.location().unwrap().to_owned();
    let id = path.strip_prefix("/books/").unwrap();
    assert_eq!(
        made.text(),
        format!("{{\"id\":\"{id}\",\"title\":\"Dune\",\"n\":1.0}}")
    );
    assert_eq!(made.header("content-type"), Some("application/json"));
    let first = made.header("etag").unwrap().to_owned();
    let tag = |number| Some(tag(number, &first));
    let etag = |answer: &Response| answer.header("etag").map(str::to_owned);
    assert_eq!(etag(&made), tag(1));
    let read = daemon.get(&path).expect(200);
    assert_eq!((read.text(), etag(&read)), (made.text(), tag(1)));
    assert_eq!(read.header("cache-control"), Some("no-cache"));

    let put = ask(&daemon, "PUT", &path, &[JSON], "{\"b\":{\"c\":1,\"d\":2}}").expect(200);
    assert_eq!(
        put.text(),
        format!("{{\"id\":\"{id}\",\"b\":{{\"c\":1,\"d\":2}}}}")
    );
    assert_eq!((etag(&put), put.location()), (tag(2), None));
    let changes = "{\"b\":{\"c\":null,\"e\":[1]},\"f\":{\"g\":null}}";
    let patched = ask(&daemon, "PATCH", &path, &[MERGE], changes).expect(200);
    let text = format!("{{\"id\":\"{id}\",\"b\":{{\"d\":2,\"e\":[1]}},\"f\":{{}}}}");
    assert_eq!((patched.text(), etag(&patched)), (text.clone(), tag(3)));
    let deleted = ask(&daemon, "DELETE", &path, &[TEXT], "").expect(200);
    assert_eq!((deleted.text(), deleted.header("etag")), (text, None));

    let made = ask(&daemon, "POST", "/books", &[JSON, MINIMAL], "{}").expect(201);
    let path = made.location().unwrap().to_owned();
    let minimal = |answer: &Response| {
        let applied = answer.header("preference-applied") == Some("return=minimal");
        applied && answer.body.is_empty() && answer.header("content-type").is_none()
    };
    assert!(minimal(&made) && etag(&made) == tag(5));
    for (method, kind, expected) in [
        ("PUT", JSON, tag(6)),
        ("PATCH", MERGE, tag(7)),
        ("DELETE", JSON, None),
    ] {
        let body = if method == "DELETE" { "" } else { "{\"a\":1}" };
        let answer = ask(&daemon, method, &path, &[kind, MINIMAL], body).expect(204);
        assert!(minimal(&answer), "{method} {answer:?}");
        assert_eq!(etag(&answer), expected, "{method}");
        assert_eq!(answer.header("content-length"), None, "{method}");
    }
}
