//! Everything by which settings can be made narrower than the stored records: a reload compares each with them and is refused
//! with their number and ids, and `perennial check --data` finds the same.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::client;
use crate::daemon::{BINARY, TestDaemon, toml};
use crate::reload::{perennial_reload, reload, rewrite, settings};

/// Where the rules of a row are written.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// In the table of the field `a`, whose type is named.
    Field(&'static str),
    /// In the schema of the member `a` in a file, whose type is named.
    File(&'static str),
    /// In the table of the resource.
    Resource,
}
use Place::{Field, File, Resource};

/// A rule that becomes narrower: its key, what is written before and after, a record that only the first allows, and one that
/// both allow.
struct Row {
    place: Place,
    key: &'static str,
    before: &'static str,
    after: &'static str,
    wrong: Value,
    right: Value,
}

fn row(
    place: Place,
    key: &'static str,
    [before, after]: [&'static str; 2],
    [wrong, right]: [Value; 2],
) -> Row {
    Row {
        place,
        key,
        before,
        after,
        wrong,
        right,
    }
}

/// A row of the field `a`.
fn field(
    kind: &'static str,
    key: &'static str,
    rules: [&'static str; 2],
    values: [Value; 2],
) -> Row {
    row(Field(kind), key, rules, values.map(|a| json!({ "a": a })))
}

/// A row of the member `a` of a schema file.
fn member(
    kind: &'static str,
    key: &'static str,
    rules: [&'static str; 2],
    values: [Value; 2],
) -> Row {
    row(File(kind), key, rules, values.map(|a| json!({ "a": a })))
}

/// The rows in which an optional field of a type is declared first, and then required.
fn types() -> Vec<Row> {
    let uuid = "0190a2b4-1c2d-7e3f-8a9b-0c1d2e3f4a5b";
    let mut rows = Vec::new();
    for (kind, declared, wrong, right) in [
        ("string", "type = 'string'", json!(5), json!("x")),
        ("integer", "type = 'integer'", json!(1.5), json!(2)),
        ("number", "type = 'number'", json!("1"), json!(1.5)),
        ("boolean", "type = 'boolean'", json!(1), json!(true)),
        (
            "datetime",
            "type = 'datetime'",
            json!("2026-11-30"),
            json!("2026-11-30T12:00:00Z"),
        ),
        (
            "date",
            "type = 'date'",
            json!("2026-02-30"),
            json!("2026-11-30"),
        ),
        ("uuid", "type = 'uuid'", json!("x"), json!(uuid)),
        (
            "enum",
            "type = 'enum', values = ['x']",
            json!("y"),
            json!("x"),
        ),
        (
            "ref",
            "type = 'ref', to = 'targets'",
            json!(["there"]),
            json!("there"),
        ),
        ("array", "type = 'array'", json!({}), json!([1])),
        ("object", "type = 'object'", json!([]), json!({})),
    ] {
        rows.push(field(kind, "type", ["", declared], [wrong, right.clone()]));
        let required: &str = format!("{declared}, required = true").leak();
        let records = [json!({}), json!({ "a": right })];
        rows.push(row(Field(kind), "required", [declared, required], records));
    }
    rows
}

fn rows() -> Vec<Row> {
    let mut rows = types();
    let string = "type = 'string'";
    rows.extend([
        field("string", "min_length", [string, "type = 'string', min_length = 3"], [json!("ab"), json!("abc")]),
        field("string", "max_length", [string, "type = 'string', max_length = 2"], [json!("abc"), json!("ab")]),
        field("string", "pattern", [string, "type = 'string', pattern = '^a'"], [json!("ba"), json!("ab")]),
        field("integer", "min", ["type = 'integer', min = 1", "type = 'integer', min = 2"], [json!(1), json!(2)]),
        field("integer", "max", ["type = 'integer'", "type = 'integer', max = 2"], [json!(3), json!(2)]),
        field("number", "min", ["type = 'number'", "type = 'number', min = 0.5"], [json!(0.4), json!(0.5)]),
        field("number", "max", ["type = 'number', max = 2", "type = 'number', max = 1.5"], [json!(2), json!(1.5)]),
        field("enum", "values", ["type = 'enum', values = ['x', 'y']", "type = 'enum', values = ['x']"], [json!("y"), json!("x")]),
        field("ref", "to", [string, "type = 'ref', to = 'targets'"], [json!("gone"), json!("there")]),
        field("ref", "to", ["type = 'ref', to = 'targets'", "type = 'ref', to = 'others'"], [json!("there"), json!("both")]),
        field("array", "items", ["type = 'array'", "type = 'array', items = 'integer'"], [json!([1, "x"]), json!([1])]),
        field(
            "array",
            "items",
            [
                "type = 'array', items = { type = 'string' }",
                "type = 'array', items = { type = 'string', max_length = 1 }",
            ],
            [json!(["a", "ab"]), json!(["a"])],
        ),
        field("array", "min_length", ["type = 'array'", "type = 'array', min_length = 1"], [json!([]), json!([1])]),
        field("array", "max_length", ["type = 'array'", "type = 'array', max_length = 1"], [json!([1, 2]), json!([1])]),
        field(
            "object",
            "fields",
            ["type = 'object'", "type = 'object', fields = { b = { type = 'integer' } }"],
            [json!({"b": "x"}), json!({"b": 1})],
        ),
        field(
            "object",
            "fields",
            [
                "type = 'object', fields = { b = { type = 'object', fields = { c = { type = 'integer' } } } }",
                "type = 'object', fields = { b = { type = 'object', fields = { c = { type = 'integer', required = true } } } }",
            ],
            [json!({"b": {}}), json!({"b": {"c": 1}})],
        ),
        field(
            "object",
            "additional",
            [
                "type = 'object', additional = true, fields = { b = { type = 'integer' } }",
                "type = 'object', fields = { b = { type = 'integer' } }",
            ],
            [json!({"b": 1, "c": 2}), json!({"b": 1})],
        ),
        row(
            Resource,
            "additional",
            ["additional = true\nfields = { a = { type = 'string' } }", "fields = { a = { type = 'string' } }"],
            [json!({"a": "x", "more": 1}), json!({"a": "x"})],
        ),
        row(Resource, "unique", ["", "unique = ['a']"], [json!({"a": 1}), json!({"a": 1})]),
        row(Resource, "unique", ["unique = ['a']", "unique = ['b']"], [json!({"a": 1, "b": 2}), json!({"a": 2, "b": 2})]),
    ]);
    rows.extend(of_files());
    rows
}

fn of_files() -> Vec<Row> {
    let (string, integer) = (r#"{"type":"string"}"#, r#"{"type":"integer"}"#);
    let array = r#"{"type":"array"}"#;
    let object = r#"{"type":"object"}"#;
    vec![
        member(
            "string",
            "type",
            [r#"{"type":["string","null"]}"#, string],
            [json!(null), json!("x")],
        ),
        member(
            "string",
            "enum",
            [string, r#"{"enum":["x","z"]}"#],
            [json!("y"), json!("x")],
        ),
        member(
            "string",
            "const",
            [string, r#"{"const":"x"}"#],
            [json!("y"), json!("x")],
        ),
        member(
            "string",
            "format",
            [string, r#"{"type":"string","format":"date"}"#],
            [json!("x"), json!("2026-11-30")],
        ),
        member(
            "string",
            "minLength",
            [string, r#"{"type":"string","minLength":3}"#],
            [json!("ab"), json!("abc")],
        ),
        member(
            "string",
            "maxLength",
            [string, r#"{"type":"string","maxLength":2}"#],
            [json!("abc"), json!("ab")],
        ),
        member(
            "string",
            "pattern",
            [string, r#"{"type":"string","pattern":"^a"}"#],
            [json!("ba"), json!("ab")],
        ),
        member(
            "integer",
            "minimum",
            [integer, r#"{"type":"integer","minimum":2}"#],
            [json!(1), json!(2)],
        ),
        member(
            "integer",
            "maximum",
            [integer, r#"{"type":"integer","maximum":2}"#],
            [json!(3), json!(2)],
        ),
        member(
            "integer",
            "exclusiveMinimum",
            [integer, r#"{"type":"integer","exclusiveMinimum":2}"#],
            [json!(2), json!(3)],
        ),
        member(
            "integer",
            "exclusiveMaximum",
            [integer, r#"{"type":"integer","exclusiveMaximum":2}"#],
            [json!(2), json!(1)],
        ),
        member(
            "number",
            "minimum",
            [r#"{"type":"number"}"#, r#"{"type":"number","minimum":2}"#],
            [json!(1.9), json!(2)],
        ),
        member(
            "number",
            "maximum",
            [r#"{"type":"number"}"#, r#"{"type":"number","maximum":2}"#],
            [json!(2.1), json!(2)],
        ),
        member(
            "boolean",
            "type",
            [r#"{"type":["boolean","null"]}"#, r#"{"type":"boolean"}"#],
            [json!(null), json!(true)],
        ),
        member(
            "array",
            "items",
            [array, r#"{"type":"array","items":{"type":"string"}}"#],
            [json!([1]), json!(["x"])],
        ),
        member(
            "array",
            "minItems",
            [array, r#"{"type":"array","minItems":1}"#],
            [json!([]), json!([1])],
        ),
        member(
            "array",
            "maxItems",
            [array, r#"{"type":"array","maxItems":1}"#],
            [json!([1, 2]), json!([1])],
        ),
        member(
            "object",
            "properties",
            [
                object,
                r#"{"type":"object","properties":{"b":{"type":"integer"}}}"#,
            ],
            [json!({"b": "x"}), json!({"b": 1})],
        ),
        member(
            "object",
            "required",
            [
                r#"{"type":"object","properties":{"b":{"type":"integer"}}}"#,
                r#"{"type":"object","properties":{"b":{"type":"integer"}},"required":["b"]}"#,
            ],
            [json!({}), json!({"b": 1})],
        ),
        member(
            "object",
            "additionalProperties",
            [object, r#"{"type":"object","additionalProperties":false}"#],
            [json!({"b": 1}), json!({})],
        ),
    ]
}

/// The settings of all rows, before or after they become narrower, with the schema files that they name.
fn resources(daemon: &TestDaemon, rows: &[Row], narrower: bool) -> String {
    let mut text =
        "[resource.targets]\nid = 'client'\n[resource.others]\nid = 'client'\n".to_owned();
    for (number, row) in rows.iter().enumerate() {
        let rules = if narrower { row.after } else { row.before };
        writeln!(text, "[resource.r{number}]").unwrap();
        match row.place {
            Field(_) if rules.is_empty() => {}
            Field(_) => writeln!(text, "fields = {{ a = {{ {rules} }} }}").unwrap(),
            Resource => writeln!(text, "{rules}").unwrap(),
            File(_) => {
                let name = format!("r{number}-{narrower}.json");
                let schema = format!("{{\"type\":\"object\",\"properties\":{{\"a\":{rules}}}}}");
                fs::write(daemon.folder().join(&name), schema).unwrap();
                writeln!(text, "schema = '{name}'").unwrap();
            }
        }
    }
    text
}

/// The keys that the fields of a type, or its schemas in files, may have: a wrong one is answered with all.
fn known_keys(daemon: &TestDaemon, place: Place) -> BTreeSet<String> {
    let rules = match place {
        Field("enum") => {
            "fields = { a = { type = 'enum', values = ['x'], zzzzzzzz = 1 } }".to_owned()
        }
        Field("ref") => "fields = { a = { type = 'ref', to = 'books', zzzzzzzz = 1 } }".to_owned(),
        Field(kind) => format!("fields = {{ a = {{ type = '{kind}', zzzzzzzz = 1 }} }}"),
        File(kind) => {
            let schema = format!(
                "{{\"type\":\"object\",\"properties\":{{\"a\":{{\"type\":\"{kind}\",\"zzzzzzzz\":1}}}}}}"
            );
            fs::write(daemon.folder().join("keys.json"), schema).unwrap();
            "schema = 'keys.json'".to_owned()
        }
        Resource => "zzzzzzzz = 1".to_owned(),
    };
    let file = daemon.folder().join("keys.toml");
    fs::write(
        &file,
        toml(daemon.folder(), &format!("[resource.keys]\n{rules}\n")),
    )
    .unwrap();
    let checked = Command::new(BINARY)
        .arg("check")
        .arg(&file)
        .output()
        .unwrap();
    let told = String::from_utf8(checked.stderr).unwrap();
    let line = told.lines().find(|line| line.contains("zzzzzzzz")).unwrap();
    let (_, keys) = line.split_once(" are ").unwrap_or_else(|| panic!("{line}"));
    keys.split(", ").map(str::to_owned).collect()
}

/// Keys that refuse no value that they did not refuse before.
const NOT_NARROWER: [&str; 6] = [
    "default",
    "read_only",
    "generated",
    "on_delete",
    "readOnly",
    "zzzzzzzz",
];
/// Keys of a resource that say nothing about its stored records, or whose parts have rows. Another kind of ids has tests of its own.
const OF_RESOURCES: [&str; 20] = [
    "path",
    "access",
    "id",
    "fields",
    "schema",
    "index",
    "if_match",
    "put",
    "accept",
    "upsert",
    "delete_matching",
    "headers",
    "compress",
    "cors",
    "delay",
    "methods",
    "owner",
    "owner_except",
    "rate",
    "max_in_flight",
];

#[test]
fn each_key_that_can_be_made_narrower_has_a_row() {
    let daemon = TestDaemon::prepare("");
    let rows = rows();
    let fields = [
        "string", "integer", "number", "boolean", "datetime", "date", "uuid", "enum", "ref",
        "array", "object",
    ];
    let files = ["string", "integer", "number", "boolean", "array", "object"];
    let fields = fields.into_iter().map(|kind| (Field(kind), kind));
    let files = files.into_iter().map(|kind| (File(kind), kind));
    for (place, kind) in fields.chain(files) {
        for key in known_keys(&daemon, place) {
            // A type in a file, enum and const are the same for each type.
            let common = matches!(place, File(_)) && ["type", "enum", "const"].contains(&&*key);
            let mut of_key = rows.iter().filter(|row| row.key == key);
            let has_row = of_key.any(|row| row.place == place || common);
            assert!(has_row || NOT_NARROWER.contains(&&*key), "{kind} {key}");
        }
    }
    for key in known_keys(&daemon, Resource) {
        let has_row = rows
            .iter()
            .any(|row| row.place == Resource && row.key == key);
        assert!(has_row || OF_RESOURCES.contains(&&*key), "{key}");
    }
}

/// Fails unless each row has a line that names its resource and its record.
#[track_caller]
fn assert_told(rows: &[Row], lines: &[String]) {
    for (number, Row { key, after, .. }) in rows.iter().enumerate() {
        let resource = format!("[resource.r{number}]");
        let of_row: Vec<_> = lines
            .iter()
            .filter(|line| line.contains(&resource))
            .collect();
        assert_eq!(of_row.len(), 1, "{resource} {key} {after}: {lines:#?}");
        assert!(
            of_row[0].contains("1 record (wrong)"),
            "{key} {after}: {of_row:?}"
        );
    }
}

#[test]
fn whatever_becomes_narrower_is_compared_with_the_stored_records() {
    let daemon = TestDaemon::start("");
    let rows = rows();
    rewrite(&daemon, &resources(&daemon, &rows, false));
    reload(&daemon, "").expect(200);
    for (path, id) in [
        ("/targets", "there"),
        ("/targets", "both"),
        ("/others", "both"),
    ] {
        daemon.post(path, &json!({ "id": id })).expect(201);
    }
    for (number, row) in rows.iter().enumerate() {
        // Of two records with the same value it is the later one.
        for (id, record) in [("right", &row.right), ("wrong", &row.wrong)] {
            let mut record = record.clone();
            record["id"] = id.into();
            let made = daemon.post(&format!("/r{number}"), &record);
            assert_eq!(
                made.status,
                201,
                "{number} {} {record}: {}",
                row.key,
                made.text()
            );
        }
    }
    let before = settings(&daemon);
    rewrite(&daemon, &resources(&daemon, &rows, true));
    let refused = reload(&daemon, "").expect(422).json();
    let reasons = refused["reasons"].as_array().unwrap().iter();
    let reasons: Vec<_> = reasons
        .map(|reason| reason.as_str().unwrap().to_owned())
        .collect();
    assert_eq!(reasons.len(), rows.len(), "{reasons:#?}");
    assert_told(&rows, &reasons);
    let dry = perennial_reload(&daemon, &["--dry-run"]);
    assert_eq!(dry.status.code(), Some(78));
    let printed = String::from_utf8(dry.stderr).unwrap();
    for reason in &reasons {
        assert!(printed.contains(reason), "{reason}: {printed}");
    }
    assert_eq!(settings(&daemon)["hash"], before["hash"]);
    let mut check = Command::new(BINARY);
    let checked = check
        .arg("check")
        .arg(daemon.config())
        .arg("--data")
        .output()
        .unwrap();
    let told = String::from_utf8(checked.stderr).unwrap();
    let told: Vec<_> = told
        .lines()
        .filter(|line| line.contains("[resource.r"))
        .map(str::to_owned)
        .collect();
    assert_told(&rows, &told);
    // Without these records the same settings are in force, and the others are still there.
    for number in 0..rows.len() {
        let path = format!("/r{number}/wrong");
        client::send(daemon.public(), "DELETE", &path, &[], None).expect(200);
    }
    reload(&daemon, "").expect(200);
    for (number, row) in rows.iter().enumerate() {
        daemon.get(&format!("/r{number}/right")).expect(200);
        let mut wrong = row.wrong.clone();
        wrong["id"] = "wrong".into();
        let refused = daemon.post(&format!("/r{number}"), &wrong).status;
        assert!(
            [409, 422].contains(&refused),
            "{number} {}: {refused}",
            row.key
        );
    }
}
