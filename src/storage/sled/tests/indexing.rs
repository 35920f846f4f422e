//! Indexes: a query has the same answer by every plan, and an index is equal to its records, whatever happens while it is
//! built or removed.
//!
//! `INDEX_QUERIES` sets how many queries are tried.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use serde_json::{Value, json};

use super::super::index_check;
use super::*;
use crate::record::{Bounds, Field, FieldType, Selection};

/// The fields of the records that are tried, and indexes of them.
const FIELDS: [&str; 5] = ["a", "b", "tags", "at", "o.p"];
const INDEXES: [&str; 8] = [
    "a",
    "b",
    "a,b",
    "b,a",
    "tags",
    "at:datetime",
    "o.p",
    "o.p,a,b",
];

impl SledStore {
    /// Waits until the indexes are as they are declared and all keys are counted, and compares them with the records.
    pub(super) async fn assert_indexes(&self) {
        self.settle_indexes().await;
        loop {
            let compare = |open: &reader_state::OpenEngine| {
                let (mut found, mut wrong, mut complete) = (Vec::new(), Vec::new(), true);
                let add = |_, kept: &index_catalog::KeptIndex, key: &[u8], fault| {
                    found.push((kept.index.name(), key.to_vec(), fault));
                };
                index_check::compare(&*open.engine, add).unwrap();
                let catalog = open.indexes.load();
                for of in catalog.counted() {
                    let mut keys = 0;
                    let beginning = of.beginning.clone();
                    let visit = &mut |key: &[u8], _: &[u8]| {
                        let its = key.starts_with(&beginning);
                        keys += u64::from(its);
                        its
                    };
                    open.engine.scan(of.keyspace, &beginning, visit).unwrap();
                    let counts = catalog.counts(&of).unwrap().lock();
                    let counted = counts.total();
                    // The store may have been opened again after a fault that came late.
                    complete &= counts.are_complete();
                    if counted != keys {
                        wrong.push((of, counted, keys));
                    }
                }
                // Not before it is known that no group was applied meanwhile.
                complete.then_some((found, wrong))
            };
            let readers = &self.holder.readers;
            let found = self
                .holder
                .look(|open| readers.between_groups(open, || compare(open)));
            if let Some(found) = found.flatten().flatten() {
                assert_eq!(found, (Vec::new(), Vec::new()));
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Waits until the indexes are as they are declared and all keys are counted.
    pub(super) async fn settle_indexes(&self) {
        while !self.are_settled() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn are_settled(&self) -> bool {
        let known = self.holder.known.load();
        let settled = self.holder.look(|open| {
            let catalog = open.indexes.load();
            let counted = catalog.counted();
            let mut counts = counted.iter().filter_map(|of| catalog.counts(of));
            let names = open.engine.collections();
            let ids = (0..names.len()).map(CollectionId);
            let complete = ids.map(|id| {
                let declared = known.indexes(id).unwrap_or_default();
                let kept = catalog.of(id);
                kept.iter().all(index_catalog::KeptIndex::is_complete)
                    && (known.indexes(id).is_none() || kept.len() == declared.len())
            });
            counted.len() >= names.len()
                && counts.all(|counts| counts.lock().are_complete())
                && complete.into_iter().all(|complete| complete)
        });
        settled == Some(true)
    }

    /// Creates records with these members, whose ids are `0`, `1` and so on.
    pub(super) async fn fill(&self, records: &[Value]) {
        let mut number = 0;
        for chunk in records.chunks(100) {
            let commands = chunk.iter().map(|record| {
                number += 1;
                let id = RecordId::parse(&format!("r{number:06}")).unwrap();
                let object = JsonObject::parse(record.to_string().as_bytes()).unwrap();
                let json = object.text(&id);
                WriteCommand::Create { id, json }
            });
            let batch = of_each(commands.collect());
            let written = self.write_batch(batch).await.unwrap();
            assert!(written.results.iter().all(Result::is_ok));
        }
    }
}

fn rand_id() -> u64 {
    uuid::Uuid::now_v7().as_u64_pair().1
}

fn texts() -> impl Strategy<Value = String> {
    let long = |end: &str| format!("{}{end}", "x".repeat(256));
    let few = vec![
        String::new(),
        "x".to_owned(),
        "y".to_owned(),
        "1".to_owned(),
        "1.0".to_owned(),
        "true".to_owned(),
        "null".to_owned(),
        "2026-11-24T16:00:00Z".to_owned(),
        "2026-11-24T17:00:00+01:00".to_owned(),
        "2025-01-01T00:00:00.5Z".to_owned(),
        "9007199254740993".to_owned(),
        "1e16".to_owned(),
        long(""),
        long("a"),
        long("b"),
        long("\u{0}"),
    ];
    prop::sample::select(few)
}

fn values() -> impl Strategy<Value = Value> {
    let number = prop::sample::select(vec![
        json!(0),
        json!(-0.0),
        json!(1),
        json!(1.0),
        json!(1.5),
        json!(-3),
        json!(9_007_199_254_740_992_i64),
        json!(9_007_199_254_740_993_i64),
        json!(1e16),
        json!(u64::MAX),
    ]);
    let plain = prop_oneof![
        4 => number,
        4 => texts().prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => Just(json!({"x": 1})),
    ];
    let array = prop::collection::vec(plain.clone(), 0..4).prop_map(Value::from);
    prop_oneof![12 => plain, 1 => array]
}

fn records() -> impl Strategy<Value = Vec<Value>> {
    let arrays = prop::collection::vec(texts().prop_map(Value::from), 0..4);
    let tags = prop_oneof![3 => arrays.prop_map(Value::from), 1 => values()];
    let members = (
        prop::option::of(values()),
        prop::option::of(values()),
        prop::option::of(tags),
        prop::option::of(values()),
        prop::option::of(values()),
    );
    let record = members.prop_map(|(a, b, tags, at, p)| {
        let mut record = serde_json::Map::new();
        let members = [("a", a), ("b", b), ("tags", tags), ("at", at)];
        for (name, value) in members {
            record.extend(value.map(|value| (name.to_owned(), value)));
        }
        record.extend(p.map(|p| ("o".to_owned(), json!({"p": p}))));
        Value::Object(record)
    });
    let record = record.boxed();
    prop_oneof![
        4 => prop::collection::vec(record.clone(), 0..60),
        1 => prop::collection::vec(record, 300..500),
    ]
}

/// A query: filters, an order and a part.
fn queries() -> impl Strategy<Value = String> {
    let field = || prop::sample::select(FIELDS.to_vec());
    let operators = vec![
        "", "", "", "_gte", "_lt", "_gt", "_lte", "_ne", "_like", ":isnull",
    ];
    let filter = (field(), prop::sample::select(operators), texts());
    let filter = filter.prop_map(|(field, operator, value)| {
        let value = if operator == ":isnull" {
            (value.len() % 2 == 0).to_string()
        } else {
            value
        };
        (format!("{field}{operator}"), value)
    });
    let filters = prop::collection::vec(filter, 0..4);
    let equal = prop::sample::select(vec!["", "_gte", "_lt", ":isnull"]);
    let equal = (field(), equal, texts()).prop_map(|(field, operator, value)| {
        let value = if operator == ":isnull" {
            "true"
        } else {
            &value
        };
        (format!("{field}{operator}"), Value::from(value))
    });
    let group = prop::collection::vec(equal, 1..3);
    let groups = prop::collection::vec(group, 1..4).boxed();
    let inner = prop::option::weighted(0.3, groups.clone());
    let groups = prop::option::weighted(0.4, (groups, inner));
    let sorted = prop_oneof![9 => field(), 1 => Just("id")];
    let sort = prop::collection::vec((sorted, any::<bool>()), 0..3);
    let same = prop::option::of(any::<bool>());
    let part = (
        0_usize..40,
        prop_oneof![Just(0_usize), 0_usize..30, Just(500)],
    );
    let parts = (filters, groups, sort, same, part);
    parts.prop_map(|(filters, groups, sort, same, (start, limit))| {
        let mut query = format!("_start={start}&_limit={limit}");
        let mut add = |name: &str, value: &str| {
            let value =
                percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC);
            query.extend(["&", name, "=", &value.to_string()]);
        };
        for (name, value) in filters {
            add(&name, &value);
        }
        if let Some((groups, inner)) = groups {
            let any = |groups: Vec<Vec<(String, Value)>>| {
                let groups = groups.into_iter();
                groups.map(|group| Value::Object(group.into_iter().collect()))
            };
            let mut all: Vec<_> = any(groups).collect();
            all.extend(inner.map(|inner| json!({"or": any(inner).collect::<Vec<_>>()})));
            add("filter", &json!({"or": all}).to_string());
        }
        let keys = sort.iter().map(|(field, descending)| {
            let descending = same.unwrap_or(*descending);
            format!("{}{field}", if descending { "-" } else { "" })
        });
        let keys: Vec<_> = keys.collect();
        if !keys.is_empty() {
            query.extend(["&_sort=", &keys.join(",")]);
        }
        query
    })
}

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
        field(
            "o",
            FieldType::Object(Some(vec![field("p", text())].into())),
        ),
    ])
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

#[test]
fn a_query_has_the_same_answer_by_every_plan() {
    let queries_max = std::env::var("INDEX_QUERIES").map_or(2_000, |count| count.parse().unwrap());
    let config = Config {
        rng_seed: RngSeed::Fixed(rand_id()),
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    let mut tried = 0;
    while tried < queries_max {
        let made = records().new_tree(&mut runner).unwrap().current();
        let indexes = prop::sample::subsequence(INDEXES.to_vec(), 0..=INDEXES.len());
        let indexes = indexes.new_tree(&mut runner).unwrap().current();
        let asked: Vec<_> = (0..100)
            .map(|_| queries().new_tree(&mut runner).unwrap().current())
            .collect();
        tried += asked.len();
        run(async move {
            let folder = tempfile::tempdir().unwrap();
            let settings = indexed(folder.path(), &indexes);
            let running =
                Running::start(sled_with(folder.path(), &settings, &Faults::none())).await;
            let store = &running.store;
            store.fill(&made).await;
            store.assert_indexes().await;
            let mut all = Vec::new();
            while let Ok(more) = store
                .records(BOOKS, all.last().map(|it: &Record| &it.id))
                .await
                && !more.is_empty()
            {
                all.extend(more);
            }
            for (n, query) in asked.iter().enumerate() {
                let schema = if n % 2 == 0 { Schema::Any } else { typed() };
                // Not every text is a value of every type.
                let Ok(query) = ListQuery::parse(query, &schema, Handling::Strict) else {
                    continue;
                };
                let page = store.query(BOOKS, &query).await.unwrap();
                let ids: Vec<_> = page
                    .records
                    .iter()
                    .map(|record| record.id.clone())
                    .collect();
                let told = (&indexes, query.told());
                assert_eq!(
                    (ids, page.total, page.more),
                    scanned(&all, &query),
                    "{told:?} {made:?}"
                );
            }
            running.stop().await;
        });
    }
}

#[test]
fn an_index_is_built_while_records_change_and_goes_on_after_each_end_of_the_process() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let made: Vec<_> = (0..3_000)
            .map(|n| json!({"n": n % 7, "t": format!("{n}")}))
            .collect();
        let none = indexed(folder.path(), &[]);
        let running = Running::start(sled_with(folder.path(), &none, &Faults::none())).await;
        running.store.fill(&made).await;
        running.stop().await;
        for indexes in [&["n", "t,n"][..], &["n"], &[], &["t"], &["t", "n"]] {
            let settings = indexed(folder.path(), indexes);
            let faults = Faults::armed();
            let running = Running::start(sled_with(folder.path(), &settings, &faults)).await;
            let store = &running.store;
            for n in 0..20 {
                let id = RecordId::parse(&format!("r{:06}", 1 + n * 149)).unwrap();
                store.delete(BOOKS, &id).await.unwrap();
                store.create(BOOKS, book(n), Some(id)).await.unwrap();
                if n == 10 {
                    faults.arm("writer.before_view", 1);
                }
            }
            if indexes.len() != 2 {
                store.assert_indexes().await;
                let query = ListQuery::parse("t=55&_limit=1", &Schema::Any, Handling::Strict);
                let page = store.query(BOOKS, &query.unwrap()).await.unwrap();
                assert_eq!(page.total, Some(1));
                let shown: Arc<dyn Store> = Arc::<SledStore>::clone(store);
                let metrics = crate::telemetry::exposed(shown);
                let used = u8::from(indexes.contains(&"t"));
                let line = format!("perennial_storage_queries_total{{plan=\"index\"}} {used}\n");
                assert!(metrics.contains(&line), "{metrics}");
            }
            running.stop().await;
        }
        let settings = indexed(folder.path(), &["n", "t,n"]);
        let running = Running::start(sled_with(folder.path(), &settings, &Faults::none())).await;
        running.store.assert_indexes().await;
        running.stop().await;
    });
}

pub(super) fn object(value: &Value) -> JsonObject {
    JsonObject::parse(value.to_string().as_bytes()).unwrap()
}

pub(super) fn id(id: &str) -> RecordId {
    RecordId::parse(id).unwrap()
}

pub(super) fn create(name: &str, value: &Value) -> WriteCommand {
    let json = object(value).text(&id(name));
    WriteCommand::Create { id: id(name), json }
}

/// Carries out commands as one group. Returns which of them was refused because of a record and fields.
pub(super) async fn refused(
    store: &SledStore,
    commands: Vec<WriteCommand>,
) -> Vec<Option<(String, String)>> {
    let results = store
        .write_batch(of_each(commands))
        .await
        .unwrap()
        .results
        .into_iter();
    let refused = results.map(|result| match result {
        Ok(_) => None,
        Err(CommandError::Taken { fields, id }) => Some((fields, id.to_string())),
        Err(error) => panic!("{error}"),
    });
    refused.collect()
}

#[test]
fn no_two_records_get_a_value_that_is_unique() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = indexed(folder.path(), &["n", "t,o.p"]);
        for index in &mut settings.resources.get_mut("books").unwrap().indexes {
            index.unique = true;
        }
        let running = Running::start(sled_with(folder.path(), &settings, &Faults::none())).await;
        let store = &running.store;
        let taken = |fields: &str, by: &str| Some((fields.to_owned(), by.to_owned()));
        let (long, other) = ("x".repeat(300), format!("{}y", "x".repeat(300)));
        for (name, value, outcome) in [
            ("a", json!({"n": 1, "t": long, "o": {"p": 1}}), None),
            ("b", json!({"n": 1.0}), taken("n", "a")),
            ("b", json!({"n": 2, "t": other, "o": {"p": 1}}), None),
            (
                "c",
                json!({"n": "1", "t": long, "o": {"p": 1}}),
                taken("t, o.p", "a"),
            ),
            ("c", json!({"n": null, "t": long}), None),
            ("d", json!({"t": long}), None),
        ] {
            assert_eq!(
                refused(store, vec![create(name, &value)]).await,
                [outcome],
                "{value}"
            );
        }
        // A group sees what its own commands have taken and given up.
        let delete = |name| WriteCommand::Delete { id: id(name) };
        let one = json!({"n": 1});
        let commands = vec![
            delete("a"),
            create("e", &one),
            create("f", &one),
            delete("e"),
            create("g", &one),
        ];
        assert_eq!(
            refused(store, commands).await,
            [None, None, taken("n", "e"), None, None]
        );
        store.assert_indexes().await;
        running.stop().await;
    });
}

#[test]
fn an_index_is_declared_and_undeclared_while_the_store_runs() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let none = indexed(folder.path(), &[]);
        let running = Running::start(sled_with(folder.path(), &none, &Faults::none())).await;
        let store = &running.store;
        let made: Vec<_> = (0..600).map(|n| json!({"n": n % 7, "t": n})).collect();
        store.fill(&made).await;
        for indexes in [&["n"][..], &["n", "t"], &["t"], &[]] {
            let wanted = indexed(folder.path(), indexes).resources;
            store.declare(&wanted).await.unwrap();
            store.assert_indexes().await;
        }
        running.stop().await;
    });
}
