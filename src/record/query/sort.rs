//! The order of a list.

use std::cmp::Ordering;

use serde_json::{Map, Number, Value};

use super::at;
use crate::record::schema::{FieldType, moment, whole};

/// What a list is sorted by, the most important first.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct SortKeys(Vec<By>);

#[derive(Debug, Clone, PartialEq)]
struct By {
    path: Vec<String>,
    kind: Option<FieldType>,
    /// `Less`: ascending.
    order: Ordering,
}

/// What decides one record's place.
#[derive(Debug)]
pub(crate) struct SortKey(Vec<Place>);

/// Values of different kinds are in this order; what has no order, and what is not there, comes last.
#[derive(Debug, PartialEq)]
enum Place {
    Boolean(bool),
    /// And, for those that are near the same one, exactly.
    Number(f64, i128),
    Moment(i128),
    Text(String),
    Last,
}

impl SortKeys {
    pub(super) fn push(&mut self, path: Vec<String>, kind: Option<FieldType>, order: Ordering) {
        self.0.push(By { path, kind, order });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn of(&self, members: &Map<String, Value>) -> SortKey {
        let place = |by: &By| place(at(members, &by.path), by.kind.as_ref());
        SortKey(self.0.iter().map(place).collect())
    }

    pub(super) fn compare(&self, a: &SortKey, b: &SortKey) -> Ordering {
        let pairs = a.0.iter().zip(&b.0);
        let orders = self.0.iter().zip(pairs).map(|(by, (a, b))| {
            let order = a.compare(b);
            match by.order {
                Ordering::Greater => order.reverse(),
                Ordering::Less | Ordering::Equal => order,
            }
        });
        orders.fold(Ordering::Equal, Ordering::then)
    }
}

impl SortKey {
    /// What it takes of memory, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let text = |place: &Place| match place {
            Place::Text(text) => text.len(),
            Place::Boolean(_) | Place::Number(..) | Place::Moment(_) | Place::Last => 0,
        };
        self.0.iter().map(|p| size_of::<Place>() + text(p)).sum()
    }
}

fn place(value: Option<&Value>, kind: Option<&FieldType>) -> Place {
    match (value, kind) {
        (Some(Value::String(text)), Some(FieldType::DateTime)) => {
            moment(text).map_or(Place::Last, Place::Moment)
        }
        (Some(Value::String(text)), _) => Place::Text(text.clone()),
        (Some(Value::Bool(value)), _) => Place::Boolean(*value),
        (Some(Value::Number(number)), _) => match number.as_f64() {
            Some(near) => Place::Number(near, exact(number)),
            None => Place::Last,
        },
        (None | Some(Value::Null | Value::Array(_) | Value::Object(_)), _) => Place::Last,
    }
}

impl Place {
    fn rank(&self) -> u8 {
        match self {
            Self::Boolean(_) => 0,
            Self::Number(..) => 1,
            Self::Moment(_) => 2,
            Self::Text(_) => 3,
            Self::Last => 4,
        }
    }

    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Boolean(a), Self::Boolean(b)) => a.cmp(b),
            (Self::Number(a, exact_a), Self::Number(b, exact_b)) => {
                a.total_cmp(b).then(exact_a.cmp(exact_b))
            }
            (Self::Moment(a), Self::Moment(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (a, b) => a.rank().cmp(&b.rank()),
        }
    }
}

/// The whole number, if it is one; what is none has no neighbour that is near the same.
fn exact(number: &Number) -> i128 {
    match (whole(number), number.as_u64()) {
        (Some(number), _) => number.into(),
        (None, Some(number)) => number.into(),
        (None, None) => 0,
    }
}
