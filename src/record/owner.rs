//! Records that belong to the client that made them: one field has its name.

use serde_json::Value;

use super::Record;
use super::object::JsonObject;
use super::query::{ListQuery, QueryCondition};
use super::schema::{RuleViolation, Schema};

/// A client to whom only its own records are shown.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RecordOwner {
    /// The field that has the name.
    field: String,
    /// The name, which no other client has.
    name: String,
    is_own: QueryCondition,
}

impl RecordOwner {
    /// The client of this name, by this field of records of this schema.
    pub(crate) fn new(field: &str, name: String, schema: &Schema) -> Self {
        Self {
            is_own: QueryCondition::is(field, &name, schema),
            field: field.to_owned(),
            name,
        }
    }

    /// Whether a record belongs to it.
    pub(crate) fn owns(&self, record: &Record) -> bool {
        self.owns_text(&record.json)
    }

    /// Whether a record with this text belongs to it.
    pub(crate) fn owns_text(&self, json: &[u8]) -> bool {
        let own = JsonObject::parse_some(json, std::slice::from_ref(&self.field));
        own.is_ok_and(|object| self.is_named_in(&object))
    }

    fn is_named_in(&self, object: &JsonObject) -> bool {
        object.members().get(&self.field) == Some(&Value::from(&*self.name))
    }

    /// The query, for its own records alone.
    pub(crate) fn limit(&self, query: ListQuery) -> ListQuery {
        query.and(self.is_own.clone())
    }

    /// Adds what makes an example mean its own records alone.
    pub(crate) fn limit_example(&self, example: &mut JsonObject) -> bool {
        let is_free = example
            .members()
            .get(&self.field)
            .is_none_or(|name| name == &*self.name);
        example.set(&self.field, Value::from(&*self.name));
        is_free
    }

    /// Writes its name into a record that has none. A record can't be given to another client.
    pub(super) fn sign(&self, object: &mut JsonObject) -> Result<(), RuleViolation> {
        match object.members().get(&self.field) {
            None | Some(Value::Null) => {
                object.set(&self.field, Value::from(&*self.name));
                Ok(())
            }
            Some(_) if self.is_named_in(object) => Ok(()),
            Some(_) => Err(RuleViolation::of_owner(&self.field, &self.name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::record::{Handling, RecordId, Revision};

    fn record(json: &str) -> Record {
        Record {
            id: RecordId::Number(1),
            revision: Revision(1),
            created_ms: 0,
            changed_ms: 0,
            json: Bytes::copy_from_slice(json.as_bytes()),
        }
    }

    #[test]
    fn a_list_shows_the_records_that_are_owned_and_no_others() {
        let owner = RecordOwner::new("by", "jwt:ann".to_owned(), &Schema::Any);
        let query = ListQuery::parse(
            "a=1&filter={\"or\":[{\"b\":2},{\"by\":\"jwt:bob\"}]}",
            &Schema::Any,
            Handling::Strict,
        );
        let limited = owner.limit(query.unwrap());
        let all = owner.limit(ListQuery::default());
        for (json, is_own, is_shown) in [
            (r#"{"id":1,"by":"jwt:ann","a":1,"b":2}"#, true, true),
            (r#"{"id":1,"by":"jwt:ann","a":2,"b":2}"#, true, false),
            (r#"{"id":1,"by":"jwt:bob","a":1,"b":2}"#, false, false),
            (r#"{"id":1,"by":"JWT:ann","a":1,"b":2}"#, false, false),
            (r#"{"id":1,"by":"jwt:ann ","a":1,"b":2}"#, false, false),
            (r#"{"id":1,"by":null,"a":1,"b":2}"#, false, false),
            (r#"{"id":1,"a":1,"b":2}"#, false, false),
        ] {
            let record = record(json);
            let members = JsonObject::parse(&record.json).unwrap();
            assert_eq!(owner.owns(&record), is_own, "{json}");
            assert_eq!(all.matches(members.members()), is_own, "{json}");
            assert_eq!(limited.matches(members.members()), is_shown, "{json}");
        }
    }

    #[test]
    fn a_record_is_signed_once_and_given_to_nobody_else() {
        let owner = RecordOwner::new("by", "key:ci".to_owned(), &Schema::Any);
        for (sent, signed) in [
            ("{}", true),
            (r#"{"by":null}"#, true),
            (r#"{"by":"key:ci"}"#, true),
            (r#"{"by":"ci"}"#, false),
            (r#"{"by":["key:ci"]}"#, false),
            (r#"{"by":""}"#, false),
        ] {
            let mut object = JsonObject::parse(sent.as_bytes()).unwrap();
            assert_eq!(owner.sign(&mut object).is_ok(), signed, "{sent}");
            assert_eq!(owner.is_named_in(&object), signed, "{sent}");
        }
    }
}
