//! Resources that are declared and undeclared while the store runs.

use futures_util::future::{join, join_all};
use proptest::prelude::*;

use super::random_steps::play_all;
use super::*;
use crate::record::{Bounds, Field, FieldType};
use crate::storage::{PreparedResources, Resources, ResourcesFault};

const NAMES: [&str; 3] = ["albums", "books", "pens"];

/// Rules by which `n` is at most this.
pub(super) fn at_most(max: i64) -> Arc<Schema> {
    let bounds = Bounds {
        min: None,
        max: Some(max),
    };
    Arc::new(Schema::from(vec![Field {
        required: true,
        ..Field::new("n", FieldType::Integer(bounds))
    }]))
}

/// Resources whose records have any members, or an `n` up to a number.
pub(super) fn declared(resources: &[(&str, Option<i64>)]) -> Resources {
    let settings = |(name, max): &(&str, Option<i64>)| {
        let settings = ResourceSettings {
            schema: max.map_or_else(Arc::default, at_most),
            ..ResourceSettings::at(&format!("/{name}"))
        };
        ((*name).to_owned(), settings)
    };
    resources.iter().map(settings).collect()
}

pub(super) async fn start(data: &Path, resources: Resources, faults: &Faults) -> Running {
    let mut settings = settings(data);
    settings.resources = resources;
    let opener = SledOpener::new(data.join("view"), settings.storage.cache_bytes);
    let store = with_engine(Box::new(opener), &settings, faults, &incidents(data));
    Running::start(store).await
}

impl SledStore {
    pub(super) async fn prepared(
        &self,
        resources: &Resources,
    ) -> Result<PreparedResources, ResourcesFault> {
        self.prepare(self.propose(resources)).await
    }

    pub(super) async fn declare(&self, resources: &Resources) -> Result<(), ResourcesFault> {
        let prepared = self.prepared(resources).await?;
        self.adopt(prepared).await
    }

    /// Creates a record with this `n`, by the rules of a request.
    pub(super) async fn create_by(
        &self,
        collection: CollectionId,
        schema: &Arc<Schema>,
        n: u32,
    ) -> Result<Record, StoreError> {
        let id = RecordId::from_uuid(uuid::Uuid::now_v7());
        let json = book(n).text(&id);
        let mut write = write(collection, WriteCommand::Create { id, json });
        write.schema = Arc::clone(schema);
        match Store::write(self, write).await? {
            Written::Created(record) => Ok(record),
            other @ (Written::Replaced(_)
            | Written::Deleted(_)
            | Written::DeletedMatching(_)
            | Written::PatchedMatching(_)) => {
                panic!("{other:?}")
            }
        }
    }

    pub(super) async fn all_of(&self, collection: CollectionId) -> Vec<Record> {
        let everything = ListQuery::default();
        self.query(collection, &everything).await.unwrap().records
    }
}

#[test]
fn a_resource_comes_and_goes_and_has_its_records_again() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let faults = Faults::armed();
        let first = declared(&[("books", None)]);
        let running = start(folder.path(), first.clone(), &faults).await;
        let store = &running.store;
        let books = store.collection("books").unwrap();
        let book_1 = store.create(books, book(1), None).await.unwrap();
        assert_eq!(store.collection("albums"), None);
        let both = declared(&[("albums", None), ("books", None)]);
        let proposed = store.propose(&both).collection("albums").unwrap();
        assert_eq!(store.all_of(proposed).await, [], "none yet, and no error");
        store.declare(&both).await.unwrap();
        assert_eq!(store.collection("albums"), Some(proposed));
        assert_eq!(store.collection("books"), Some(books));
        assert_eq!(store.resources(), both);
        let albums = store.collection("albums").unwrap();
        let album = store.create(albums, book(2), None).await.unwrap();
        store.declare(&declared(&[("albums", None)])).await.unwrap();
        assert_eq!(store.collection("books"), None);
        // Requests that began before end as they began.
        assert_eq!(store.get(books, &book_1.id).await, Ok(Some(book_1.clone())));
        let book_2 = store.create(books, book(3), None).await.unwrap();
        let shown: Arc<dyn Store> = Arc::<SledStore>::clone(store);
        let metrics = crate::telemetry::exposed(shown);
        assert!(metrics.contains("perennial_storage_records{resource=\"albums\"} 1\n"));
        assert!(!metrics.contains("resource=\"books\""), "{metrics}");
        // The engine is opened again, and the numbers stay.
        faults.arm("writer.before_view", 1);
        let album_2 = store.create(albums, book(4), None).await.unwrap();
        store.declare(&both).await.unwrap();
        assert_eq!(store.collection("books"), Some(books));
        assert_eq!(store.all_of(books).await, [book_1.clone(), book_2.clone()]);
        assert_eq!(store.all_of(albums).await, [album.clone(), album_2.clone()]);
        running.stop().await;
        let running = start(folder.path(), first, &Faults::none()).await;
        let store = &running.store;
        assert_eq!(store.collection("albums"), None);
        store.declare(&both).await.unwrap();
        let albums = store.collection("albums").unwrap();
        assert_eq!(store.all_of(albums).await, [album, album_2]);
        assert_eq!(
            store.all_of(store.collection("books").unwrap()).await,
            [book_1, book_2]
        );
        running.stop().await;
    });
}

#[test]
fn rules_that_stored_records_break_are_refused_and_nothing_changes() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let wide = declared(&[("books", None)]);
        let running = start(folder.path(), wide.clone(), &Faults::none()).await;
        let store = &running.store;
        let books = store.collection("books").unwrap();
        let mut created = Vec::new();
        for n in [1, 5, 6, 7, 8] {
            created.push(store.create(books, book(n), None).await.unwrap());
        }
        let narrow = declared(&[("albums", None), ("books", Some(4))]);
        let refused = store.declare(&narrow).await.unwrap_err().to_string();
        let ids: Vec<_> = created[1..4].iter().map(|it| it.id.to_string()).collect();
        let ids = ids.join(", ");
        let text = format!(
            "[resource.books] would get rules that 4 records ({ids}, ..) break: n must be at most 4: 4 records ({ids}, \
             ..). Change these records, or the rules"
        );
        assert_eq!(refused, text);
        assert_eq!(store.resources(), wide);
        assert_eq!(store.collection("albums"), None);
        store.create(books, book(9), None).await.unwrap();
        // Records that break the rules of now don't stand against others.
        let wide = declared(&[("books", Some(9))]);
        store.declare(&wide).await.unwrap();
        let refused = store.declare(&declared(&[("books", Some(7))])).await;
        assert!(refused.unwrap_err().to_string().contains("2 records"));
        running.stop().await;
        let wrong = declared(&[("books", Some(7))]);
        let running = start(folder.path(), wrong, &Faults::none()).await;
        running
            .store
            .declare(&declared(&[("books", Some(6))]))
            .await
            .unwrap_err();
        // Those that break one rule already count if they break a new one.
        let mut longer = declared(&[("books", Some(7))]);
        let isbn = Field {
            required: true,
            ..Field::new("isbn", FieldType::Boolean)
        };
        let mut fields = match &*at_most(7) {
            Schema::Fields(fields) => fields.list.clone(),
            Schema::Any => Vec::new(),
        };
        fields.push(isbn);
        longer.get_mut("books").unwrap().schema = Arc::new(Schema::from(fields));
        let refused = running
            .store
            .declare(&longer)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("isbn must be there: 6 records"),
            "{refused}"
        );
        let mut other = declared(&[("books", Some(7))]);
        other.get_mut("books").unwrap().ids = IdScheme::Client;
        running.store.declare(&other).await.unwrap();
        running.stop().await;
    });
}

#[test]
fn ids_that_no_request_could_name_are_refused() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let running = Running::on_sled(folder.path(), &Faults::none()).await;
        let store = &running.store;
        let id = Some(RecordId::Number(1));
        store.create(BOOKS, book(1), id).await.unwrap();
        let refused = store.declare(&declared(&[("books", None)])).await;
        let refused = refused.unwrap_err().to_string();
        assert!(
            refused.contains("id = \"uuidv7\", but 1 record (1)"),
            "{refused}"
        );
        assert_eq!(store.resources()["books"].ids, IdScheme::Sequence);
        running.stop().await;
    });
}

#[test]
fn a_write_between_the_two_steps_counts_and_a_late_one_keeps_the_new_rules() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let running = start(folder.path(), declared(&[("books", None)]), &Faults::none()).await;
        let store = &running.store;
        let books = store.collection("books").unwrap();
        let (old, narrow) = (Arc::default(), declared(&[("books", Some(4))]));
        let prepared = store.prepared(&narrow).await.unwrap();
        let wrong = store.create_by(books, &old, 5).await.unwrap();
        let refused = store.adopt(prepared).await;
        assert!(
            matches!(refused, Err(ResourcesFault::Misfits(_))),
            "{refused:?}"
        );
        store.delete(books, &wrong.id).await.unwrap();
        // One that is given up leaves nothing behind.
        drop(store.prepared(&narrow).await.unwrap());
        let wrong = store.create_by(books, &old, 5).await.unwrap();
        store.delete(books, &wrong.id).await.unwrap();
        // Only the last that was prepared can be adopted.
        let first = store.prepared(&narrow).await.unwrap();
        let second = store.prepared(&narrow).await.unwrap();
        assert_eq!(store.adopt(first).await, Err(ResourcesFault::Overtaken));
        store.create_by(books, &old, 4).await.unwrap();
        store.adopt(second).await.unwrap();
        let late = store.create_by(books, &old, 5).await;
        assert!(
            matches!(&late, Err(StoreError::Refused(CommandError::Invalid(broken))) if broken.len() == 1),
            "{late:?}"
        );
        store.create_by(books, &old, 3).await.unwrap();
        assert_eq!(store.all_of(books).await.len(), 2);
        running.stop().await;
    });
}

#[test]
fn a_writer_that_dies_on_the_way_leaves_one_of_the_two() {
    run(async {
        for point in ["writer.message", "writer.after_view"] {
            let folder = tempfile::tempdir().unwrap();
            let faults = Faults::armed();
            let running = start(folder.path(), declared(&[("books", None)]), &faults).await;
            let store = &running.store;
            let both = declared(&[("albums", Some(1)), ("books", None)]);
            let prepared = store.prepared(&both).await.unwrap();
            faults.arm(point, 1);
            store.adopt(prepared).await.unwrap();
            assert_eq!(faults.points()[point], 0, "it has died");
            assert_eq!(store.resources(), both);
            let prepared = store
                .prepared(&declared(&[("albums", Some(1))]))
                .await
                .unwrap();
            // It dies twice on the message, which is given up.
            faults.arm("writer.declaring", 2);
            let failed = ResourcesFault::Store(StoreError::Crashed);
            assert_eq!(store.adopt(prepared).await, Err(failed));
            assert_eq!(store.resources(), both);
            store
                .declare(&declared(&[("albums", Some(1))]))
                .await
                .unwrap();
            assert_eq!(store.collection("books"), None);
            running.stop().await;
        }
    });
}

/// The resources that are declared, each with the greatest `n` if there is one.
type Declared = [Option<Option<i64>>; 3];

#[derive(Debug, Clone)]
struct DeclaringStep {
    next: Declared,
    /// Resource and `n`, written at the same time.
    writes: Vec<(usize, u32)>,
    /// The point at which the writer dies.
    dies: Option<&'static str>,
    /// Whether the process is restarted before.
    restart: bool,
}

fn steps() -> impl Strategy<Value = Vec<DeclaringStep>> {
    let one = prop::option::weighted(0.7, prop::option::of(1_i64..3));
    let points = vec!["writer.message", "writer.before_view", "writer.after_view"];
    let step = (
        [one.clone(), one.clone(), one],
        prop::collection::vec((0_usize..3, 0_u32..4), 0..12),
        prop::option::weighted(0.2, prop::sample::select(points)),
        prop::bool::weighted(0.1),
    );
    let step = step.prop_map(|(next, writes, dies, restart)| DeclaringStep {
        next,
        writes,
        dies,
        restart,
    });
    prop::collection::vec(step, 1..7)
}

fn resources_of(of: Declared) -> Resources {
    let named = NAMES.iter().zip(of);
    let named: Vec<_> = named
        .filter_map(|(name, max)| Some((*name, max?)))
        .collect();
    declared(&named)
}

async fn play(steps: Vec<DeclaringStep>) {
    let folder = tempfile::tempdir().unwrap();
    let faults = Faults::armed();
    let mut now: Declared = [None, Some(None), None];
    let mut expected: [BTreeMap<RecordId, u32>; 3] = Default::default();
    let mut running = start(folder.path(), resources_of(now), &faults).await;
    // The store may still be opened again when the next step begins.
    let mut died = false;
    for step in steps {
        died |= step.dies.is_some();
        if step.restart {
            running.stop().await;
            running = start(folder.path(), resources_of(now), &faults).await;
        }
        let store = &running.store;
        if let Some(point) = step.dies {
            faults.arm(point, 1);
        }
        let resources = resources_of(step.next);
        let rules = store.resources();
        let writes = step.writes.iter().filter_map(|(at, n)| {
            let rules = &rules.get(NAMES[*at])?.schema;
            let may = now[*at].flatten().is_none_or(|max| i64::from(*n) <= max);
            let collection = store.collection(NAMES[*at]).filter(|_| may)?;
            Some(async move { (*at, *n, store.create_by(collection, rules, *n).await) })
        });
        let (changed, written) = join(store.declare(&resources), join_all(writes)).await;
        faults.arm("writer.message", 0);
        let fits = |at: usize, n: u32| {
            let max = step.next[at].flatten();
            max.is_none_or(|max| i64::from(n) <= max)
        };
        for (at, n, written) in written {
            match written {
                Ok(record) => drop(expected[at].insert(record.id, n)),
                Err(StoreError::Refused(CommandError::Invalid(_))) => {
                    assert!(changed.is_ok() && !fits(at, n), "{at} {n}");
                }
                Err(error) => panic!("{error:?}"),
            }
        }
        let misfit = |at: usize| expected[at].values().any(|n| !fits(at, *n));
        let any_misfit = (0..3).any(|at| step.next[at].is_some() && misfit(at));
        match changed {
            Ok(()) => {
                assert!(!any_misfit, "{expected:?}");
                now = step.next;
            }
            Err(ResourcesFault::Misfits(found)) => assert!(any_misfit, "{found:?}"),
            Err(ResourcesFault::Overtaken) => panic!("nobody else declares"),
            Err(ResourcesFault::Store(error)) => assert!(died, "{error:?}"),
        }
        assert_eq!(store.resources(), resources_of(now));
        for (at, name) in NAMES.iter().enumerate() {
            let collection = store.collection(name);
            assert_eq!(collection.is_some(), now[at].is_some());
            if let Some(collection) = collection {
                let all = store.all_of(collection).await;
                let ids: Vec<_> = all.into_iter().map(|record| record.id).collect();
                let expected: Vec<_> = expected[at].keys().cloned().collect();
                assert_eq!(ids, expected, "{name}");
            }
        }
    }
    running.stop().await;
}

#[test]
fn whatever_is_declared_while_records_are_written_no_record_is_lost_or_breaks_a_rule() {
    play_all(24, steps(), play);
}
