//! The names in a query: the field that each means, and the unknown ones.

use super::operator::Operator;
use super::path::path;
use super::{Handling, ListQuery, QueryError};
use crate::record::nearest;
use crate::record::schema::{Declared, FieldType, Schema};

/// The most names in the path of a field.
const PATH_NAMES_MAX: usize = 16;

/// The names that are known in a resource.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names<'a> {
    schema: &'a Schema,
    handling: Handling,
}

/// A field: the way to it, and its declared type. No type means that values of any type are there.
pub(super) type NamedField<'a> = (Vec<String>, Option<&'a FieldType>);

impl<'a> Names<'a> {
    pub(super) fn new(schema: &'a Schema, handling: Handling) -> Self {
        Self { schema, handling }
    }

    /// Whether the fields of the resource are declared.
    pub(super) fn are_declared(self) -> bool {
        *self.schema != Schema::Any
    }

    /// Whether a name that is not declared is a mistake.
    fn are_all_declared(self) -> bool {
        !self.schema.is_open()
    }

    /// Whether a field of this name is declared.
    pub(super) fn declares(self, name: &str) -> bool {
        let declared = self.schema.at(&path(name));
        matches!(declared, Declared::Kind(_) | Declared::Anything)
    }

    /// The field that a name is, without an operator; `None` if the name is ignored.
    pub(super) fn plain(self, name: &str) -> Result<Option<NamedField<'a>>, QueryError> {
        self.at(name, "")
    }

    /// The field and the operator that a name asks for; `None` if the name is ignored. The name of a declared field is never
    /// taken for another one with an operator.
    pub(super) fn field(
        self,
        name: &str,
    ) -> Result<Option<(NamedField<'a>, Operator)>, QueryError> {
        // What nobody declared and begins like a parameter is none of the record's members. Browsers' libraries send `_=123`.
        if name == "_" || !self.are_all_declared() && name.starts_with('_') {
            return Ok(None);
        }
        let (field, operator) = self.split(name)?;
        let (_, suffix) = name.split_at_checked(field.len()).unwrap_or((name, ""));
        let found = self.at(field, suffix)?;
        Ok(found.map(|field| (field, operator)))
    }

    /// Whether an object may be sent for a name, which is on the way to members: the id and fields of other types have none.
    pub(super) fn may_be_object(self, name: &str) -> Result<bool, QueryError> {
        let Some(((path, kind), operator)) = self.field(name)? else {
            return Ok(true);
        };
        Ok(match kind {
            Some(kind) => operator == Operator::Equal && matches!(kind, FieldType::Object(_)),
            None => operator != Operator::Equal || path != ["id"],
        })
    }

    /// The field's name, and the operator behind it.
    fn split(self, name: &str) -> Result<(&str, Operator), QueryError> {
        if self.declares(name) || name == "id" {
            return Ok((name, Operator::Equal));
        }
        if let Some((field, operator)) = name.rsplit_once(':') {
            match Operator::named(operator) {
                Some(operator) => return Ok((field, operator)),
                None if self.are_all_declared() => {
                    return Err(QueryError::Operator {
                        name: name.to_owned(),
                        near: nearest(operator, Operator::names()),
                    });
                }
                None => {}
            }
        }
        Ok(Operator::suffix(name).unwrap_or((name, Operator::Equal)))
    }

    /// The field at a path. `suffix` is what followed its name.
    fn at(self, name: &str, suffix: &str) -> Result<Option<NamedField<'a>>, QueryError> {
        let path = path(name);
        if path.len() > PATH_NAMES_MAX {
            return Err(QueryError::Limit {
                told: "names in the path of a field",
                most: PATH_NAMES_MAX,
            });
        }
        if name == "id" {
            return Ok(Some((path, None)));
        }
        match (self.schema.at(&path), self.handling) {
            (Declared::Kind(kind), _) => Ok(Some((path, Some(kind)))),
            (Declared::Anything | Declared::Additional, _) => Ok(Some((path, None))),
            (Declared::Nothing, Handling::Lenient) => Ok(None),
            (Declared::Nothing, Handling::Strict) => Err(self.unknown(name, suffix)),
        }
    }

    fn unknown(self, name: &str, suffix: &str) -> QueryError {
        let fields = self.schema.paths();
        let fields = fields.iter().map(String::as_str);
        let near = nearest(name, fields.chain(["id"])).map(|near| format!("{near}{suffix}"));
        let sent = format!("{name}{suffix}");
        let near = near.or_else(|| nearest(&sent, ListQuery::known()).map(str::to_owned));
        QueryError::Unknown { name: sent, near }
    }
}
