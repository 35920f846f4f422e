//! Lists that are found by an index: how much is looked at for them, and what happens if the store changes meanwhile.

use serde_json::{Value, json};

use super::super::query_look::QueryLook;
use super::super::scan::ScanSource;
use super::indexing::{create, id, refused};
use super::*;
use crate::record::{EncodedRange, Selection, WantedIndexes};
use crate::storage::plan::{IndexPart, IndexSet};
use crate::storage::{ScanLimit, Unserved};

/// The number of records in these tests, unless told.
const RECORDS: usize = 3_000;

fn query(text: &str) -> ListQuery {
    ListQuery::parse(text, &Schema::Any, Handling::Strict).unwrap()
}

/// A store in memory with an index of `n`, and with these records.
async fn filled(memory: &Arc<Memory>, folder: &Path, unique: bool, records: &[Value]) -> Running {
    let mut settings = indexed(folder, &["n"]);
    for index in &mut settings.resources.get_mut("books").unwrap().indexes {
        index.unique = unique;
    }
    let opener = Box::new(MemoryOpener(Arc::clone(memory)));
    let made = with_engine(opener, &settings, &Faults::none(), &incidents(folder));
    let running = Running::start(made).await;
    running.store.fill(records).await;
    running.store.settle_indexes().await;
    // What they read would be counted, too.
    running.store.holder.no_snapshots().await;
    running
}

fn ids(page: &ListPage) -> Vec<String> {
    let ids = page.records.iter().map(|record| record.id.to_string());
    ids.collect()
}

fn names(numbers: impl Iterator<Item = usize>) -> Vec<String> {
    numbers.map(|n| format!("r{n:06}")).collect()
}

/// The number of keys that are visited by `work`.
async fn visited<T>(memory: &Memory, work: impl Future<Output = T>) -> (T, u64) {
    let before = memory.visited.load(Ordering::SeqCst);
    let done = work.await;
    (done, memory.visited.load(Ordering::SeqCst) - before)
}

#[test]
fn few_keys_are_looked_at_however_many_records_have_the_same_value() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let memory = Arc::<Memory>::default();
        let mut records = vec![json!({"n": 1}); RECORDS];
        records.extend([json!({"n": 0}), json!({"n": 2})]);
        let running = filled(&memory, folder.path(), false, &records).await;
        for (sort, start, found) in [
            ("-n", 2_900, names(2_900..2_905)),
            ("n", 2_900, names(2_900..2_905)),
            (
                "-n",
                2_999,
                [names(2_999..=3_000), names(std::iter::once(3_001))].concat(),
            ),
            (
                "-n",
                0,
                [names(std::iter::once(3_002)), names(1..5)].concat(),
            ),
        ] {
            let asked = query(&format!("_sort={sort}&_start={start}&_limit=5"));
            let page = running.store.query(BOOKS, &asked);
            let (page, visited) = visited(&memory, page).await;
            let page = page.unwrap();
            assert_eq!(ids(&page), found, "{sort} {start}");
            assert_eq!(page.total, Some(crate::num::as_u64(RECORDS + 2)));
            assert!(visited < 2_500, "{visited} keys for {sort} {start}");
        }
        running.stop().await;
        // From before the values had to be unique, many records may have the same one.
        let running = filled(&memory, folder.path(), true, &[]).await;
        let written = refused(&running.store, vec![create("new", &json!({"n": 1}))]);
        let (refused, visited) = visited(&memory, written).await;
        assert_eq!(refused, [Some(("n".to_owned(), "r000001".to_owned()))]);
        assert!(visited < 100, "{visited} keys for a value that is taken");
        running.stop().await;
    });
}

#[test]
fn a_page_behind_a_position_is_found_without_a_look_at_those_before() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let memory = Arc::<Memory>::default();
        let records: Vec<_> = (1..=RECORDS).map(|n| json!({"n": n % 7})).collect();
        let running = filled(&memory, folder.path(), false, &records).await;
        let store = &running.store;
        for sort in ["_sort=n&", "_sort=-n&", "_sort=-id&", "_sort=id&", ""] {
            let mut expected: Vec<_> = (1..=RECORDS).collect();
            expected.sort_by_key(|n| match sort {
                "_sort=-n&" => (7 - n % 7, *n),
                "_sort=-id&" => (0, RECORDS - n),
                "_sort=id&" | "" => (0, *n),
                _ => (n % 7, *n),
            });
            let first = query(&format!("{sort}_limit=400&_after="));
            let page = store.query(BOOKS, &first).await.unwrap();
            let links = first.links(&page.records, page.total, page.more).unwrap();
            let (_, next) = links.iter().find(|(rel, _)| *rel == "next").unwrap();
            let next = query(&next.replace("_limit=400", "_limit=5"));
            let mut fewest = u64::MAX;
            let mut found = None;
            // Threads in the background look at keys, too, for some time.
            for _ in 0..20 {
                let (page, looked) = visited(&memory, store.query(BOOKS, &next)).await;
                found = Some(page.unwrap());
                fewest = fewest.min(looked);
                if fewest < 1_500 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let page = found.unwrap();
            let names: Vec<_> = names(expected[400..405].iter().copied());
            assert_eq!(ids(&page), names, "{sort}");
            assert!(page.more && page.total.is_none(), "{sort}");
            assert!(fewest < 1_500, "{fewest} keys for {sort}");
        }
        running.stop().await;
    });
}

#[test]
fn a_position_stays_where_its_record_was() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let memory = Arc::<Memory>::default();
        let records: Vec<_> = (1..=50).map(|n| json!({"n": n % 3})).collect();
        let running = filled(&memory, folder.path(), false, &records).await;
        let store = &running.store;
        for sort in ["_sort=n&", "_sort=-n&", "_sort=-id&", ""] {
            let first = query(&format!("{sort}_limit=20&_after="));
            let page = store.query(BOOKS, &first).await.unwrap();
            let links = first.links(&page.records, page.total, page.more).unwrap();
            let (_, next) = links.iter().find(|(rel, _)| *rel == "next").unwrap();
            let next = query(next);
            let before = ids(&store.query(BOOKS, &next).await.unwrap());
            let last = page.records.last().unwrap();
            store.delete(BOOKS, &last.id).await.unwrap();
            let after = ids(&store.query(BOOKS, &next).await.unwrap());
            assert_eq!(before, after, "{sort}");
        }
        running.stop().await;
    });
}

#[test]
fn a_long_page_is_found_by_an_index() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let memory = Arc::<Memory>::default();
        let long = "x".repeat(3_000);
        let records: Vec<_> = (1..=700).map(|n| json!({"n": n, "t": long})).collect();
        let running = filled(&memory, folder.path(), false, &records).await;
        for (text, found) in [
            ("_sort=n&_start=100&_limit=500", names(101..601)),
            ("_sort=-n&_start=100&_limit=500", names((101..601).rev())),
            ("_sort=n&_start=200&_limit=500", names(201..701)),
            ("_start=100&_limit=500", names(101..601)),
            ("_sort=-id&_start=100&_limit=500", names((101..601).rev())),
        ] {
            let asked = query(text);
            let look = running.store.look_for(BOOKS, &asked).await.unwrap();
            assert!(matches!(look, QueryLook::Walked { .. }), "{text}");
            let page = running.store.query(BOOKS, &asked).await.unwrap();
            assert_eq!(ids(&page), found, "{text}");
            assert_eq!(page.total, Some(700), "{text}");
            assert_eq!(page.more, !text.contains("200"), "{text}");
        }
        // One of its records is gone when they are read.
        let asked = query("_sort=n&_start=100&_limit=500");
        let look = running.store.look_for(BOOKS, &asked).await.unwrap();
        running.store.delete(BOOKS, &id("r000101")).await.unwrap();
        let page = running.store.answer(BOOKS, &asked, look).await.unwrap();
        assert_eq!(ids(&page), names(102..601));
        running.stop().await;
    });
}

#[test]
fn a_list_has_the_state_of_the_look_by_which_it_was_found() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let memory = Arc::<Memory>::default();
        let records: Vec<_> = (1..=50).map(|n| json!({"n": n % 5, "t": n})).collect();
        let running = filled(&memory, folder.path(), false, &records).await;
        let store = &running.store;
        for text in ["n=1&t_gte=9", "n=77&t_gte=9", "id=r000001&id=r000002"] {
            let asked = query(text);
            let seq = store.query(BOOKS, &asked).await.unwrap().seq;
            let look = store.look_for(BOOKS, &asked).await.unwrap();
            assert!(matches!(look, QueryLook::Among { .. }), "{text}: {look:?}");
            store.create(BOOKS, book(1), None).await.unwrap();
            let page = store.answer(BOOKS, &asked, look).await.unwrap();
            assert_eq!(page.seq, seq, "{text}: the new record is not looked at");
            let now = store.query(BOOKS, &asked).await.unwrap();
            assert!(now.seq > seq, "{text}");
        }
        running.stop().await;
    });
}

#[test]
fn a_list_that_no_index_serves_reads_only_so_many_records() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let memory = Arc::<Memory>::default();
        let records: Vec<_> = (0..RECORDS).map(|n| json!({"n": n, "t": n % 2})).collect();
        let running = filled(&memory, folder.path(), false, &records).await;
        let store = &running.store;
        let mut settings = indexed(folder.path(), &["n"]);
        settings.storage.scan_records = 2_000;
        // Scans have less priority than the tests beside this one.
        settings.supervision.children.storage.deadline = Duration::from_secs(300);
        store.set_limits(&settings);
        let limit = ScanLimit::Records { most: 2_000 };
        for (text, index) in [
            ("t=1", vec![vec!["t".to_owned()]]),
            (
                "t=1&_sort=n&_limit=5&_after=",
                vec![vec!["t".to_owned(), "n".to_owned()]],
            ),
            // These end when the page is full, which it never is.
            ("t=7&_limit=5&_after=", vec![vec!["t".to_owned()]]),
            ("t_like=7&_limit=5&_after=", vec![]),
        ] {
            let why = Unserved::new(&query(text), &[&RecordIndex::of_name("n")]);
            assert_eq!(why.wanted, WantedIndexes(index), "{text}");
            let found = store.query(BOOKS, &query(text)).await;
            let refused = StoreError::Unindexed { why, limit };
            assert_eq!(found, Err(refused), "{text}");
        }
        let few = store.query(BOOKS, &query("t=1&_limit=5&_after=")).await;
        assert_eq!(few.unwrap().records.len(), 5);
        let served = store.query(BOOKS, &query("n_gte=2990")).await;
        assert_eq!(served.unwrap().records.len(), 10);
        let shown: Arc<dyn Store> = Arc::<SledStore>::clone(store);
        let shown = crate::telemetry::exposed(shown);
        let counted = "perennial_storage_limited_scans_total{limit=\"records\"} 4\n";
        assert!(shown.contains(counted), "{shown}");
        running.stop().await;
    });
}

#[test]
fn an_index_that_is_removed_while_it_is_read_loses_no_record() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let memory = Arc::<Memory>::default();
        let records: Vec<_> = (0..600).map(|n| json!({"n": n})).collect();
        let running = filled(&memory, folder.path(), false, &records).await;
        let store = &running.store;
        // The last group of writes has been applied then, so only the scan is held.
        store.assert_indexes().await;
        let number = || {
            let of = |open: &reader_state::OpenEngine| {
                let catalog = open.indexes.load();
                catalog.of(BOOKS).first().map(|kept| kept.number)
            };
            store.holder.look(of).flatten()
        };
        let part = IndexPart {
            fixed: 0,
            index: 0,
            ranges: vec![EncodedRange::all()],
            descending: false,
            searched: true,
        };
        let index = RecordIndex::of_name("n").name();
        let selection = Selection::new(query("_limit=1000"));
        memory.scan_held.store(true, Ordering::SeqCst);
        let (names, set) = (vec![index], IndexSet::Part(part));
        let source = (ScanSource::Set { names, set }, Unserved::default());
        let scan = store.scan(BOOKS, source, selection);
        let remove = async {
            while !memory.scan_waits.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let none = indexed(folder.path(), &[]).resources;
            store.declare(&none).await.unwrap();
            store.settle_indexes().await;
            memory.scan_waits.store(false, Ordering::SeqCst);
        };
        assert_eq!(number(), Some(1));
        let (scanned, ()) = tokio::join!(scan, remove);
        let selected = scanned.unwrap().0.finish().unwrap();
        assert_eq!(selected.records.len(), 600);
        assert_eq!(number(), None);
        let again = indexed(folder.path(), &["n"]).resources;
        store.declare(&again).await.unwrap();
        store.assert_indexes().await;
        assert_eq!(
            number(),
            Some(2),
            "a thread may still have the first number"
        );
        running.stop().await;
    });
}
