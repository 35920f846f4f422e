//! A query as indexes see it: in which ranges the values of matching records are.

use std::ops::Bound;

use super::ListQuery;
use super::condition::{FieldCondition, QueryCondition, Test, ValueRange};
use super::operand::Operand;
use crate::record::compare::Scalar;
use crate::record::encoding::EncodedRange;
use crate::record::schema::FieldType;

/// The part of a query that indexes can serve.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct IndexableQuery<'a> {
    /// All of them hold for a record that matches.
    pub(crate) fields: Vec<FieldRanges<'a>>,
    /// Whether a record for which they hold matches: the query asks for nothing else.
    pub(crate) complete: bool,
}

/// The values that a field of a matching record has.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FieldRanges<'a> {
    pub(crate) path: &'a [String],
    /// Whether the values are compared as dates and times.
    pub(crate) moments: bool,
    /// The value, or an item of an array, is in one of these. They don't overlap.
    pub(crate) ranges: Vec<EncodedRange>,
}

impl ListQuery {
    /// The part of the query that indexes can serve.
    pub(crate) fn indexable(&self) -> IndexableQuery<'_> {
        let fields = self.conditions.iter().filter_map(QueryCondition::ranges);
        let fields: Vec<_> = fields.collect();
        IndexableQuery {
            complete: fields.len() == self.conditions.len(),
            fields,
        }
    }

    /// The fields that an index would have to have to serve the query: those that it filters by, and then those that it is
    /// sorted by.
    pub(crate) fn wanted_index(&self) -> Vec<String> {
        let filtered = self
            .conditions
            .iter()
            .filter_map(|condition| match condition {
                QueryCondition::Field(field) => Some(&field.path),
                QueryCondition::Search(_) | QueryCondition::AnyOf(_) => None,
            });
        let mut names: Vec<String> = Vec::new();
        for path in filtered.chain(self.sort.iter().map(|by| &by.path)) {
            let name = path.join(".");
            if name != "id" && !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

impl QueryCondition {
    /// `None` if no index helps.
    fn ranges(&self) -> Option<FieldRanges<'_>> {
        let Self::Field(FieldCondition { path, kind, test }) = self else {
            return None;
        };
        let mut ranges = match test {
            Test::OneOf(any) => {
                let equal = any.iter().flat_map(Operand::equal);
                equal.map(|value| EncodedRange::of(&value)).collect()
            }
            Test::Range(range) => range.encoded(),
            Test::Null(wanted) => vec![EncodedRange::null(*wanted)],
            Test::NoneOf(_) | Test::Text(_) => return None,
        };
        ranges.sort();
        ranges.dedup();
        let kind = match kind {
            Some(FieldType::Array { items, .. }) => items.as_deref(),
            kind => kind.as_ref(),
        };
        Some(FieldRanges {
            path,
            moments: kind == Some(&FieldType::DateTime),
            ranges,
        })
        .filter(|_| path != &["id"])
    }
}

impl ValueRange {
    /// A range for each kind of values.
    fn encoded(&self) -> Vec<EncodedRange> {
        let (lower, upper) = (bounds(&self.lower), bounds(&self.upper));
        let mut ranges: Vec<EncodedRange> = Vec::new();
        let one = if lower.is_empty() { &upper } else { &lower };
        for kind in one {
            let of_kind = |bound: &Bound<Operand>, values: &[Scalar<'_>]| {
                let its = values.iter().find(|value| value.is_comparable_with(kind));
                let its = its.cloned().map(Scalar::into_owned);
                match bound {
                    Bound::Included(_) => its.map(Bound::Included),
                    Bound::Excluded(_) => its.map(Bound::Excluded),
                    Bound::Unbounded => Some(Bound::Unbounded),
                }
            };
            if let (Some(lower), Some(upper)) =
                (of_kind(&self.lower, &lower), of_kind(&self.upper, &upper))
            {
                ranges.extend(EncodedRange::between(lower.as_ref(), upper.as_ref()));
            }
        }
        let is_word = one.len() > 1;
        let booleans = [false, true].map(Scalar::Boolean).into_iter();
        let booleans = booleans.filter(|value| is_word && self.holds(value));
        ranges.extend(booleans.map(|value| EncodedRange::of(&value)));
        ranges
    }
}

/// The values that a bound is compared with, one of each kind.
fn bounds(bound: &Bound<Operand>) -> Vec<Scalar<'_>> {
    match bound {
        Bound::Included(operand) | Bound::Excluded(operand) => operand.bounds(),
        Bound::Unbounded => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Handling, Schema};

    #[test]
    fn a_query_names_the_fields_that_an_index_needs() {
        for (query, fields) in [
            ("", ""),
            ("id=a&_sort=-id", ""),
            (
                "year_gte=1949&author.name=Joyce&_sort=-title",
                "year author.name title",
            ),
            ("year_gte=1949&_sort=year", "year"),
        ] {
            let parsed = ListQuery::parse(query, &Schema::Any, Handling::Strict).unwrap();
            assert_eq!(parsed.wanted_index().join(" "), fields, "{query}");
        }
    }
}
