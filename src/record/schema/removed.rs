//! Checks what a merge patch removes.

use serde_json::{Map, Value};

use super::check::unknown;
use super::field::{FieldType, ObjectFields};
use super::violation::{Pointer, RuleViolation};

/// Finds the members that a merge patch removes (RFC 7396) although they are no fields. Those that the record has, from the time
/// before its fields were declared, may be removed.
pub(super) fn removed(
    fields: &ObjectFields,
    patch: &Map<String, Value>,
    record: Option<&Map<String, Value>>,
    here: Pointer<'_>,
    found: &mut Vec<RuleViolation>,
) {
    for (name, of) in patch {
        let member = Pointer::Member(&here, name);
        let stored = record.and_then(|record| record.get(name));
        let field = fields.list.iter().find(|field| field.name == *name);
        match (field.map(|field| &field.kind), of) {
            (None, Value::Null) if !fields.additional && stored.is_none() => {
                found.push(unknown(fields, name, member));
            }
            (Some(FieldType::Object(Some(inner))), Value::Object(patch)) => {
                removed(
                    inner,
                    patch,
                    stored.and_then(Value::as_object),
                    member,
                    found,
                );
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::field::Field;
    use super::*;
    use crate::record::tests::fields::field;

    #[test]
    fn what_is_no_field_is_removed_only_where_it_is() {
        let inner = |additional| {
            let list = vec![field("name", FieldType::Boolean)];
            FieldType::Object(Some(ObjectFields { list, additional }))
        };
        let fields: ObjectFields = vec![
            Field {
                required: true,
                ..field("title", FieldType::Boolean)
            },
            field("press", inner(false)),
            field("open", inner(true)),
        ]
        .into();
        let record = json!({"old": 1, "press": {"city": "x"}});
        let patch = json!({
            "titel": null, "title": null, "old": null, "new": 1,
            "press": {"city": null, "nam": null}, "open": {"x": null},
        });
        let (patch, record) = (patch.as_object().unwrap(), record.as_object());
        let mut found = Vec::new();
        removed(&fields, patch, record, Pointer::Root, &mut found);
        let found = found.iter().map(|violation| violation.pointer.as_str());
        assert_eq!(found.collect::<Vec<_>>(), ["/titel", "/press/nam"]);
    }
}
