//! Decides how an engine without indexes finds what a query asks for. Pure.

use crate::record::{IdScheme, ListQuery, RecordId, Slice};

/// A page that begins further into the list than this is found by a scan, off the event loops: skipping takes time.
const SKIP_RECORDS_MAX: usize = 2_000;

/// The way in which the page of a query is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Read this part of the list in the order of ids.
    Page(Slice),
    /// Read only the records of these ids.
    Pick(Vec<RecordId>),
    /// Look at every record.
    Scan,
}

impl Plan {
    /// The cheapest way to answer `query` on a resource whose ids are of this scheme.
    pub(crate) fn of(query: &ListQuery, ids: IdScheme) -> Self {
        if query.is_plain() && query.slice().start() <= SKIP_RECORDS_MAX {
            return Self::Page(query.slice());
        }
        query.ids(ids).map_or(Self::Scan, Self::Pick)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Handling, Schema};

    #[test]
    fn a_query_is_answered_in_the_cheapest_way() {
        let ids = |ids: &[&str]| {
            let ids = ids.iter().map(|id| RecordId::parse(id).unwrap());
            Plan::Pick(ids.collect())
        };
        let numbers = |ids: &[u64]| Plan::Pick(ids.iter().copied().map(RecordId::Number).collect());
        let page = |start, limit| Plan::Page(Slice::new(start, limit));
        for (query, scheme, plan) in [
            ("", IdScheme::Uuid, page(0, 500)),
            ("_limit=5&_after=", IdScheme::Uuid, page(0, 5)),
            ("_page=3&_limit=10", IdScheme::Uuid, page(20, 10)),
            ("_start=2000&_limit=5", IdScheme::Uuid, page(2000, 5)),
            ("_start=2001&_limit=5", IdScheme::Uuid, Plan::Scan),
            ("_sort=year", IdScheme::Uuid, Plan::Scan),
            ("year=1949", IdScheme::Uuid, Plan::Scan),
            ("id=b&id=a&id=b", IdScheme::Uuid, ids(&["a", "b"])),
            ("id=a&year=1949&_sort=-year", IdScheme::Uuid, ids(&["a"])),
            ("id=no/id", IdScheme::Uuid, ids(&[])),
            ("id=7&id=2", IdScheme::Sequence, numbers(&[2, 7])),
            ("id=7", IdScheme::Uuid, ids(&["7"])),
        ] {
            let parsed = ListQuery::parse(query, &Schema::Any, Handling::Strict).unwrap();
            assert_eq!(Plan::of(&parsed, scheme), plan, "{query}");
        }
    }
}
