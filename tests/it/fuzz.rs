//! Random queries and bodies: none panics or is answered with a 500, and parsing an accepted one again gives the same result.

use std::time::Instant;

use perennial::record::{
    Field, FieldType, Handling, IdScheme, JsonObject, ListQuery, Record, RecordId, Revision,
    Schema, Selection, Visitor,
};
use serde_json::{Value, json};

use crate::client::Client;
use crate::daemon::TestDaemon;
use crate::drills::count;
use crate::noise::Noise;

/// The resources for requests over HTTP; [`schema`] is the schema of `albums` for the tests without HTTP.
const ALBUMS: &str = r#"
[resource.pens]
accept = ["text/plain"]
upsert = true
delete_matching = true
[resource.counted]
id = "sequence"
[resource.albums]
put = "merge"
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

fn field(name: &str, kind: FieldType) -> Field {
    Field {
        name: name.to_owned(),
        kind,
        required: name == "title",
        default: (name == "tags").then(|| json!([])),
    }
}

fn schema() -> Schema {
    let text = || FieldType::String {
        min_length: Some(1),
        max_length: Some(20),
        pattern: None,
    };
    let integer = || FieldType::Integer {
        min: Some(0),
        max: Some(3000),
    };
    let price = FieldType::Number {
        min: Some(0.5),
        max: None,
    };
    let tags = FieldType::Array {
        items: Some(Box::new(text())),
        min_length: None,
        max_length: Some(2),
    };
    let artist = FieldType::Object {
        fields: Some(vec![field("name", text()), field("born", integer())]),
    };
    Schema::Fields(vec![
        field("title", text()),
        field("year", integer()),
        field("price", price),
        field("on_sale", FieldType::Boolean),
        field("released", FieldType::DateTime),
        field("tags", tags),
        field("artist", artist),
    ])
}

/// A few records to select from.
fn records() -> Vec<Record> {
    let mut noise = Noise::new(7);
    let ids = ["0", "1", "10", "2", "99999999999999999999", "Dune", "true"];
    let record = |id: &str| {
        let id = RecordId::parse(id).unwrap();
        let object = Value::Object(noise.object()).to_string();
        let json = JsonObject::parse(object.as_bytes());
        Record {
            json: json.unwrap_or_default().text(&id),
            id,
            revision: Revision(1),
        }
    };
    ids.map(record).to_vec()
}

fn select(query: &ListQuery, records: &[Record]) -> (Vec<Record>, u64) {
    let mut selection = Selection::new(query.clone());
    assert!(records.iter().all(|record| selection.visit(record.clone())));
    selection.finish().unwrap()
}

/// Checks what must hold for every query that is accepted.
fn check_query(text: &str, schema: &Schema, handling: Handling, records: &[Record]) {
    let Ok(query) = ListQuery::parse(text, schema, handling) else {
        return;
    };
    let (page, total) = select(&query, records);
    assert!(page.len() <= query.slice().limit() && total <= 7, "{text}");
    for (rel, link) in query.links(total) {
        let linked = ListQuery::parse(&link, schema, handling);
        assert!(linked.is_ok(), "{text}: {rel} is {link}");
    }
    if let Some(ids) = query.ids(IdScheme::Uuid) {
        let mut named = records.to_vec();
        named.retain(|record| ids.contains(&record.id));
        assert_eq!(select(&query, &named), (page, total), "{text}");
    }
}

/// Checks what must hold for every body that is accepted.
fn check_body(body: &[u8], schema: &Schema, other: &mut JsonObject) {
    let parsed = JsonObject::parse(body);
    let reference = serde_json::from_slice::<Value>(body);
    let Ok(mut object) = parsed else { return };
    let shown = String::from_utf8_lossy(body).into_owned();
    let members = Value::Object(object.members().clone());
    assert_eq!(reference.ok(), Some(members), "{shown}");
    let id = RecordId::parse("x").unwrap();
    let again = |object: &JsonObject| JsonObject::parse(&object.text(&id)).unwrap();
    object.remove_id();
    let mut back = again(&object);
    back.remove_id();
    assert_eq!(back, object, "{shown}");
    assert!(object.is_like(&back));
    if schema.check(&mut object).is_ok() {
        let filled = object.clone();
        assert_eq!(schema.check(&mut object), Ok(()), "{shown}");
        assert_eq!(object, filled, "{shown}");
    }
    let mut merged = other.clone();
    merged.merge(&object);
    let once = merged.clone();
    merged.merge(&object);
    assert_eq!(merged, once, "{shown}");
    *other = object;
}

fn check_many(cases: u64, seed: u64) {
    println!("{cases} cases, FUZZ_SEED={seed}");
    let (begun, mut noise) = (Instant::now(), Noise::new(seed));
    let (any, typed, records) = (Schema::Any, schema(), records());
    let mut other = JsonObject::default();
    for number in 0..cases {
        let schema = if number % 4 < 2 { &any } else { &typed };
        if number % 2 == 0 {
            let handling = if noise.one_in(4) {
                Handling::Lenient
            } else {
                Handling::Strict
            };
            check_query(&noise.query(), schema, handling, &records);
        } else {
            check_body(&noise.body(), schema, &mut other);
        }
    }
    println!(
        "no panic, and no input that was parsed differently the second time, in {:?}",
        begun.elapsed()
    );
}

/// Sends a random request; returns its text and the answer.
fn request(
    noise: &mut Noise,
    client: &mut Client,
) -> (String, std::io::Result<crate::client::Response>) {
    const METHODS: [&str; 8] = [
        "GET", "GET", "HEAD", "POST", "POST", "PUT", "PATCH", "DELETE",
    ];
    const PATHS: [&str; 16] = [
        "/books",
        "/books",
        "/albums",
        "/albums",
        "/pens",
        "/counted",
        "/books/x",
        "/books/x",
        "/albums/x",
        "/pens/x",
        "/pens/x",
        "/pens/x",
        "/counted/1",
        "/books/_changes",
        "/books/%00",
        "/_batch",
    ];
    const HEADERS: [(&str, &str); 10] = [
        ("if-match", "*"),
        ("if-match", "\"1\""),
        ("if-match", "x"),
        ("if-none-match", "*"),
        ("if-none-match", "W/\"1\", \""),
        ("prefer", "return=minimal"),
        ("prefer", "handling=lenient"),
        ("prefer", "=;,\""),
        ("accept", "application/json;q="),
        ("idempotency-key", "1"),
    ];
    const TYPES: [&str; 6] = [
        "application/json",
        "application/json",
        "application/json",
        "application/merge-patch+json",
        "text/plain",
        "",
    ];
    let method = noise.pick(&METHODS);
    // Characters that no URL may contain are replaced, so that the request is parsed.
    let query = noise.query().replace(
        |c: char| !c.is_ascii_graphic() || "<>\"#`^|\\{}".contains(c),
        "%41",
    );
    let path = format!("{}?{query}", noise.pick(&PATHS));
    let mut head = vec![("content-type", noise.pick(&TYPES))];
    while noise.one_in(2) {
        head.push(noise.pick(&HEADERS));
    }
    let body = noise.body();
    let body = (method != "GET" && method != "HEAD").then_some(body.as_slice());
    let shown = format!(
        "{method} {path} {head:?} {:?}",
        body.map(String::from_utf8_lossy)
    );
    (shown, client.send(method, &path, &head, body))
}

fn ask_many(requests: u64, seed: u64) {
    println!("{requests} requests, FUZZ_SEED={seed}");
    let daemon = TestDaemon::start(ALBUMS);
    let mut noise = Noise::new(seed);
    let mut client = Client::connect(daemon.public()).unwrap();
    let mut statuses = std::collections::BTreeMap::<u16, u64>::new();
    for _ in 0..requests {
        let (shown, answer) = request(&mut noise, &mut client);
        let answer = answer.unwrap_or_else(|error| panic!("{shown}: {error}"));
        assert!(answer.status < 500, "{shown}: {answer:?}");
        assert!(answer.keep_alive, "{shown}: {answer:?}");
        *statuses.entry(answer.status).or_default() += 1;
        if !answer.body.is_empty() {
            let kind = answer.header("content-type").unwrap();
            let expected = if answer.status < 400 {
                "application/json"
            } else {
                "application/problem+json"
            };
            assert_eq!(kind, expected, "{shown}");
            answer.json();
        }
    }
    println!("{statuses:?}");
    for status in [200, 201, 204, 304, 400, 404, 405, 409, 412, 415, 422] {
        assert!(statuses.contains_key(&status), "no {status}");
    }
}

#[test]
fn random_queries_and_bodies_give_the_same_result_twice() {
    check_many(20_000, 1);
}

#[test]
fn random_requests_are_never_answered_with_a_500() {
    ask_many(3_000, 1);
}

#[test]
#[ignore = "takes a minute: .ci/run runs it"]
fn a_million_random_queries_and_bodies_give_the_same_result_twice() {
    check_many(count("FUZZ_CASES", 1_000_000), count("FUZZ_SEED", 2));
}

#[test]
#[ignore = "takes a minute: .ci/run runs it"]
fn tens_of_thousands_of_random_requests_are_never_answered_with_a_500() {
    ask_many(count("FUZZ_REQUESTS", 50_000), count("FUZZ_SEED", 2));
}
