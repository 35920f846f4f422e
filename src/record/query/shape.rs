//! The form in which records are shown: `_fields=id,title,author.name` leaves members out, `_meta=true` adds the times and the
//! revision.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::names::Names;
use super::parameters::Parameters;
use super::path::path;
use super::{Handling, QueryError, Wrong};
use crate::record::{JsonObject, Record, Schema};

/// The most names in `_fields`.
pub(super) const FIELDS_MAX: usize = 100;
/// The most relations of one kind.
const RELATIONS_MAX: usize = 10;

/// The form of the records in an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RecordShape {
    /// The paths of the members that are shown, `id` among them; all if there are none.
    paths: Vec<Vec<String>>,
    /// Whether the times and the revision are shown.
    meta: bool,
    /// The names of the relations that are added.
    embedded: Vec<String>,
    expanded: Vec<String>,
}

impl RecordShape {
    /// Reads the part of a URL after the `?`. Names that say nothing about the form are ignored.
    pub(crate) fn parse(
        query: &str,
        schema: &Schema,
        handling: Handling,
    ) -> Result<Self, QueryError> {
        let parameters = Parameters::parse(query)?;
        let meta = match parameters.once("_meta")? {
            None | Some("false") => false,
            Some("true") => true,
            Some(sent) => return Err(QueryError::wrong("_meta", sent, Wrong::Boolean)),
        };
        let names = Names::new(schema, handling);
        let mut paths = Vec::new();
        if let Some(fields) = parameters.once("_fields")? {
            paths.push(path("id"));
            let fields = fields.split(',').map(str::trim);
            for name in fields.filter(|name| !name.is_empty()) {
                if paths.len() > FIELDS_MAX {
                    return Err(QueryError::Limit {
                        told: "names in _fields",
                        most: FIELDS_MAX,
                    });
                }
                paths.extend(names.plain(name)?.map(|(path, _)| path));
            }
        }
        Ok(Self {
            paths,
            meta,
            embedded: relations(&parameters, "_embed")?,
            expanded: relations(&parameters, "_expand")?,
        })
    }

    /// The resources whose records are added that refer to a record.
    pub(crate) fn embedded(&self) -> &[String] {
        &self.embedded
    }

    /// The fields whose records are added that a record refers to.
    pub(crate) fn expanded(&self) -> &[String] {
        &self.expanded
    }

    /// Whether other records are added.
    pub(crate) fn has_relations(&self) -> bool {
        !self.embedded.is_empty() || !self.expanded.is_empty()
    }

    /// The text of a record in this form.
    pub(crate) fn text(&self, record: &Record) -> Bytes {
        let shown = (!self.paths.is_empty()).then(|| {
            let paths: Vec<_> = self.paths.iter().map(Vec::as_slice).collect();
            let object = JsonObject::parse(&record.json).unwrap_or_default();
            Value::Object(members(object.members(), &paths)).to_string()
        });
        let text = shown.map_or_else(|| record.json.clone(), Bytes::from);
        if self.meta {
            record.with_meta(&text)
        } else {
            text
        }
    }

    /// Whether records are shown as they are stored.
    pub(crate) fn is_whole(&self) -> bool {
        *self == Self::default()
    }
}

/// The names in this parameter, which may be repeated, or have several with commas.
fn relations(parameters: &Parameters<'_>, name: &'static str) -> Result<Vec<String>, QueryError> {
    let sent = parameters.iter().filter(|(sent, _)| *sent == name);
    let names = sent.flat_map(|(_, names)| names.split(',').map(str::trim));
    let mut relations: Vec<String> = Vec::new();
    for name in names.filter(|name| !name.is_empty()) {
        if !relations.iter().any(|known| known == name) {
            relations.push(name.to_owned());
        }
    }
    if relations.len() > RELATIONS_MAX {
        return Err(QueryError::Limit {
            told: if name == "_embed" {
                "names in _embed"
            } else {
                "names in _expand"
            },
            most: RELATIONS_MAX,
        });
    }
    Ok(relations)
}

/// The members at these paths, in the order of the record.
fn members(of: &Map<String, Value>, paths: &[&[String]]) -> Map<String, Value> {
    let shown = of.iter().filter_map(|(name, value)| {
        let below = paths.iter().filter_map(|path| {
            let (first, rest) = path.split_first()?;
            (first == name).then_some(rest)
        });
        let below: Vec<_> = below.collect();
        let value = if below.iter().any(|rest| rest.is_empty()) {
            Some(value.clone())
        } else {
            inside(value, &below)
        };
        Some((name.clone(), value?))
    });
    shown.collect()
}

/// The part of a value at these paths; of an array the part of each item.
fn inside(value: &Value, paths: &[&[String]]) -> Option<Value> {
    match value {
        _ if paths.is_empty() => None,
        Value::Object(of) => Some(Value::Object(members(of, paths))),
        Value::Array(items) => {
            let items = items.iter().filter_map(|item| inside(item, paths));
            Some(items.collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::record::{RecordId, Revision};

    #[test]
    fn only_the_members_that_are_asked_for_are_shown() {
        let whole = json!({"id": 7, "title": "Dune", "author": {"name": "Herbert", "born": 1920},
            "reviews": [{"by": "x", "stars": 5}, {"by": "y"}, 3], "none": null});
        let record = Record {
            id: RecordId::Number(7),
            revision: Revision(3),
            created_ms: 0,
            changed_ms: 1,
            json: whole.to_string().into(),
        };
        for (query, shown) in [
            ("", whole.to_string()),
            ("x=1&_meta=false", whole.to_string()),
            ("_fields=title", r#"{"id":7,"title":"Dune"}"#.to_owned()),
            ("_fields=none,title,id", r#"{"id":7,"title":"Dune","none":null}"#.to_owned()),
            ("_fields=", r#"{"id":7}"#.to_owned()),
            ("_fields=nothing, title.x", r#"{"id":7}"#.to_owned()),
            ("_fields=author.name", r#"{"id":7,"author":{"name":"Herbert"}}"#.to_owned()),
            ("_fields=author,author.name", r#"{"id":7,"author":{"name":"Herbert","born":1920}}"#.to_owned()),
            ("_fields=reviews.stars", r#"{"id":7,"reviews":[{"stars":5},{}]}"#.to_owned()),
            (
                "_fields=title&_meta=true",
                r#"{"id":7,"title":"Dune","_created":"1970-01-01T00:00:00.000Z","_changed":"1970-01-01T00:00:00.001Z","_revision":3}"#.to_owned(),
            ),
        ] {
            let shape = RecordShape::parse(query, &Schema::Any, Handling::Strict).unwrap();
            assert_eq!(shape.text(&record), shown, "{query}");
        }
        let many = format!("_fields={}", vec!["a"; FIELDS_MAX + 1].join(","));
        let names: Vec<_> = (0..=RELATIONS_MAX)
            .map(|n| format!("_embed=r{n}"))
            .collect();
        for wrong in ["_fields=a&_fields=b", "_meta=1", &many, &names.join("&")] {
            let shape = RecordShape::parse(wrong, &Schema::Any, Handling::Strict);
            assert!(shape.is_err(), "{wrong}");
        }
        let query = "_embed=a&_embed[]=b,a&_embed=&_expand=c";
        let shape = RecordShape::parse(query, &Schema::Any, Handling::Strict).unwrap();
        assert_eq!(shape.embedded(), ["a", "b"]);
        assert_eq!(shape.expanded(), ["c"]);
    }
}
