//! All values that one field is compared with in one way, as they were sent, and the condition that they become.

use std::ops::Bound;

use serde_json::Value;

use super::condition::{FieldCondition, Needle, QueryCondition, Test, TextPlace, ValueRange};
use super::operand::Operand;
use super::operator::{Operator, Side};
use super::{QueryError, Wrong};
use crate::record::compare::{ExactNumber, Scalar};
use crate::record::schema::FieldType;

/// The longest text that is looked for inside other texts, in bytes.
const NEEDLE_BYTES_MAX: usize = 1024;

/// All values that one field is compared with in one way.
#[derive(Debug)]
pub(super) struct Gathered<'a> {
    /// The name as it was sent.
    pub(super) name: String,
    pub(super) path: Vec<String>,
    pub(super) kind: Option<&'a FieldType>,
    pub(super) operator: Operator,
    pub(super) values: Vec<Sent>,
}

/// A value as it was sent.
#[derive(Debug)]
pub(super) enum Sent {
    Text(String),
    Null,
}

impl Sent {
    pub(super) fn of(name: &str, value: &Value) -> Result<Self, QueryError> {
        match value {
            Value::Null => Ok(Self::Null),
            Value::String(text) => Ok(Self::Text(text.clone())),
            Value::Bool(value) => Ok(Self::Text(value.to_string())),
            Value::Number(number) => {
                let text = ExactNumber::of(number).map(|number| number.to_string());
                Ok(Self::Text(text.unwrap_or_else(|| number.to_string())))
            }
            Value::Array(_) | Value::Object(_) => {
                Err(QueryError::wrong(name, value, Wrong::Nested))
            }
        }
    }
}

impl Gathered<'_> {
    pub(super) fn condition(self) -> Result<QueryCondition, QueryError> {
        let test = match self.operator {
            Operator::Equal | Operator::In | Operator::NotEqual => return self.equality(),
            Operator::Bounded(side) => return self.range(side),
            Operator::Like(place) => {
                if let Some(kind @ FieldType::Object(_)) = self.kind {
                    return Err(QueryError::of_object(&self.name, kind));
                }
                let mut needles = Vec::new();
                for text in self.texts()? {
                    needles.push(needle(&self.name, text, place)?);
                }
                Test::Text(needles)
            }
            Operator::Null => match self.texts()?.as_slice() {
                ["true"] => Test::Null(true),
                ["false"] => Test::Null(false),
                [wrong] => {
                    return Err(QueryError::wrong(&self.name, wrong, Wrong::Boolean));
                }
                _ => return Err(QueryError::Repeated { name: self.name }),
            },
        };
        Ok(self.with(test))
    }

    fn with(self, test: Test) -> QueryCondition {
        QueryCondition::Field(FieldCondition {
            path: self.path,
            kind: self.kind.cloned(),
            test,
        })
    }

    /// The values, none of which may be null.
    fn texts(&self) -> Result<Vec<&str>, QueryError> {
        let texts = self.values.iter().map(|value| match value {
            Sent::Text(text) => Ok(text.as_str()),
            Sent::Null => Err(QueryError::wrong(&self.name, "null", Wrong::NotNull)),
        });
        texts.collect()
    }

    /// Equal to one of the values or to none of them. Null is not compared: it is there, or it is not.
    fn equality(self) -> Result<QueryCondition, QueryError> {
        let not = self.operator == Operator::NotEqual;
        let null = self.values.iter().any(|value| matches!(value, Sent::Null));
        let texts = self.values.iter().filter_map(|value| match value {
            Sent::Text(text) => Some(text),
            Sent::Null => None,
        });
        let operands = texts.map(|text| self.operand(text, false));
        let operands: Vec<_> = operands.collect::<Result<_, _>>()?;
        let (path, kind) = (self.path, self.kind);
        let field = |test| {
            let (path, kind) = (path.clone(), kind.cloned());
            QueryCondition::Field(FieldCondition { path, kind, test })
        };
        Ok(match (not, null) {
            (false, false) => field(Test::OneOf(operands)),
            // What is null passes no other test.
            (true, true) if operands.is_empty() => field(Test::Null(false)),
            (true, _) => field(Test::NoneOf(operands)),
            (false, true) if operands.is_empty() => field(Test::Null(true)),
            (false, true) => {
                let either = [Test::OneOf(operands), Test::Null(true)];
                QueryCondition::AnyOf(either.map(|test| vec![field(test)]).to_vec())
            }
        })
    }

    /// Beyond at least one of the values.
    fn range(self, side: Side) -> Result<QueryCondition, QueryError> {
        let operands = self.texts()?.into_iter();
        let operands = operands.map(|text| self.operand(text, true));
        let operands: Vec<_> = operands.collect::<Result<_, _>>()?;
        let ranges = operands.into_iter().map(|operand| match side {
            Side::AtLeast => (Bound::Included(operand), Bound::Unbounded),
            Side::More => (Bound::Excluded(operand), Bound::Unbounded),
            Side::AtMost => (Bound::Unbounded, Bound::Included(operand)),
            Side::Less => (Bound::Unbounded, Bound::Excluded(operand)),
        });
        let (path, kind) = (self.path, self.kind);
        let mut ranges = ranges.map(|(lower, upper)| {
            let test = Test::Range(Box::new(ValueRange { lower, upper }));
            let (path, kind) = (path.clone(), kind.cloned());
            QueryCondition::Field(FieldCondition { path, kind, test })
        });
        Ok(match (ranges.next(), ranges.next()) {
            (Some(only), None) => only,
            (first, second) => {
                let ranges = first.into_iter().chain(second).chain(ranges);
                QueryCondition::AnyOf(ranges.map(|range| vec![range]).collect())
            }
        })
    }

    /// A value to compare with. A bound of whole numbers need not be one, nor a bound of listed values.
    fn operand(&self, text: &str, bound: bool) -> Result<Operand, QueryError> {
        let kind = match self.kind {
            Some(FieldType::Array { items, .. }) => items.as_deref(),
            kind => kind,
        };
        match (Operand::parse(text, kind), kind) {
            (Some(operand), Some(FieldType::Integer(_))) if !bound && !operand.is_whole() => {
                let digits = text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
                let wrong = if digits {
                    Wrong::Integer
                } else {
                    Wrong::Type("a whole number")
                };
                Err(QueryError::wrong(&self.name, text, wrong))
            }
            (operand, Some(FieldType::Enum(values))) if !bound => {
                let is = |operand: &Operand| {
                    let mut values = values.iter();
                    values.any(|value| operand.is(&Scalar::of(Some(value), kind)))
                };
                let listed = operand.filter(is);
                listed.ok_or_else(|| QueryError::unlisted(&self.name, text, values))
            }
            (Some(operand), _) => Ok(operand),
            (None, Some(kind @ FieldType::Object(_))) => {
                Err(QueryError::of_object(&self.name, kind))
            }
            (None, kind) => {
                let article = kind.map_or("something else", FieldType::article);
                Err(QueryError::wrong(&self.name, text, Wrong::Type(article)))
            }
        }
    }
}

pub(super) fn needle(name: &str, text: &str, place: TextPlace) -> Result<Needle, QueryError> {
    if text.len() > NEEDLE_BYTES_MAX {
        return Err(QueryError::TooLong {
            name: name.to_owned(),
            most: NEEDLE_BYTES_MAX,
        });
    }
    Ok(Needle::new(text, place))
}

impl QueryCondition {
    /// Makes it hold only where `other` holds too, if both are bounds of one value: they become one range.
    pub(super) fn narrow(&mut self, other: &Self) -> bool {
        let (Self::Field(field), Self::Field(other)) = (self, other) else {
            return false;
        };
        // Different items of an array may be within each of two bounds.
        let one_value = matches!(
            field.kind,
            Some(
                FieldType::String { .. }
                    | FieldType::Integer(_)
                    | FieldType::Number(_)
                    | FieldType::Boolean
                    | FieldType::DateTime
                    | FieldType::Date
                    | FieldType::Uuid
                    | FieldType::Enum(_)
                    | FieldType::Ref(_)
            )
        );
        if !one_value || field.path != other.path {
            return false;
        }
        let (Test::Range(range), Test::Range(other)) = (&mut field.test, &other.test) else {
            return false;
        };
        match (
            &mut range.lower,
            &mut range.upper,
            &other.lower,
            &other.upper,
        ) {
            (_, upper @ Bound::Unbounded, Bound::Unbounded, other) => upper.clone_from(other),
            (lower @ Bound::Unbounded, _, other, Bound::Unbounded) => lower.clone_from(other),
            _ => return false,
        }
        true
    }
}
