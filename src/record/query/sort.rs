//! The order of a list.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::path::at;
use crate::record::compare::Scalar;
use crate::record::schema::FieldType;

/// A field that a list is sorted by.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct By {
    pub(crate) path: Vec<String>,
    /// The declared type of the field; none without a schema.
    pub(crate) kind: Option<FieldType>,
    /// `Less` means ascending, `Greater` descending.
    pub(crate) order: Ordering,
}

/// The values by which one record is sorted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SortKey(Vec<Scalar<'static>>);

impl SortKey {
    /// The values of a record with these members, for a list that is sorted by `sort`, the most important field first.
    pub(super) fn new(sort: &[By], members: &Map<String, Value>) -> Self {
        let value = |by: &By| Scalar::of(at(members, &by.path), by.kind.as_ref()).into_owned();
        Self(sort.iter().map(value).collect())
    }

    pub(super) fn from_values(values: Vec<Scalar<'static>>) -> Self {
        Self(values)
    }

    /// The values, in the order of the fields that the list is sorted by.
    pub(crate) fn values(&self) -> &[Scalar<'static>] {
        &self.0
    }

    /// The order of two records in a list that is sorted by `sort`.
    pub(super) fn compare(&self, other: &Self, sort: &[By]) -> Ordering {
        let pairs = self.0.iter().zip(&other.0);
        let orders = sort.iter().zip(pairs).map(|(by, (a, b))| {
            let order = a.cmp(b);
            match by.order {
                Ordering::Greater => order.reverse(),
                Ordering::Less | Ordering::Equal => order,
            }
        });
        orders.fold(Ordering::Equal, Ordering::then)
    }

    /// The memory that it takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let of = |value: &Scalar<'_>| {
            let text = if let Scalar::Text(text) = value {
                text.len()
            } else {
                0
            };
            size_of::<Scalar<'_>>() + text
        };
        self.0.iter().map(of).sum()
    }
}
