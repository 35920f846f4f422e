//! The values of a field in `resource.*.fields`: its default, who gives it, what is listed, and what it refers to.

use std::collections::BTreeSet;
use std::ops::Range;

use serde_json::Value;
use toml::Spanned;
use toml::de::DeValue;

use super::fields::{Members, TRUE_OR_FALSE};
use super::kind::choices;
use super::walk::{Walk, json};
use crate::record::{DefaultValue, Field, FieldSource, FieldType, IdScheme, OnDelete, Reference};

/// The most values of an enum.
const VALUES_MAX: usize = 1000;
const GENERATED: [&str; 2] = ["created", "updated"];
const ON_DELETE: [&str; 3] = ["restrict", "cascade", "set_null"];

/// The origin of a field's values, as it is written.
pub(super) struct ValueSources {
    read_only: bool,
    generated: Option<FieldSource>,
}

impl ValueSources {
    /// The source of the values of a field of this type.
    pub(super) fn of(&self, kind: &FieldType) -> FieldSource {
        match self.generated {
            Some(generated) if matches!(kind, FieldType::DateTime | FieldType::Date) => generated,
            _ if self.read_only => FieldSource::ReadOnly,
            Some(generated) => generated,
            None => FieldSource::Client,
        }
    }
}

impl Walk<'_> {
    /// Reads `read_only` and `generated`.
    pub(super) fn sources(&mut self, members: &mut Members<'_>) -> ValueSources {
        let read_only = self.member(members, "read_only", TRUE_OR_FALSE, Value::as_bool);
        let right = choices(&GENERATED);
        let generated = self.member(members, "generated", &right, |value| match value.as_str() {
            Some("created") => Some(FieldSource::Created),
            Some("updated") => Some(FieldSource::Updated),
            Some(_) | None => None,
        });
        for name in ["read_only", "generated"] {
            if let Some(value) = members.table.get(name).filter(|_| !members.is_own) {
                let problem = "only a field of the record itself can have this";
                self.below(name, |walk| walk.fault(value.span(), problem));
            }
        }
        ValueSources {
            read_only: read_only.unwrap_or(false),
            generated,
        }
    }

    /// Finds rules of one field that no record can keep. A default may be written that is wrong itself.
    pub(super) fn contradictions(&mut self, field: &Field, has_default: bool, at: Range<usize>) {
        let is_time = matches!(field.kind, FieldType::DateTime | FieldType::Date);
        let problem = match field.source {
            FieldSource::Created | FieldSource::Updated if !is_time => {
                "generated is for the types \"datetime\" and \"date\""
            }
            FieldSource::Created | FieldSource::Updated if field.required || has_default => {
                "a generated field always has its value; take required and default out"
            }
            FieldSource::ReadOnly if field.required && !has_default => {
                "nobody could give it a value: a read-only field that is required needs a default"
            }
            FieldSource::Client
            | FieldSource::ReadOnly
            | FieldSource::Created
            | FieldSource::Updated => {
                let FieldType::Ref(reference) = &field.kind else {
                    return;
                };
                if field.required && reference.on_delete == OnDelete::SetNull {
                    "on_delete = \"set_null\" would leave a required field without a value"
                } else if field.source == FieldSource::Client {
                    return;
                } else {
                    "a reference can't be read-only: the server knows none to give"
                }
            }
        };
        self.fault(at, problem);
    }

    /// A default is a value like any other, which must keep the field's rules, or a computed one.
    pub(super) fn default(
        &mut self,
        kind: &FieldType,
        written: &Spanned<DeValue<'_>>,
    ) -> Option<DefaultValue> {
        let value = json(written.get_ref());
        match (kind, value.as_str()) {
            (FieldType::DateTime | FieldType::Date, Some("now")) => return Some(DefaultValue::Now),
            (FieldType::Uuid, Some("uuid")) => return Some(DefaultValue::Uuid),
            _ => {}
        }
        if has_null(&value) {
            let problem = "is no JSON value; a date is written in quotes";
            self.fault(written.span(), problem);
            return None;
        }
        if let FieldType::Ref(_) = kind {
            self.fault(written.span(), "a reference has no default");
            return None;
        }
        let computed = if matches!(kind, FieldType::DateTime | FieldType::Date) {
            ", or \"now\""
        } else if *kind == FieldType::Uuid {
            ", or \"uuid\""
        } else {
            ""
        };
        let violations = kind.violations(&value);
        let keeps_all = violations.is_empty();
        for violation in violations {
            self.fault(written.span(), format!("{}{computed}", violation.detail));
        }
        keeps_all.then_some(DefaultValue::Fixed(value))
    }

    /// Reads the values of an enum.
    pub(super) fn values(
        &mut self,
        members: &mut Members<'_>,
        at: Range<usize>,
    ) -> Option<Vec<Value>> {
        let Some(written) = members.take("values") else {
            let problem = "has no values; write values = [\"draft\", \"published\"]";
            self.fault(at, problem);
            return None;
        };
        let values = json(written.get_ref());
        let values = values.as_array().cloned().unwrap_or_default();
        let problem = values_fault(&values);
        if let Some(problem) = problem {
            self.below("values", |walk| walk.fault(written.span(), problem));
            return None;
        }
        Some(values)
    }

    /// Reads what a reference refers to. Whether there is such a resource is looked at when all are known.
    pub(super) fn reference(
        &mut self,
        members: &mut Members<'_>,
        at: Range<usize>,
    ) -> Option<Reference> {
        let right = choices(&ON_DELETE);
        let on_delete = self.member(members, "on_delete", &right, |value| match value.as_str() {
            Some("restrict") => Some(OnDelete::Restrict),
            Some("cascade") => Some(OnDelete::Cascade),
            Some("set_null") => Some(OnDelete::SetNull),
            Some(_) | None => None,
        });
        if !members.is_own {
            let problem = "only a field of the record itself can refer to a record";
            self.fault(at.clone(), problem);
        }
        if members.table.get("to").is_none() {
            self.fault(
                at,
                "does not say what it refers to; write to = \"RESOURCE\"",
            );
        }
        let right = "must be the name of a resource";
        let to = self.member(members, "to", right, |value| {
            value.as_str().map(str::to_owned)
        })?;
        if let Some(written) = members.table.get("to") {
            self.refers(&to, written.span());
        }
        Some(Reference {
            to,
            ids: IdScheme::default(),
            on_delete: on_delete.unwrap_or_default(),
        })
    }
}

/// The fault of the values of an enum: they must be of one kind, because they are compared and sorted.
pub(super) fn values_fault(values: &[Value]) -> Option<String> {
    let all = |is: fn(&Value) -> bool| values.iter().all(is);
    let different: BTreeSet<_> = values.iter().map(Value::to_string).collect();
    if values.is_empty() || !all(Value::is_string) && !all(Value::is_number) {
        Some("must be a list of texts, or of numbers, with one at least".to_owned())
    } else if values.len() > VALUES_MAX {
        Some(format!("more than {VALUES_MAX} values"))
    } else if different.len() < values.len() {
        Some("has a value twice".to_owned())
    } else {
        None
    }
}

/// Whether something in it has no counterpart in JSON: [`json`] makes that null, and TOML has no null of its own.
fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(members) => members.values().any(has_null),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
