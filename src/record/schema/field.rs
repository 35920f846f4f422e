//! A field of a record: its type and its rules.

use serde_json::Value;

use super::check;
use super::violation::{Pointer, RuleViolation};

/// One field of a record.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// The name of the member.
    pub name: String,
    /// The type of its value.
    pub kind: FieldType,
    /// Whether it must be present and not null.
    pub required: bool,
    /// The value of a record that has none.
    pub default: Option<Value>,
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
    /// An array.
    Array {
        /// The type of its items; any if there is none.
        items: Option<Box<FieldType>>,
        /// The number of its items.
        length: Bounds<usize>,
    },
    /// An object with these members, or any if there are none.
    Object(Option<Vec<Field>>),
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
            Self::Array { .. } => "array",
            Self::Object(_) => "object",
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
            Self::Array { .. } => "an array",
            Self::Object(_) => "an object",
        }
    }
}

/// A regular expression. Matching takes time in proportion to the length of the text, whatever the expression is.
#[derive(Debug, Clone)]
pub struct Pattern(regex::Regex);

/// The size of the largest compiled pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 256 * 1024;

impl Pattern {
    /// Compiles a pattern, in the syntax of the `regex` crate.
    pub fn new(text: &str) -> Result<Self, regex::Error> {
        let mut pattern = regex::RegexBuilder::new(text);
        pattern.size_limit(PATTERN_BYTES_MAX).build().map(Self)
    }

    /// The expression as it was written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    pub(crate) fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

/// The declaration at a path of names.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Declared<'a> {
    /// A field of this type.
    Kind(&'a FieldType),
    /// Values of any type.
    Anything,
    /// No field.
    Nothing,
}

/// The declaration among these fields at a path of names.
pub(super) fn find<'a>(fields: &'a [Field], path: &[String]) -> Declared<'a> {
    let first = path.split_first();
    let found = first.and_then(|(first, rest)| {
        let field = fields.iter().find(|field| field.name == *first)?;
        Some(within(&field.kind, rest))
    });
    found.unwrap_or(Declared::Nothing)
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
        | FieldType::DateTime => Declared::Nothing,
    }
}

/// Adds the paths of these fields, which are below `prefix`.
pub(super) fn paths(fields: &[Field], prefix: &str, into: &mut Vec<String>) {
    for field in fields {
        let path = format!("{prefix}{}", field.name);
        if let FieldType::Object(Some(fields)) = &field.kind {
            paths(fields, &format!("{path}."), into);
        }
        into.push(path);
    }
}
