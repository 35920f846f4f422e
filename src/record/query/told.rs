//! A query in words, for whoever asks what it means.

use std::cmp::Ordering;

use super::ListQuery;
use super::filter::Wanted;
use crate::record::moment_text;

impl ListQuery {
    /// The records that it asks for, and their order.
    pub(crate) fn told(&self) -> String {
        let (first, last) = (self.slice.start().saturating_add(1), self.slice.end());
        let mut told = if self.slice.limit() == 0 {
            "the number of records".to_owned()
        } else {
            format!("records {first} to {last}")
        };
        let filters = self.filters.iter().map(|(path, any_of)| {
            let values: Vec<_> = any_of.iter().map(Wanted::told).collect();
            format!("{} is {}", path.join("."), values.join(" or "))
        });
        let filters: Vec<_> = filters.collect();
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

impl Wanted {
    fn told(&self) -> String {
        match self {
            Self::Text(text) | Self::Word(text) => format!("{text:?}"),
            Self::Integer(number) => number.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Boolean(yes) => yes.to_string(),
            Self::Moment(nanoseconds) => {
                moment_text(u64::try_from(nanoseconds / 1_000_000).unwrap_or_default())
            }
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
