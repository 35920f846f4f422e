//! `resource.*.fields`: from what is written to the rules of a record, with every fault on the way.

use std::ops::Range;

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::kind::choices;
use super::walk::{Walk, json};
use crate::record::{Bounds, Field, FieldType, ObjectFields, Pattern, nearest};

/// The types a field can have.
const TYPES: [&str; 11] = [
    "string", "integer", "number", "boolean", "datetime", "date", "uuid", "enum", "ref", "array",
    "object",
];
pub(super) const TRUE_OR_FALSE: &str = "must be true or false";
/// The most fields of one record or object.
pub(super) const FIELDS_MAX: usize = 1000;

/// The members of one field, as they are taken one after the other.
pub(super) struct Members<'a> {
    pub(super) table: &'a DeTable<'a>,
    known: Vec<&'static str>,
    /// Whether it is a field of the record itself, and not of an object or an array in it.
    pub(super) is_own: bool,
}

impl<'a> Members<'a> {
    fn new(table: &'a DeTable<'a>, is_own: bool) -> Self {
        let known = vec!["type"];
        Self {
            table,
            known,
            is_own,
        }
    }

    pub(super) fn take(&mut self, name: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.push(name);
        self.table.get(name)
    }
}

impl Walk<'_> {
    /// Reads a table of fields, those of records or of an object in them. What is faulty is left out, and told.
    pub(super) fn fields(&mut self, table: &DeTable<'_>, are_own: bool) -> Vec<Field> {
        let mut fields = Vec::new();
        // In the order in which they are written.
        let mut written: Vec<_> = table.iter().collect();
        written.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in written {
            let field = self.below(name.get_ref(), |walk| walk.field(name, value, are_own));
            if fields.len() == FIELDS_MAX {
                self.fault(name.span(), format!("more than {FIELDS_MAX} fields"));
                break;
            }
            fields.extend(field);
        }
        fields
    }

    fn field(
        &mut self,
        name: &Spanned<DeString<'_>>,
        value: &Spanned<DeValue<'_>>,
        is_own: bool,
    ) -> Option<Field> {
        if let Some(problem) = name_fault(name.get_ref()) {
            self.fault(name.span(), problem);
        }
        let table = self.members(value, "a table such as { type = \"string\" }")?;
        let mut members = Members::new(table, is_own);
        let required = self.member(&mut members, "required", TRUE_OR_FALSE, Value::as_bool);
        let default = members.take("default");
        let sources = self.sources(&mut members);
        let kind = self.kind(&mut members, name.span())?;
        let has_default = default.is_some();
        let default =
            default.and_then(|default| self.below("default", |walk| walk.default(&kind, default)));
        self.unknown(&members);
        let field = Field {
            required: required.unwrap_or(false),
            default,
            source: sources.of(&kind),
            ..Field::new(name.get_ref(), kind)
        };
        self.contradictions(&field, has_default, name.span());
        Some(field)
    }

    fn kind(&mut self, members: &mut Members<'_>, at: Range<usize>) -> Option<FieldType> {
        let Some(written) = members.table.get("type") else {
            self.fault(at, format!("has no type; {}", choices(&TYPES)));
            return None;
        };
        Some(match json(written.get_ref()).as_str() {
            Some("string") => FieldType::String {
                length: self.lengths(members, at),
                pattern: self.pattern(members),
            },
            Some("integer") => {
                let right = "must be a whole number";
                let names = ["min", "max"];
                FieldType::Integer(self.bounds(members, at, names, right, Value::as_i64))
            }
            Some("number") => {
                let right = "must be a number";
                let names = ["min", "max"];
                FieldType::Number(self.bounds(members, at, names, right, Value::as_f64))
            }
            Some("boolean") => FieldType::Boolean,
            Some("datetime") => FieldType::DateTime,
            Some("date") => FieldType::Date,
            Some("uuid") => FieldType::Uuid,
            Some("enum") => FieldType::Enum(self.values(members, at)?),
            Some("ref") => FieldType::Ref(self.reference(members, at)?),
            Some("array") => FieldType::Array {
                items: self.items(members).map(Box::new),
                length: self.lengths(members, at),
            },
            Some("object") => FieldType::Object(self.inner(members)),
            other => {
                let fault = match other {
                    Some(other) => match nearest(other, TYPES) {
                        Some(near) => format!("{other:?} is no type; did you mean {near:?}?"),
                        None => format!("{other:?} is no type"),
                    },
                    None => "must be a text".to_owned(),
                };
                let problem = format!("{fault}; {}", choices(&TYPES));
                self.below("type", |walk| walk.fault(written.span(), problem));
                return None;
            }
        })
    }

    /// Reports the members that were not taken.
    fn unknown(&mut self, members: &Members<'_>) {
        for (name, value) in members.table {
            let text = name.get_ref().as_ref();
            if members.known.contains(&text) {
                continue;
            }
            let problem = match nearest(text, members.known.iter().copied()) {
                Some(near) => format!("unknown; did you mean {near}?"),
                None => format!("unknown here; known are {}", members.known.join(", ")),
            };
            let at = name.span().start..value.span().end;
            self.below(text, |walk| walk.fault(at, problem));
        }
    }

    pub(super) fn members<'a>(
        &mut self,
        value: &'a Spanned<DeValue<'a>>,
        right: &str,
    ) -> Option<&'a DeTable<'a>> {
        if let DeValue::Table(table) = value.get_ref() {
            return Some(table);
        }
        self.fault(value.span(), format!("must be {right}"));
        None
    }

    /// A member that `read` understands; `right` says what it must be.
    pub(super) fn member<T>(
        &mut self,
        members: &mut Members<'_>,
        name: &'static str,
        right: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        let value = members.take(name)?;
        let member = read(&json(value.get_ref()));
        if member.is_none() {
            self.below(name, |walk| walk.fault(value.span(), right));
        }
        member
    }

    /// The least and the greatest that a value may be; both may not contradict each other.
    fn bounds<T: PartialOrd>(
        &mut self,
        members: &mut Members<'_>,
        at: Range<usize>,
        names: [&'static str; 2],
        right: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Bounds<T> {
        let [min, max] = names.map(|name| self.member(members, name, right, &read));
        if let (Some(least), Some(greatest)) = (&min, &max)
            && least > greatest
        {
            let problem = "no value is left: the least is greater than the greatest";
            self.fault(at, problem);
            // A default breaks no bounds that are wrong themselves.
            return Bounds {
                min: None,
                max: None,
            };
        }
        Bounds { min, max }
    }

    fn lengths(&mut self, members: &mut Members<'_>, at: Range<usize>) -> Bounds<usize> {
        let right = "must be a whole number, 0 or more";
        let length = |value: &Value| value.as_u64()?.try_into().ok();
        self.bounds(members, at, ["min_length", "max_length"], right, length)
    }

    fn pattern(&mut self, members: &mut Members<'_>) -> Option<Pattern> {
        let value = members.take("pattern")?;
        let problem = match json(value.get_ref()).as_str().map(Pattern::new) {
            Some(Ok(pattern)) => return Some(pattern),
            Some(Err(error)) => format!("is no pattern: {}", error.to_string().replace('\n', "; ")),
            None => "must be a regular expression in quotes, such as '^[0-9]{13}$'".to_owned(),
        };
        self.below("pattern", |walk| walk.fault(value.span(), problem));
        None
    }

    fn items(&mut self, members: &mut Members<'_>) -> Option<FieldType> {
        let value = members.take("items")?;
        self.below("items", |walk| {
            // `items = "string"` is short for `items = { type = "string" }`.
            let short;
            let table = if let DeValue::String(_) = value.get_ref() {
                let name = Spanned::new(value.span(), "type".into());
                short = DeTable::from_iter([(name, value.clone())]);
                &short
            } else {
                walk.members(
                    value,
                    "a type such as \"string\", or a table such as { type = \"string\" }",
                )?
            };
            let mut members = Members::new(table, false);
            let kind = walk.kind(&mut members, value.span())?;
            walk.unknown(&members);
            Some(kind)
        })
    }

    fn inner(&mut self, members: &mut Members<'_>) -> Option<ObjectFields> {
        let additional = self.member(members, "additional", TRUE_OR_FALSE, Value::as_bool);
        let value = members.take("fields")?;
        let list = self.below("fields", |walk| {
            let table = walk.members(value, "a table of fields")?;
            Some(walk.fields(table, false))
        });
        Some(ObjectFields {
            list: list?,
            additional: additional.unwrap_or(false),
        })
    }
}

pub(super) fn name_fault(name: &str) -> Option<&'static str> {
    if name == "id" {
        Some(
            "is no field: every record has one; write id = \"uuidv7\", \"sequence\" or \"client\" above",
        )
    } else if name.is_empty() || name.starts_with(['_', '-']) {
        Some("a name must not be empty, nor begin with _ or -, which mean something in queries")
    } else if name.contains(['.', ',', ':']) {
        Some("a name must not contain a dot, a comma or a colon, which mean something in queries")
    } else {
        None
    }
}
