//! The order of a list.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::json_dialect::JsonDialect;
use super::names::Names;
use super::parameters::Parameters;
use super::path::at;
use super::{QueryError, conflict};
use crate::record::compare::Scalar;
use crate::record::schema::FieldType;

/// The most names in `_sort`.
pub(super) const SORT_KEYS_MAX: usize = 8;

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

/// The names that a list is sorted by, with their directions as they were sent.
pub(super) fn sent_order(
    parameters: &Parameters<'_>,
    json: &JsonDialect,
) -> Result<Vec<(String, Ordering)>, QueryError> {
    let names = parameters.once("_sort")?;
    if let Some(sort) = &json.sort {
        return match names {
            Some(_) => Err(conflict("_sort", "sort")),
            None => Ok(sort.clone()),
        };
    }
    let names = names.unwrap_or_default().split(',');
    let mut directions = parameters.once("_order")?.unwrap_or_default().split(',');
    let mut sort = Vec::new();
    for name in names {
        let order = directions.next().unwrap_or_default();
        let order = direction(order).ok_or(QueryError::Order)?;
        let name = name.trim();
        let (name, order) = match name.strip_prefix('-') {
            Some(name) => (name, order.reverse()),
            None => (name, order),
        };
        if !name.is_empty() {
            sort.push((name.to_owned(), order));
        }
    }
    if directions.next().is_some() {
        return Err(QueryError::Order);
    }
    Ok(sort)
}

/// The order that a direction means; ascending if it is empty.
pub(super) fn direction(direction: &str) -> Option<Ordering> {
    match direction.trim() {
        "" => Some(Ordering::Less),
        asc if asc.eq_ignore_ascii_case("asc") => Some(Ordering::Less),
        desc if desc.eq_ignore_ascii_case("desc") => Some(Ordering::Greater),
        _ => None,
    }
}

/// The fields that a list is sorted by.
pub(super) fn sort_keys(
    sort: Vec<(String, Ordering)>,
    names: Names<'_>,
) -> Result<Vec<By>, QueryError> {
    let mut keys = Vec::new();
    for (name, order) in sort {
        let Some((path, kind)) = names.plain(&name)? else {
            continue;
        };
        let ends = path == ["id"];
        let kind = kind.cloned();
        keys.push(By { path, kind, order });
        if keys.len() > SORT_KEYS_MAX {
            return Err(QueryError::SortKeys);
        }
        // No two records have one id.
        if ends {
            break;
        }
    }
    // Records that are equal are in the order of their ids anyway.
    keys.pop_if(|last| last.path == ["id"] && last.order == Ordering::Less);
    Ok(keys)
}
