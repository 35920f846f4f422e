//! Parts of lists, and the links from one to the next.

use serde_json::json;

use super::*;
use crate::record::{Revision, Selection};

fn records(count: u64) -> Vec<Record> {
    let record = |id| Record {
        id: RecordId::Number(id),
        revision: Revision(1),
        created_ms: 0,
        changed_ms: 0,
        json: json!({"id": id, "x": " ", "n": id / 3, "t": format!("t{}", id % 2)})
            .to_string()
            .into(),
    };
    (0..count).map(record).collect()
}

/// The page of a query, and its links.
fn answer(query: &ListQuery, among: &[Record]) -> (Vec<u64>, Vec<(&'static str, String)>) {
    let mut selection = Selection::new(query.clone());
    for record in among {
        if !selection.visit(record.clone()) {
            break;
        }
    }
    let selected = selection.finish().unwrap();
    let links = query.links(&selected.records, selected.total, selected.more);
    let links = links.unwrap();
    let ids = selected.records.iter().map(|record| match record.id {
        RecordId::Number(id) => id,
        RecordId::Text(_) => panic!(),
    });
    (ids.collect(), links)
}

fn links(query: &str, count: u64, most: usize) -> Vec<String> {
    let query = strict(query, &Schema::Any).unwrap().at_most(most);
    let links = answer(&query, &records(count)).1.into_iter();
    // A position is long.
    let shown = links.map(|(rel, to)| match to.split_once("_after=") {
        Some((rest, _)) => format!("{rel} {rest}_after=.."),
        None => format!("{rel} {to}"),
    });
    shown.collect()
}

#[test]
fn a_page_by_number_links_to_its_neighbours() {
    assert_eq!(
        links("x=%20&_page=2&_limit=10", 35, 1000),
        [
            "first x=%20&_limit=10&_page=1",
            "prev x=%20&_limit=10&_page=1",
            "next x=%20&_limit=10&_page=3",
            "last x=%20&_limit=10&_page=4"
        ]
    );
    assert_eq!(
        links("x=<\">&_page=1", 35, 1000),
        ["first x=%3C%22%3E&_page=1", "last x=%3C%22%3E&_page=1"]
    );
    assert_eq!(
        links("_page=9", 35, 1000),
        ["first _page=1", "prev _page=4", "last _page=4"]
    );
    assert_eq!(links("_page=1", 0, 1000), ["first _page=1", "last _page=1"]);
    assert_eq!(
        links("_page=1&_limit=0", 35, 1000),
        ["first _limit=0&_page=1", "last _limit=0&_page=35"]
    );
}

#[test]
fn what_is_cut_links_to_its_rest_and_what_is_whole_to_nothing() {
    for (query, next) in [
        ("", "next _after=.."),
        ("x=%20&_sort=-n", "next x=%20&_sort=-n&_after=.."),
        ("_start=3", "next _after=.."),
        ("_limit=20", "next _limit=20&_after=.."),
        ("_limit=5", "next _limit=5&_after=.."),
        ("_after=&_limit=5", "next _limit=5&_after=.."),
        ("_start=3&_end=23", "next _start=13&_end=23"),
        ("_start=3&_limit=20", "next _start=13&_end=23"),
        ("range=[3,22]", "next range=%5B13%2C22%5D"),
    ] {
        assert_eq!(links(query, 35, 10), [next], "{query}");
    }
    for whole in [
        "_start=3&_end=13",
        "_start=3&_limit=10",
        "range=[3,12]",
        "_start=25",
        "_start=30&_limit=10",
        "_start=40",
        "_limit=0",
        "_limit=0&_after=",
        "n=0",
        "n=99",
    ] {
        assert_eq!(links(whole, 35, 10), [""; 0], "{whole}");
    }
    assert_eq!(
        links("_page=2&_limit=20", 65, 10),
        [
            "first _limit=20&_page=1",
            "prev _limit=20&_page=1",
            "next _limit=20&_after=..",
            "last _limit=20&_page=4"
        ]
    );
}

#[test]
fn an_answer_is_cut_if_it_has_fewer_records_than_were_asked_for() {
    for (query, records, more, cut) in [
        ("", 10, true, true),
        ("", 500, true, false),
        ("", 10, false, false),
        ("_limit=10", 10, true, false),
        ("_limit=10&_after=", 9, true, true),
        ("_start=5&_end=9", 4, true, false),
        ("_start=5&_end=9", 3, true, true),
        ("range=[0,9]", 9, true, true),
        ("_page=2&_limit=20", 10, true, true),
        ("_page=2&_limit=20", 10, false, false),
    ] {
        let query_read = strict(query, &Schema::Any).unwrap().at_most(10);
        assert_eq!(query_read.is_cut(records, more), cut, "{query}");
    }
}

/// The ids of all pages from this one on, and the number of pages. `change` may change the records after each page.
fn follow(query: &str, mut among: Vec<Record>, change: fn(&mut Vec<Record>)) -> (Vec<u64>, usize) {
    let (mut query, mut pages) = (query.to_owned(), 0);
    let mut seen = Vec::new();
    loop {
        let parsed = strict(&query, &Schema::Any).unwrap().at_most(4);
        let (ids, links) = answer(&parsed, &among);
        seen.extend(ids);
        pages += 1;
        let Some((_, next)) = links.into_iter().find(|(rel, _)| *rel == "next") else {
            return (seen, pages);
        };
        query = next;
        change(&mut among);
    }
}

#[test]
fn the_links_lead_through_the_whole_list_once() {
    let same = |_: &mut Vec<Record>| {};
    for (query, wanted) in [
        ("", (0..11).collect::<Vec<_>>()),
        ("_limit=4&_after=", (0..11).collect()),
        ("_limit=3", (0..11).collect()),
        ("_start=2&_end=9", (2..9).collect()),
        ("range=[2,9]", (2..10).collect()),
        ("_page=1&_limit=3", (0..11).collect()),
        ("_page=1&_limit=9", (0..11).collect()),
        ("_sort=-id", (0..11).rev().collect()),
        ("_sort=-n&_limit=2", vec![9, 10, 6, 7, 8, 3, 4, 5, 0, 1, 2]),
        (
            "_sort=t,-n&_limit=3",
            vec![10, 6, 8, 4, 0, 2, 9, 7, 3, 5, 1],
        ),
        ("_sort=nothing&t=t1&_limit=2", vec![1, 3, 5, 7, 9]),
        ("id=3&id=7&id=10&_limit=1&_sort=-t", vec![3, 7, 10]),
    ] {
        assert_eq!(follow(query, records(11), same).0, wanted, "{query}");
    }
    assert_eq!(follow("_limit=3", records(11), same).1, 4);
}

#[test]
fn a_position_stays_where_it_is_while_records_come_and_go() {
    // Each page is followed by the deletion of the first record: pages that are counted would leave records out.
    let shrink = |records: &mut Vec<Record>| drop(records.remove(0));
    for query in ["_limit=2&_after=", "_sort=n&_limit=2", "_sort=t&_limit=4"] {
        let (mut seen, _) = follow(query, records(12), shrink);
        seen.sort_unstable();
        assert_eq!(seen, (0..12).collect::<Vec<_>>(), "{query}");
    }
}

#[test]
fn a_position_belongs_to_its_filters_and_its_order() {
    let first = strict("x=%20&t=t1&_sort=n&_limit=2", &Schema::Any).unwrap();
    let next = answer(&first, &records(12)).1.remove(0).1;
    let (_, after) = next.split_once("_after=").unwrap();
    for (rest, same) in [
        ("x=%20&t=t1&_sort=n", true),
        ("t=t1&_sort=n&_limit=9&x=+", true),
        (
            "t=t1&_sort=n&x=%20&_count=exact&_fields=n&_meta=true&_=5",
            true,
        ),
        ("x=%20&t=t1", false),
        ("x=%20&t=t0&_sort=n", false),
        ("x=%20&t=t1&_sort=-n", false),
        ("x=%20&t=t1&_sort=n,t", false),
        ("", false),
    ] {
        let query = strict(&format!("{rest}&_after={after}"), &Schema::Any);
        let found = query.map(|query| answer(&query.at_most(2), &records(12)).0);
        let wanted = if same {
            Ok(vec![5, 7])
        } else {
            Err(QueryError::Position)
        };
        assert_eq!(found, wanted, "{rest}");
    }
}

#[test]
fn a_position_that_is_too_long_is_counted() {
    let mut long = records(3);
    for record in &mut long {
        record.json = json!({"id": 1, "long": "x".repeat(5000)})
            .to_string()
            .into();
    }
    let query = strict("_sort=long&_limit=2", &Schema::Any).unwrap();
    let next = answer(&query, &long).1;
    assert_eq!(next, [("next", "_sort=long&_limit=2&_start=2".to_owned())]);
    let query = strict("_sort=long&_limit=2&_after=", &Schema::Any).unwrap();
    let links = query.links(&long, None, true);
    assert_eq!(links, Err(QueryError::PositionTooLong));
}
