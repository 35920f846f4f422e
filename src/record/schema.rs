//! The schema of a resource: what its records may look like.

mod check;
mod field;
mod violation;

pub(crate) use check::{moment, whole};
pub use field::{Bounds, Field, FieldType, Pattern};
pub(crate) use violation::RuleViolation;

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

    /// The type of the field at a path of names: `author.name` is a member of an object. `None` if there is no such field.
    pub(crate) fn field(&self, path: &[String]) -> Option<&FieldType> {
        let Self::Fields(fields) = self else {
            return None;
        };
        field::find(fields, path)
    }

    /// The names of the fields, if they are declared.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let fields = match self {
            Self::Any => &[][..],
            Self::Fields(fields) => fields,
        };
        fields.iter().map(|field| field.name.as_str())
    }
}
