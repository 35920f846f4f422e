//! The schema of a resource: what its records may look like.

mod check;
mod field;
mod violation;

pub(crate) use check::moment;
pub(crate) use field::Declared;
pub use field::{Bounds, Field, FieldType, Pattern};
pub(crate) use violation::RuleViolation;

use serde_json::Value;

use super::object::JsonObject;

/// The rules that each record of a resource must keep.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Schema {
    /// Any JSON object.
    #[default]
    Any,
    /// These fields and no others.
    Fields(Vec<Field>),
}

impl Schema {
    /// Fills in defaults, then finds every rule that the record breaks. The `id` member must have been removed: it is no
    /// field.
    pub(crate) fn check(&self, object: &mut JsonObject) -> Result<(), Vec<RuleViolation>> {
        let Self::Fields(fields) = self else {
            return Ok(());
        };
        let violations = check::object(fields, object.members_mut());
        if violations.is_empty() {
            Ok(())
        } else {
            Err(violations)
        }
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
        mut before: JsonObject,
        after: &JsonObject,
    ) -> Vec<RuleViolation> {
        let old = self.check(&mut before).err().unwrap_or_default();
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
            Self::Any => Declared::Anything,
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
