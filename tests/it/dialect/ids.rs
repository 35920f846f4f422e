//! Ids: UUIDs, counted ids and ids from clients, in paths and in bodies.

use serde_json::{Value, json};

use super::*;

#[test]
fn the_server_gives_an_id_unless_the_client_does() {
    let daemon = TestDaemon::start(RESOURCES);
    let (path, _) = make(&daemon, "/books", &json!({}));
    let id = path.strip_prefix("/books/").unwrap();
    assert!(
        id.len() == 36 && id.as_bytes()[14] == b'7',
        "a UUID of version 7: {id}"
    );
    let (path, _) = make(&daemon, "/books", &json!({"id": "dune-1.5_~X"}));
    assert_eq!(path, "/books/dune-1.5_~X");
    let long = "x".repeat(129);
    let long = format!("{{\"id\":\"{long}\"}}");
    let type_ = "the id must be a string; a resource with id = \"sequence\" takes numbers, too";
    let reserved = "an id must not begin with _ or .";
    let character = "an id consists of letters, digits, - . _ and ~";
    let duplicate = "a record with the id dune-1.5_~X exists already";
    assert_refused(
        &daemon,
        &[
            ("POST", "/books", &[JSON], "{\"id\":5}", INVALID_ID, type_),
            (
                "POST",
                "/books",
                &[JSON],
                "{\"id\":\"_x\"}",
                INVALID_ID,
                reserved,
            ),
            (
                "POST",
                "/books",
                &[JSON],
                "{\"id\":\"..\"}",
                INVALID_ID,
                reserved,
            ),
            (
                "POST",
                "/books",
                &[JSON],
                "{\"id\":\"a/b\"}",
                INVALID_ID,
                character,
            ),
            (
                "POST",
                "/books",
                &[JSON],
                "{\"id\":\"\u{e4}\"}",
                INVALID_ID,
                character,
            ),
            (
                "POST",
                "/books",
                &[JSON],
                &long,
                INVALID_ID,
                "an id has at most 128 bytes",
            ),
            (
                "POST",
                "/books",
                &[JSON],
                "{\"id\":\"dune-1.5_~X\"}",
                DUPLICATE_ID,
                duplicate,
            ),
        ],
    );
}

#[test]
fn an_id_in_the_body_that_differs_from_the_path_is_a_conflict() {
    let daemon = TestDaemon::start(RESOURCES);
    make(&daemon, "/books", &json!({"id": "a", "n": 1}));
    let detail = "the path names a, the body b";
    let type_ = "the id must be a string; a resource with id = \"sequence\" takes numbers, too";
    for (method, kind) in [("PUT", JSON), ("PATCH", MERGE)] {
        assert_refused(
            &daemon,
            &[
                (
                    method,
                    "/books/a",
                    &[kind],
                    "{\"id\":\"b\"}",
                    ID_MISMATCH,
                    detail,
                ),
                (method, "/books/a", &[kind], "{\"id\":7}", INVALID_ID, type_),
            ],
        );
        let answer = ask(
            &daemon,
            method,
            "/books/a",
            &[kind],
            "{\"n\":2,\"id\":\"a\"}",
        );
        assert_eq!(answer.expect(200).text(), "{\"id\":\"a\",\"n\":2}");
    }
}

#[test]
fn an_invalid_id_in_a_path_is_a_404() {
    let daemon = TestDaemon::start(RESOURCES);
    let detail = "/books has no record with this id";
    let long = format!("/books/{}", "x".repeat(129));
    for path in [
        "/books/none",
        "/books/_x",
        "/books/a%20b",
        "/books/..%2f",
        &long,
    ] {
        for (method, body) in [("GET", ""), ("PUT", "{}"), ("PATCH", "{}"), ("DELETE", "")] {
            let found = match (path, method) {
                ("/books/none", "PUT") => {
                    "there is no record with this id; to create it, send If-None-Match: *, or set upsert = true for the resource"
                }
                ("/books/none", "PATCH" | "DELETE") => "there is no record with this id",
                _ => detail,
            };
            assert_refused(&daemon, &[(method, path, &[JSON], body, NOT_FOUND, found)]);
        }
    }
}

#[test]
fn counted_ids_have_no_gaps() {
    let daemon = TestDaemon::start(RESOURCES);
    for number in 1..=3 {
        let made = ask(&daemon, "POST", "/counted", &[JSON], "{\"a\":1}").expect(201);
        assert_eq!(made.json(), json!({"id": number, "a": 1}));
        assert_eq!(made.location().unwrap(), format!("/counted/{number}"));
        ask(&daemon, "POST", "/counted", &[JSON], "{").expect(400);
    }
    let detail = "there is no record with this id";
    let once = ("if-none-match", "*");
    for path in [
        "/counted/9007199254740991",
        "/counted/9",
        "/counted/x",
        "/counted/02",
    ] {
        assert_refused(
            &daemon,
            &[
                ("PUT", path, &[JSON], "{}", NOT_FOUND, detail),
                ("PUT", path, &[JSON, once], "{}", NOT_FOUND, detail),
            ],
        );
    }
    ask(&daemon, "DELETE", "/counted/3", &[], "").expect(200);
    let put = ask(&daemon, "PUT", "/counted/2", &[JSON], "{\"id\":2,\"b\":1}").expect(200);
    assert_eq!(put.json(), json!({"id": 2, "b": 1}));
    let made = daemon.post("/counted", &json!({})).expect(201);
    assert_eq!(
        made.json()["id"],
        4,
        "the number of a deleted record is not given again"
    );
    assert_eq!(
        listed(&daemon, "/counted?id=4&id=2&id=02&id=x", "id"),
        [2, 4]
    );
}

#[test]
fn a_client_may_choose_a_counted_id_and_the_counter_goes_past_it() {
    let mut daemon = TestDaemon::start(RESOURCES);
    let made = |daemon: &TestDaemon, body: &str| {
        let answer = ask(daemon, "POST", "/counted", &[JSON], body).expect(201);
        let id = answer.json()["id"].clone();
        let path = format!("/counted/{}", id.as_str().unwrap_or(&id.to_string()));
        assert_eq!(answer.location(), Some(path.as_str()));
        assert_eq!(daemon.get(&path).expect(200).text(), answer.text());
        id
    };
    assert_eq!(made(&daemon, "{}"), 1);
    assert_eq!(made(&daemon, r#"{"id":7}"#), 7);
    assert_eq!(made(&daemon, "{}"), 8);
    assert_eq!(made(&daemon, r#"{"id":"20"}"#), 20, "a number as text");
    assert_eq!(made(&daemon, r#"{"id":4}"#), 4, "a gap");
    assert_eq!(made(&daemon, r#"{"id":0}"#), 0);
    assert_eq!(made(&daemon, r#"{"id":"dune"}"#), "dune");
    assert_eq!(made(&daemon, r#"{"id":"007"}"#), "007", "no number");
    daemon.kill9();
    daemon.restart();
    assert_eq!(made(&daemon, "{}"), 21);
    let number = "the id must be a string or a whole number from 0 to 9007199254740991";
    for (body, kind, detail) in [
        (
            r#"{"id":7}"#,
            DUPLICATE_ID,
            "a record with the id 7 exists already",
        ),
        (r#"{"id":1.5}"#, INVALID_ID, number),
        (r#"{"id":-1}"#, INVALID_ID, number),
        (r#"{"id":9007199254740992}"#, INVALID_ID, number),
        (r#"{"id":[7]}"#, INVALID_ID, number),
    ] {
        assert_refused(
            &daemon,
            &[("POST", "/counted", &[JSON], body, kind, detail)],
        );
    }
    no_client_uses_up_the_numbers(&daemon);
    assert_eq!(made(&daemon, r#"{"id":22}"#), 22);
    assert_eq!(made(&daemon, r#"{"id":23.0}"#), 23);
    for method in ["PUT", "PATCH"] {
        let same = ask(&daemon, method, "/counted/23", &[JSON], r#"{"id":23.0}"#);
        assert_eq!(same.expect(200).json()["id"], 23, "{method}");
    }
}

/// Asks for ids at the bound, and above it.
fn no_client_uses_up_the_numbers(daemon: &TestDaemon) {
    let large = "must be at most 9006099743113215: larger numbers are only given by the server; choose a smaller one, or leave the id out";
    let more = json!({
        "errors": {"id": large},
        "violations": [{"pointer": "/id", "code": "max", "detail": large}],
    });
    for body in [
        r#"{"id":9006099743113216}"#,
        r#"{"id":9007199254740991}"#,
        r#"{"id":"9007199254740991"}"#,
    ] {
        let answer = ask(daemon, "POST", "/counted", &[JSON], body);
        let told = format!("id {large}");
        assert_problem(&answer, VALIDATION, "/counted", &told, &more);
        let batch = format!(
            r#"{{"mode":"atomic","ops":[{{"method":"POST","path":"/counted","body":{body}}}]}}"#
        );
        for (path, body) in [("/counted", format!("[{body}]")), ("/_batch", batch)] {
            let answer = ask(daemon, "POST", path, &[JSON], &body);
            assert_eq!(answer.status, 422, "{path}");
            assert!(answer.text().contains(large), "{path}: {}", answer.text());
        }
    }
    let largest = 9_006_099_743_113_215_u64;
    let chosen = json!({ "id": largest });
    assert_eq!(daemon.post("/counted", &chosen).expect(201).json(), chosen);
    let next = daemon.post("/counted", &json!({})).expect(201).json();
    assert_eq!(next["id"], largest + 1);
    let path = format!("/counted/{}", largest + 1);
    let put = json!({"id": largest + 1, "a": 1});
    let put_there = ask(daemon, "PUT", &path, &[JSON], &put.to_string()).expect(200);
    assert_eq!(put_there.json(), put);
}

#[test]
fn a_null_or_empty_id_of_a_new_record_is_none() {
    let daemon = TestDaemon::start(RESOURCES);
    for body in [r#"{"id":null,"a":1}"#, r#"{"id":"","a":1}"#] {
        let made = ask(&daemon, "POST", "/books", &[JSON], body)
            .expect(201)
            .json();
        assert_eq!(made["id"].as_str().unwrap().len(), 36);
        let made = ask(&daemon, "POST", "/counted", &[JSON], body)
            .expect(201)
            .json();
        assert!(made["id"].is_u64(), "{made}");
        ask(&daemon, "POST", "/named", &[JSON], body).expect_problem(422);
    }
}

#[test]
fn with_client_ids_a_record_without_an_id_is_invalid() {
    let daemon = TestDaemon::start(RESOURCES);
    let must = "must be there: the client gives the ids of this resource";
    let more = json!({
        "errors": {"id": must},
        "violations": [{"pointer": "/id", "code": "required", "detail": must}],
    });
    let answer = ask(&daemon, "POST", "/named", &[JSON], "{\"a\":1}");
    assert_problem(&answer, VALIDATION, "/named", &format!("id {must}"), &more);
    let (path, _) = make(&daemon, "/named", &json!({"id": "a"}));
    assert_eq!(path, "/named/a");
    let detail = "a record with the id a exists already";
    let again = ask(&daemon, "POST", "/named", &[JSON], "{\"id\":\"a\"}");
    assert_problem(&again, DUPLICATE_ID, "/named", detail, &Value::Null);
}
