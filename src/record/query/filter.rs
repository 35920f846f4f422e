//! Equality with one of several values.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::{QueryError, at};
use crate::record::schema::{FieldType, moment, whole};

/// A field, and what it must be equal to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Filter {
    path: Vec<String>,
    /// One of them is enough.
    any_of: Vec<Wanted>,
}

/// What a value is compared with.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Wanted {
    /// A text of a field that is declared to be one.
    Text(String),
    Integer(i64),
    Number(f64),
    Boolean(bool),
    /// In nanoseconds since 1970.
    Moment(i128),
    /// As it was sent, for a field that nothing is declared of: a record has it if its JSON reads the same, as a text, a
    /// number or a word.
    Word(String),
}

/// What the value of a parameter means for a field of this type.
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
        FieldType::Integer { .. } => value.parse().ok().map(Wanted::Integer),
        FieldType::Number { .. } => {
            let number = value.parse().ok().filter(|number: &f64| number.is_finite());
            number.map(Wanted::Number)
        }
        FieldType::Boolean => value.parse().ok().map(Wanted::Boolean),
        FieldType::DateTime => moment(value).map(Wanted::Moment),
        // One of the items.
        FieldType::Array { items, .. } => return wanted(name, value, items.as_deref()),
        FieldType::Object { .. } => {
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

impl Filter {
    pub(super) fn new(path: Vec<String>, wanted: Wanted) -> Self {
        Self {
            path,
            any_of: vec![wanted],
        }
    }

    pub(super) fn is_of(&self, path: &[String]) -> bool {
        self.path == path
    }

    pub(super) fn or(&mut self, wanted: Wanted) {
        self.any_of.push(wanted);
    }

    /// What it may be equal to, as it was sent, if nothing is declared of the field.
    pub(super) fn words(&self) -> impl Iterator<Item = &str> {
        self.any_of.iter().filter_map(|wanted| match wanted {
            Wanted::Word(word) => Some(word.as_str()),
            Wanted::Text(_)
            | Wanted::Integer(_)
            | Wanted::Number(_)
            | Wanted::Boolean(_)
            | Wanted::Moment(_) => None,
        })
    }

    pub(super) fn matches(&self, members: &Map<String, Value>) -> bool {
        let equal = |value: &Value| self.any_of.iter().any(|wanted| wanted.is(value));
        match at(members, &self.path) {
            None => false,
            Some(Value::Array(items)) => items.iter().any(equal),
            Some(value) => equal(value),
        }
    }
}

impl Wanted {
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
