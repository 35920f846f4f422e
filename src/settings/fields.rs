//! `resource.*.fields`: from what is written to the rules of a record, with every fault on the way.

use std::ops::Range;

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::kind::choices;
use super::walk::{Walk, json};
use crate::record::{Bounds, Field, FieldType, Pattern, nearest};

/// The types a field can have.
const TYPES: [&str; 7] = [
    "string", "integer", "number", "boolean", "datetime", "array", "object",
];
/// The most fields of one record or object.
const FIELDS_MAX: usize = 1000;

/// The members of one field, as they are taken one after the other.
struct Members<'a> {
    table: &'a DeTable<'a>,
    known: Vec<&'static str>,
}

impl<'a> Members<'a> {
    fn new(table: &'a DeTable<'a>) -> Self {
        let known = vec!["type"];
        Self { table, known }
    }

    fn take(&mut self, name: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.push(name);
        self.table.get(name)
    }
}

impl Walk<'_> {
    /// Reads a table of fields. What is faulty is left out, and told.
    pub(super) fn fields(&mut self, table: &DeTable<'_>) -> Vec<Field> {
        let mut fields = Vec::new();
        for (name, value) in table {
            let field = self.below(name.get_ref(), |walk| walk.field(name, value));
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
    ) -> Option<Field> {
        if let Some(problem) = name_fault(name.get_ref()) {
            self.fault(name.span(), problem);
        }
        let table = self.members(value, "a table such as { type = \"string\" }")?;
        let mut members = Members::new(table);
        let right = "must be true or false";
        let required = self.member(&mut members, "required", right, Value::as_bool);
        let default = members.take("default");
        let kind = self.kind(&mut members, name.span())?;
        let default =
            default.and_then(|default| self.below("default", |walk| walk.default(&kind, default)));
        self.unknown(&members);
        Some(Field {
            name: name.get_ref().to_string(),
            kind,
            required: required.unwrap_or(false),
            default,
        })
    }

    /// A default is a value like any other: it must keep the field's rules.
    fn default(&mut self, kind: &FieldType, written: &Spanned<DeValue<'_>>) -> Option<Value> {
        let value = json(written.get_ref());
        if has_null(&value) {
            let problem = "is no JSON value; a date is written in quotes";
            self.fault(written.span(), problem);
            return None;
        }
        let violations = kind.violations(&value);
        let keeps_all = violations.is_empty();
        for violation in violations {
            self.fault(written.span(), violation.detail);
        }
        keeps_all.then_some(value)
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
            Some("array") => FieldType::Array {
                items: self.items(members).map(Box::new),
                length: self.lengths(members, at),
            },
            Some("object") => FieldType::Object(self.inner(members)),
            other => {
                let fault = match other {
                    Some("ref") => "\"ref\" is not available yet".to_owned(),
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

    fn members<'a>(
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
    fn member<T>(
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
            let mut members = Members::new(table);
            let kind = walk.kind(&mut members, value.span())?;
            walk.unknown(&members);
            Some(kind)
        })
    }

    fn inner(&mut self, members: &mut Members<'_>) -> Option<Vec<Field>> {
        let value = members.take("fields")?;
        self.below("fields", |walk| {
            let table = walk.members(value, "a table of fields")?;
            Some(walk.fields(table))
        })
    }
}

fn name_fault(name: &str) -> Option<&'static str> {
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

/// Whether something in it has no counterpart in JSON: [`json`] makes that null, and TOML has no null of its own.
fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(members) => members.values().any(has_null),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
