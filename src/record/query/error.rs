//! The reasons for refusing a query.

use super::{PARAMETERS_MAX, SORT_KEYS_MAX, SORT_RECORDS_MAX};

/// Why a query is refused. Clients read these texts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum QueryError {
    #[error("the query is not percent-encoded UTF-8")]
    Encoding,
    #[error("the query has more than {PARAMETERS_MAX} parameters")]
    TooMany,
    #[error("{name} is not a field of this resource{}", hint(near.as_deref()))]
    Unknown {
        name: String,
        /// The field that was probably meant.
        near: Option<String>,
    },
    /// A later release will understand it.
    #[error("{name} is not available yet")]
    Later { name: String },
    #[error("{name} must be given once")]
    Repeated { name: &'static str },
    #[error("{name} must be a whole number, {least} or more")]
    Number { name: &'static str, least: usize },
    #[error("_end must not be less than _start")]
    Backwards,
    /// Two ways to say which part of the list is asked for.
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
        "a sorted page ends at record {SORT_RECORDS_MAX} at the latest; filter, or ask without _sort"
    )]
    SortedTooFar,
    /// No value of the field's type reads like this.
    #[error("{name} must be {article}")]
    Value {
        name: String,
        /// The type, with its article.
        article: &'static str,
    },
    /// No value can be compared with an object.
    #[error("{name} is an object; name one of its members, such as {name}.MEMBER")]
    Object { name: String },
}

fn hint(near: Option<&str>) -> String {
    near.map_or_else(String::new, |near| format!("; did you mean {near}?"))
}
