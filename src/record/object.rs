//! JSON objects, as clients send them and as records hold them.

use std::fmt;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::compare::same;
use super::id::{IdError, IdScheme, RecordId};
use super::{json, members};

/// The members of a record, of a patch or of an example, in the client's order.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct JsonObject(Map<String, Value>);

/// The error of a body that is not a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    /// It is not JSON, is nested too deep, or has an object with the same name twice.
    #[error("not valid JSON at line {line}, column {column}: {reason}")]
    Syntax {
        line: usize,
        column: usize,
        reason: String,
    },
    #[error("the body is empty")]
    Empty,
    /// It is JSON, but no object.
    #[error("a record must be a JSON object, this is {found}")]
    NotAnObject {
        /// The kind of the value, with its article.
        found: &'static str,
    },
    /// It has a number that would not keep its value.
    #[error(
        "the number {number} has more digits than can be kept, or is too large or too small; send it as a text, or with fewer digits"
    )]
    Number { number: String },
}

impl BodyError {
    pub(super) fn syntax(error: &serde_json::Error) -> Self {
        let text = error.to_string();
        // serde_json ends its text with the position, which has fields of its own here.
        let reason = text.split(" at line ").next().unwrap_or_default();
        Self::Syntax {
            line: error.line(),
            column: error.column(),
            reason: reason.to_owned(),
        }
    }
}

impl JsonObject {
    /// Reads what a client sends to be kept: refuses numbers that would not keep their value.
    pub(crate) fn read(body: &[u8]) -> Result<Self, BodyError> {
        Self::of(json::read(body)?)
    }

    /// Reads a text.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, BodyError> {
        Self::of(json::parse(body).map_err(|error| BodyError::syntax(&error))?)
    }

    /// Reads those members of a stored text that have these names, of which none is there twice.
    pub(crate) fn parse_some(text: &[u8], names: &[String]) -> Result<Self, BodyError> {
        let mut read = Self::default();
        read.read_some(text, names).map(|()| read)
    }

    /// The same in the place of what it has.
    pub(super) fn read_some(&mut self, text: &[u8], names: &[String]) -> Result<(), BodyError> {
        if members::read_some(text, names, &mut self.0).is_none() {
            *self = Self::parse(text)?;
        }
        Ok(())
    }

    fn of(value: Value) -> Result<Self, BodyError> {
        let found = article(&value);
        let Value::Object(members) = value else {
            return Err(BodyError::NotAnObject { found });
        };
        Ok(Self(members))
    }

    /// The id that the client chose, if it chose one.
    pub(crate) fn id(&self, scheme: IdScheme) -> Result<Option<RecordId>, IdError> {
        let member = self.0.get("id");
        member.map(|id| scheme.of_member(id)).transpose()
    }

    /// The id that the client chose for a new record; null and an empty text choose none.
    pub(super) fn chosen_id(&self, scheme: IdScheme) -> Result<Option<RecordId>, IdError> {
        match self.0.get("id") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(id) => scheme.of_member(id).map(Some),
        }
    }

    /// Removes the `id` member: it is no field, the URL names the record.
    pub(crate) fn remove_id(&mut self) {
        self.0.shift_remove("id");
    }

    /// Removes what a client was told on request: it may send back what it got.
    pub(crate) fn remove_meta(&mut self) {
        for name in super::META {
            self.0.shift_remove(name);
        }
    }

    /// Makes these members null.
    pub(crate) fn set_null<'a>(&mut self, names: impl IntoIterator<Item = &'a String>) {
        for name in names {
            self.set(name, Value::Null);
        }
    }

    /// Gives a member a value.
    pub(crate) fn set(&mut self, name: &str, value: Value) {
        self.0.insert(name.to_owned(), value);
    }

    pub(crate) fn members(&self) -> &Map<String, Value> {
        &self.0
    }

    pub(super) fn members_mut(&mut self) -> &mut Map<String, Value> {
        &mut self.0
    }

    /// Applies a merge patch (RFC 7396): null removes a member, objects are merged, all other values replace the old ones.
    pub(crate) fn merge(&mut self, patch: &Self) {
        merge(&mut self.0, &patch.0);
    }

    /// Whether it has all members of `example`, with equal values.
    pub(crate) fn is_like(&self, example: &Self) -> bool {
        let mut members = example.0.iter();
        members.all(|(name, value)| self.0.get(name).is_some_and(|own| same(own, value)))
    }

    /// The text as it is stored and served: the id first, then the members in the client's order.
    pub(crate) fn text(&self, id: &RecordId) -> Bytes {
        with_id(id, Tail(&self.0))
    }

    /// The text of a record whose id is not known yet, from the comma after the id on.
    pub(crate) fn without_id(&self) -> String {
        Tail(&self.0).to_string()
    }
}

fn merge(target: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (name, value) in patch {
        match value {
            Value::Null => {
                target.shift_remove(name);
            }
            Value::Object(patch) => {
                let member = target.entry(name.as_str()).or_insert(Value::Null);
                if !member.is_object() {
                    *member = Value::Object(Map::new());
                }
                if let Value::Object(member) = member {
                    merge(member, patch);
                }
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                target.insert(name.clone(), value.clone());
            }
        }
    }
}

/// The text of a record from its id and the text of its [members](JsonObject::without_id).
pub(super) fn with_id(id: &RecordId, members: impl fmt::Display) -> Bytes {
    Bytes::from(match id {
        RecordId::Number(id) => format!("{{\"id\":{id}{members}"),
        // Its characters need no escape in JSON.
        RecordId::Text(id) => format!("{{\"id\":\"{id}\"{members}"),
    })
}

/// The text of a record after its id.
struct Tail<'a>(&'a Map<String, Value>);

impl fmt::Display for Tail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in self.0.iter().filter(|(name, _)| *name != "id") {
            write!(f, ",{}:{value}", Value::from(name.as_str()))?;
        }
        f.write_str("}")
    }
}

/// The kind of a value with its article, for people.
pub(super) fn article(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_begins_with_the_id_and_keeps_the_order_of_the_members() {
        let object =
            JsonObject::parse(br#"{"title": "Dune", "id": "old", "author": 1.0}"#).unwrap();
        let id = RecordId::parse("new").unwrap();
        assert_eq!(
            object.text(&id),
            r#"{"id":"new","title":"Dune","author":1.0}"#
        );
    }

    #[test]
    fn a_patch_is_merged_as_the_rfc_says() {
        // RFC 7396 appendix A, as far as both sides are objects.
        for (target, patch, result) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (
                r#"{"a":{"b":"c"}}"#,
                r#"{"a":{"b":"d","c":null}}"#,
                r#"{"a":{"b":"d"}}"#,
            ),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
            ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ] {
            let parse = |text: &str| JsonObject::parse(text.as_bytes()).unwrap();
            let mut object = parse(target);
            object.merge(&parse(patch));
            assert_eq!(object, parse(result), "{target} {patch}");
        }
    }

    #[test]
    fn an_example_is_compared_by_value() {
        let parse = |text: &str| JsonObject::parse(text.as_bytes()).unwrap();
        let object = parse(r#"{"k": 1.0, "a": [{"b": 1e2, "c": null}], "t": "1"}"#);
        for (example, like) in [
            (r#"{"k": 1}"#, true),
            (r#"{"a": [{"c": null, "b": 100}]}"#, true),
            (r#"{"a": [{"b": 100}]}"#, false),
            (r#"{"k": "1"}"#, false),
            (r#"{"t": 1}"#, false),
            (r#"{"x": null}"#, false),
        ] {
            assert_eq!(object.is_like(&parse(example)), like, "{example}");
        }
    }

    #[test]
    fn the_error_says_what_is_wrong_and_where() {
        let wrong = |body: &str| JsonObject::parse(body.as_bytes()).unwrap_err().to_string();
        assert_eq!(
            wrong("{\"a\":\n1,}"),
            "not valid JSON at line 2, column 3: trailing comma"
        );
        assert_eq!(
            wrong("[]"),
            "a record must be a JSON object, this is an array"
        );
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        assert!(wrong(&deep).contains("recursion limit exceeded"));
        let id = |body: &str| {
            JsonObject::parse(body.as_bytes())
                .unwrap()
                .id(IdScheme::Uuid)
        };
        assert_eq!(id(r#"{"id": 5}"#), Err(IdError::Type));
        assert_eq!(id(r#"{"id": "_x"}"#), Err(IdError::Reserved));
    }
}
