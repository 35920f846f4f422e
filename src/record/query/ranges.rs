//! A query as indexes see it: in which ranges the values of matching records are.

use std::fmt;
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
    /// For each alternative, the groups of which one has to hold.
    pub(crate) alternatives: Vec<Vec<IndexableQuery<'a>>>,
}

/// The indexes that would serve a query that none serves: the fields of each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct WantedIndexes(pub(crate) Vec<Vec<String>>);

impl fmt::Display for WantedIndexes {
    /// As the settings have them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |fields: &[String]| {
            let fields: Vec<_> = fields.iter().map(|field| format!("{field:?}")).collect();
            fields.join(", ")
        };
        let indexes = self.0.iter().map(|fields| match fields.as_slice() {
            [_] => quoted(fields),
            _ => format!("[{}]", quoted(fields)),
        });
        write!(f, "index = [{}]", indexes.collect::<Vec<_>>().join(", "))
    }
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
        IndexableQuery::of(&self.conditions)
    }

    /// The indexes that would serve the query. Conditions that no index serves need none, and an order only where there are no
    /// such conditions.
    pub(crate) fn wanted_indexes(&self) -> WantedIndexes {
        let indexable = self.indexable();
        let mut wanted = indexable.wanted();
        if indexable.complete && wanted.len() <= 1 {
            let sorted = self.sort.iter().map(|by| by.path.join("."));
            let mut fields = wanted.pop().unwrap_or_default();
            for name in sorted.filter(|name| name != "id") {
                if !fields.contains(&name) {
                    fields.push(name);
                }
            }
            wanted.extend((!fields.is_empty()).then_some(fields));
        }
        WantedIndexes(wanted)
    }
}

impl<'a> IndexableQuery<'a> {
    fn of(conditions: &'a [QueryCondition]) -> Self {
        let fields: Vec<_> = conditions
            .iter()
            .filter_map(QueryCondition::ranges)
            .collect();
        let alternatives = conditions.iter().filter_map(|condition| match condition {
            QueryCondition::AnyOf(groups) => {
                Some(groups.iter().map(|group| Self::of(group)).collect())
            }
            QueryCondition::Field(_) | QueryCondition::Search(_) => None,
        });
        Self {
            complete: fields.len() == conditions.len(),
            alternatives: alternatives.collect(),
            fields,
        }
    }

    /// The indexes that would serve it: one of its fields or, without fields, those of an alternative of which each group is
    /// served.
    fn wanted(&self) -> Vec<Vec<String>> {
        let mut fields: Vec<String> = Vec::new();
        for field in &self.fields {
            let name = field.path.join(".");
            if !fields.contains(&name) {
                fields.push(name);
            }
        }
        if !fields.is_empty() {
            return vec![fields];
        }
        let served = self.alternatives.iter().find_map(|groups| {
            let wanted: Vec<_> = groups.iter().map(Self::wanted).collect();
            let all = wanted.iter().all(|group| !group.is_empty());
            all.then(|| wanted.concat())
        });
        let mut served = served.unwrap_or_default();
        served.sort();
        served.dedup();
        served
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
    fn a_query_names_the_indexes_that_would_serve_it() {
        for (query, indexes) in [
            ("", ""),
            ("id=a&_sort=-id", ""),
            (
                "year_gte=1949&author.name=Joyce&_sort=-title",
                r#""year", "author.name", "title""#,
            ),
            ("year_gte=1949&_sort=year", "year"),
            // No index serves these, nor an order beside them.
            ("title_like=a", ""),
            ("q=a&_sort=year", ""),
            ("title_ne=a&year=1&_sort=shelf", "year"),
            (
                r#"filter={"or":[{"year":1},{"title":"a","shelf_like":"b"}]}"#,
                r#""title", "year""#,
            ),
            (r#"filter={"or":[{"year":1},{"title_like":"a"}]}"#, ""),
            (
                r#"filter={"or":[{"a":1},{"b":2,"c":3}]}&_sort=d"#,
                r#""a", ["b", "c"]"#,
            ),
            (r#"filter={"or":[{"a":1},{"a":2}]}"#, "a"),
            (r#"filter={"or":[{"a":1},{"b":2}],"c":3}"#, "c"),
        ] {
            let parsed = ListQuery::parse(query, &Schema::Any, Handling::Strict).unwrap();
            let wanted = parsed.wanted_indexes().to_string();
            let indexes = match indexes {
                "" => "index = []".to_owned(),
                one if !one.contains('"') => format!("index = [{one:?}]"),
                several if query.contains("\"or\"") => {
                    format!("index = [{several}]")
                }
                compound => format!("index = [[{compound}]]"),
            };
            assert_eq!(wanted, indexes, "{query}");
        }
    }
}
