//! Checks a record against its schema: finds every rule that it breaks.

use std::fmt::Display;

use serde_json::{Map, Value};

use super::field::{Bounds, Field, FieldType};
use super::violation::{Pointer, Rule, RuleViolation};
use crate::record::compare::ExactNumber;
use crate::record::nearest;

/// Fills in the defaults of these fields, and finds every rule that the object breaks.
pub(super) fn object(fields: &[Field], members: &mut Map<String, Value>) -> Vec<RuleViolation> {
    fill(fields, members);
    let mut found = Vec::new();
    members_of(fields, members, Pointer::Root, &mut found);
    found
}

fn fill(fields: &[Field], members: &mut Map<String, Value>) {
    for field in fields {
        if let (Some(default), None) = (&field.default, members.get(&field.name)) {
            members.insert(field.name.clone(), default.clone());
        }
        if let FieldType::Object(Some(inner)) = &field.kind
            && let Some(Value::Object(members)) = members.get_mut(&field.name)
        {
            fill(inner, members);
        }
    }
}

fn members_of(
    fields: &[Field],
    members: &Map<String, Value>,
    here: Pointer<'_>,
    found: &mut Vec<RuleViolation>,
) {
    for field in fields {
        let member = Pointer::Member(&here, &field.name);
        match members.get(&field.name) {
            None | Some(Value::Null) if field.required => {
                found.push(member.violates(Rule::Required, "must be there"));
            }
            None | Some(Value::Null) => {}
            Some(found_value) => value(&field.kind, found_value, member, found),
        }
    }
    for name in members.keys() {
        if !fields.iter().any(|field| field.name == *name) {
            let known = fields.iter().map(|field| field.name.as_str());
            let detail = match nearest(name, known) {
                Some(near) => format!("is not a field of this resource; did you mean {near}?"),
                None => "is not a field of this resource".to_owned(),
            };
            let member = Pointer::Member(&here, name);
            found.push(member.violates(Rule::Unknown, detail));
        }
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

/// The moment of an RFC 3339 text, in nanoseconds since 1970.
pub(crate) fn moment(text: &str) -> Option<i128> {
    use time::format_description::well_known::Rfc3339;
    let moment = time::OffsetDateTime::parse(text, &Rfc3339).ok()?;
    Some(moment.unix_timestamp_nanos())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::field::Pattern;
    use super::*;
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
                default: Some(json!([])),
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
                FieldType::Object(Some(vec![Field {
                    required: true,
                    ..field("na/me", text())
                }])),
            ),
        ]
    }

    /// The rules are named as in a response.
    fn check(value: Value) -> (Value, Vec<(String, Value, String)>) {
        let Value::Object(mut members) = value else {
            panic!()
        };
        let found = object(&fields(), &mut members);
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
                ("/title", "required", "must be there"),
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
                ("/author/na~1me", "required", "must be there"),
                (
                    "/author/name",
                    "unknown",
                    "is not a field of this resource; did you mean na/me?"
                ),
                (
                    "/titel",
                    "unknown",
                    "is not a field of this resource; did you mean title?"
                ),
            ]
        );
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
