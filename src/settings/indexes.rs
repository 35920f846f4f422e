//! `resource.*.index` and `resource.*.unique`: lists of the fields by which records are found, sorted, or kept apart.

use std::collections::BTreeSet;

use serde_json::Value;

use super::findings::Findings;
use super::rules;
use crate::record::{Declared, FieldType, IndexColumn, RecordIndex, Schema, nearest};

/// The most indexes of a resource: each makes every write dearer.
const INDEXES_MAX: usize = 16;
/// The most fields of an index.
const COLUMNS_MAX: usize = 4;
/// The two keys, and whether no two records may have the same values.
const KEYS: [(&str, bool); 2] = [("index", false), ("unique", true)];

/// The fault in the form of a list; `None` if it has none, and an empty text if the value is not such a list at all.
pub(super) fn fault(value: &Value) -> Option<String> {
    let Some(items) = value.as_array() else {
        return Some(String::new());
    };
    if items.len() > INDEXES_MAX {
        return Some(format!("more than {INDEXES_MAX} indexes"));
    }
    for item in items {
        let Some(columns) = columns(item) else {
            return Some(String::new());
        };
        if columns.len() > COLUMNS_MAX {
            return Some(format!("an index has {COLUMNS_MAX} fields at most"));
        }
        let names: BTreeSet<_> = columns.iter().collect();
        if names.len() < columns.len() {
            return Some("an index has each of its fields once".to_owned());
        }
        for name in columns {
            if name == "id" {
                return Some("records are always found by their id; take id out".to_owned());
            }
            let step = |step: &str| {
                step.is_empty() || step.starts_with(['_', '-']) || step.contains([',', ':'])
            };
            if name.split('.').any(step) {
                return Some(format!("{name:?} is no name of a field"));
            }
        }
    }
    None
}

/// The names of the fields of one index.
fn columns(item: &Value) -> Option<Vec<&str>> {
    match item {
        Value::String(name) => Some(vec![name]),
        Value::Array(names) if !names.is_empty() => names.iter().map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            None
        }
    }
}

/// Finds the indexes whose fields are not declared, or can't be compared, and those that are declared twice.
pub(super) fn check(found: &mut Findings, resource: &str) {
    let mut names = BTreeSet::new();
    for (key, _) in KEYS {
        let path = ["resource", resource, key];
        for index in written(found, resource, key) {
            match index {
                Err(problem) => found.fault_of(&path, problem),
                Ok(index) if !names.insert(index.name()) => {
                    let problem = format!(
                        "{} is listed twice in index and unique; remove one (unique makes an index, too)",
                        index.fields()
                    );
                    found.fault_of(&path, problem);
                }
                Ok(_) => {}
            }
        }
    }
    let references = found.schemas.get(resource).into_iter();
    let references = references.flat_map(Schema::references);
    names.extend(references.map(|(field, _)| field.to_owned()));
    if names.len() > INDEXES_MAX {
        let problem = format!(
            "has more than {INDEXES_MAX} indexes, with those of unique and one for each reference"
        );
        found.fault_of(&["resource", resource, "index"], problem);
    }
}

/// The indexes of a resource whose settings have no fault. Each reference has one of its own, by which the records that refer
/// to another one are found.
pub(super) fn of(found: &Findings, resource: &str) -> Vec<RecordIndex> {
    let keys = KEYS.into_iter();
    let all = keys.flat_map(|(key, unique)| {
        let indexes = written(found, resource, key).into_iter().flatten();
        indexes.map(move |index| RecordIndex { unique, ..index })
    });
    let mut all: Vec<_> = all.collect();
    let references = found.schemas.get(resource).into_iter();
    for (field, _) in references.flat_map(Schema::references) {
        let index = RecordIndex::of_name(field);
        if all.iter().all(|other| other.name() != index.name()) {
            all.push(index);
        }
    }
    all
}

/// The indexes of one of the keys, each with what is wrong with it. What has the wrong form was told before.
fn written(found: &Findings, resource: &str, key: &str) -> Vec<Result<RecordIndex, String>> {
    let value = found.value_of(&["resource", resource, key]);
    let Some(value) = value.filter(|value| fault(value).is_none()) else {
        return Vec::new();
    };
    let schema = found.schemas.get(resource).unwrap_or(&Schema::Any);
    // Whether the field that has this name may be declared, with a fault.
    let is_lost = |field: &str| {
        ["fields", "schema"].into_iter().any(|key| {
            let all = ["resource", resource, key];
            rules::may_lack(found, &["resource", resource, key, field]) || found.is_faulty(&all)
        })
    };
    let items = value.as_array().into_iter().flatten().filter_map(columns);
    let indexes = items.map(|names| {
        let columns = names.into_iter().map(|name| column(schema, name, is_lost));
        let columns: Result<Vec<_>, _> = columns.collect();
        columns.map(|columns| RecordIndex {
            columns,
            unique: false,
        })
    });
    indexes.collect()
}

fn column(
    schema: &Schema,
    name: &str,
    is_lost: impl Fn(&str) -> bool,
) -> Result<IndexColumn, String> {
    let path: Vec<_> = name.split('.').map(str::to_owned).collect();
    let kind = match schema.at(&path) {
        Declared::Kind(kind) => kind,
        Declared::Nothing if path.first().is_some_and(|field| is_lost(field)) => {
            let moments = false;
            return Ok(IndexColumn { path, moments });
        }
        // Values of any type.
        Declared::Anything | Declared::Additional => {
            let moments = false;
            return Ok(IndexColumn { path, moments });
        }
        Declared::Nothing => {
            let names = schema.paths();
            let near = nearest(name, names.iter().map(String::as_str));
            let near = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
            return Err(format!("{name} is not a field of this resource{near}"));
        }
    };
    if let FieldType::Object(_) = kind {
        return Err(format!(
            "{name} is an object; name one of its members, such as {name}.MEMBER"
        ));
    }
    if let FieldType::Array { items, .. } = kind
        && let Some(FieldType::DateTime | FieldType::Array { .. } | FieldType::Object(_)) =
            items.as_deref()
    {
        return Err(format!(
            "{name} has items that can't be found by an index: dates, arrays or objects"
        ));
    }
    Ok(IndexColumn {
        moments: *kind == FieldType::DateTime,
        path,
    })
}
