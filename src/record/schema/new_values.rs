//! Values that a record gets from the daemon: defaults, and fields that no client gives a value.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::check;
use super::field::{DefaultValue, Field, FieldSource, FieldType, ObjectFields};
use super::violation::{Pointer, Rule, RuleViolation};
use crate::record::compare::same;
use crate::record::{moment_text, time_of_change};

/// The sources of computed values.
#[derive(Clone, Copy)]
pub(crate) struct NewValues<'a> {
    /// The time, in milliseconds since 1970.
    pub(crate) now_ms: u64,
    /// Makes a new UUID.
    pub(crate) uuid: &'a dyn Fn() -> Uuid,
}

impl Default for NewValues<'_> {
    /// Always the same: for a copy of a record that is only checked.
    fn default() -> Self {
        Self {
            now_ms: 0,
            uuid: &Uuid::nil,
        }
    }
}

impl NewValues<'static> {
    /// Those of a change at this time.
    pub(crate) fn at(now_ms: u64) -> Self {
        Self {
            now_ms,
            uuid: &Uuid::now_v7,
        }
    }
}

impl NewValues<'_> {
    /// Fills in the defaults of what clients give values.
    pub(super) fn fill(&self, fields: &ObjectFields, members: &mut Map<String, Value>) {
        for field in &fields.list {
            if field.source == FieldSource::Client && !members.contains_key(&field.name) {
                let default = self.default_of(field);
                members.extend(default.map(|default| (field.name.clone(), default)));
            }
            if let Some(value) = members.get_mut(&field.name) {
                self.fill_inside(&field.kind, value);
            }
        }
    }

    /// Fills in the defaults of the objects in a value.
    fn fill_inside(&self, kind: &FieldType, value: &mut Value) {
        match (kind, value) {
            (FieldType::Object(Some(inner)), Value::Object(members)) => self.fill(inner, members),
            (
                FieldType::Array {
                    items: Some(kind), ..
                },
                Value::Array(items),
            ) => {
                for item in items {
                    self.fill_inside(kind, item);
                }
            }
            _ => {}
        }
    }

    fn default_of(&self, field: &Field) -> Option<Value> {
        Some(match field.default.as_ref()? {
            DefaultValue::Fixed(value) => value.clone(),
            DefaultValue::Now => time_text(field, self.now_ms),
            DefaultValue::Uuid => (self.uuid)().hyphenated().to_string().into(),
        })
    }

    /// Gives the fields their values that no client gives one. `old` is the record that this one takes the place of, and
    /// `created_ms` is when it was created. Finds the members that the client may not change.
    pub(super) fn complete(
        &self,
        fields: &ObjectFields,
        members: &mut Map<String, Value>,
        old: Option<&Map<String, Value>>,
        created_ms: Option<u64>,
    ) -> Vec<RuleViolation> {
        let mut found = Vec::new();
        for field in &fields.list {
            let value = match field.source {
                FieldSource::Client => continue,
                FieldSource::ReadOnly => {
                    let kept = old.and_then(|old| old.get(&field.name));
                    let sent = members.get(&field.name);
                    if sent.is_some_and(|sent| !kept.is_some_and(|kept| same(sent, kept))) {
                        let detail = if kept.is_some() {
                            "must not be changed: the server has given it its value"
                        } else {
                            "must be left out: the server gives it its value"
                        };
                        let member = Pointer::Member(&Pointer::Root, &field.name);
                        found.push(member.violates(Rule::ReadOnly, detail));
                    }
                    kept.cloned().or_else(|| self.default_of(field))
                }
                FieldSource::Created => {
                    let kept = old.and_then(|old| old.get(&field.name));
                    // A record that was imported, or taken back, may have an earlier time than that of its creation here.
                    let kept = kept.filter(|kept| is_of_type(field, kept)).cloned();
                    kept.or_else(|| Some(time_text(field, created_ms.unwrap_or(self.now_ms))))
                }
                FieldSource::Updated => {
                    Some(time_text(field, time_of_change(self.now_ms, created_ms)))
                }
            };
            members.extend(value.map(|value| (field.name.clone(), value)));
        }
        found
    }
}

fn is_of_type(field: &Field, value: &Value) -> bool {
    let mut found = Vec::new();
    check::value(&field.kind, value, Pointer::Root, &mut found);
    found.is_empty()
}

/// A time as a field of this type has it.
fn time_text(field: &Field, ms: u64) -> Value {
    let text = moment_text(ms);
    if field.kind == FieldType::Date {
        text.split('T').next().unwrap_or_default().into()
    } else {
        text.into()
    }
}

impl ObjectFields {
    /// Whether the daemon gives some of them their values.
    pub(super) fn has_own(&self) -> bool {
        let mut fields = self.list.iter();
        fields.any(|field| field.source != FieldSource::Client)
    }

    /// Gives the fields with the time of the creation their value, where an object lacks it.
    pub(super) fn fill_created(&self, members: &mut Map<String, Value>, created_ms: u64) {
        let fields = self.list.iter();
        for field in fields.filter(|field| field.source == FieldSource::Created) {
            if !members.contains_key(&field.name) {
                members.insert(field.name.clone(), time_text(field, created_ms));
            }
        }
    }

    /// The same fields for records that the operator brings: values that are there stay.
    pub(super) fn of_operator(&self) -> Self {
        let mut fields = self.clone();
        for field in &mut fields.list {
            if matches!(field.source, FieldSource::Created | FieldSource::Updated) {
                field.default = Some(DefaultValue::Now);
            }
            field.source = FieldSource::Client;
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::record::Bounds;

    fn fields() -> ObjectFields {
        use DefaultValue::{Fixed, Now};
        use FieldSource::{Client, Created, ReadOnly, Updated};
        let field = |name: &str, kind, source, default| Field {
            default,
            source,
            ..Field::new(name, kind)
        };
        vec![
            field("day", FieldType::Date, Client, Some(Now)),
            field("token", FieldType::Uuid, ReadOnly, Some(DefaultValue::Uuid)),
            field("kind", FieldType::Date, Client, Some(Fixed(json!("x")))),
            field("created_at", FieldType::DateTime, Created, None),
            field("updated", FieldType::Date, Updated, None),
        ]
        .into()
    }

    fn members(of: Value) -> Map<String, Value> {
        of.as_object().unwrap().clone()
    }

    #[test]
    fn objects_in_arrays_get_their_defaults_too() {
        let sold = Field {
            required: true,
            default: Some(DefaultValue::Fixed(json!(false))),
            ..Field::new("sold", FieldType::Boolean)
        };
        let items = Some(Box::new(FieldType::Object(Some(vec![sold].into()))));
        let copies = FieldType::Array {
            items,
            length: Bounds::default(),
        };
        let fields = vec![Field::new("copies", copies)].into();
        let mut sent = members(json!({"copies": [{}, {"sold": true}, 1]}));
        NewValues::default().fill(&fields, &mut sent);
        assert_eq!(
            Value::Object(sent),
            json!({"copies": [{"sold": false}, {"sold": true}, 1]})
        );
    }

    #[test]
    fn the_daemon_gives_values_that_a_client_can_not_change() {
        let new = NewValues {
            now_ms: 1_764_500_000_000,
            uuid: &Uuid::max,
        };
        let token = Uuid::max().to_string();
        let mut first = members(json!({"created_at": "mine", "n": 1}));
        new.fill(&fields(), &mut first);
        let found = new.complete(&fields(), &mut first, None, None);
        assert_eq!(found, []);
        assert_eq!(
            Value::Object(first.clone()),
            json!({"created_at": "2025-11-30T10:53:20.000Z", "n": 1, "day": "2025-11-30", "kind": "x", "token": token,
                "updated": "2025-11-30"})
        );
        let later = NewValues {
            now_ms: 1_764_600_000_000,
            uuid: &Uuid::nil,
        };
        for (sent, broken) in [
            (json!({}), &[][..]),
            (Value::Object(first.clone()), &[]),
            (json!({"token": "other"}), &["/token"]),
            (json!({"token": null}), &["/token"]),
        ] {
            let mut sent = members(sent);
            let created = Some(1_764_500_000_000);
            let found = later.complete(&fields(), &mut sent, Some(&first), created);
            let found: Vec<_> = found.into_iter().map(|it| it.pointer).collect();
            assert_eq!(found, broken);
            assert_eq!(sent["token"], token, "{sent:?}");
            assert_eq!(sent["created_at"], "2025-11-30T10:53:20.000Z");
            assert_eq!(sent["updated"], "2025-12-01");
        }
        let mut sent = members(json!({"token": token}));
        let found = new.complete(&fields(), &mut sent, None, None);
        assert_eq!(
            found[0].detail,
            "must be left out: the server gives it its value"
        );
    }

    #[test]
    fn the_times_of_a_record_are_those_that_it_was_brought_with_and_those_of_its_envelope() {
        let at = |now_ms| NewValues {
            now_ms,
            uuid: &Uuid::nil,
        };
        let fields: ObjectFields = [FieldSource::Created, FieldSource::Updated]
            .map(|source| Field {
                source,
                ..Field::new(
                    if source == FieldSource::Created {
                        "made"
                    } else {
                        "changed"
                    },
                    FieldType::DateTime,
                )
            })
            .to_vec()
            .into();
        for (old, now_ms, created_ms, made, changed) in [
            // Brought by an import: created long before.
            (
                json!({"made": "2001-02-03T04:05:06Z"}),
                9_000,
                5_000,
                "2001-02-03T04:05:06Z",
                "1970-01-01T00:00:09.000Z",
            ),
            // Declared later: it has no value, or another one.
            (
                json!({}),
                9_000,
                5_000,
                "1970-01-01T00:00:05.000Z",
                "1970-01-01T00:00:09.000Z",
            ),
            (
                json!({"made": "spring"}),
                9_000,
                5_000,
                "1970-01-01T00:00:05.000Z",
                "1970-01-01T00:00:09.000Z",
            ),
            (
                json!({"made": 7}),
                9_000,
                5_000,
                "1970-01-01T00:00:05.000Z",
                "1970-01-01T00:00:09.000Z",
            ),
            // Changed in the millisecond of its creation.
            (
                json!({}),
                5_000,
                5_000,
                "1970-01-01T00:00:05.000Z",
                "1970-01-01T00:00:05.001Z",
            ),
        ] {
            let mut sent = members(json!({"made": "mine", "changed": "mine"}));
            let old = members(old);
            let found = at(now_ms).complete(&fields, &mut sent, Some(&old), Some(created_ms));
            assert_eq!(found, []);
            assert_eq!(
                Value::Object(sent),
                json!({"made": made, "changed": changed}),
                "{old:?}"
            );
        }
    }

    #[test]
    fn a_content_without_the_time_of_its_creation_gets_it() {
        let mut old = members(json!({"token": "mine"}));
        fields().fill_created(&mut old, 5_000);
        assert_eq!(
            Value::Object(old.clone()),
            json!({"token": "mine", "created_at": "1970-01-01T00:00:05.000Z"})
        );
        fields().fill_created(&mut old, 6_000);
        assert_eq!(old["created_at"], "1970-01-01T00:00:05.000Z");
    }

    #[test]
    fn what_the_operator_brings_stays() {
        let new = NewValues::default();
        let fields = fields().of_operator();
        assert!(!fields.has_own());
        let mut brought = members(json!({"token": "mine", "created_at": "2000-01-01T00:00:00Z"}));
        new.fill(&fields, &mut brought);
        assert_eq!(new.complete(&fields, &mut brought, None, None), []);
        assert_eq!(brought["token"], "mine");
        assert_eq!(brought["created_at"], "2000-01-01T00:00:00Z");
        assert_eq!(brought["updated"], "1970-01-01");
    }
}
