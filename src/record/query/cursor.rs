//! A position in a list, as `_after` names it: the values of the record that the next page follows, so that it stays where it is
//! whatever is written meanwhile.
//!
//! ```text
//! _after = hex of [number of the query, id, value by which the list is sorted, ..]
//! ```

use std::borrow::Cow;
use std::hash::Hasher as _;

use fnv::FnvHasher;
use serde_json::{Value, json};

use super::parameters::Parameters;
use super::part::PART_NAMES;
use super::sort::SortKey;
use crate::record::RecordId;
use crate::record::compare::{ExactNumber, Scalar};

/// The longest position that is given, in characters: a link has to fit into the head of a request.
const POSITION_LENGTH_MAX: usize = 4096;
/// The parameters that don't change which records are in a list, besides those that choose a part.
const FORM_NAMES: [&str; 4] = ["_count", "_fields", "_meta", "_"];

/// A position between two records of a list.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Position {
    /// The values by which the record before it is sorted.
    pub(crate) key: SortKey,
    /// The id of that record.
    pub(crate) id: RecordId,
}

/// The number of a query: positions of lists that are filtered or sorted in another way have another one.
pub(super) fn query_number(parameters: &Parameters<'_>) -> u64 {
    let same = |(name, _): &(&str, &str)| !PART_NAMES.contains(name) && !FORM_NAMES.contains(name);
    let mut named: Vec<_> = parameters.iter().filter(same).collect();
    named.sort_unstable();
    let mut hasher = FnvHasher::default();
    for text in named.into_iter().flat_map(|(name, value)| [name, value]) {
        hasher.write_usize(text.len());
        hasher.write(text.as_bytes());
    }
    hasher.finish()
}

impl Position {
    /// Writes it; `None` if it is too long.
    pub(super) fn encode(&self, query: u64) -> Option<String> {
        let id = match &self.id {
            RecordId::Number(id) => json!(id),
            RecordId::Text(id) => json!(id.as_ref()),
        };
        let values = self.key.values().iter().map(value);
        let parts: Vec<_> = [json!(query), id].into_iter().chain(values).collect();
        let text = Value::from(parts).to_string();
        if text.len() > POSITION_LENGTH_MAX / 2 {
            return None;
        }
        let digits = text.bytes().flat_map(|byte| [byte >> 4, byte & 0xf]);
        Some(
            digits
                .filter_map(|digit| char::from_digit(digit.into(), 16))
                .collect(),
        )
    }

    /// Reads a position in the list of this query, which is sorted by so many fields.
    pub(super) fn decode(text: &str, query: u64, keys: usize) -> Option<Self> {
        let pairs = text.as_bytes().chunks(2);
        let bytes = pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        let bytes: Vec<u8> = bytes.collect::<Option<_>>()?;
        let Value::Array(parts) = serde_json::from_slice(&bytes).ok()? else {
            return None;
        };
        let (id, values) = match parts.as_slice() {
            [number, id, values @ ..] if number.as_u64() == Some(query) => (id, values),
            _ => return None,
        };
        let id = match (id.as_u64(), id.as_str()) {
            (Some(number), _) => RecordId::Number(number),
            (None, text) => RecordId::parse(text?).ok()?,
        };
        let values: Vec<_> = values.iter().map(scalar).collect::<Option<_>>()?;
        let key = SortKey::from_values(values);
        (key.values().len() == keys).then_some(Self { key, id })
    }
}

/// A value as it is written in a position.
fn value(scalar: &Scalar<'_>) -> Value {
    match scalar {
        Scalar::Boolean(value) => json!(value),
        Scalar::Number(number) => serde_json::from_str(&number.to_string()).unwrap_or_default(),
        Scalar::Moment(moment) => json!({ "moment": moment.to_string() }),
        Scalar::Text(text) => json!(text),
        Scalar::Unordered => json!([]),
        Scalar::Null => Value::Null,
        Scalar::Missing => json!({}),
    }
}

fn scalar(value: &Value) -> Option<Scalar<'static>> {
    Some(match value {
        Value::Bool(value) => Scalar::Boolean(*value),
        Value::Number(number) => Scalar::Number(ExactNumber::of(number)?),
        Value::String(text) => Scalar::Text(Cow::Owned(text.clone())),
        Value::Null => Scalar::Null,
        Value::Array(_) => Scalar::Unordered,
        Value::Object(members) => match members.get("moment") {
            Some(moment) => Scalar::Moment(moment.as_str()?.parse().ok()?),
            None => Scalar::Missing,
        },
    })
}
