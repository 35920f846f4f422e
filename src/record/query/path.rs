//! The way to a value in a record: `author.name` is a member of an object, `tags.0` an item of an array.

use serde_json::{Map, Value};

/// The names on a way.
pub(super) fn path(name: &str) -> Vec<String> {
    name.split('.').map(str::to_owned).collect()
}

/// The value at a path, if there is one.
pub(in crate::record) fn at<'a>(
    members: &'a Map<String, Value>,
    path: &[String],
) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    let mut value = members.get(first)?;
    for name in rest {
        value = match value {
            Value::Object(members) => members.get(name)?,
            Value::Array(items) => items.get(index(name)?)?,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return None,
        };
    }
    Some(value)
}

/// The index that a name is: `0`, `1`, and not `01`.
fn index(name: &str) -> Option<usize> {
    let index: usize = name.parse().ok()?;
    (index.to_string() == name).then_some(index)
}
