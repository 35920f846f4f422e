//! What a record of a resource may be.

mod check;
mod field;
mod violation;

pub(crate) use check::{moment, whole};
pub use field::{Field, FieldType, Pattern, PatternError};
pub(crate) use violation::Violation;

use super::object::JsonObject;

/// The rules of a resource.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Schema {
    /// Any JSON object.
    #[default]
    Any,
    /// These fields and no others.
    Fields(Vec<Field>),
}

impl Schema {
    /// Fills in what has a default, then finds every rule that is broken. `id` is no field: it must have been taken away.
    pub fn check(&self, object: &mut JsonObject) -> Result<(), Vec<Violation>> {
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

    /// What a path of names leads to: `author.name` for the member of a member. `None` if the schema has no such field.
    pub(crate) fn field(&self, path: &[String]) -> Option<&FieldType> {
        let Self::Fields(fields) = self else {
            return None;
        };
        field::find(fields, path)
    }

    /// The names of the fields, if it has any.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let fields = match self {
            Self::Any => &[][..],
            Self::Fields(fields) => fields,
        };
        fields.iter().map(|field| field.name.as_str())
    }
}
