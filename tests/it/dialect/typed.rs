//! Resources with fields: all violations of a record are reported at once, each with its position.

use serde_json::{Value, json};

use super::*;

/// Pointer, code, detail.
type Violation<'a> = (&'a str, &'a str, &'a str);

#[track_caller]
fn assert_invalid(answer: &Response, instance: &str, violations: &[Violation<'_>]) {
    let mut errors = serde_json::Map::new();
    let mut list = Vec::new();
    for (pointer, code, detail) in violations {
        let field = pointer[1..].replace('/', ".").replace("~1", "/");
        errors.entry(field).or_insert_with(|| json!(detail));
        list.push(json!({"pointer": pointer, "code": code, "detail": detail}));
    }
    let (pointer, _, first) = violations[0];
    let detail = format!("{} {first}", pointer[1..].replace('/', "."));
    let more = json!({"errors": errors, "violations": list});
    assert_problem(answer, VALIDATION, instance, &detail, &more);
}

#[test]
fn all_violations_are_reported_at_once() {
    let daemon = TestDaemon::start(RESOURCES);
    let wrong = r#"{"titel": "x", "barcode": "12", "year": 3001, "price": 0.25, "on_sale": "no", "released": "today",
        "tags": ["a", 5, "c"], "artist": {"born": 1.5, "na/me": 1}}"#;
    // Violations are in the order of the record's members; then comes what is missing.
    let violations = [
        (
            "/titel",
            "unknown",
            "is not a field of this resource; did you mean title?",
        ),
        ("/barcode", "pattern", "must match ^[0-9]{3}$"),
        ("/year", "max", "must be at most 3000"),
        ("/price", "min", "must be at least 0.5"),
        ("/on_sale", "type", "must be true or false"),
        (
            "/released",
            "type",
            "must be a date and time such as 2026-11-24T16:00:00Z",
        ),
        ("/tags", "max_length", "must have at most 2 items"),
        ("/tags/1", "type", "must be a string"),
        ("/artist/born", "type", "must be a whole number"),
        (
            "/artist/na~1me",
            "unknown",
            "is not a field of this resource; did you mean name?",
        ),
        ("/artist/name", "required", "must be there"),
        ("/title", "required", "must be there"),
    ];
    let answer = ask(&daemon, "POST", "/albums", &[JSON], wrong);
    assert_invalid(&answer, "/albums", &violations);
    let right = json!({"title": "A", "barcode": "123", "year": 1.0, "price": 1, "released": "2026-11-24T16:00:00+01:00",
        "artist": {"name": "B"}});
    let (path, _) = make(&daemon, "/albums", &right);
    let answer = ask(&daemon, "PUT", &path, &[JSON], wrong);
    assert_invalid(&answer, &path, &violations);
    let mut expected = right.clone();
    expected["id"] = json!(path.strip_prefix("/albums/").unwrap());
    expected["on_sale"] = json!(false);
    expected["tags"] = json!([]);
    assert_eq!(
        daemon.get(&path).json(),
        expected,
        "the POST filled in the defaults, and the refused PUT changed nothing"
    );
}

#[test]
fn each_rule_is_checked_at_its_bounds() {
    let daemon = TestDaemon::start(RESOURCES);
    let long = format!("{{\"title\":\"{}\"}}", "\u{e4}".repeat(20));
    for right in [
        "{\"title\":\"x\",\"year\":0}",
        "{\"title\":\"x\",\"year\":3000,\"price\":0.5,\"tags\":[\"a\",\"b\"]}",
        "{\"title\":\"x\",\"year\":null,\"artist\":null,\"tags\":null}",
        &long,
    ] {
        ask(&daemon, "POST", "/albums", &[JSON], right).expect(201);
    }
    let too_long = format!("{{\"title\":\"{}\"}}", "\u{e4}".repeat(21));
    let cases: [(&str, Violation<'_>); 9] = [
        (
            "{\"title\":\"\"}",
            ("/title", "min_length", "must have at least 1 characters"),
        ),
        (
            &too_long,
            ("/title", "max_length", "must have at most 20 characters"),
        ),
        ("{\"title\":null}", ("/title", "required", "must be there")),
        ("{\"title\":5}", ("/title", "type", "must be a string")),
        (
            "{\"title\":\"x\",\"year\":-1}",
            ("/year", "min", "must be at least 0"),
        ),
        (
            "{\"title\":\"x\",\"year\":\"1\"}",
            ("/year", "type", "must be a whole number"),
        ),
        (
            "{\"title\":\"x\",\"year\":0.5}",
            ("/year", "type", "must be a whole number"),
        ),
        (
            "{\"title\":\"x\",\"tags\":{}}",
            ("/tags", "type", "must be an array"),
        ),
        (
            "{\"title\":\"x\",\"artist\":[]}",
            ("/artist", "type", "must be an object"),
        ),
    ];
    for (body, violation) in cases {
        let answer = ask(&daemon, "POST", "/albums", &[JSON], body);
        assert_invalid(&answer, "/albums", &[violation]);
    }
    // What is no number of 64 bits is refused before the rules are asked.
    let beyond = "{\"title\":\"x\",\"year\":99999999999999999999}";
    let answer = ask(&daemon, "POST", "/albums", &[JSON], beyond);
    assert_eq!(answer.expect_problem(422), "inexact_number");
}

#[test]
fn a_patched_record_is_checked_as_a_whole() {
    let daemon = TestDaemon::start(RESOURCES);
    let (path, etag) = make(&daemon, "/albums", &json!({"title": "A", "year": 1999}));
    let answer = ask(
        &daemon,
        "PATCH",
        &path,
        &[MERGE],
        "{\"title\":null,\"year\":-1}",
    );
    let violations = [
        ("/year", "min", "must be at least 0"),
        ("/title", "required", "must be there"),
    ];
    assert_invalid(&answer, &path, &violations);
    assert_eq!(daemon.get(&path).header("etag"), Some(etag.as_str()));
    let patched = ask(
        &daemon,
        "PATCH",
        &path,
        &[MERGE],
        "{\"year\":null,\"tags\":[\"x\"]}",
    );
    let patched = patched.expect(200).json();
    assert_eq!(
        (&patched["year"], &patched["tags"]),
        (&Value::Null, &json!(["x"]))
    );
}

#[test]
fn with_put_merge_a_partial_record_is_accepted() {
    let daemon = TestDaemon::start(RESOURCES);
    let (path, _) = make(&daemon, "/merged", &json!({"title": "A", "year": 1}));
    let id = path.strip_prefix("/merged/").unwrap();
    let put = ask(&daemon, "PUT", &path, &[JSON], "{\"year\":2}").expect(200);
    assert_eq!(put.json(), json!({"id": id, "title": "A", "year": 2}));
    let answer = ask(&daemon, "PUT", &path, &[JSON], "{\"title\":null}");
    assert_invalid(&answer, &path, &[("/title", "required", "must be there")]);
    let once = [JSON, ("if-none-match", "*")];
    let answer = ask(&daemon, "PUT", "/merged/new", &once, "{\"year\":2}");
    assert_invalid(
        &answer,
        "/merged/new",
        &[("/title", "required", "must be there")],
    );
    let made = ask(
        &daemon,
        "PUT",
        "/merged/new",
        &once,
        "{\"title\":\"B\",\"year\":null}",
    );
    assert_eq!(made.expect(201).json(), json!({"id": "new", "title": "B"}));
    let (album, _) = make(&daemon, "/albums", &json!({"title": "A", "year": 1}));
    let answer = ask(&daemon, "PUT", &album, &[JSON], "{\"year\":2}");
    assert_invalid(&answer, &album, &[("/title", "required", "must be there")]);
}
