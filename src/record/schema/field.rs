//! A field of a record: its type and its rules.

use serde_json::Value;

use super::check;
use super::pattern::Pattern;
use super::violation::{Pointer, RuleViolation};
use crate::record::{IdScheme, RecordId};

/// The members of a record or of an object.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ObjectFields {
    /// Those that are declared.
    pub list: Vec<Field>,
    /// Whether there may be others, of any type.
    pub additional: bool,
}

impl From<Vec<Field>> for ObjectFields {
    /// These fields and no others.
    fn from(list: Vec<Field>) -> Self {
        Self {
            list,
            additional: false,
        }
    }
}

/// One field of a record.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// The name of the member.
    pub name: String,
    /// The type of its value.
    pub kind: FieldType,
    /// Whether it must be present.
    pub required: bool,
    /// Whether it may be null; `None`: if it is not required.
    pub nullable: Option<bool>,
    /// The value of a record that has none.
    pub default: Option<DefaultValue>,
    /// The origin of its value.
    pub source: FieldSource,
}

/// The value of a record that has none.
#[derive(Debug, Clone, PartialEq)]
pub enum DefaultValue {
    /// Always the same.
    Fixed(Value),
    /// The time when it is filled in, as the type of the field writes it.
    Now,
    /// A new UUID.
    Uuid,
}

/// The origin of a field's value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FieldSource {
    /// The client gives it.
    #[default]
    Client,
    /// The default of a new record, which stays: a client may only send back what is there.
    ReadOnly,
    /// The time when the record was created; what a client sends is replaced.
    Created,
    /// The time when the record was written last; what a client sends is replaced.
    Updated,
}

impl Field {
    /// An optional field without a default.
    pub fn new(name: &str, kind: FieldType) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            required: false,
            nullable: None,
            default: None,
            source: FieldSource::Client,
        }
    }

    /// Whether its value may be null.
    pub(crate) fn may_be_null(&self) -> bool {
        self.nullable.unwrap_or(!self.required)
    }
}

/// A reference to the records of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The name of the resource.
    pub to: String,
    /// The kind of its ids.
    pub ids: IdScheme,
    /// The effect on this record when the record that it refers to is deleted.
    pub on_delete: OnDelete,
}

/// The effect on a record when the record that it refers to is deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnDelete {
    /// The deletion is refused.
    #[default]
    Restrict,
    /// This record is deleted, too.
    Cascade,
    /// The reference becomes null.
    SetNull,
}

impl Reference {
    /// The id that a value refers to; `None` if the value is not written as the `id` of such a record is.
    pub(crate) fn id(&self, value: &Value) -> Option<RecordId> {
        let id = self.ids.of_member(value).ok()?;
        let as_written = match &id {
            RecordId::Number(_) => value.is_number(),
            RecordId::Text(text) => value.as_str() == Some(text),
        };
        as_written.then_some(id)
    }
}

/// The type of a value, and its rules. An optional field may also be null: that is how a form says "empty".
#[derive(Debug, Clone, PartialEq)]
pub enum FieldType {
    /// A string.
    String {
        /// The number of its characters (Unicode scalar values).
        length: Bounds<usize>,
        /// Must be found somewhere in the text; `^` and `$` tie it to the whole.
        pattern: Option<Pattern>,
    },
    /// A whole number of 64 bits. `2.0` is one, as in JSON Schema.
    Integer(Bounds<i64>),
    /// A number.
    Number(Bounds<f64>),
    /// `true` or `false`.
    Boolean,
    /// A date and time with an offset (RFC 3339).
    DateTime,
    /// A date (a full-date of RFC 3339). Its texts are ordered as the days are.
    Date,
    /// A UUID in its usual form, in small letters, so that each has one text.
    Uuid,
    /// One of these values, which are all texts or all numbers.
    Enum(Vec<Value>),
    /// The id of a record.
    Ref(Reference),
    /// An array.
    Array {
        /// The type of its items; any if there is none.
        items: Option<Box<FieldType>>,
        /// The number of its items.
        length: Bounds<usize>,
    },
    /// An object with these members, or any if there are none.
    Object(Option<ObjectFields>),
}

/// The bounds of a number or a length, if it has some.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Bounds<T> {
    /// The least that it may be.
    pub min: Option<T>,
    /// The greatest that it may be.
    pub max: Option<T>,
}

impl FieldType {
    /// Every rule that a value breaks.
    pub(crate) fn violations(&self, value: &Value) -> Vec<RuleViolation> {
        let mut found = Vec::new();
        check::value(self, value, Pointer::Root, &mut found);
        found
    }

    /// The name of the type, as the settings write it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::String { .. } => "string",
            Self::Integer(_) => "integer",
            Self::Number(_) => "number",
            Self::Boolean => "boolean",
            Self::DateTime => "datetime",
            Self::Date => "date",
            Self::Uuid => "uuid",
            Self::Enum(_) => "enum",
            Self::Ref(_) => "ref",
            Self::Array { .. } => "array",
            Self::Object(_) => "object",
        }
    }

    /// Whether all its values are texts.
    pub(crate) fn is_text(&self) -> bool {
        match self {
            Self::String { .. } | Self::DateTime | Self::Date | Self::Uuid => true,
            Self::Enum(values) => values.iter().all(Value::is_string),
            Self::Ref(reference) => reference.ids != IdScheme::Sequence,
            Self::Integer(_)
            | Self::Number(_)
            | Self::Boolean
            | Self::Array { .. }
            | Self::Object(_) => false,
        }
    }

    /// The name of the type with its article, for people.
    pub(crate) fn article(&self) -> &'static str {
        match self {
            Self::String { .. } => "a string",
            Self::Integer(_) => "a whole number",
            Self::Number(_) => "a number",
            Self::Boolean => "true or false",
            Self::DateTime => "a date and time such as 2026-11-24T16:00:00Z",
            Self::Date => "a date such as 2026-11-24",
            Self::Uuid => "a UUID in small letters such as 0193b3a4-5c1e-7d2f-8a90-1b2c3d4e5f60",
            Self::Enum(_) => "one of the values of the field",
            Self::Ref(reference) if reference.ids == IdScheme::Sequence => {
                "the id of a record: a whole number, or the text of another id"
            }
            Self::Ref(_) => "the id of a record, as a text",
            Self::Array { .. } => "an array",
            Self::Object(_) => "an object",
        }
    }
}

/// The declaration at a path of names.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Declared<'a> {
    /// A field of this type.
    Kind(&'a FieldType),
    /// Values of any type, inside a declared field.
    Anything,
    /// No field, but there may be values of any type.
    Additional,
    /// No field.
    Nothing,
}

/// The declaration among these fields at a path of names.
pub(super) fn find<'a>(fields: &'a ObjectFields, path: &[String]) -> Declared<'a> {
    let first = path.split_first();
    let found = first.and_then(|(first, rest)| {
        let field = fields.list.iter().find(|field| field.name == *first)?;
        Some(within(&field.kind, rest))
    });
    found.unwrap_or(if fields.additional {
        Declared::Additional
    } else {
        Declared::Nothing
    })
}

fn within<'a>(kind: &'a FieldType, path: &[String]) -> Declared<'a> {
    let Some((first, rest)) = path.split_first() else {
        return Declared::Kind(kind);
    };
    let is_index = !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_digit());
    match kind {
        FieldType::Object(Some(fields)) => find(fields, path),
        FieldType::Object(None) => Declared::Anything,
        FieldType::Array { items, .. } if is_index => match items {
            Some(items) => within(items, rest),
            None => Declared::Anything,
        },
        FieldType::Array { .. }
        | FieldType::String { .. }
        | FieldType::Integer(_)
        | FieldType::Number(_)
        | FieldType::Boolean
        | FieldType::DateTime
        | FieldType::Date
        | FieldType::Uuid
        | FieldType::Enum(_)
        | FieldType::Ref(_) => Declared::Nothing,
    }
}

/// Adds the paths of these fields, which are below `prefix`.
pub(super) fn paths(fields: &ObjectFields, prefix: &str, into: &mut Vec<String>) {
    for field in &fields.list {
        let path = format!("{prefix}{}", field.name);
        if let FieldType::Object(Some(fields)) = &field.kind {
            paths(fields, &format!("{path}."), into);
        }
        into.push(path);
    }
}
