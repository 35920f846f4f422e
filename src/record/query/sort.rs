//! The order of a list.

use std::cmp::Ordering;

use serde_json::{Map, Number, Value};

use super::at;
use crate::record::schema::{FieldType, moment, whole};

/// A field that a list is sorted by.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct By {
    pub(super) path: Vec<String>,
    /// The declared type of the field; none without a schema.
    pub(super) kind: Option<FieldType>,
    /// `Less` means ascending, `Greater` descending.
    pub(super) order: Ordering,
}

/// The values by which one record is sorted.
#[derive(Debug)]
pub(crate) struct SortKey(Vec<SortValue>);

/// Values of different kinds are sorted in this order. Values that have no order, and missing ones, come last.
#[derive(Debug, PartialEq, PartialOrd)]
enum SortValue {
    Boolean(bool),
    /// The number, and its exact value if it is a whole number: several of those can have the same nearest `f64`.
    Number(f64, i128),
    Moment(i128),
    Text(String),
    Last,
}

impl SortKey {
    /// The values of a record with these members, for a list that is sorted by `sort`, the most important field first.
    pub(super) fn new(sort: &[By], members: &Map<String, Value>) -> Self {
        let value = |by: &By| sort_value(at(members, &by.path), by.kind.as_ref());
        Self(sort.iter().map(value).collect())
    }

    /// The order of two records in a list that is sorted by `sort`.
    pub(super) fn compare(&self, other: &Self, sort: &[By]) -> Ordering {
        let pairs = self.0.iter().zip(&other.0);
        let orders = sort.iter().zip(pairs).map(|(by, (a, b))| {
            // Only numbers that are no numbers have no order, and JSON has none of those.
            let order = a.partial_cmp(b).unwrap_or(Ordering::Equal);
            match by.order {
                Ordering::Greater => order.reverse(),
                Ordering::Less | Ordering::Equal => order,
            }
        });
        orders.fold(Ordering::Equal, Ordering::then)
    }

    /// The memory that it takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let text = |value: &SortValue| match value {
            SortValue::Text(text) => text.len(),
            SortValue::Boolean(_)
            | SortValue::Number(..)
            | SortValue::Moment(_)
            | SortValue::Last => 0,
        };
        self.0
            .iter()
            .map(|value| size_of::<SortValue>() + text(value))
            .sum()
    }
}

fn sort_value(value: Option<&Value>, kind: Option<&FieldType>) -> SortValue {
    match (value, kind) {
        (Some(Value::String(text)), Some(FieldType::DateTime)) => {
            moment(text).map_or(SortValue::Last, SortValue::Moment)
        }
        (Some(Value::String(text)), _) => SortValue::Text(text.clone()),
        (Some(Value::Bool(value)), _) => SortValue::Boolean(*value),
        (Some(Value::Number(number)), _) => match number.as_f64() {
            Some(near) => SortValue::Number(near, exact(number)),
            None => SortValue::Last,
        },
        (None | Some(Value::Null | Value::Array(_) | Value::Object(_)), _) => SortValue::Last,
    }
}

/// The exact value of a whole number; 0 for any other, which its `f64` represents well enough.
fn exact(number: &Number) -> i128 {
    let whole = whole(number).map(i128::from);
    whole.or(number.as_u64().map(i128::from)).unwrap_or(0)
}
