//! A query in words, for whoever asks what it means.

use std::cmp::Ordering;
use std::ops::Bound;

use super::ListQuery;
use super::condition::{FieldCondition, QueryCondition, Test, TextPlace};
use super::operand::Operand;
use crate::record::compare::Scalar;
use crate::record::moment_text;

impl ListQuery {
    /// The records that it asks for, and their order.
    pub(crate) fn told(&self) -> String {
        let slice = self.slice();
        let (first, last) = (slice.start().saturating_add(1), slice.end());
        let mut told = if slice.limit() == 0 {
            "the number of records".to_owned()
        } else if self.after().is_some() {
            format!("records {first} to {last} after a position")
        } else {
            format!("records {first} to {last}")
        };
        let filters: Vec<_> = self.conditions.iter().map(QueryCondition::told).collect();
        if filters.is_empty() {
            told.push_str(" of all");
        } else {
            told.push_str(" of those whose ");
            told.push_str(&filters.join(" and "));
        }
        let keys = self.sort.iter().map(|by| {
            let down = if by.order == Ordering::Greater {
                " descending"
            } else {
                ""
            };
            format!("{}{down}, ", by.path.join("."))
        });
        format!("{told}, sorted by {}id", keys.collect::<String>())
    }
}

impl QueryCondition {
    fn told(&self) -> String {
        match self {
            Self::Field(field) => field.told(),
            Self::Search(search) => format!("text contains {:?}", search.needle.text),
            Self::AnyOf(groups) => {
                let groups = groups.iter().map(|group| {
                    let group: Vec<_> = group.iter().map(Self::told).collect();
                    format!("({})", group.join(" and "))
                });
                groups.collect::<Vec<_>>().join(" or ")
            }
        }
    }
}

impl FieldCondition {
    fn told(&self) -> String {
        let field = self.path.join(".");
        let any = |values: &[Operand]| {
            let values: Vec<_> = values.iter().map(Operand::told).collect();
            values.join(" or ")
        };
        match &self.test {
            Test::OneOf(values) => format!("{field} is {}", any(values)),
            Test::NoneOf(values) => format!("{field} is not {}", any(values)),
            Test::Range(range) => {
                let lower = match &range.lower {
                    Bound::Included(bound) => format!(" at least {}", bound.told()),
                    Bound::Excluded(bound) => format!(" more than {}", bound.told()),
                    Bound::Unbounded => String::new(),
                };
                let upper = match &range.upper {
                    Bound::Included(bound) => format!(" at most {}", bound.told()),
                    Bound::Excluded(bound) => format!(" less than {}", bound.told()),
                    Bound::Unbounded => String::new(),
                };
                let and = if lower.is_empty() || upper.is_empty() {
                    ""
                } else {
                    " and"
                };
                format!("{field} is{lower}{and}{upper}")
            }
            Test::Text(needles) => {
                let needles = needles.iter().map(|needle| {
                    let verb = match needle.place {
                        TextPlace::Anywhere => "contains",
                        TextPlace::Start => "begins with",
                        TextPlace::End => "ends with",
                    };
                    format!("{verb} {:?}", needle.text)
                });
                format!("{field} {}", needles.collect::<Vec<_>>().join(" or "))
            }
            Test::Null(true) => format!("{field} is null or missing"),
            Test::Null(false) => format!("{field} is neither null nor missing"),
        }
    }
}

impl Operand {
    fn told(&self) -> String {
        match self {
            Self::Word(word) => format!("{:?}", word.text()),
            Self::Typed(scalar) => match scalar {
                Scalar::Text(text) => format!("{text:?}"),
                Scalar::Number(number) => number.to_string(),
                Scalar::Boolean(yes) => yes.to_string(),
                Scalar::Moment(nanoseconds) => {
                    moment_text(u64::try_from(nanoseconds / 1_000_000).unwrap_or_default())
                }
                Scalar::Unordered | Scalar::Null | Scalar::Missing => "nothing".to_owned(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Handling, Schema};

    #[test]
    fn a_query_is_told_with_its_filters_its_order_and_its_part() {
        for (query, told) in [
            ("", "records 1 to 500 of all, sorted by id"),
            ("_limit=0", "the number of records of all, sorted by id"),
            (
                "_page=3&_limit=10&_sort=author,-year",
                "records 21 to 30 of all, sorted by author, year descending, id",
            ),
            (
                "author.name=Joyce&author.name=Le+Guin&year=1949",
                "records 1 to 500 of those whose author.name is \"Joyce\" or \"Le Guin\" and year is \"1949\", sorted by id",
            ),
        ] {
            let parsed = ListQuery::parse(query, &Schema::Any, Handling::Strict).unwrap();
            assert_eq!(parsed.told(), told, "{query}");
        }
    }
}
