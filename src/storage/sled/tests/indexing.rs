//! Indexes: a query has the same answer by every plan, and an index is equal to its records, whatever happens while it is
//! built or removed.

mod every_plan;
mod random_queries;

use serde_json::{Value, json};

use super::super::index_check;
use super::*;

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
        let known = self.holder.resources.known.load();
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
