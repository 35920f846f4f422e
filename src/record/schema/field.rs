//! One field: its type, and what else it must keep.

use serde_json::Value;

use super::check;
use super::violation::{Place, Violation};

/// One field of a record.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// What its value may be.
    pub kind: FieldType,
    /// Whether it must be there and not be null.
    pub required: bool,
    /// What it is if it is not there.
    pub default: Option<Value>,
}

/// What a value may be. An optional field may be null, too: that is how a form says "empty".
#[derive(Debug, Clone, PartialEq)]
pub enum FieldType {
    /// A text.
    String {
        /// In Unicode scalar values.
        min_length: Option<usize>,
        /// In Unicode scalar values.
        max_length: Option<usize>,
        /// Found anywhere in the text, unless it is anchored.
        pattern: Option<Pattern>,
    },
    /// A whole number of 64 bits. `2.0` is one, as in JSON Schema.
    Integer {
        /// The least.
        min: Option<i64>,
        /// The greatest.
        max: Option<i64>,
    },
    /// A number.
    Number {
        /// The least.
        min: Option<f64>,
        /// The greatest.
        max: Option<f64>,
    },
    /// `true` or `false`.
    Boolean,
    /// A moment as RFC 3339 writes it, with its offset.
    DateTime,
    /// A list.
    Array {
        /// What its items may be: anything if it is not said.
        items: Option<Box<FieldType>>,
        /// The fewest items.
        min_length: Option<usize>,
        /// The most items.
        max_length: Option<usize>,
    },
    /// An object.
    Object {
        /// Its members: anything if they are not said.
        fields: Option<Vec<Field>>,
    },
}

impl FieldType {
    /// Every rule that a value breaks.
    pub fn violations(&self, value: &Value) -> Vec<Violation> {
        let mut found = Vec::new();
        check::value(self, value, Place::Root, &mut found);
        found
    }

    /// With its article, for people.
    pub(crate) fn article(&self) -> &'static str {
        match self {
            Self::String { .. } => "a string",
            Self::Integer { .. } => "a whole number",
            Self::Number { .. } => "a number",
            Self::Boolean => "true or false",
            Self::DateTime => "a date and time such as 2026-11-24T16:00:00Z",
            Self::Array { .. } => "an array",
            Self::Object { .. } => "an object",
        }
    }
}

/// A regular expression; matching takes time in proportion to the text, whatever the expression is.
#[derive(Debug, Clone)]
pub struct Pattern(regex::Regex);

/// The largest compiled pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 256 * 1024;

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatternError(String);

impl Pattern {
    /// Compiles a pattern, in the syntax of the `regex` crate.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        regex::RegexBuilder::new(text)
            .size_limit(PATTERN_BYTES_MAX)
            .build()
            .map(Self)
            .map_err(|error| PatternError(error.to_string()))
    }

    /// As it was written.
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

/// What a path of names leads to.
pub(super) fn find<'a>(fields: &'a [Field], path: &[String]) -> Option<&'a FieldType> {
    let (first, rest) = path.split_first()?;
    let field = fields.iter().find(|field| field.name == *first)?;
    match (&field.kind, rest) {
        (kind, []) => Some(kind),
        (
            FieldType::Object {
                fields: Some(fields),
            },
            rest,
        ) => find(fields, rest),
        _ => None,
    }
}
