//! The kinds of values that a key may have, and the fault of a value of another kind.

use std::time::Duration;

use bytesize::ByteSize;
use serde_json::Value;

use super::auth::AccessSettings;
use super::indexes;
use super::keys::COMING;

/// The kind of a value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Bool,
    /// Within these bounds, inclusive.
    Integer(i64, i64),
    /// The same, written with a dot.
    Number(f64, f64),
    /// Seconds, inclusive.
    Duration(f64, f64),
    /// Bytes, inclusive.
    Size(u64, u64),
    /// `"auto"`, or a value of this kind.
    Auto(&'static Kind),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A text with rules of its own.
    Text {
        /// The text that names the kind, with an example, after "is not".
        right: &'static str,
        /// The fault of a text; empty if there is no more to say than that it is wrong.
        fault: fn(&str) -> Option<String>,
    },
    /// A list of such texts.
    List {
        /// The reason why another value is refused, which begins with "is not".
        right: &'static str,
        items: &'static Kind,
        may_be_empty: bool,
    },
    /// One value of this kind, or a list of them.
    OneOrMore(&'static Kind),
    /// A table of texts by name; says what is wrong with a pair of the two.
    Table {
        /// The values that may be written, after "must be".
        right: &'static str,
        fault: fn(&str, &str) -> Option<String>,
        /// A word that may be written in the place of the table.
        word: Option<&'static str>,
    },
    /// The clients that may read and write, which [`auth`](super::auth) reads.
    Access,
    /// `"any"`, or a table of fields, which [`fields`](super::fields) reads.
    Fields,
    /// The name of a JSON Schema file, which [`json_schema`](super::json_schema) reads.
    SchemaFile,
    /// The name of a file in PEM or with other keys, which [`tls`](super::tls) and [`token_keys`](super::token_keys) read.
    KeyFile,
    /// A list of fields and of lists of fields, which [`indexes`](super::indexes) reads.
    Indexes,
}

impl Kind {
    /// The fault of a value, which is shown as `shown`. Items of lists and tables are checked one by one, by the
    /// caller.
    pub(super) fn fault(self, value: &Value, shown: &str) -> Option<String> {
        let text = value.as_str().unwrap_or_default();
        let fits = match (self, value) {
            (Self::Bool, Value::Bool(_)) => return None,
            (Self::Integer(low, high), Value::Number(number)) => {
                number.as_i64().is_some_and(|n| (low..=high).contains(&n))
            }
            (Self::Number(low, high), Value::Number(number)) if number.is_f64() => {
                number.as_f64().is_some_and(|n| (low..=high).contains(&n))
            }
            (Self::Duration(low, high), Value::String(_)) => {
                match humantime::parse_duration(text) {
                    Ok(is) if (low..=high).contains(&is.as_secs_f64()) => true,
                    Ok(_) => return Some(outside(shown, &seconds(low), &seconds(high))),
                    Err(_) => false,
                }
            }
            (Self::Size(low, high), Value::String(_)) => match text.parse::<ByteSize>() {
                Ok(is) if (low..=high).contains(&is.as_u64()) => true,
                Ok(_) => return Some(outside(shown, &bytes(low), &bytes(high))),
                Err(_) => false,
            },
            (Self::Auto(_), Value::String(_)) if text == "auto" => true,
            (Self::Fields, Value::String(_)) => text == "any",
            (Self::SchemaFile | Self::KeyFile, Value::String(_)) => !text.is_empty(),
            (Self::Auto(kind), _) => {
                let fault = kind.fault(value, shown)?;
                return Some(fault.replace(&kind.right(), &self.right()));
            }
            (Self::Choice(words), Value::String(_)) if COMING.contains(&text) => {
                let choices = choices(words);
                return Some(format!(
                    "{shown} is not available in this release; {choices}"
                ));
            }
            (Self::Choice(words), Value::String(_)) => words.contains(&text),
            (Self::Text { fault, .. }, Value::String(_)) => match fault(text) {
                None => true,
                Some(fault) if fault.is_empty() => false,
                Some(fault) => return Some(fault),
            },
            (Self::OneOrMore(_), Value::Array(items)) => !items.is_empty(),
            (Self::OneOrMore(kind), _) => return kind.fault(value, shown),
            (Self::List { may_be_empty, .. }, Value::Array(items)) => {
                may_be_empty || !items.is_empty()
            }
            (
                Self::Table {
                    word: Some(word), ..
                },
                Value::String(_),
            ) if text == word => true,
            (Self::Table { right, .. }, _) => return Some(format!("must be {right}")),
            (Self::Access, _) => return AccessSettings::read(value).err(),
            (Self::Indexes, _) => match indexes::fault(value) {
                None => true,
                Some(fault) if fault.is_empty() => false,
                Some(fault) => return Some(fault),
            },
            _ => false,
        };
        (!fits).then(|| format!("{shown} is not {}", self.right()))
    }

    /// The value without the choice of its spelling: two values mean the same if these are equal.
    pub(super) fn meaning(self, value: &Value) -> Value {
        let text = value.as_str().unwrap_or_default();
        let meant = match self {
            Self::Duration(..) => humantime::parse_duration(text)
                .ok()
                .map(|is| Value::from(is.as_secs_f64())),
            Self::Size(..) => text.parse::<ByteSize>().ok().map(|is| is.as_u64().into()),
            Self::Auto(kind) => Some(kind.meaning(value)),
            Self::Bool
            | Self::Integer(..)
            | Self::Number(..)
            | Self::Choice(_)
            | Self::Text { .. }
            | Self::List { .. }
            | Self::OneOrMore(_)
            | Self::Table { .. }
            | Self::Access
            | Self::Fields
            | Self::SchemaFile
            | Self::KeyFile
            | Self::Indexes => None,
        };
        meant.unwrap_or_else(|| value.clone())
    }

    fn right(self) -> String {
        match self {
            Self::Bool => "true or false".to_owned(),
            Self::Integer(low, high) => format!("an integer from {low} to {high}"),
            Self::Number(low, high) => {
                format!("a number from {low:?} to {high:?}, written with a dot")
            }
            Self::Duration(..) => {
                "a duration; write \"500ms\", \"5s\", \"2m\" or \"1h\"".to_owned()
            }
            Self::Size(..) => "a size; write \"16 KiB\", \"4 MiB\" or \"1 GiB\"".to_owned(),
            Self::Auto(kind) => format!("\"auto\" or {}", kind.right()),
            Self::OneOrMore(kind) => kind.right(),
            Self::Choice(words) => format!("allowed; {}", choices(words)),
            Self::Text { right, .. } | Self::List { right, .. } | Self::Table { right, .. } => {
                right.to_owned()
            }
            Self::Access => "allowed; write \"public\", or a list such as [\"key:ci\"]".to_owned(),
            Self::Indexes => {
                "a list of fields, such as [\"year\", [\"author\", \"year\"]]".to_owned()
            }
            Self::SchemaFile => "the name of a file, such as \"book.schema.json\"".to_owned(),
            Self::KeyFile => "the name of a file, such as \"fullchain.pem\"".to_owned(),
            Self::Fields => "allowed; write \"any\", or a table of fields".to_owned(),
        }
    }

    /// The value of an environment variable for a key of this kind.
    pub(super) fn of_variable(self, text: &str) -> Value {
        let value = match self {
            Self::Bool => text.parse().ok().map(Value::Bool),
            Self::Integer(..) => text.parse::<i64>().ok().map(Value::from),
            Self::Number(..) => text.parse::<f64>().ok().map(Value::from),
            Self::Auto(kind) => Some(kind.of_variable(text)),
            Self::List { .. } => Some(text.split(',').map(str::trim).collect()),
            Self::Duration(..)
            | Self::Size(..)
            | Self::Choice(_)
            | Self::Text { .. }
            | Self::OneOrMore(_)
            | Self::Table { .. }
            | Self::Access
            | Self::Fields
            | Self::SchemaFile
            | Self::KeyFile
            | Self::Indexes => None,
        };
        value.unwrap_or_else(|| Value::from(text))
    }
}

fn outside(shown: &str, low: &str, high: &str) -> String {
    format!("{shown} is not within {low} and {high}")
}

pub(super) fn choices(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("{word:?}")).collect();
    match quoted.as_slice() {
        [only] => format!("write {only}"),
        many => format!("write one of {}", many.join(", ")),
    }
}

fn seconds(seconds: f64) -> String {
    humantime::format_duration(Duration::from_secs_f64(seconds)).to_string()
}

fn bytes(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}
