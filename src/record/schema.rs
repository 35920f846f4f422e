//! The schema of a resource: what its records may look like.

mod check;
mod field;
mod new_values;
mod pattern;
mod removed;
mod violation;

pub(crate) use check::{is_date, is_uuid, moment, one_of};
pub(crate) use field::Declared;
pub use field::{
    Bounds, DefaultValue, Field, FieldSource, FieldType, ObjectFields, OnDelete, Reference,
};
pub(crate) use new_values::NewValues;
pub use pattern::Pattern;
use violation::Pointer;
pub(crate) use violation::RuleViolation;

use std::sync::Arc;

use serde_json::Value;

use super::object::JsonObject;

/// The rules that each record of a resource must keep.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Schema {
    /// Any JSON object.
    #[default]
    Any,
    /// These fields.
    Fields(ObjectFields),
}

impl From<Vec<Field>> for Schema {
    /// These fields and no others.
    fn from(fields: Vec<Field>) -> Self {
        Self::Fields(fields.into())
    }
}

impl Schema {
    /// Fills in defaults, then finds every rule that the record breaks. The `id` member must have been removed: it is no
    /// field.
    pub(crate) fn check(
        &self,
        object: &mut JsonObject,
        new: &NewValues<'_>,
    ) -> Result<(), Vec<RuleViolation>> {
        let Self::Fields(fields) = self else {
            return Ok(());
        };
        none(check::object(fields, object.members_mut(), new))
    }

    /// The members that a merge patch of a record removes although they are no fields.
    pub(crate) fn check_removed(
        &self,
        patch: &JsonObject,
        record: &JsonObject,
    ) -> Vec<RuleViolation> {
        let mut found = Vec::new();
        if let Self::Fields(fields) = self {
            let (patch, record) = (patch.members(), Some(record.members()));
            removed::removed(fields, patch, record, Pointer::Root, &mut found);
        }
        found
    }

    /// Gives the fields with the time of the creation their value, where an earlier content of a record lacks it.
    pub(crate) fn fill_created(&self, object: &mut JsonObject, created_ms: u64) {
        if let Self::Fields(fields) = self {
            fields.fill_created(object.members_mut(), created_ms);
        }
    }

    /// The rules that a record breaks which is only looked at.
    pub(crate) fn check_stored(&self, mut object: JsonObject) -> Result<(), Vec<RuleViolation>> {
        self.check(&mut object, &NewValues::default())
    }

    /// Whether the daemon gives some fields their values.
    pub(crate) fn has_own(&self) -> bool {
        matches!(self, Self::Fields(fields) if fields.has_own())
    }

    /// Gives these fields their values. `old` is the record that this one takes the place of, and `created_ms` is when it was
    /// created.
    pub(crate) fn complete(
        &self,
        object: &mut JsonObject,
        old: Option<&JsonObject>,
        created_ms: Option<u64>,
        new: &NewValues<'_>,
    ) -> Result<(), Vec<RuleViolation>> {
        let Self::Fields(fields) = self else {
            return Ok(());
        };
        let old = old.map(JsonObject::members);
        none(new.complete(fields, object.members_mut(), old, created_ms))
    }

    /// The rules for records that the operator brings, such as those of an import: values that are there stay.
    pub(crate) fn of_operator(schema: &Arc<Self>) -> Arc<Self> {
        match &**schema {
            Self::Fields(fields) if fields.has_own() => {
                Arc::new(Self::Fields(fields.of_operator()))
            }
            Self::Fields(_) | Self::Any => Arc::clone(schema),
        }
    }

    /// Whether names that are not declared may be members.
    pub(crate) fn is_open(&self) -> bool {
        match self {
            Self::Any => true,
            Self::Fields(fields) => fields.additional,
        }
    }

    /// The fields that refer to records, by name.
    pub(crate) fn references(&self) -> impl Iterator<Item = (&str, &Reference)> {
        let fields = match self {
            Self::Any => &[],
            Self::Fields(fields) => fields.list.as_slice(),
        };
        fields.iter().filter_map(|field| {
            if let FieldType::Ref(reference) = &field.kind {
                Some((field.name.as_str(), reference))
            } else {
                None
            }
        })
    }

    /// Whether a record can break a rule.
    pub(crate) fn has_rules(&self) -> bool {
        *self != Self::Any
    }

    /// The violations that a change is refused for, of those `found` in the record after it: a value that is wrong already,
    /// and that the change leaves as it is, does not count.
    pub(crate) fn made_by_change(
        &self,
        found: Vec<RuleViolation>,
        before: JsonObject,
        after: &JsonObject,
    ) -> Vec<RuleViolation> {
        let old = self.check_stored(before.clone()).err().unwrap_or_default();
        let [before, after] = [&before, after].map(|of| Value::Object(of.members().clone()));
        let stays = |violation: &RuleViolation| {
            let value = |of: &'_ Value| of.pointer(&violation.pointer).cloned();
            old.contains(violation) && value(&before) == value(&after)
        };
        let found = found.into_iter();
        found.filter(|violation| !stays(violation)).collect()
    }

    /// The declaration at a path of names: `author.name` is a member of an object, `tags.0` an item of an array.
    pub(crate) fn at(&self, path: &[String]) -> Declared<'_> {
        match self {
            Self::Any => Declared::Additional,
            Self::Fields(fields) => field::find(fields, path),
        }
    }

    /// The paths of all declared fields.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        if let Self::Fields(fields) = self {
            field::paths(fields, "", &mut paths);
        }
        paths
    }
}

fn none(violations: Vec<RuleViolation>) -> Result<(), Vec<RuleViolation>> {
    if violations.is_empty() {
        Ok(())
    } else {
        Err(violations)
    }
}
