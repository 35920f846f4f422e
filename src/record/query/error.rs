//! The reasons for refusing a query.

use std::fmt::Display;

use serde_json::Value;

use super::PARAMETERS_MAX;
use super::sort::SORT_KEYS_MAX;
use crate::record::schema::{FieldType, one_of};

/// The reasons for refusing a query. Clients read these texts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum QueryError {
    #[error("the query is not percent-encoded UTF-8")]
    Encoding,
    #[error("the query has more than {PARAMETERS_MAX} parameters")]
    TooMany,
    /// A name of lists.
    #[error("{name} means nothing in a change feed, which is in the order of the changes")]
    NotInFeed { name: &'static str },
    /// Too much of something.
    #[error("a query has {most} {told} at most")]
    Limit { told: &'static str, most: usize },
    #[error("{name} is not a field of this resource{}", hint(near.as_deref()))]
    Unknown {
        name: String,
        /// The name that was probably meant.
        near: Option<String>,
    },
    #[error(
        "{name} has no operator after its colon; there are eq, ne, gt, gte, lt, lte, in, contains, startsWith, endsWith and isnull{}",
        hint(*near)
    )]
    Operator {
        name: String,
        near: Option<&'static str>,
    },
    /// A later release will understand it.
    #[error("{name} is not available yet")]
    Later { name: String },
    #[error("{name} must be given once")]
    Repeated { name: String },
    #[error("{name} must be a whole number, {least} or more, not {sent:?}")]
    Number {
        name: &'static str,
        least: usize,
        sent: String,
    },
    /// A change of all records that match has no order and no part.
    #[error("a change of all records that match takes filters only: no order, no part, no count")]
    OfChange,
    #[error("_end must not be less than _start")]
    Backwards,
    /// Two ways to say the same.
    #[error("{one} and {other} exclude each other")]
    Conflict {
        one: &'static str,
        other: &'static str,
    },
    #[error("_order consists of asc and desc, one for each name in _sort at most")]
    Order,
    #[error("_sort has {SORT_KEYS_MAX} names at most")]
    SortKeys,
    #[error(
        "_after is no position in this list: it goes with the filters and the order of the list that gave it; begin again with an empty one"
    )]
    Position,
    #[error(
        "the values that the list is sorted by are too long for a position; leave _after out, and read it by _start and _limit"
    )]
    PositionTooLong,
    /// The value does not read as it must.
    #[error("{name} must be {wrong}, not {sent}")]
    Value {
        name: String,
        /// The beginning of what was sent.
        sent: String,
        wrong: Wrong,
    },
    /// The field has none but these values.
    #[error("{name} {listed}, not {sent}")]
    Unlisted {
        name: String,
        sent: String,
        /// The beginning of the list, as records that break the rule are told it.
        listed: String,
    },
    #[error("{name} may have {most} bytes at most")]
    TooLong { name: String, most: usize },
    #[error("{name} is not valid JSON: {reason}")]
    Json { name: &'static str, reason: String },
    /// No value can be compared with an object.
    #[error("{name} is an object; name one of its members, such as {name}.{member}")]
    Object {
        name: String,
        /// A member that it has.
        member: String,
    },
}

/// The requirement that a value does not meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Wrong {
    /// A value of the field's type, which is named with its article.
    #[error("{0}")]
    Type(&'static str),
    #[error("a whole number from {} to {}", i64::MIN, i64::MAX)]
    Integer,
    #[error("true or false")]
    Boolean,
    #[error("exact")]
    Count,
    #[error("a position that a feed gave, such as 4711-k3x9q2, or a number")]
    FeedPosition,
    #[error("a time of at most 60s, such as 30s")]
    Wait,
    #[error("a value; for null and what is missing there is :isnull=true")]
    NotNull,
    #[error("a value or an array of values")]
    Nested,
    #[error("an array of filters such as [{{\"year\":1965}},{{\"title_like\":\"dune\"}}]")]
    Groups,
    #[error("an array such as [\"year\",\"DESC\"]")]
    Sort,
    #[error("an array of the first and the last record such as [0,24]")]
    Range,
    #[error("an object such as {{\"year\":1965}}")]
    Filter,
}

/// The most characters of a wrong value that are shown.
pub(super) const SENT_CHARACTERS_MAX: usize = 80;

impl QueryError {
    pub(super) fn wrong(name: &str, sent: impl Display, wrong: Wrong) -> Self {
        Self::Value {
            name: name.to_owned(),
            sent: shown(sent),
            wrong,
        }
    }

    /// The error of a value that the field can't have.
    pub(super) fn unlisted(name: &str, sent: &str, values: &[Value]) -> Self {
        Self::Unlisted {
            name: name.to_owned(),
            sent: shown(sent),
            listed: one_of(values),
        }
    }

    /// The error of a comparison with an object of this type.
    pub(super) fn of_object(name: &str, kind: &FieldType) -> Self {
        let first = if let FieldType::Object(Some(fields)) = kind {
            fields.list.first()
        } else {
            None
        };
        Self::Object {
            name: name.to_owned(),
            member: first.map_or_else(|| "MEMBER".to_owned(), |field| field.name.clone()),
        }
    }
}

/// The beginning of what was sent, in quotes.
fn shown(sent: impl Display) -> String {
    let sent = sent.to_string();
    let mut shown: String = sent.chars().take(SENT_CHARACTERS_MAX).collect();
    if shown.len() < sent.len() {
        shown.push_str("...");
    }
    format!("{shown:?}")
}

fn hint(near: Option<&str>) -> String {
    near.map_or_else(String::new, |near| format!("; did you mean {near}?"))
}
