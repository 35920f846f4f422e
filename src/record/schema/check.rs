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

/// Finds the faults of the members in their order, and the members that are missing after them.
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
            None => found.push(unknown(fields, name, member)),
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

/// The violation of a member that is no field.
pub(super) fn unknown(fields: &ObjectFields, name: &str, member: Pointer<'_>) -> RuleViolation {
    let known = fields.list.iter().map(|field| field.name.as_str());
    let detail = match nearest(name, known) {
        Some(near) => format!("is not a field of this resource; did you mean {near}?"),
        None => "is not a field of this resource".to_owned(),
    };
    member.violates(Rule::Unknown, detail)
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

/// The rule for a value that has to be one of a list, with the beginning of the list.
pub(crate) fn one_of(values: &[Value]) -> String {
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
mod tests;
