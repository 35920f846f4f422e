//! The reason why many records have to be read for a query, and what would make that unnecessary. Pure.

use crate::record::{IndexColumn, ListQuery, RecordIndex, WantedIndexes};

/// A query for which an index does not name the few records that are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Unserved {
    /// The indexes that are of its fields, and name too many records.
    indexes: Vec<String>,
    /// The indexes that would serve it.
    pub(crate) wanted: WantedIndexes,
}

impl Unserved {
    /// A query that none of these indexes serves well enough.
    pub(crate) fn new(query: &ListQuery, indexes: &[&RecordIndex]) -> Self {
        let mut wanted = query.wanted_indexes();
        let conditions = query.indexable();
        let groups = conditions.alternatives.iter().flatten();
        let fields = groups.chain([&conditions]).flat_map(|of| &of.fields);
        let mut fields: Vec<_> = fields.map(|field| field.path.join(".")).collect();
        if fields.is_empty() {
            fields = wanted.0.concat();
        }
        let of_fields = indexes.iter().filter(|index| {
            let first = index.columns.first().map(IndexColumn::field);
            first.is_some_and(|first| fields.contains(&first))
        });
        let of_fields: Vec<_> = of_fields.collect();
        let is_there = |wanted: &Vec<String>| {
            let begins = |index: &&&RecordIndex| {
                let columns = index.columns.iter().take(wanted.len());
                columns.map(IndexColumn::field).eq(wanted.iter().cloned())
            };
            of_fields.iter().any(begins)
        };
        wanted.0.retain(|wanted| !is_there(wanted));
        let indexes = of_fields.into_iter().map(|index| index.fields());
        Self {
            indexes: indexes.collect(),
            wanted,
        }
    }

    /// The reason.
    pub(crate) fn reason(&self) -> String {
        match self.indexes.as_slice() {
            [] => "no index serves this query, so every record has to be read".to_owned(),
            [only] => format!("the index of {only} names too many records for this query"),
            several => format!(
                "the indexes of {} name too many records for this query",
                several.join(" and of ")
            ),
        }
    }

    /// Advice for whoever asks for it.
    pub(crate) fn advice(&self) -> String {
        match (self.wanted.0.as_slice(), self.indexes.as_slice()) {
            ([], []) => "no index could; ask for records by values of their fields, too".to_owned(),
            ([], _) => "narrow the query by other fields".to_owned(),
            _ => format!("the resource's setting {} would serve it", self.wanted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Handling, Schema};

    #[test]
    fn an_index_that_is_there_is_not_advised() {
        const NONE: &str = "no index serves this query, so every record has to be read";
        for (indexes, query, reason, advice) in [
            (&[][..], "year=1", NONE, r#"index = ["year"]"#),
            (&["title"], "year=1", NONE, r#"index = ["year"]"#),
            (&[], "title_like=a", NONE, "no index could"),
            (&["title"], "title_like=a", NONE, "no index could"),
            (
                &["year"],
                "year_gte=1",
                "the index of year names too many records for this query",
                "narrow the query",
            ),
            (
                &["year,title"],
                "_sort=year",
                "the index of year, title names too many records for this query",
                "narrow the query",
            ),
            (
                &["year", "title"],
                "year=1&_sort=title",
                "the index of year names too many records for this query",
                r#"index = [["year", "title"]]"#,
            ),
            (
                &["year", "title"],
                "year=1&title=a&_sort=shelf",
                "the indexes of year and of title name too many records for this query",
                r#"index = [["year", "title", "shelf"]]"#,
            ),
            (
                &["title,year"],
                "year=1&_sort=title",
                NONE,
                r#"index = [["year", "title"]]"#,
            ),
        ] {
            let indexes: Vec<_> = indexes
                .iter()
                .map(|name| RecordIndex::of_name(name))
                .collect();
            let query = ListQuery::parse(query, &Schema::Any, Handling::Strict).unwrap();
            let why = Unserved::new(&query, &indexes.iter().collect::<Vec<_>>());
            assert_eq!(why.reason(), reason, "{query:?}");
            assert!(why.advice().contains(advice), "{}", why.advice());
        }
    }
}
