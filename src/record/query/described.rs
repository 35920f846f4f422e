//! The parameters that queries have, with what their values are and mean: the names that a query knows, and the material of
//! documents that describe them.

use super::names::Names;
use super::operator::Operator;
use super::shape::FIELDS_MAX;
use super::sort::SORT_KEYS_MAX;
use super::{Handling, ListQuery};
use crate::record::schema::{FieldType, Schema};

/// A parameter of a query.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueryParameter {
    pub(crate) name: &'static str,
    pub(crate) value: ParameterValue,
    /// Its meaning, for people.
    pub(crate) meaning: &'static str,
}

/// The values that a parameter may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ParameterValue {
    /// A whole number, at least this and at most that.
    Number(usize, Option<usize>),
    /// Any text.
    Text,
    /// One of these.
    Word(&'static [&'static str]),
    /// `true` or `false`.
    Flag,
    /// At most this many names of fields, separated by commas, each with an optional `-` before it.
    SortNames(usize),
    /// At most this many of `asc` and `desc`, separated by commas.
    Directions(usize),
    /// At most this many names of fields, separated by commas.
    FieldNames(usize),
    /// Names of resources whose records refer to this one, with commas.
    Embedded,
    /// Names of fields that refer to records, with commas.
    Expanded,
    /// A position in a list.
    ListPosition,
    /// A position in a feed.
    FeedPosition,
    /// A time to wait.
    Wait,
    /// JSON: a name and a direction, or so many of them at most.
    JsonSort(usize),
    /// JSON: the first and the last record.
    JsonRange,
    /// JSON: an object of filters.
    JsonFilter,
}

pub(super) const fn parameter(
    name: &'static str,
    value: ParameterValue,
    meaning: &'static str,
) -> QueryParameter {
    QueryParameter {
        name,
        value,
        meaning,
    }
}

/// The parameters of lists beside the fields.
pub(super) const OF_LISTS: [QueryParameter; 13] = {
    use ParameterValue::{
        Directions, Embedded, Expanded, FieldNames, Flag, ListPosition, Number, SortNames, Word,
    };
    [
        parameter(
            "_start",
            Number(0, None),
            "The number of records to leave out; with _end or _limit",
        ),
        parameter(
            "_end",
            Number(0, None),
            "The number of the record before which the part ends",
        ),
        parameter(
            "_limit",
            Number(0, None),
            "The most records of the answer, or of a page",
        ),
        parameter(
            "_page",
            Number(1, None),
            "The number of the page; with _limit. Excludes _start, _end and _after",
        ),
        parameter(
            "_per_page",
            Number(0, None),
            "The same as _limit, and excludes it",
        ),
        parameter(
            "_sort",
            SortNames(SORT_KEYS_MAX),
            "The fields that the list is sorted by; a - reverses one",
        ),
        parameter(
            "_order",
            Directions(SORT_KEYS_MAX),
            "The direction of each field in _sort; not more than there are fields",
        ),
        parameter(
            "_meta",
            Flag,
            "Whether records have _created, _changed and _revision",
        ),
        parameter(
            "_after",
            ListPosition,
            "The position after which the part begins, as rel=\"next\" of Link names it; empty for the first part. The records are not counted",
        ),
        parameter(
            "_count",
            Word(&["exact"]),
            "exact: X-Total-Count also with _after",
        ),
        parameter(
            "_fields",
            FieldNames(FIELDS_MAX),
            "The members that are shown; id is among them",
        ),
        parameter(
            "_embed",
            Embedded,
            "The resources whose records are added that refer to each record",
        ),
        parameter(
            "_expand",
            Expanded,
            "The fields whose records are added that each record refers to",
        ),
    ]
};

/// A condition that a query can have for a declared field.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FilterParameter<'a> {
    /// The name of the parameter: the path of a field, maybe with an operator.
    pub(crate) name: String,
    /// The type of the field; `None`: it is the id.
    pub(crate) kind: Option<&'a FieldType>,
    pub(crate) test: FilterTest,
}

/// The way in which a condition compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FilterTest {
    /// Equal to one of the values.
    Equal,
    /// Equal to none of them.
    NotEqual,
    /// Less or greater.
    Bound,
    /// A text has it as its part.
    Part,
}

/// The way in which an operator compares values of this type, if it does.
fn test(kind: &FieldType, operator: Operator) -> Option<FilterTest> {
    let is_scalar = !matches!(
        kind,
        FieldType::Boolean | FieldType::Array { .. } | FieldType::Object(_)
    );
    let is_ordered = is_scalar && !matches!(kind, FieldType::Enum(_));
    match operator {
        Operator::Like(_) => matches!(kind, FieldType::String { .. }).then_some(FilterTest::Part),
        Operator::Bounded(_) => is_ordered.then_some(FilterTest::Bound),
        Operator::NotEqual => Some(FilterTest::NotEqual),
        Operator::Equal | Operator::In | Operator::Null => None,
    }
}

/// The type that a condition of a field is about: that of its items, if it is an array.
fn compared(kind: &FieldType) -> &FieldType {
    if let FieldType::Array {
        items: Some(items), ..
    } = kind
    {
        compared(items)
    } else {
        kind
    }
}

/// The conditions that a query of this resource can have. What is inside fields without declared members is not among them.
pub(crate) fn filter_parameters(schema: &Schema) -> Vec<FilterParameter<'_>> {
    let names = Names::new(schema, Handling::Strict);
    let is_known = |name: &str| ListQuery::is_known(name);
    let mut filters = vec![FilterParameter {
        name: "id".to_owned(),
        kind: None,
        test: FilterTest::Equal,
    }];
    for path in schema.paths() {
        let Ok(Some((_, Some(kind)))) = names.plain(&path) else {
            continue;
        };
        if matches!(compared(kind), FieldType::Object(_)) || is_known(&path) || path == "id" {
            continue;
        }
        filters.push(FilterParameter {
            name: path.clone(),
            kind: Some(kind),
            test: FilterTest::Equal,
        });
        let tests = Operator::suffixes()
            .filter_map(|(suffix, operator)| Some((suffix, test(kind, operator)?)));
        for (suffix, test) in tests {
            let name = format!("{path}{suffix}");
            if !names.declares(&name) && !is_known(&name) {
                filters.push(FilterParameter {
                    name,
                    kind: Some(kind),
                    test,
                });
            }
        }
    }
    filters
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::fields::{field, text};
    use crate::record::{Bounds, QueryError};

    fn schema() -> Schema {
        let person = vec![field("name", text())].into();
        vec![
            field("title", text()),
            field("title_ne", text()),
            field("year", FieldType::Integer(Bounds::default())),
            field("sold", FieldType::Boolean),
            field("author", FieldType::Object(Some(person))),
            field("_page", text()),
        ]
        .into()
    }

    #[test]
    fn a_filter_is_listed_for_each_field_and_operator_that_fits_its_type() {
        let schema = schema();
        let filters = filter_parameters(&schema);
        let names: Vec<_> = filters.iter().map(|filter| filter.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "id",
                "title",
                "title_gte",
                "title_lte",
                "title_gt",
                "title_lt",
                "title_like",
                "title_ne",
                "title_ne_gte",
                "title_ne_lte",
                "title_ne_gt",
                "title_ne_lt",
                "title_ne_ne",
                "title_ne_like",
                "year",
                "year_gte",
                "year_lte",
                "year_gt",
                "year_lt",
                "year_ne",
                "sold",
                "sold_ne",
                "author.name",
                "author.name_gte",
                "author.name_lte",
                "author.name_gt",
                "author.name_lt",
                "author.name_ne",
                "author.name_like",
            ]
        );
    }

    #[test]
    fn each_parameter_and_each_filter_that_is_described_is_known() {
        let schema = schema();
        let filters = filter_parameters(&schema);
        let filters = filters.iter().map(|filter| filter.name.as_str());
        let parameters = ListQuery::parameters();
        for name in parameters.map(|parameter| parameter.name).chain(filters) {
            let read = ListQuery::parse(&format!("{name}=1"), &schema, Handling::Strict);
            let unknown = matches!(read, Err(QueryError::Unknown { name: of, .. }) if of == name);
            assert!(!unknown, "{name}");
        }
    }
}
