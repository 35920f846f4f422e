//! Tests of records against the rules of their fields.

use serde_json::json;

use super::super::field::{DefaultValue, Field, OnDelete, Reference};
use super::super::pattern::Pattern;
use super::*;
use crate::record::IdScheme;
use crate::record::tests::fields::{bounds, field, text};

fn fields() -> Vec<Field> {
    vec![
        Field {
            required: true,
            ..field(
                "title",
                FieldType::String {
                    length: bounds(Some(1), Some(5)),
                    pattern: None,
                },
            )
        },
        field("year", FieldType::Integer(bounds(Some(0), Some(3000)))),
        field(
            "isbn",
            FieldType::String {
                length: Bounds::default(),
                pattern: Some(Pattern::new("^[0-9]{3}$").unwrap()),
            },
        ),
        Field {
            default: Some(DefaultValue::Fixed(json!([]))),
            ..field(
                "tags",
                FieldType::Array {
                    items: Some(Box::new(text())),
                    length: bounds(None, Some(2)),
                },
            )
        },
        field("seen", FieldType::DateTime),
        field("lent", FieldType::Boolean),
        field("price", FieldType::Number(bounds(Some(0.5), None))),
        field(
            "author",
            FieldType::Object(Some(
                vec![Field {
                    required: true,
                    ..field("na/me", text())
                }]
                .into(),
            )),
        ),
    ]
}

/// The rules are named as in a response.
fn check(value: Value) -> (Value, Vec<(String, Value, String)>) {
    let Value::Object(mut members) = value else {
        panic!()
    };
    let found = object(&fields().into(), &mut members, &NewValues::default());
    let found = found
        .into_iter()
        .map(|v| (v.pointer, json!(v.rule), v.detail))
        .collect();
    (Value::Object(members), found)
}

#[test]
fn a_valid_record_gets_its_defaults() {
    let (record, found) = check(json!({
        "title": "\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}", "year": 2000.0, "isbn": "123", "seen": "2026-11-24T16:00:00+01:00",
        "lent": true, "price": 1, "author": {"na/me": "x"},
    }));
    assert_eq!(found, []);
    assert_eq!(record["tags"], json!([]));
    let (_, found) = check(json!({"title": "x", "year": null, "tags": null}));
    assert_eq!(found, [], "what is optional may be null");
}

#[test]
fn every_broken_rule_is_found_at_once() {
    let (_, found) = check(json!({
        "titel": "x", "year": 3001, "isbn": "12", "tags": ["a", 5, "c"], "seen": "yesterday", "lent": 0, "price": 0.25,
        "author": {"name": 1},
    }));
    let found: Vec<_> = found
        .iter()
        .map(|(p, r, d)| (p.as_str(), r.as_str().unwrap(), d.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            (
                "/titel",
                "unknown",
                "is not a field of this resource; did you mean title?"
            ),
            ("/year", "max", "must be at most 3000"),
            ("/isbn", "pattern", "must match ^[0-9]{3}$"),
            ("/tags", "max_length", "must have at most 2 items"),
            ("/tags/1", "type", "must be a string"),
            (
                "/seen",
                "type",
                "must be a date and time such as 2026-11-24T16:00:00Z"
            ),
            ("/lent", "type", "must be true or false"),
            ("/price", "min", "must be at least 0.5"),
            (
                "/author/name",
                "unknown",
                "is not a field of this resource; did you mean na/me?"
            ),
            ("/author/na~1me", "required", "must be there"),
            ("/title", "required", "must be there"),
        ]
    );
}

/// A type, with values that are of it and others.
type TypedValues = (FieldType, Vec<Value>, Vec<Value>);

const UUID: &str = "0193b3a4-5c1e-7d2f-8a90-1b2c3d4e5f60";

fn texts_of_a_form() -> Vec<TypedValues> {
    vec![
        (
            FieldType::Date,
            vec![
                json!("2026-11-24"),
                json!("2024-02-29"),
                json!("0000-01-01"),
                json!("9999-12-31"),
            ],
            vec![
                json!("2026-11-24T16:00:00Z"),
                json!("2025-02-29"),
                json!("2026-13-01"),
                json!("26-11-24"),
                json!("2026-1-1"),
                json!("+2026-01-01"),
                json!("2026-11-2\u{663}"),
                json!(""),
                json!(20_261_124),
            ],
        ),
        (
            FieldType::DateTime,
            vec![
                json!("2026-11-24T16:00:00Z"),
                json!("2026-11-24T16:00:00.25-08:00"),
            ],
            vec![
                json!("2026-11-24"),
                json!("2026-11-24T16:00:00"),
                json!("2026-11-24T25:00:00Z"),
            ],
        ),
        (
            FieldType::Uuid,
            vec![json!(UUID), json!("00000000-0000-0000-0000-000000000000")],
            vec![
                json!(UUID.to_uppercase()),
                json!(UUID.replace('-', "")),
                json!(format!("{{{UUID}}}")),
                json!(format!("urn:uuid:{UUID}")),
                json!(""),
                json!(5),
            ],
        ),
    ]
}

fn listed_values_and_ids() -> Vec<TypedValues> {
    let reference = |ids| {
        FieldType::Ref(Reference {
            to: "books".to_owned(),
            ids,
            on_delete: OnDelete::Restrict,
        })
    };
    let words = FieldType::Enum(vec![json!("draft"), json!("done")]);
    let numbers = FieldType::Enum(vec![json!(1), json!(2.5)]);
    let long = "x".repeat(129);
    vec![
        (
            words,
            vec![json!("draft")],
            vec![json!("Draft"), json!(1), json!(["draft"]), json!("")],
        ),
        (
            numbers,
            vec![json!(1.0), json!(25e-1)],
            vec![json!("1"), json!(2), json!(true)],
        ),
        (
            reference(IdScheme::Sequence),
            vec![json!(7), json!(0), json!("dune")],
            vec![
                json!("7"),
                json!(-1),
                json!(1.5),
                json!({}),
                json!(1_u64 << 53),
            ],
        ),
        (
            reference(IdScheme::Uuid),
            vec![json!(UUID), json!("7")],
            vec![json!(7), json!(""), json!("_x"), json!("a b"), json!(long)],
        ),
    ]
}

#[test]
fn a_value_is_one_of_its_type() {
    for (kind, right, wrong) in [texts_of_a_form(), listed_values_and_ids()].concat() {
        for value in right {
            assert_eq!(kind.violations(&value), [], "{kind:?} {value}");
        }
        for value in wrong {
            assert_eq!(kind.violations(&value).len(), 1, "{kind:?} {value}");
        }
    }
    let found = FieldType::Enum(vec![json!("a"), json!("b")]).violations(&json!("c"));
    assert_eq!(found[0].detail, "must be one of \"a\", \"b\"");
}

#[test]
fn other_members_are_taken_where_additional_ones_may_be() {
    let open = |list: Vec<Field>| ObjectFields {
        list,
        additional: true,
    };
    let inner = FieldType::Object(Some(open(vec![field("n", FieldType::Boolean)])));
    let fields = open(vec![field("o", inner)]);
    let sent = json!({"x": 1, "o": {"y": [], "n": 5}, "z": null});
    let found = object(
        &fields,
        &mut sent.as_object().unwrap().clone(),
        &NewValues::default(),
    );
    let found: Vec<_> = found.iter().map(|it| it.pointer.as_str()).collect();
    assert_eq!(found, ["/o/n"]);
}

#[test]
fn bounds_of_numbers_are_exact() {
    let kind = FieldType::Number(bounds(None, Some(9_007_199_254_740_992.0)));
    assert_eq!(kind.violations(&json!(9_007_199_254_740_992_u64)), []);
    let found = kind.violations(&json!(9_007_199_254_740_993_u64));
    let details: Vec<_> = found.iter().map(|found| found.detail.as_str()).collect();
    assert_eq!(details, ["must be at most 9007199254740992"]);
}

#[test]
fn an_integer_is_a_whole_number_within_its_bounds() {
    for (year, rule) in [
        (json!(1.5), Some("type")),
        (json!("5"), Some("type")),
        (json!(-1), Some("min")),
        (json!(u64::MAX), Some("type")),
        (json!(3000), None),
        (json!(1e15), Some("max")),
        (json!(1e16), Some("max")),
        (json!(-1e16), Some("min")),
        (json!(-0.0), None),
    ] {
        let (_, found) = check(json!({"title": "x", "year": year}));
        assert_eq!(found.first().and_then(|f| f.1.as_str()), rule, "{year}");
    }
}
