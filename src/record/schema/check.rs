//! Checks a record against its schema: finds every rule that it breaks.

use std::fmt::Display;

use serde_json::{Map, Value};

use super::field::{Bounds, FieldSource, FieldType, ObjectFields};
use super::new_values::NewValues;
use super::violation::{Pointer, Rule, RuleViolation};
use crate::record::compare::{ExactNumber, same};
use crate::record::nearest;

/// Fills in the defaults of these fields, and finds every rule that the object breaks.
pub(super) fn object(
    fields: &ObjectFields,
    members: &mut Map<String, Value>,
    new: &NewValues<'_>,
) -> Vec<RuleViolation> {
    new.fill(fields, members);
    let mut found = Vec::new();
    members_of(fields, members, Pointer::Root, &mut found);
    found
}

/// What is wrong with the members is found in their order, and what is missing after it.
fn members_of(
    fields: &ObjectFields,
    members: &Map<String, Value>,
    here: Pointer<'_>,
    found: &mut Vec<RuleViolation>,
) {
    for (name, of) in members {
        let member = Pointer::Member(&here, name);
        match fields.list.iter().find(|field| field.name == *name) {
            Some(field) if of.is_null() && field.may_be_null() => {}
            Some(field) if of.is_null() && field.required => {
                found.push(member.violates(Rule::Required, "must be there"));
            }
            Some(field) => value(&field.kind, of, member, found),
            None if fields.additional => {}
            None => {
                let known = fields.list.iter().map(|field| field.name.as_str());
                let detail = match nearest(name, known) {
                    Some(near) => format!("is not a field of this resource; did you mean {near}?"),
                    None => "is not a field of this resource".to_owned(),
                };
                found.push(member.violates(Rule::Unknown, detail));
            }
        }
    }
    // The writer gives the others their values.
    let required = fields.list.iter().filter(|field| field.required);
    let required = required.filter(|field| field.source == FieldSource::Client);
    for field in required.filter(|field| !members.contains_key(&field.name)) {
        let member = Pointer::Member(&here, &field.name);
        found.push(member.violates(Rule::Required, "must be there"));
    }
}

/// Finds every rule that a value breaks.
pub(super) fn value(
    kind: &FieldType,
    value: &Value,
    here: Pointer<'_>,
    found: &mut Vec<RuleViolation>,
) {
    let mut mismatch =
        || found.push(here.violates(Rule::Type, format!("must be {}", kind.article())));
    match (kind, value) {
        (FieldType::String { length, pattern }, Value::String(text)) => {
            check_length(text.chars().count(), "characters", length, here, found);
            if let Some(pattern) = pattern
                && !pattern.is_match(text)
            {
                let detail = format!("must match {}", pattern.as_str());
                found.push(here.violates(Rule::Pattern, detail));
            }
        }
        (FieldType::Integer(bounds), Value::Number(number)) => {
            match ExactNumber::of(number).and_then(ExactNumber::whole) {
                Some(number) => check_number(number, bounds, here, found),
                None => mismatch(),
            }
        }
        (FieldType::Number(bounds), Value::Number(number)) => match ExactNumber::of(number) {
            Some(number) => {
                let exact = |bound: Option<f64>| bound.and_then(ExactNumber::from_f64);
                let (min, max) = (exact(bounds.min), exact(bounds.max));
                check_number(number, &Bounds { min, max }, here, found);
            }
            None => mismatch(),
        },
        (FieldType::Boolean, Value::Bool(_)) | (FieldType::Object(None), Value::Object(_)) => {}
        (FieldType::DateTime, Value::String(text)) if moment(text).is_some() => {}
        (FieldType::Date, Value::String(text)) if is_date(text) => {}
        (FieldType::Uuid, Value::String(text)) if is_uuid(text) => {}
        (FieldType::Ref(reference), of) if reference.id(of).is_some() => {}
        (FieldType::Enum(values), of) => {
            if !values.iter().any(|value| same(value, of)) {
                found.push(here.violates(Rule::Enum, one_of(values)));
            }
        }
        (FieldType::Array { items, length }, Value::Array(values)) => {
            check_length(values.len(), "items", length, here, found);
            if let Some(items) = items {
                for (index, item) in values.iter().enumerate() {
                    self::value(items, item, Pointer::Item(&here, index), found);
                }
            }
        }
        (FieldType::Object(Some(inner)), Value::Object(members)) => {
            members_of(inner, members, here, found);
        }
        _ => mismatch(),
    }
}

fn check_number<T: PartialOrd + Display + Copy>(
    number: T,
    bounds: &Bounds<T>,
    here: Pointer<'_>,
    found: &mut Vec<RuleViolation>,
) {
    if let Some(min) = bounds.min.filter(|min| number < *min) {
        found.push(here.violates(Rule::Min, format!("must be at least {min}")));
    }
    if let Some(max) = bounds.max.filter(|max| number > *max) {
        found.push(here.violates(Rule::Max, format!("must be at most {max}")));
    }
}

fn check_length(
    length: usize,
    of: &str,
    bounds: &Bounds<usize>,
    here: Pointer<'_>,
    found: &mut Vec<RuleViolation>,
) {
    if let Some(min) = bounds.min.filter(|min| length < *min) {
        let detail = format!("must have at least {min} {of}");
        found.push(here.violates(Rule::MinLength, detail));
    }
    if let Some(max) = bounds.max.filter(|max| length > *max) {
        let detail = format!("must have at most {max} {of}");
        found.push(here.violates(Rule::MaxLength, detail));
    }
}

/// The most values that a violation names.
const VALUES_NAMED: usize = 20;

fn one_of(values: &[Value]) -> String {
    let named: Vec<_> = values
        .iter()
        .take(VALUES_NAMED)
        .map(Value::to_string)
        .collect();
    let more = if values.len() > VALUES_NAMED {
        ", .."
    } else {
        ""
    };
    format!("must be one of {}{more}", named.join(", "))
}

/// Whether a text is a full-date of RFC 3339.
pub(crate) fn is_date(text: &str) -> bool {
    text.len() == "2026-11-24".len() && moment(&format!("{text}T00:00:00Z")).is_some()
}

/// Whether a text is a UUID in its usual form, in small letters.
pub(crate) fn is_uuid(text: &str) -> bool {
    let parsed = uuid::Uuid::try_parse(text);
    parsed.is_ok_and(|uuid| uuid.hyphenated().to_string() == text)
}

/// The moment of an RFC 3339 text, in nanoseconds since 1970.
pub(crate) fn moment(text: &str) -> Option<i128> {
    use time::format_description::well_known::Rfc3339;
    let moment = time::OffsetDateTime::parse(text, &Rfc3339).ok()?;
    Some(moment.unix_timestamp_nanos())
}

#[cfg(test)]
mod tests {
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
}
