//! A record's body as a JSON object.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::id::{IdError, RecordId};

/// A JSON object that is to become a record.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonObject(Map<String, Value>);

/// Why a body is no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Not JSON, or nested deeper than 128 levels.
    #[error("not valid JSON at line {line}, column {column}: {reason}")]
    Syntax {
        /// 1-based.
        line: usize,
        /// 1-based.
        column: usize,
        /// What is wrong there.
        reason: String,
    },
    /// JSON, but something else.
    #[error("a record must be a JSON object, this is {found}")]
    NotAnObject {
        /// What it is, with its article.
        found: &'static str,
    },
    /// The `id` member can't be one.
    #[error("{0}")]
    Id(#[from] IdError),
    /// The `id` member is no string.
    #[error("the id must be a string")]
    IdType,
}

impl JsonObject {
    /// Takes a body for an object.
    pub fn parse(body: &[u8]) -> Result<Self, BodyError> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(members)) => Ok(Self(members)),
            Ok(other) => Err(BodyError::NotAnObject {
                found: article(&other),
            }),
            Err(error) => {
                let text = error.to_string();
                // serde_json ends its text with the place, which has a field of its own here.
                let reason = text
                    .split(" at line ")
                    .next()
                    .unwrap_or_default()
                    .to_owned();
                let (line, column) = (error.line(), error.column());
                Err(BodyError::Syntax {
                    line,
                    column,
                    reason,
                })
            }
        }
    }

    /// The id the client chose, if it chose one.
    pub fn id(&self) -> Result<Option<RecordId>, BodyError> {
        match self.0.get("id") {
            None => Ok(None),
            Some(Value::String(id)) => Ok(Some(RecordId::parse(id)?)),
            Some(_) => Err(BodyError::IdType),
        }
    }

    /// The text as it is stored and served: the id first, then the members in the client's order.
    pub fn into_text(mut self, id: &RecordId) -> Bytes {
        self.0.shift_remove("id");
        let mut members = Map::with_capacity(self.0.len() + 1);
        members.insert("id".to_owned(), Value::String(id.as_str().to_owned()));
        members.append(&mut self.0);
        Bytes::from(Value::Object(members).to_string())
    }
}

fn article(value: &Value) -> &'static str {
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
    fn the_id_comes_first_and_the_rest_keeps_its_order() {
        let object =
            JsonObject::parse(br#"{"title": "Dune", "id": "old", "author": 1.0}"#).unwrap();
        let id = RecordId::parse("new").unwrap();
        assert_eq!(
            object.into_text(&id),
            r#"{"id":"new","title":"Dune","author":1.0}"#
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
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
        let id = |body: &str| JsonObject::parse(body.as_bytes()).unwrap().id();
        assert_eq!(id(r#"{"id": 5}"#), Err(BodyError::IdType));
        assert_eq!(id(r#"{"id": "_x"}"#), Err(BodyError::Id(IdError::Reserved)));
    }
}
