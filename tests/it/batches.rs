//! Several changes in one request: arrays, lines, filters, and `/_batch`; and patches by operations.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::client::{Client, Response};
use crate::daemon::TestDaemon;

pub(crate) const JSON: (&str, &str) = ("content-type", "application/json");
const RESOURCES: &str = r#"
[limits]
batch = 50
batch_body = "64 KiB"
body = "8 KiB"
[resource.albums]
id = "sequence"
unique = ["code"]
[resource.albums.fields]
title = { type = "string", required = true }
code = { type = "string" }
stock = { type = "integer", min = 0 }
[resource.strict]
if_match = "required"
"#;

/// Sends a body as JSON, or with the type among the headers.
#[track_caller]
pub(crate) fn send(
    daemon: &TestDaemon,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Response {
    let mut client = Client::connect(daemon.public()).unwrap();
    let typed = headers.iter().any(|(name, _)| *name == "content-type");
    let json = Some(&JSON).filter(|_| !typed);
    let headers: Vec<_> = json.into_iter().chain(headers).copied().collect();
    let body = Some(body.as_bytes()).filter(|body| !body.is_empty());
    client.send(method, path, &headers, body).unwrap()
}

#[track_caller]
fn batch(daemon: &TestDaemon, body: &Value) -> Response {
    send(daemon, "POST", "/_batch", &[], &body.to_string())
}

#[track_caller]
fn titles(daemon: &TestDaemon) -> Vec<String> {
    let list = daemon.get("/albums").expect(200).json();
    let list = list.as_array().unwrap().iter();
    list.map(|album| album["title"].as_str().unwrap().to_owned())
        .collect()
}

fn statuses(answer: &Value) -> Vec<u64> {
    let results = answer["results"].as_array().unwrap().iter();
    results
        .map(|result| result["status"].as_u64().unwrap())
        .collect()
}

#[test]
fn an_array_or_lines_make_all_records_or_none() {
    let daemon = TestDaemon::start(RESOURCES);
    let made = send(
        &daemon,
        "POST",
        "/albums",
        &[],
        r#" [{"title":"a"},{"title":"b","id":7}]"#,
    );
    let made = made.expect(201);
    assert_eq!(
        made.text(),
        r#"[{"id":1,"title":"a"},{"id":7,"title":"b"}]"#
    );
    assert_eq!(made.header("x-total-count"), Some("2"));
    let lines = ("content-type", "application/x-ndjson; charset=utf-8");
    let minimal = ("prefer", "return=minimal");
    let text = "{\"title\":\"c\"}\r\n\n{\"title\":\"d\"}";
    let made = send(&daemon, "POST", "/albums", &[lines, minimal], text).expect(201);
    assert!(made.body.is_empty());
    assert_eq!(titles(&daemon), ["a", "b", "c", "d"]);
}

#[test]
fn each_refusal_of_an_array_is_told_and_nothing_is_done() {
    let daemon = TestDaemon::start(RESOURCES);
    let first = r#"[{"title":"a"},{"title":"b","id":7},{"title":"c"},{"title":"d"}]"#;
    send(&daemon, "POST", "/albums", &[], first).expect(201);
    // Each refusal is told, those of the rules and those of the store, and nothing is done.
    let wrong = r#"[{"title":"e"},{"title":5},{"id":7,"title":"f"},{"title":"g","x":1},7]"#;
    let refused = send(&daemon, "POST", "/albums", &[], wrong);
    assert_eq!(refused.status, 422, "{}", refused.text());
    let refused = refused.json();
    assert_eq!(refused["code"], "validation");
    assert_eq!(statuses(&refused), [424, 422, 409, 422, 400]);
    assert_eq!(
        refused["results"][1]["body"]["violations"][0]["pointer"],
        "/title"
    );
    assert_eq!(titles(&daemon).len(), 4);
    let twice = r#"[{"title":"e","code":"x"},{"title":"f","code":"x"}]"#;
    let twice = send(&daemon, "POST", "/albums", &[], twice);
    assert_eq!(statuses(&twice.expect(409).json()), [424, 409]);
    let dry = ("prefer", "tx=rollback");
    send(&daemon, "POST", "/albums", &[dry], r#"[{"title":"e"}]"#).expect(201);
    assert_eq!(
        send(&daemon, "POST", "/albums", &[], "[]")
            .expect(201)
            .text(),
        "[]"
    );
    assert_eq!(titles(&daemon).len(), 4);
    let key = ("idempotency-key", "k");
    for replayed in [None, Some("true")] {
        let made = send(
            &daemon,
            "POST",
            "/albums",
            &[key],
            r#"[{"title":"e"},{"title":"f"}]"#,
        );
        let made = made.expect(201);
        assert_eq!(made.header("idempotent-replayed"), replayed);
        assert_eq!(made.json()[1]["title"], "f");
    }
    assert_eq!(titles(&daemon).len(), 6);
}

#[test]
fn several_records_in_one_request_are_bounded() {
    let daemon = TestDaemon::start(RESOURCES);
    // Bounds: records, bytes of one, bytes of all.
    let many = Value::from(vec![json!({"title": "m"}); 51]).to_string();
    let long = json!([{"title": "x".repeat(9_000)}]).to_string();
    let longer = Value::from(vec![json!({"title": "x".repeat(7_000)}); 10]).to_string();
    for (body, detail) in [
        (
            &many,
            "a request may have 50 records (limits.batch); send several",
        ),
        (&longer, "a body may have 65536 bytes"),
    ] {
        let refused = send(&daemon, "POST", "/albums", &[], body).expect(413);
        assert_eq!(refused.json()["detail"], detail);
    }
    let refused = send(&daemon, "POST", "/albums", &[], &long)
        .expect(413)
        .json();
    assert!(
        refused["detail"]
            .as_str()
            .unwrap()
            .ends_with("a record may have 8192 bytes (limits.body)")
    );
    for wrong in ["[{}", "[1,]", "[{}] x"] {
        let refused = send(&daemon, "POST", "/albums", &[], wrong);
        assert_eq!(refused.expect_problem(400), "invalid_json", "{wrong}");
    }
    assert_eq!(titles(&daemon).len(), 0);
}

const TWO: (&str, &str) = ("prefer", "max-affected=2");
const THREE: (&str, &str) = ("prefer", "max-affected=3");

/// Changes by filters that are refused, and the beginnings of the reasons.
const REFUSED: [Refused; 10] = [
    (
        "PATCH",
        "/albums",
        &[THREE],
        "say which records are to be changed",
    ),
    (
        "DELETE",
        "/albums",
        &[THREE],
        "say which records are to be changed",
    ),
    (
        "DELETE",
        "/albums?_=1",
        &[THREE],
        "say which records are to be changed",
    ),
    (
        "PATCH",
        "/albums?stock_lt=3",
        &[],
        "say how many records may be changed at most",
    ),
    (
        "DELETE",
        "/albums?stock_lt=3",
        &[],
        "say how many records may be changed at most",
    ),
    (
        "PATCH",
        "/albums?stock_lt=3",
        &[TWO],
        "more than 2 records match, so none was changed",
    ),
    (
        "DELETE",
        "/albums?stock_lt=3",
        &[TWO],
        "more than 2 records match, so none was changed",
    ),
    (
        "DELETE",
        "/albums?stock_lt=3&_limit=1",
        &[THREE],
        "a change of all records that match takes filters only",
    ),
    (
        "DELETE",
        "/albums?stok_lt=3",
        &[THREE, ("prefer", "handling=lenient")],
        "stok_lt is not a field",
    ),
    (
        "DELETE",
        "/albums?id=1",
        &[("prefer", "max-affected=51")],
        "Prefer: max-affected=N may be 50 at most",
    ),
];

/// Method, path, headers, and the beginning of the reason.
type Refused = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static str,
);

/// Ten albums.
fn with_albums() -> TestDaemon {
    let daemon = TestDaemon::start(RESOURCES);
    let records: Vec<_> = (0..10)
        .map(|n| json!({"title": format!("t{n}"), "stock": n}))
        .collect();
    let records = Value::from(records).to_string();
    send(&daemon, "POST", "/albums", &[], &records).expect(201);
    daemon
}

#[test]
fn filters_choose_what_is_changed_within_a_bound_that_must_be_said() {
    let daemon = with_albums();
    let three = THREE;
    let patch = r#"{"stock":100}"#;
    for (method, path, head, detail) in REFUSED {
        let body = if method == "PATCH" { patch } else { "" };
        let refused = send(&daemon, method, path, head, body);
        let told = refused.clone().expect(400).json();
        let told = told["detail"].as_str().unwrap();
        assert!(told.starts_with(detail), "{method} {path}: {told}");
    }
    let before = daemon.get("/albums").text();
    let dry = ("prefer", "tx=rollback, max-affected=3");
    let tried = send(&daemon, "PATCH", "/albums?stock_lt=3", &[dry], patch).expect(200);
    assert_eq!(tried.json().as_array().unwrap().len(), 3);
    assert_eq!(daemon.get("/albums").text(), before);
    let done = send(&daemon, "PATCH", "/albums?stock_lt=3", &[three], patch).expect(200);
    assert_eq!(done.header("x-total-count"), Some("3"));
    assert!(
        done.json()
            .as_array()
            .unwrap()
            .iter()
            .all(|album| album["stock"] == 100)
    );
    assert_eq!(
        daemon.get("/albums?stock=100").header("x-total-count"),
        Some("3")
    );
}

#[test]
fn all_that_match_are_changed_or_none() {
    let daemon = with_albums();
    let (three, patch) = (THREE, r#"{"stock":100}"#);
    send(&daemon, "PATCH", "/albums?stock_lt=3", &[three], patch).expect(200);
    // One that can't be changed keeps all from it.
    let refused = send(
        &daemon,
        "PATCH",
        "/albums?stock=100",
        &[three],
        r#"{"stock":-1}"#,
    );
    let refused = refused.expect(422).json();
    assert!(
        refused["detail"]
            .as_str()
            .unwrap()
            .starts_with("record 1: "),
        "{refused}"
    );
    let same = send(
        &daemon,
        "PATCH",
        "/albums?stock=100",
        &[three],
        r#"{"code":"x"}"#,
    );
    let same = same.expect(409).json();
    assert_eq!(
        (&same["code"], &same["fields"]),
        (&json!("duplicate_value"), &json!(["code"]))
    );
    let told = json!({"code": "another record has the same value"});
    assert_eq!(same["errors"], told, "for forms");
    let minimal = ("prefer", "return=minimal");
    let gone = send(
        &daemon,
        "DELETE",
        "/albums?stock=100",
        &[three, minimal],
        "",
    )
    .expect(204);
    assert_eq!(gone.header("x-total-count"), Some("3"));
    let none = send(&daemon, "DELETE", "/albums?stock=100", &[three], "").expect(200);
    assert_eq!(
        (none.text().as_str(), none.header("x-total-count")),
        ("[]", Some("0"))
    );
    assert_eq!(titles(&daemon).len(), 7);
    // Conditions of one record mean nothing here, and are not ignored.
    let tag = ("if-match", "\"1-x\"");
    send(&daemon, "DELETE", "/albums?stock=5", &[three, tag], "").expect(412);
    send(&daemon, "POST", "/albums", &[tag], r#"{"title":"x"}"#).expect(412);
    send(&daemon, "DELETE", "/strict?n=1", &[three], "").expect(428);
    assert_eq!(titles(&daemon).len(), 7);
}

fn op(method: &str, path: &str, body: Value) -> Value {
    json!({"method": method, "path": path, "body": body})
}

#[test]
fn an_atomic_batch_does_all_or_nothing_and_tells_each_refusal() {
    let daemon = TestDaemon::start(RESOURCES);
    let done = batch(
        &daemon,
        &json!({"mode": "atomic", "ops": [
            op("POST", "/albums", json!({"title": "a"})),
            op("POST", "/books", json!({"id": "b", "n": 1})),
            op("PATCH", "/albums/1", json!({"stock": 5})),
            op("PATCH", "/albums/1", json!([{"op": "increment", "path": "/stock", "value": -2}])),
            op("PUT", "/books/b", json!({"n": 2})),
        ]}),
    );
    let done = done.expect(200).json();
    assert_eq!(statuses(&done), [201, 201, 200, 200, 200]);
    assert_eq!(done["change"], 5, "changes 1 to 5 are one group");
    let first = &done["results"][0];
    let place = first["headers"]["location"].as_str().unwrap();
    assert!(
        place.ends_with("/albums/1") && place.starts_with("http://"),
        "{place}"
    );
    assert_eq!(
        done["results"][3]["body"],
        json!({"id": 1, "title": "a", "stock": 3})
    );
    let tag = done["results"][4]["headers"]["etag"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(daemon.get("/books/b").header("etag"), Some(tag.as_str()));
    let before = (daemon.get("/albums").text(), daemon.get("/books").text());
    let stale = first["headers"]["etag"].clone();
    let refused = batch(
        &daemon,
        &json!({"ops": [
            op("POST", "/albums", json!({"title": "z"})),
            {"method": "DELETE", "path": "/albums/1", "if_match": stale},
            op("DELETE", "/books/none", Value::Null),
            op("POST", "/albums", json!({"title": 1})),
            op("GET", "/albums/1", Value::Null),
            op("POST", "/nowhere", json!({})),
            {"method": "DELETE", "path": "/albums?stock=3"},
            op("DELETE", "/strict/x", Value::Null),
            op("DELETE", "/books/b", Value::Null),
        ]}),
    );
    let refused = refused.expect(412).json();
    assert_eq!(
        statuses(&refused),
        [424, 412, 404, 422, 400, 404, 400, 428, 424]
    );
    assert_eq!(
        refused["results"][1]["headers"]["etag"],
        done["results"][3]["headers"]["etag"]
    );
    assert!(refused["detail"].as_str().unwrap().starts_with(
        "nothing was done, since 7 of 9 operations were refused; the first is number 1 (from 0): "
    ));
    assert_eq!(
        (daemon.get("/albums").text(), daemon.get("/books").text()),
        before
    );
}

#[test]
fn a_filter_in_a_batch_sees_what_the_batch_did_before() {
    let daemon = with_albums();
    let filtered = |method: &str, path: &str, most: u64, body: Value| json!({"method": method, "path": path, "body": body, "max_affected": most});
    let done = batch(
        &daemon,
        &json!({"ops": [
            op("POST", "/albums", json!({"title": "new", "stock": 50})),
            op("PATCH", "/albums/1", json!({"stock": 51})),
            op("DELETE", "/albums/10", Value::Null),
            // The new one, the patched one, and 9; not the one that is gone.
            filtered("PATCH", "/albums?stock_gte=8", 3, json!({"stock": 100})),
            filtered("PATCH", "/albums?stock=100", 3, json!({"stock": 200})),
            // Two of the ten match by now.
            filtered("DELETE", "/albums?stock_lte=2", 2, Value::Null),
        ]}),
    );
    let done = done.expect(200).json();
    let ids = |at: usize| {
        let records = done["results"][at]["body"].as_array().unwrap().iter();
        records
            .map(|album| album["id"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (ids(3), ids(4), ids(5)),
        (vec![1, 9, 11], vec![1, 9, 11], vec![2, 3])
    );
    assert_eq!(
        daemon.get("/albums?stock=200").header("x-total-count"),
        Some("3")
    );
    // One too many is the refusal of its operation, and cancels the others.
    let before = daemon.get("/albums").text();
    let refused = batch(
        &daemon,
        &json!({"ops": [
            op("PATCH", "/albums/4", json!({"stock": 200})),
            filtered("DELETE", "/albums?stock=200", 3, Value::Null),
            op("DELETE", "/albums/7777", Value::Null),
        ]}),
    );
    let refused = refused.expect(400).json();
    assert_eq!(statuses(&refused), [424, 400, 404]);
    let told = refused["results"][1]["body"]["detail"].as_str().unwrap();
    assert!(told.starts_with("more than 3 records match"), "{told}");
    assert_eq!(daemon.get("/albums").text(), before);
}

#[test]
fn a_batch_is_tried_out_and_has_conditions() {
    let daemon = TestDaemon::start(RESOURCES);
    let made = batch(
        &daemon,
        &json!({"ops": [
            op("POST", "/albums", json!({"title": "a", "stock": 3})),
            op("POST", "/books", json!({"id": "b"})),
        ]}),
    );
    let made = made.expect(200).json();
    let tag = &made["results"][1]["headers"]["etag"];
    let dry = ("prefer", "tx=rollback");
    let body = json!({"ops": [op("DELETE", "/books/b", Value::Null)]}).to_string();
    send(&daemon, "POST", "/_batch", &[dry], &body).expect(200);
    daemon.get("/books/b").expect(200);
    let gone = batch(
        &daemon,
        &json!({"ops": [
            {"method": "DELETE", "path": "/books/b", "if_match": tag},
            {"method": "DELETE", "path": "/albums?stock=3", "max_affected": 1},
        ]}),
    );
    assert_eq!(statuses(&gone.expect(200).json()), [200, 200]);
}

#[test]
fn too_many_matches_are_the_refusal_of_their_operation() {
    let daemon = with_albums();
    let refused = send(&daemon, "DELETE", "/albums?stock_lt=3", &[TWO], "");
    assert_eq!(refused.expect_problem(400), "too_many_matches");
    let ops = json!([
        {"method": "DELETE", "path": "/albums?stock_lt=3", "max_affected": 2},
        op("POST", "/albums", json!({"title": "a", "stock": -1})),
        {"method": "DELETE", "path": "/albums?stock_gt=8", "max_affected": 2.0},
    ]);
    let atomic = batch(&daemon, &json!({"ops": ops}));
    let told = atomic.clone().expect(400).json();
    assert_eq!(told["code"], "too_many_matches");
    assert_eq!(statuses(&told), [400, 422, 424]);
    let body = &told["results"][0]["body"];
    assert_eq!(body["code"], "too_many_matches");
    let detail = body["detail"].as_str().unwrap();
    assert!(detail.starts_with("more than 2 records match"), "{detail}");
    assert_eq!(titles(&daemon).len(), 10);
    let gathered = batch(&daemon, &json!({"mode": "gather", "ops": ops}));
    assert_eq!(statuses(&gathered.expect(200).json()), [400, 422, 200]);
    assert_eq!(titles(&daemon).len(), 9);
}

#[test]
fn what_is_no_batch_is_refused() {
    let daemon = TestDaemon::start(RESOURCES);
    assert_eq!(
        batch(&daemon, &json!({"ops": []})).expect(200).json()["results"],
        json!([])
    );
    for (wrong, told) in [
        ("{}", "`ops` is missing (line 1, column 2)"),
        ("[]", "an object is wanted, not an array"),
        ("{\"ops\":[{}]}", "`method` is missing"),
        ("{\"mode\":\"some\",\"ops\":[]}", "`some` is none of"),
        ("{\"ops\":{}}", "an array is wanted, not an object"),
        (
            r#"{"ops":[{"method":"DELETE","path":"/books?a=1","max_affected":-1}]}"#,
            "a whole number, 0 or more is wanted, not the number -1",
        ),
        (
            r#"{"ops":[{"method":"DELETE","path":"/books?a=1","max_affected":1.5}]}"#,
            "a whole number, 0 or more is wanted, not the number 1.5",
        ),
        ("{\"ops\":[],\"x\":1}", "`x` means nothing here"),
    ] {
        let refused = send(&daemon, "POST", "/_batch", &[], wrong);
        assert_eq!(
            refused.clone().expect_problem(400),
            "invalid_batch",
            "{wrong}"
        );
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.starts_with(told), "{wrong}: {detail}");
    }
    // Operations that are sent as a merge patch.
    let operations = r#"[{"op":"replace","path":"/title","value":"a"}]"#;
    let refused = send(&daemon, "PATCH", "/albums/1", &[], operations)
        .expect(400)
        .json();
    assert_eq!(refused["code"], "not_an_object");
    let detail = refused["detail"].as_str().unwrap();
    assert!(
        detail.ends_with("send operations as application/json-patch+json"),
        "{detail}"
    );
    let many = json!({"ops": vec![op("DELETE", "/books/b", Value::Null); 51]});
    batch(&daemon, &many).expect(413);
    daemon.get("/_batch").expect(405);
    daemon.get("/_batch/x").expect(404);
    let text = send(
        &daemon,
        "POST",
        "/_batch",
        &[("content-type", "text/plain")],
        "{}",
    );
    text.expect(415);
}

#[test]
fn a_gathered_batch_does_each_for_itself() {
    let daemon = TestDaemon::start(RESOURCES);
    let body = json!({"mode": "gather", "ops": [
        {"method": "POST", "path": "/albums", "body": {"title": "a", "code": "x"}},
        {"method": "POST", "path": "/albums", "body": {"title": "b", "code": "x"}},
        {"method": "POST", "path": "/albums", "body": {"title": 1}},
        {"method": "POST", "path": "/books", "body": {"id": "b"}},
        {"method": "DELETE", "path": "/books/c"},
    ]})
    .to_string();
    let key = ("idempotency-key", "g");
    let first = send(&daemon, "POST", "/_batch", &[key], &body).expect(200);
    assert_eq!(statuses(&first.json()), [201, 409, 422, 201, 404]);
    assert_eq!(
        first.json()["results"][1]["body"]["code"],
        "duplicate_value"
    );
    // What was done is not done again, and what was refused is tried again.
    send(&daemon, "DELETE", "/albums/1", &[], "").expect(200);
    let again = send(&daemon, "POST", "/_batch", &[key], &body).expect(200);
    assert_eq!(statuses(&again.json()), [201, 201, 422, 201, 404]);
    assert_eq!(again.json()["results"][0], first.json()["results"][0]);
    assert_eq!(titles(&daemon), ["b"]);
}

#[test]
fn a_patch_by_operations_is_applied_in_one_step() {
    let daemon = TestDaemon::start(RESOURCES);
    let patch = ("content-type", "application/json-patch+json");
    send(
        &daemon,
        "POST",
        "/albums",
        &[],
        r#"{"title":"a","stock":0}"#,
    )
    .expect(201);
    // Increments of several clients at once lose nothing.
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let address = daemon.public();
            std::thread::spawn(move || {
                let mut client = Client::connect(address).unwrap();
                let body = br#"[{"op":"increment","path":"/stock","value":1}]"#;
                for _ in 0..25 {
                    let answer = client.send("PATCH", "/albums/1", &[patch], Some(body));
                    answer.unwrap().expect(200);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(daemon.get("/albums/1").json()["stock"], 100);
    for (body, status, code) in [
        (
            r#"[{"op":"test","path":"/stock","value":1},{"op":"remove","path":"/stock"}]"#,
            409,
            "patch_test",
        ),
        (r#"[{"op":"remove","path":"/stok"}]"#, 422, "patch_misfit"),
        (
            r#"[{"op":"increment","path":"/stock","value":-101}]"#,
            422,
            "validation",
        ),
        (
            r#"[{"op":"replace","path":"/id","value":2}]"#,
            409,
            "id_mismatch",
        ),
        (r#"[{"op":"grow","path":"/stock"}]"#, 400, "invalid_patch"),
        (r#"{"stock":1}"#, 400, "invalid_patch"),
        ("[", 400, "invalid_json"),
    ] {
        let refused = send(&daemon, "PATCH", "/albums/1", &[patch], body);
        assert_eq!(refused.expect_problem(status), code, "{body}");
    }
    let body = r#"[{"op":"test","path":"/stock","value":1e2},{"op":"test","path":"/id","value":1},{"op":"move","from":"/title","path":"/code"},{"op":"add","path":"/title","value":"b"}]"#;
    let done = send(&daemon, "PATCH", "/albums/1", &[patch], body).expect(200);
    assert_eq!(
        done.text(),
        r#"{"id":1,"stock":100,"code":"a","title":"b"}"#
    );
    let all = ("prefer", "max-affected=5");
    let body = r#"[{"op":"increment","path":"/stock","value":-1}]"#;
    let done = send(&daemon, "PATCH", "/albums?stock=100", &[patch, all], body).expect(200);
    assert_eq!(done.json()[0]["stock"], 99);
}

#[test]
fn a_short_patch_can_not_make_a_record_that_fills_memory() {
    let daemon = TestDaemon::start("[resource.nested]\nid = \"sequence\"\n");
    let patch = ("content-type", "application/json-patch+json");
    send(
        &daemon,
        "POST",
        "/nested",
        &[],
        r#"{"o":{"a":"0123456789"}}"#,
    )
    .expect(201);
    let before = daemon.get("/nested/1").text();
    let copies = (0..40).map(|at| json!({"op": "copy", "from": "/o", "path": format!("/o/x{at}")}));
    let body: Value = copies.collect();
    let batch = json!({"ops": [{"method": "PATCH", "path": "/nested/1", "body": body}]});
    let all = ("prefer", "max-affected=5");
    for (method, path, headers, body) in [
        ("PATCH", "/nested/1", &[patch][..], &body),
        ("PATCH", "/nested?id_gte=1", &[patch, all], &body),
        ("POST", "/_batch", &[], &batch),
    ] {
        let refused = send(&daemon, method, path, headers, &body.to_string());
        let told = refused.text();
        assert_eq!(refused.expect_problem(422), "patch_misfit", "{path}");
        let why = "what the patch copies would have more than 1048576 bytes; copy less";
        assert!(told.contains("operation 15 can't be done"), "{told}");
        assert!(told.contains(why), "{told}");
    }
    assert_eq!(daemon.get("/nested/1").text(), before);
}

#[test]
fn a_number_is_kept_as_it_was_written_or_refused() {
    let daemon = TestDaemon::start(RESOURCES);
    for kept in [
        "18446744073709551615",
        "-9223372036854775808",
        "0.1",
        "0.30000000000000004",
        "1.5",
        "1e-7",
    ] {
        let made = send(&daemon, "POST", "/books", &[], &format!("{{\"n\":{kept}}}")).expect(201);
        let place = made.location().unwrap().to_owned();
        let read = daemon.get(&place).text();
        assert!(read.ends_with(&format!("\"n\":{kept}}}")), "{kept}: {read}");
    }
    let made = send(&daemon, "POST", "/books", &[], "{\"n\":1E5}").expect(201);
    assert!(made.text().ends_with("\"n\":100000.0}"), "{}", made.text());
    let total = daemon
        .get("/books")
        .header("x-total-count")
        .unwrap()
        .to_owned();
    let op = r#"{"ops":[{"method":"POST","path":"/books","body":{"n":18446744073709551616}}]}"#;
    for (path, body) in [
        ("/books", "{\"n\":18446744073709551616}"),
        ("/books", "{\"n\":[{\"m\":-9223372036854775809}]}"),
        ("/books", "{\"n\":3.141592653589793238462643}"),
        ("/books", "[{\"n\":123456789012345678901}]"),
        ("/books", "{\"n\":9007199254740993.0}"),
        ("/books", "{\"n\":1e-400}"),
        ("/books", "{\"n\":1e400}"),
        ("/_batch", op),
    ] {
        let refused = send(&daemon, "POST", path, &[], body);
        assert_eq!(refused.expect_problem(422), "inexact_number", "{body}");
    }
    assert_eq!(
        daemon.get("/books").header("x-total-count"),
        Some(total.as_str())
    );
}

/// The map that batches are compared with.
type Books = BTreeMap<String, Value>;

/// Carries out an operation on the map. Returns its status.
fn expect(books: &mut Books, op: &Value) -> u64 {
    let id = op["path"].as_str().unwrap().strip_prefix("/books").unwrap();
    if let Some(least) = id.strip_prefix("?n_gte=") {
        let least: u64 = least.parse().unwrap();
        let matching = books.iter().filter(|(_, n)| n.as_u64() >= Some(least));
        let matching: Vec<_> = matching.map(|(id, _)| id.clone()).collect();
        if u64::try_from(matching.len()).unwrap() > op["max_affected"].as_u64().unwrap() {
            return 400;
        }
        for id in matching {
            match op["method"].as_str() {
                Some("PATCH") => drop(books.insert(id, op["body"]["n"].clone())),
                _ => drop(books.remove(&id)),
            }
        }
        return 200;
    }
    let id = id.strip_prefix('/').map(str::to_owned);
    match (op["method"].as_str().unwrap(), id) {
        ("POST", _) => {
            let id = op["body"]["id"].as_str().unwrap().to_owned();
            if books.contains_key(&id) {
                return 409;
            }
            books.insert(id, op["body"]["n"].clone());
            201
        }
        ("DELETE", Some(id)) => books.remove(&id).map_or(404, |_| 200),
        (_, Some(id)) => match books.get_mut(&id) {
            Some(n) => {
                *n = op["body"]["n"].clone();
                200
            }
            None => 404,
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn random_batches_do_what_a_map_does() {
    let daemon = TestDaemon::start("");
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let mut books = Books::new();
    let mut undone = 0;
    for _ in 0..500 {
        // What a filter of the other mode sees depends on how far the operations before it are.
        let atomic = random(2) == 0;
        let ops: Vec<_> = (0..=random(5))
            .map(|_| {
                let (id, n) = (format!("b{}", random(8)), random(100));
                let path = format!("/books/{id}");
                let (least, most) = (format!("/books?n_gte={}", random(100)), random(4));
                match random(if atomic { 8 } else { 6 }) {
                    6 => json!({"method": "PATCH", "path": least, "body": {"n": n}, "max_affected": most}),
                    7 => json!({"method": "DELETE", "path": least, "max_affected": most}),
                    0..3 => json!({"method": "POST", "path": "/books", "body": {"id": id, "n": n}}),
                    3 => json!({"method": "PUT", "path": path, "body": {"n": n}}),
                    4 => json!({"method": "PATCH", "path": path, "body": {"n": n}}),
                    _ => json!({"method": "DELETE", "path": path}),
                }
            })
            .collect();
        let mode = if atomic { "atomic" } else { "gather" };
        let mut after = books.clone();
        let mut expected: Vec<_> = ops.iter().map(|op| expect(&mut after, op)).collect();
        let answer = batch(&daemon, &json!({"mode": mode, "ops": ops}));
        let first = expected.iter().copied().find(|status| *status >= 400);
        if let Some(first) = first.filter(|_| atomic) {
            undone += 1;
            assert_eq!(u64::from(answer.status), first);
            for status in expected.iter_mut().filter(|status| **status < 400) {
                *status = 424;
            }
        } else {
            assert_eq!(answer.status, 200);
            books = after;
        }
        assert_eq!(statuses(&answer.json()), expected, "{mode} {ops:?}");
        let list = daemon.get("/books").json();
        let list = list.as_array().unwrap().iter();
        let found: Books = list
            .map(|book| (book["id"].as_str().unwrap().to_owned(), book["n"].clone()))
            .collect();
        assert_eq!(found, books, "{mode} {ops:?}");
    }
    assert!(undone > 20, "{undone} batches were undone");
}
