//! A query has the same answer by every plan as by a look at all records, and no plan is left untried.
//!
//! `INDEX_QUERIES` sets how many queries are compared. How often each way was used is printed.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use serde_json::{Value, json};

use super::super::super::query_look::GATHER_RECORDS_MAX;
use super::super::*;
use super::random_queries::{queries, records};
use crate::num::as_u64;
use crate::record::{Bounds, EncodedRange, Field, FieldType, Selection};
use crate::storage::QueryCost;
use crate::storage::plan::{IndexPart, IndexSet, Plan};

/// Indexes of the records that are tried. The last one is unique.
const INDEXES: [&str; 9] = [
    "a",
    "b",
    "a,b",
    "b,a",
    "tags",
    "at:datetime",
    "o.p",
    "o.p,a,b",
    "u",
];
/// Each of these many resources is a large one, of so many records, and fewer queries are asked of it.
const LARGE_EVERY: usize = 10;
const LARGE: usize = 3_000;
const QUERIES_OF_LARGE: usize = 20;
/// The most pages that are read by following links.
const PAGES_MAX: usize = 4;

/// The ways in which answers are found, each of which has to be used.
const WAYS: [&str; 26] = [
    "a page in the order of ids",
    "the same in the reverse",
    "the same after a position",
    "the same far behind",
    "by ids",
    "a walk over a whole index",
    "a walk over one value",
    "a walk over one value, in the order of another field",
    "a walk over a range",
    "a walk over a range after one value",
    "a walk in the reverse",
    "a walk after a position",
    "the records of one part of an index",
    "the records of several values",
    "the records in two indexes",
    "the records of any of several groups",
    "more records than are looked at at once",
    "a scan",
    "a scan in an order",
    "a scan after a position",
    "by a compound index",
    "by the items of arrays",
    "by a nested field",
    "by moments",
    "by a unique index",
    "a count only",
];

fn typed() -> Schema {
    let field = Field::new;
    let text = || FieldType::String {
        length: Bounds::default(),
        pattern: None,
    };
    let tags = FieldType::Array {
        items: Some(Box::new(text())),
        length: Bounds::default(),
    };
    Schema::from(vec![
        field("a", FieldType::Integer(Bounds::default())),
        field("b", FieldType::Number(Bounds::default())),
        field("tags", tags),
        field("at", FieldType::DateTime),
        field("u", text()),
        field(
            "o",
            FieldType::Object(Some(vec![field("p", text())].into())),
        ),
    ])
}

/// A seed that is another one in each run.
fn seed() -> u64 {
    uuid::Uuid::now_v7().as_u64_pair().1
}

/// The parts of indexes that a plan reads.
fn parts(plan: &Plan) -> Vec<&IndexPart> {
    fn of_set(set: &IndexSet) -> Vec<&IndexPart> {
        match set {
            IndexSet::Part(part) => vec![part],
            IndexSet::Both(one, other) => vec![one, other],
            IndexSet::AnyOf(sets) => sets.iter().flat_map(of_set).collect(),
        }
    }
    match plan {
        Plan::Walk(part) => vec![part],
        Plan::Gather(set) => of_set(set),
        Plan::Page { .. } | Plan::Pick(_) | Plan::Scan => Vec::new(),
    }
}

/// The ways in which this answer was found, as [`WAYS`] names them.
fn ways(query: &ListQuery, cost: &QueryCost) -> Vec<&'static str> {
    let is_after = query.after().is_some();
    let mut ways = Vec::new();
    let mut add = |way, used: bool| ways.extend(used.then_some(way));
    match &cost.plan {
        Plan::Page { slice, descending } => {
            add("a page in the order of ids", !descending);
            add("the same in the reverse", *descending);
            add("the same after a position", is_after);
            add("the same far behind", slice.start() > 10);
        }
        Plan::Pick(_) => add("by ids", true),
        Plan::Walk(part) => {
            let [range] = part.ranges.as_slice() else {
                panic!("a walk is over one range");
            };
            let whole = *range == EncodedRange::all();
            add("a walk over a whole index", whole);
            add("a walk over one value", range.one);
            let ordered = range.one && query.is_sorted();
            add(
                "a walk over one value, in the order of another field",
                ordered,
            );
            let bounded = !whole && !range.one;
            add("a walk over a range", bounded && part.fixed == 0);
            add(
                "a walk over a range after one value",
                bounded && part.fixed > 0,
            );
            add("a walk in the reverse", part.descending);
            add("a walk after a position", is_after);
        }
        Plan::Gather(set) => {
            let ranges = if let IndexSet::Part(part) = set {
                part.ranges.len()
            } else {
                0
            };
            add("the records of one part of an index", ranges == 1);
            add("the records of several values", ranges > 1);
            add(
                "the records in two indexes",
                matches!(set, IndexSet::Both(..)),
            );
            add(
                "the records of any of several groups",
                matches!(set, IndexSet::AnyOf(_)),
            );
            let many = cost.page.looked > as_u64(GATHER_RECORDS_MAX);
            add("more records than are looked at at once", many);
        }
        Plan::Scan => {
            add("a scan", true);
            add("a scan in an order", query.is_sorted());
            add("a scan after a position", is_after);
        }
    }
    add("a count only", query.slice().limit() == 0);
    ways.extend(ways_of_indexes(cost));
    ways
}

/// The kinds of indexes by which it was found.
fn ways_of_indexes(cost: &QueryCost) -> Vec<&'static str> {
    let mut ways = Vec::new();
    let mut add = |way, used: bool| ways.extend(used.then_some(way));
    for part in parts(&cost.plan) {
        let index = &cost.indexes[part.index];
        let columns = &index.columns;
        let several = part.fixed > 1 || columns.len() > 1 && part.fixed > 0;
        add("by a compound index", several);
        add(
            "by the items of arrays",
            part.searched && columns[0].path == ["tags"],
        );
        add("by a nested field", columns[0].path.len() > 1);
        add("by moments", columns[0].moments);
        add("by a unique index", columns[0].path == ["u"]);
    }
    ways
}

/// The answer of a scan: the ids, the number of all that match, and whether more follow.
fn scanned(records: &[Record], query: &ListQuery) -> (Vec<RecordId>, Option<u64>, bool) {
    let mut selection = Selection::new(query.clone());
    for record in records {
        if !selection.visit(record.clone()) {
            break;
        }
    }
    let selected = selection.finish().unwrap();
    let ids = selected.records.into_iter().map(|record| record.id);
    (ids.collect(), selected.total, selected.more)
}

/// A resource whose records and indexes are random, and what is asked of it.
struct Asked {
    records: Vec<Value>,
    indexes: Vec<&'static str>,
    queries: Vec<String>,
}

impl Asked {
    fn random(runner: &mut TestRunner, is_large: bool) -> Self {
        let mut made = records().new_tree(runner).unwrap().current();
        let indexes = prop::sample::subsequence(INDEXES.to_vec(), 0..=INDEXES.len());
        let mut indexes = indexes.new_tree(runner).unwrap().current();
        let count = if is_large { QUERIES_OF_LARGE } else { 100 };
        let mut query = || queries().new_tree(runner).unwrap().current();
        let mut queries: Vec<_> = (0..count).map(|_| query()).collect();
        if is_large {
            made.push(json!({"b": 1}));
            made = made.into_iter().cycle().take(LARGE).collect();
            // Two of five have one value, by which they are asked for: more than are looked at at once.
            for record in made.iter_mut().step_by(5) {
                record["a"] = json!("x");
            }
            for record in made.iter_mut().skip(1).step_by(5) {
                record["a"] = json!("x");
            }
            indexes = vec!["a", "u"];
            for query in queries.iter_mut().step_by(2) {
                query.push_str("&a=x");
            }
        }
        for (n, record) in made.iter_mut().enumerate() {
            record["u"] = json!(format!("u{n}"));
        }
        Self {
            records: made,
            indexes,
            queries,
        }
    }

    /// Compares the answers, and counts the ways in which they were found. Returns how many were compared.
    async fn compare(self, used: &mut BTreeMap<&'static str, usize>) -> usize {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = indexed(folder.path(), &self.indexes);
        for index in &mut settings.resources.get_mut("books").unwrap().indexes {
            index.unique = index.name() == "u";
        }
        let running = Running::start(sled_with(folder.path(), &settings, &Faults::none())).await;
        let store = &running.store;
        store.fill(&self.records).await;
        store.assert_indexes().await;
        let mut all = Vec::new();
        while let Ok(more) = store
            .records(BOOKS, all.last().map(|it: &Record| &it.id))
            .await
            && !more.is_empty()
        {
            all.extend(more);
        }
        assert_eq!(all.len(), self.records.len());
        let mut compared = 0;
        for (n, query) in self.queries.iter().enumerate() {
            let schema = if n % 2 == 0 { Schema::Any } else { typed() };
            let mut next = Some(query.clone());
            for _ in 0..PAGES_MAX {
                let Some(sent) = next.take() else {
                    break;
                };
                // Not every text is a value of every type.
                let Ok(query) = ListQuery::parse(&sent, &schema, Handling::Strict) else {
                    break;
                };
                let cost = store.cost_of(BOOKS, &query).await.unwrap();
                let page = &cost.page;
                let ids = page.records.iter().map(|record| record.id.clone());
                let ids: Vec<_> = ids.collect();
                let told = (&self.indexes, query.told());
                let expected = scanned(&all, &query);
                assert_eq!((ids, page.total, page.more), expected, "{told:?} {cost:?}");
                for way in ways(&query, &cost) {
                    *used.entry(way).or_default() += 1;
                }
                compared += 1;
                // Positions lead from page to page.
                if sent.contains("_after=") {
                    let links = query.links(&page.records, page.total, page.more);
                    let mut links = links.unwrap().into_iter();
                    next = links.find_map(|(relation, to)| (relation == "next").then_some(to));
                    assert_eq!(next.is_some(), page.more && !page.records.is_empty());
                }
            }
        }
        running.stop().await;
        compared
    }
}

#[test]
fn a_query_has_the_same_answer_by_every_plan() {
    let queries_max = std::env::var("INDEX_QUERIES").map_or(2_000, |count| count.parse().unwrap());
    let rng_seed = RngSeed::Fixed(seed());
    let config = Config {
        rng_seed,
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    let mut used: BTreeMap<_, usize> = WAYS.iter().map(|way| (*way, 0)).collect();
    let (mut compared, mut resources) = (0, 0);
    // A way that chance has left out is waited for, but not for ever.
    while compared < queries_max
        || (compared < 5 * queries_max && used.values().any(|count| *count == 0))
    {
        resources += 1;
        let asked = Asked::random(&mut runner, resources % LARGE_EVERY == 0);
        let shown = format!("{rng_seed:?}, resource {resources}");
        println!("{shown}");
        run(async { compared += asked.compare(&mut used).await });
    }
    println!("{compared} queries of {resources} resources: {used:#?}");
    let unused = used.iter().filter(|(_, count)| **count == 0);
    let unused: Vec<_> = unused.map(|(way, _)| way).collect();
    assert!(unused.is_empty(), "not tried: {unused:?}");
    assert_eq!(used.len(), WAYS.len(), "a way has another name: {used:?}");
}
