//! Filters of a query: a field must be equal to one of several values.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{QueryError, at};
use crate::record::schema::{FieldType, moment, whole};

/// Filters by the path of their field: the values of which it must have one.
pub(super) type Filters = BTreeMap<Vec<String>, Vec<Wanted>>;

/// A value that a field is compared with.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Wanted {
    /// For a field that is declared as a string.
    Text(String),
    Integer(i64),
    Number(f64),
    Boolean(bool),
    /// In nanoseconds since 1970.
    Moment(i128),
    /// As it was sent, for a field without a declared type. It is equal to a string, a number, `true`, `false` or `null` that
    /// reads the same.
    Word(String),
}

/// Reads the value of a parameter for a field of this type; `None`: of any type.
pub(super) fn wanted(
    name: &str,
    value: &str,
    kind: Option<&FieldType>,
) -> Result<Wanted, QueryError> {
    let Some(kind) = kind else {
        return Ok(Wanted::Word(value.to_owned()));
    };
    let wanted = match kind {
        FieldType::String { .. } => Some(Wanted::Text(value.to_owned())),
        FieldType::Integer(_) => value.parse().ok().map(Wanted::Integer),
        FieldType::Number(_) => {
            let number = value.parse().ok().filter(|number: &f64| number.is_finite());
            number.map(Wanted::Number)
        }
        FieldType::Boolean => value.parse().ok().map(Wanted::Boolean),
        FieldType::DateTime => moment(value).map(Wanted::Moment),
        // An array matches if one of its items does.
        FieldType::Array { items, .. } => return wanted(name, value, items.as_deref()),
        FieldType::Object(_) => {
            return Err(QueryError::Object {
                name: name.to_owned(),
            });
        }
    };
    wanted.ok_or_else(|| QueryError::Value {
        name: name.to_owned(),
        article: kind.article(),
    })
}

/// Whether the field at `path` has one of these values.
pub(super) fn matches(members: &Map<String, Value>, path: &[String], any_of: &[Wanted]) -> bool {
    let equal = |value: &Value| any_of.iter().any(|wanted| wanted.is(value));
    match at(members, path) {
        None => false,
        Some(Value::Array(items)) => items.iter().any(equal),
        Some(value) => equal(value),
    }
}

impl Wanted {
    /// The value as it was sent, if the field has no declared type.
    pub(super) fn word(&self) -> Option<&str> {
        let Self::Word(word) = self else { return None };
        Some(word)
    }

    fn is(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Text(wanted) | Self::Word(wanted), Value::String(text)) => wanted == text,
            (Self::Integer(wanted), Value::Number(number)) => whole(number) == Some(*wanted),
            (Self::Number(wanted), Value::Number(number)) => {
                number.as_f64().partial_cmp(&Some(*wanted)) == Some(Ordering::Equal)
            }
            (Self::Boolean(wanted), Value::Bool(value)) => wanted == value,
            (Self::Moment(wanted), Value::String(text)) => moment(text) == Some(*wanted),
            (Self::Word(word), Value::Number(number)) => is_number(word, number),
            (Self::Word(word), Value::Bool(true)) => word == "true",
            (Self::Word(word), Value::Bool(false)) => word == "false",
            (Self::Word(word), Value::Null) => word == "null",
            _ => false,
        }
    }
}

fn is_number(word: &str, number: &serde_json::Number) -> bool {
    match (word.parse::<i64>(), whole(number)) {
        (Ok(wanted), Some(number)) => wanted == number,
        _ => word.parse().ok() == number.as_f64(),
    }
}
