//! A value that a client sent for a field to be compared with.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::Value;

use crate::record::RecordId;
use crate::record::compare::{ExactNumber, Scalar};
use crate::record::schema::{FieldType, is_date, is_uuid, moment};

/// A value that a field is compared with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operand {
    /// For a field of a declared type.
    Typed(Scalar<'static>),
    /// For a field without a declared type.
    Word(Word),
}

/// A value as it was sent. It is compared as json-server compares it, by the type of the value in the record: equal is what
/// JavaScript writes in the same way, and a number is less or greater than what the word is as a number.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Word {
    text: String,
    /// The number, if this is the way to write it.
    same: Option<ExactNumber>,
    /// The number, however it is written.
    near: Option<ExactNumber>,
}

impl Operand {
    /// Reads a value for a field of this type; `None`: of any type. Without a result no value of the type reads like this.
    pub(super) fn parse(text: &str, kind: Option<&FieldType>) -> Option<Self> {
        let number = || ExactNumber::parse(text);
        let scalar = match kind {
            None => return Some(Self::Word(Word::new(text))),
            // An array is compared item by item.
            Some(FieldType::Array { items, .. }) => return Self::parse(text, items.as_deref()),
            Some(FieldType::String { .. }) => Scalar::Text(Cow::Owned(text.to_owned())),
            Some(FieldType::Integer(_) | FieldType::Number(_)) => Scalar::Number(number()?),
            Some(FieldType::Boolean) => Scalar::Boolean(text.parse().ok()?),
            Some(FieldType::DateTime) => Scalar::Moment(moment(text)?),
            Some(FieldType::Date) => Scalar::Text(Cow::Owned(some(text.to_owned(), is_date)?)),
            Some(FieldType::Uuid) => {
                Scalar::Text(Cow::Owned(some(text.to_ascii_lowercase(), is_uuid)?))
            }
            Some(FieldType::Enum(values)) => match values.first() {
                Some(Value::Number(_)) => Scalar::Number(number()?),
                Some(_) | None => Scalar::Text(Cow::Owned(text.to_owned())),
            },
            Some(FieldType::Ref(reference)) => match reference.ids.parse(text).ok()? {
                RecordId::Number(_) => Scalar::Number(number()?),
                RecordId::Text(text) => Scalar::Text(Cow::Owned(text.to_string())),
            },
            Some(FieldType::Object(_)) => return None,
        };
        Some(Self::Typed(scalar))
    }

    /// The value as it was sent, if the field has no declared type.
    pub(super) fn word(&self) -> Option<&str> {
        match self {
            Self::Typed(_) => None,
            Self::Word(word) => Some(&word.text),
        }
    }

    /// The values that are equal to it.
    pub(super) fn equal(&self) -> Vec<Scalar<'_>> {
        match self {
            Self::Typed(wanted) => vec![wanted.clone()],
            Self::Word(word) => {
                let mut equal = vec![Scalar::Text(Cow::Borrowed(&word.text))];
                equal.extend(word.same.map(Scalar::Number));
                match word.text.as_str() {
                    "true" | "false" => equal.push(Scalar::Boolean(word.text == "true")),
                    "null" => equal.push(Scalar::Null),
                    _ => {}
                }
                equal
            }
        }
    }

    /// The values that others are less or greater than, one of each kind, if they are so of it. Booleans are not among them.
    pub(super) fn bounds(&self) -> Vec<Scalar<'_>> {
        match self {
            Self::Typed(bound) => vec![bound.clone()],
            Self::Word(word) => {
                let text = Scalar::Text(Cow::Borrowed(&word.text));
                let number = word.near.map(Scalar::Number);
                std::iter::once(text).chain(number).collect()
            }
        }
    }

    /// Whether it is a whole number of 64 bits.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self, Self::Typed(Scalar::Number(number)) if number.whole().is_some())
    }

    /// Whether a value is equal to it.
    pub(super) fn is(&self, value: &Scalar<'_>) -> bool {
        match self {
            Self::Typed(wanted) => wanted == value,
            Self::Word(word) => word.is(value),
        }
    }

    /// The order of a value and this one, if they have one.
    pub(super) fn order(&self, value: &Scalar<'_>) -> Option<Ordering> {
        match self {
            Self::Typed(bound) => {
                let comparable = value.is_comparable_with(bound);
                comparable.then(|| value.cmp(bound))
            }
            Self::Word(word) => word.order(value),
        }
    }
}

impl Word {
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    fn new(text: &str) -> Self {
        let same = ExactNumber::parse(text).filter(|number| number.to_string() == text);
        Self {
            text: text.to_owned(),
            same,
            near: same.or_else(|| number(text.trim())),
        }
    }

    fn is(&self, value: &Scalar<'_>) -> bool {
        match value {
            Scalar::Text(text) => *text == self.text,
            Scalar::Number(number) => Some(*number) == self.same,
            Scalar::Boolean(true) => self.text == "true",
            Scalar::Boolean(false) => self.text == "false",
            Scalar::Null => self.text == "null",
            Scalar::Moment(_) | Scalar::Unordered | Scalar::Missing => false,
        }
    }

    fn order(&self, value: &Scalar<'_>) -> Option<Ordering> {
        let near = |number: ExactNumber| self.near.map(|near| number.cmp(&near));
        match value {
            Scalar::Text(text) => Some(text.as_ref().cmp(&self.text)),
            Scalar::Number(number) => near(*number),
            Scalar::Boolean(value) => near(ExactNumber::from_f64(f64::from(u8::from(*value)))?),
            Scalar::Moment(_) | Scalar::Unordered | Scalar::Null | Scalar::Missing => None,
        }
    }
}

/// The text, if it is right.
fn some(text: String, is_right: fn(&str) -> bool) -> Option<String> {
    is_right(&text).then_some(text)
}

/// The number that JavaScript makes of a decimal text.
fn number(text: &str) -> Option<ExactNumber> {
    if text.is_empty() {
        return ExactNumber::from_f64(0.0);
    }
    let decimal = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E');
    let number = text.chars().all(decimal).then(|| text.parse().ok());
    ExactNumber::from_f64(number??)
}
