//! Queries and their plans.

use super::*;
use crate::num::as_u64;
use crate::record::{Handling, IndexColumn, Schema};

fn index(fields: &[&str]) -> RecordIndex {
    RecordIndex::of_name(&fields.join(","))
}

fn gathered(set: &IndexSet, indexes: &[&RecordIndex]) -> String {
    let of =
        |part: &IndexPart| format!("{} in {}", indexes[part.index].fields(), part.ranges.len());
    match set {
        IndexSet::Part(part) => format!("gather {}", of(part)),
        IndexSet::Both(one, other) => format!("gather {} and {}", of(one), of(other)),
        IndexSet::AnyOf(sets) => {
            let sets: Vec<_> = sets.iter().map(|set| gathered(set, indexes)).collect();
            format!("({})", sets.join("; "))
        }
    }
}

/// A plan in short: the index, the number of its ranges, and the direction.
fn told(plan: &Plan, indexes: &[&RecordIndex]) -> String {
    let part = |how: &str, part: &IndexPart| {
        let back = if part.descending { " back" } else { "" };
        let fields = indexes[part.index].fields();
        format!("{how} {fields} in {}{back}", part.ranges.len())
    };
    match plan {
        Plan::Page { slice, descending } => {
            let back = if *descending { " back" } else { "" };
            format!("page {} {}{back}", slice.start(), slice.limit())
        }
        Plan::Pick(ids) => {
            let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
            format!("pick {}", ids.join(" "))
        }
        Plan::Walk(it) => part("walk", it),
        Plan::Gather(set) => gathered(set, indexes),
        Plan::Scan => "scan".to_owned(),
    }
}

/// Queries, the ids of the resource, and the plan.
const PLANS: [(&str, IdScheme, &str); 48] = [
    ("", IdScheme::Uuid, "page 0 500"),
    ("_page=3&_limit=10", IdScheme::Uuid, "page 20 10"),
    ("_start=200000&_limit=5", IdScheme::Uuid, "page 200000 5"),
    ("id=b&id=a&id=b", IdScheme::Uuid, "pick a b"),
    ("id=a&year=1949&_sort=-year", IdScheme::Uuid, "pick a"),
    ("id=no/id", IdScheme::Uuid, "pick "),
    ("id=7&id=2", IdScheme::Sequence, "pick 2 7"),
    ("_sort=title", IdScheme::Uuid, "scan"),
    ("title=Emma", IdScheme::Uuid, "scan"),
    // Order.
    ("_sort=year", IdScheme::Uuid, "walk year in 1"),
    ("_sort=-year", IdScheme::Uuid, "walk year in 1 back"),
    (
        "_sort=author,year",
        IdScheme::Uuid,
        "walk author, year in 1",
    ),
    (
        "_sort=-author,-year",
        IdScheme::Uuid,
        "walk author, year in 1 back",
    ),
    ("_sort=-author,year", IdScheme::Uuid, "scan"),
    ("_sort=author", IdScheme::Uuid, "walk author in 1"),
    ("_sort=shelf", IdScheme::Uuid, "scan"),
    ("_sort=year,title", IdScheme::Uuid, "scan"),
    // One value, and the order.
    ("author=Joyce", IdScheme::Uuid, "walk author in 1"),
    (
        "author=Joyce&_sort=year",
        IdScheme::Uuid,
        "walk author, year in 1",
    ),
    (
        "author=Joyce&_sort=-year",
        IdScheme::Uuid,
        "walk author, year in 1 back",
    ),
    (
        "author=Joyce&_sort=author,-year",
        IdScheme::Uuid,
        "walk author, year in 1 back",
    ),
    (
        "author=Joyce&_sort=-author",
        IdScheme::Uuid,
        "walk author in 1",
    ),
    (
        "author=Joyce&_sort=title",
        IdScheme::Uuid,
        "gather author in 1",
    ),
    (
        "author=Joyce&title=Ulysses",
        IdScheme::Uuid,
        "gather author in 1",
    ),
    // A word is equal to a text and to a number.
    ("year=1949", IdScheme::Uuid, "gather year in 2"),
    (
        "author=Joyce&year=1922",
        IdScheme::Uuid,
        "gather author, year in 2",
    ),
    (
        "author=Joyce&author=Woolf",
        IdScheme::Uuid,
        "gather author in 2",
    ),
    ("shelf=a", IdScheme::Uuid, "gather shelf, row in 1"),
    ("shelf=a&_sort=row", IdScheme::Uuid, "walk shelf, row in 1"),
    ("row=a", IdScheme::Uuid, "scan"),
    ("author=null", IdScheme::Uuid, "gather author in 2"),
    ("author:isnull=true", IdScheme::Uuid, "gather author in 1"),
    ("author_ne=Joyce", IdScheme::Uuid, "scan"),
    ("q=Joyce", IdScheme::Uuid, "scan"),
    ("_sort=-id", IdScheme::Uuid, "page 0 500 back"),
    ("_sort=year,-id", IdScheme::Uuid, "scan"),
    // One of several groups.
    (
        r#"filter={"or":[{"author":"Joyce"},{"year":1949}]}"#,
        IdScheme::Uuid,
        "(gather author in 1; gather year in 2)",
    ),
    (
        r#"filter={"or":[{"author":"Joyce","year":1922},{"year":1990}]}&_sort=title"#,
        IdScheme::Uuid,
        "(gather author, year in 2; gather year in 2)",
    ),
    (
        r#"filter={"or":[{"author":"Joyce"},{"or":[{"year":1949},{"shelf":"a"}]}]}"#,
        IdScheme::Uuid,
        "(gather author in 1; (gather year in 2; gather shelf, row in 1))",
    ),
    (
        r#"filter={"or":[{"author":"Joyce"},{"title":"Emma"}]}"#,
        IdScheme::Uuid,
        "scan",
    ),
    (
        r#"filter={"or":[{"author":"Joyce"},{}]}"#,
        IdScheme::Uuid,
        "page 0 500",
    ),
    (
        r#"filter={"author":"Joyce","or":[{"title":"Emma"},{"title":"Ulysses"}]}"#,
        IdScheme::Uuid,
        "gather author in 1",
    ),
    (
        r#"filter={"title":"Emma","or":[{"author":"Joyce"},{"shelf":"a"}]}"#,
        IdScheme::Uuid,
        "(gather author in 1; gather shelf, row in 1)",
    ),
    (
        "author=null&title=Emma",
        IdScheme::Uuid,
        "gather author in 2",
    ),
    (
        r#"filter={"author":["Joyce",null]}"#,
        IdScheme::Uuid,
        "(gather author in 1; gather author in 1)",
    ),
    // Both of two.
    (
        "author=Joyce&shelf=a",
        IdScheme::Uuid,
        "gather author in 1 and shelf, row in 1",
    ),
    (
        "author=Joyce&year=1922&shelf=a&_sort=title",
        IdScheme::Uuid,
        "gather author, year in 2 and shelf, row in 1",
    ),
    // The second has so many records that it is not worth it.
    (
        "shelf=a&year_gte=1990&_sort=title",
        IdScheme::Uuid,
        "gather shelf, row in 1",
    ),
];

#[test]
fn a_query_is_answered_in_the_cheapest_way() {
    let indexes = [
        index(&["year"]),
        index(&["author"]),
        index(&["author", "year"]),
        index(&["shelf", "row"]),
    ];
    let indexes: Vec<_> = indexes.iter().collect();
    for (query, scheme, plan) in PLANS {
        let parsed = ListQuery::parse(query, &Schema::Any, Handling::Strict).unwrap();
        // A longer beginning names fewer records than a shorter one, and a value fewer than many.
        let size = |part: &IndexPart| {
            let whole = part.ranges.iter().any(|range| !range.exact);
            let several = part.ranges.iter().any(|range| !range.one);
            let beginning = part.ranges.iter().map(|range| range.from.len()).min();
            match (whole, several) {
                (true, _) => 1_000,
                (false, true) => 450,
                (false, false) => 50 - as_u64(beginning.unwrap_or(0)),
            }
        };
        let facts = PlanFacts {
            ids: scheme,
            indexes: &indexes,
            records: 1_000,
            size: &size,
        };
        assert_eq!(told(&Plan::of(&parsed, &facts), &indexes), plan, "{query}");
    }
    let columns = vec![IndexColumn {
        path: vec!["seen".to_owned()],
        moments: true,
    }];
    let moments = RecordIndex {
        columns,
        unique: false,
    };
    let parsed = ListQuery::parse("_sort=seen", &Schema::Any, Handling::Strict).unwrap();
    let facts = PlanFacts {
        ids: IdScheme::Uuid,
        indexes: &[&moments],
        records: 1_000,
        size: &unknown_size,
    };
    assert_eq!(
        Plan::of(&parsed, &facts),
        Plan::Scan,
        "texts are not moments"
    );
}
