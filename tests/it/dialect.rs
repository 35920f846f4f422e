//! The HTTP API of a resource, as tables of requests with their exact answers: status, headers, and every member of every
//! problem.

mod again;
mod bodies;
mod conditions;
mod ids;
mod lecture;
mod lists;
mod methods;
mod not_available;
mod parts;
mod typed;

use serde_json::{Value, json};

use crate::client::{self, Response};
use crate::daemon::TestDaemon;

/// Status, code and title of a problem, as clients know them.
type Kind = (u16, &'static str, &'static str);

const INVALID_JSON: Kind = (400, "invalid_json", "The body is not valid JSON");
const NOT_AN_OBJECT: Kind = (400, "not_an_object", "The body is not a JSON object");
const INVALID_ID: Kind = (400, "invalid_id", "The id is not valid");
const TOO_MANY_MATCHES: Kind = (
    400,
    "too_many_matches",
    "More records match than may be changed",
);
const INVALID_PARAMETER: Kind = (400, "invalid_parameter", "A query parameter is not valid");
const NOT_AVAILABLE: Kind = (400, "not_available", "This is not available yet");
const NOT_FOUND: Kind = (404, "not_found", "There is nothing here");
const NOT_ALLOWED: Kind = (405, "method_not_allowed", "The method is not allowed here");
const NOT_ACCEPTABLE: Kind = (
    406,
    "not_acceptable",
    "There is no answer in a format that the client accepts",
);
const DUPLICATE_ID: Kind = (409, "duplicate_id", "A record with this id exists already");
const ID_MISMATCH: Kind = (409, "id_mismatch", "Path and body name different records");
const PRECONDITION_FAILED: Kind = (
    412,
    "precondition_failed",
    "A condition of the request does not hold",
);
const TOO_LARGE: Kind = (413, "body_too_large", "The body is too large");
const UNSUPPORTED: Kind = (
    415,
    "unsupported_media_type",
    "The media type is not supported",
);
const VALIDATION: Kind = (422, "validation", "The record is not valid");
const PRECONDITION_REQUIRED: Kind = (
    428,
    "precondition_required",
    "A change needs an If-Match header",
);

/// Headers of requests.
const JSON: (&str, &str) = ("content-type", "application/json");
const MERGE: (&str, &str) = ("content-type", "application/merge-patch+json");
const TEXT: (&str, &str) = ("content-type", "text/plain; charset=utf-8");
const MINIMAL: (&str, &str) = ("prefer", "return=minimal");

/// One resource for each setting that changes an answer, beside the plain `/books`.
const RESOURCES: &str = r#"
[resource.pens]
accept = ["text/plain"]
upsert = true
delete_matching = true
[resource.counted]
id = "sequence"
[resource.named]
id = "client"
[resource.strict]
if_match = "required"
[resource.merged]
put = "merge"
[resource.merged.fields]
title = { type = "string", required = true }
year = { type = "integer" }
[resource.albums.fields]
title = { type = "string", required = true, min_length = 1, max_length = 20 }
barcode = { type = "string", pattern = '^[0-9]{3}$' }
year = { type = "integer", min = 0, max = 3000 }
price = { type = "number", min = 0.5 }
on_sale = { type = "boolean", default = false }
released = { type = "datetime" }
tags = { type = "array", items = "string", default = [], max_length = 2 }
artist = { type = "object", fields = { name = { type = "string", required = true }, born = { type = "integer" } } }
"#;

type Head<'a> = &'a [(&'a str, &'a str)];

#[track_caller]
fn ask(daemon: &TestDaemon, method: &str, path: &str, head: Head<'_>, body: &str) -> Response {
    let body = (!body.is_empty()).then_some(body.as_bytes());
    client::send(daemon.public(), method, path, head, body)
}

/// Creates a record; returns its path and its `ETag`.
#[track_caller]
fn make(daemon: &TestDaemon, path: &str, body: &Value) -> (String, String) {
    let made = daemon.post(path, body).expect(201);
    let etag = made.header("etag").unwrap().to_owned();
    (made.location().unwrap().to_owned(), etag)
}

/// The entity tag of revision `number` in the store that gave the tag `of`.
fn tag(number: u64, of: &str) -> String {
    let (_, mark) = of.split_once('-').unwrap();
    format!("\"{number}-{mark}")
}

/// Fails unless the answer is exactly this problem; `more` are the members that not every problem has.
#[track_caller]
fn assert_problem(answer: &Response, kind: Kind, instance: &str, detail: &str, more: &Value) {
    let (status, code, title) = kind;
    assert_eq!(answer.status, status, "{}", answer.text());
    let header = |name| answer.header(name).unwrap_or_default();
    assert_eq!(header("content-type"), "application/problem+json");
    assert_eq!(header("cache-control"), "no-store");
    let mut body = answer.json();
    let members = body.as_object_mut().unwrap();
    let request_id = members.remove("request_id").unwrap();
    let request_id = request_id.as_str().unwrap();
    assert!(
        request_id.len() == 28 && request_id.bytes().all(|b| b.is_ascii_hexdigit()),
        "{request_id}"
    );
    assert_eq!(header("x-request-id"), request_id);
    let mut expected = json!({
        "type": format!("/problems/{}", code.replace('_', "-")),
        "title": title,
        "status": status,
        "code": code,
        "detail": detail,
        "instance": instance,
        "message": detail,
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        expected[name] = value.clone();
    }
    assert_eq!(body, expected);
}

/// A request that is refused: method, path, head, body, and the problem with its detail.
type Refused<'a> = (&'a str, &'a str, Head<'a>, &'a str, Kind, &'a str);

/// Fails unless each request is refused with exactly this problem, and its connection stays open.
#[track_caller]
fn assert_refused(daemon: &TestDaemon, table: &[Refused<'_>]) {
    for (method, path, head, body, kind, detail) in table {
        println!("{method} {path} {head:?} {}", &body[..body.len().min(80)]);
        let answer = ask(daemon, method, path, head, body);
        let instance = path.split('?').next().unwrap();
        assert_problem(&answer, *kind, instance, detail, &Value::Null);
        assert!(answer.keep_alive, "{method} {path}");
    }
}

/// The value of one member in each record of a list.
#[track_caller]
fn listed(daemon: &TestDaemon, path: &str, member: &str) -> Vec<Value> {
    let list = daemon.get(path).expect(200).json();
    let records = list.as_array().unwrap().iter();
    records.map(|record| record[member].clone()).collect()
}
