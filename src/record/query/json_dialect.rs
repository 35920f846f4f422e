//! The JSON dialect of queries: `sort=["year","DESC"]`, `range=[0,24]` and `filter={"id":[1,2]}`. Its names are told from fields by the
//! JSON that is their value.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::described::{ParameterValue, QueryParameter, parameter};
use super::parameters::Parameters;
use super::sort::{SORT_KEYS_MAX, direction};
use super::{QueryError, Wrong};
use crate::record::compare::ExactNumber;
use crate::record::json;

const SORT: &str = "sort";
const RANGE: &str = "range";
const FILTER: &str = "filter";
/// The filters of the second dialect.
pub(super) const FILTERS: QueryParameter = parameter(
    FILTER,
    ParameterValue::JsonFilter,
    "Filters as one JSON object, such as {\"id\":[1,2]}; several values mean one of them",
);
/// The parameters of the second dialect.
pub(super) const PARAMETERS: [QueryParameter; 3] = [
    parameter(
        SORT,
        ParameterValue::JsonSort(SORT_KEYS_MAX),
        "The order as JSON, such as [\"id\",\"DESC\"]; excludes _sort",
    ),
    parameter(
        RANGE,
        ParameterValue::JsonRange,
        "The first and the last record as JSON, such as [0,24]; excludes the other parts. The answer has Content-Range",
    ),
    FILTERS,
];

/// The parameters of a query in the second dialect.
#[derive(Debug, Default)]
pub(super) struct JsonDialect {
    /// Names with their orders.
    pub(super) sort: Option<Vec<(String, Ordering)>>,
    /// The first and the last record.
    pub(super) range: Option<(usize, usize)>,
    pub(super) filter: Option<Map<String, Value>>,
}

impl JsonDialect {
    pub(super) fn read(parameters: &Parameters<'_>) -> Result<Self, QueryError> {
        let mut read = Self::default();
        if let Some((sent, value)) = array_or_object(parameters, SORT)? {
            let wrong = || QueryError::wrong(SORT, sent, Wrong::Sort);
            read.sort = Some(sort(&value).ok_or_else(wrong)?);
        }
        if let Some((sent, value)) = array_or_object(parameters, RANGE)? {
            let wrong = || QueryError::wrong(RANGE, sent, Wrong::Range);
            read.range = Some(range(&value).ok_or_else(wrong)?);
        }
        read.filter = match array_or_object(parameters, FILTER)? {
            Some((_, Value::Object(members))) => Some(members),
            Some((sent, _)) => return Err(QueryError::wrong(FILTER, sent, Wrong::Filter)),
            None => None,
        };
        Ok(read)
    }

    /// The error of a parameter that is none of the second dialect and no field either.
    pub(super) fn misused(name: &str, sent: &str) -> Option<QueryError> {
        let wrong = match name {
            SORT => Wrong::Sort,
            RANGE => Wrong::Range,
            FILTER => Wrong::Filter,
            _ => return None,
        };
        Some(QueryError::wrong(name, sent, wrong))
    }

    /// Whether the parameter is one of the second dialect, and no field.
    pub(super) fn has(&self, name: &str) -> bool {
        match name {
            SORT => self.sort.is_some(),
            RANGE => self.range.is_some(),
            FILTER => self.filter.is_some(),
            _ => false,
        }
    }
}

/// The parameter, as it was sent and as it reads, if it is an array or an object, or is meant to be.
fn array_or_object<'a>(
    parameters: &'a Parameters<'a>,
    name: &'static str,
) -> Result<Option<(&'a str, Value)>, QueryError> {
    let mut values = parameters.iter().filter(|(known, _)| *known == name);
    let Some((_, sent)) = values.next() else {
        return Ok(None);
    };
    if !sent.trim_start().starts_with(['[', '{']) {
        return Ok(None);
    }
    if values.next().is_some() {
        return Err(QueryError::Repeated {
            name: name.to_owned(),
        });
    }
    match json::parse(sent.as_bytes()) {
        Ok(value) => Ok(Some((sent, value))),
        Err(error) => Err(QueryError::Json {
            name,
            reason: error.to_string(),
        }),
    }
}

/// `["year","DESC"]`, `["year","DESC","id","ASC"]` or `[["year","DESC"],["id","ASC"]]`.
fn sort(value: &Value) -> Option<Vec<(String, Ordering)>> {
    let key = |pair: &[Value]| match pair {
        [Value::String(name)] => Some((name.clone(), Ordering::Less)),
        [Value::String(name), Value::String(order)] => Some((name.clone(), direction(order)?)),
        _ => None,
    };
    let items = value.as_array()?;
    if items.iter().all(Value::is_string) {
        return items.chunks(2).map(key).collect();
    }
    let pairs = items.iter().map(|item| key(item.as_array()?));
    pairs.collect()
}

fn range(value: &Value) -> Option<(usize, usize)> {
    let number = |item: &Value| ExactNumber::of(item.as_number()?)?.count();
    let numbers: Vec<_> = value
        .as_array()?
        .iter()
        .map(number)
        .collect::<Option<_>>()?;
    match numbers.as_slice() {
        [first, last] if first <= last => Some((*first, *last)),
        _ => None,
    }
}
