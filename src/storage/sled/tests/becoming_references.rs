//! Fields that become references while the store runs, and writes meanwhile.

use std::collections::BTreeSet;

use futures_util::future::{join, join_all};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::indexing::{create, id, object};
use super::random_steps::{RuleStep, play_all, rule_steps};
use super::*;
use crate::record::{Absent, Field, FieldType, OnDelete, Reference};
use crate::storage::{PreparedResources, Resources, ResourcesFault};

const PARENTS: CollectionId = CollectionId(0);
const CHILDREN: CollectionId = CollectionId(1);
/// More records than one step adds to an index.
const MADE: u32 = 600;

fn resource(name: &str) -> ResourceSettings {
    ResourceSettings {
        ids: IdScheme::Client,
        ..ResourceSettings::at(&format!("/{name}"))
    }
}

/// The resources `a` and `b`, and whether the field `of` of `b` refers to records of `a`.
fn family(refers: bool) -> Resources {
    let mut b = resource("b");
    if refers {
        let reference = Reference {
            to: "a".to_owned(),
            ids: IdScheme::Client,
            on_delete: OnDelete::Restrict,
        };
        b.schema = Arc::new(Schema::from(vec![Field::new(
            "of",
            FieldType::Ref(reference),
        )]));
        b.indexes = vec![RecordIndex::of_name("of")];
    }
    [("a".to_owned(), resource("a")), ("b".to_owned(), b)].into()
}

async fn start(folder: &Path, resources: Resources, faults: &Faults) -> Running {
    let mut settings = Settings::default();
    settings.server.data = folder.to_owned();
    settings.resources = resources;
    let opener = Box::new(MemoryOpener(Arc::default()));
    let store = with_engine(opener, &settings, faults, &incidents(folder));
    Running::start(store).await
}

fn put(name: &str, value: &Value) -> WriteCommand {
    WriteCommand::Replace {
        id: id(name),
        json: object(value).text(&id(name)),
        absent: Absent::Create,
    }
}

fn delete(name: &str) -> WriteCommand {
    WriteCommand::Delete { id: id(name) }
}

impl SledStore {
    async fn done(&self, collection: CollectionId, command: WriteCommand) {
        let told = format!("{command:?}");
        let written = Store::write(self, write(collection, command)).await;
        written.unwrap_or_else(|error| panic!("{told}: {error}"));
    }

    /// Refuses the references, and returns the reason.
    async fn refused(&self, prepared: PreparedResources) -> String {
        match self.adopt(prepared).await {
            Err(fault @ ResourcesFault::Misfits(_)) => fault.to_string(),
            other => panic!("{other:?}"),
        }
    }
}

fn told(ids: &str) -> String {
    format!(
        "[resource.b] would get of as a reference to a, but {ids} refer by it to records that are not there. Change these records, bring the others back, or give of another type"
    )
}

#[test]
fn what_is_written_before_a_reference_is_declared_stands_against_it_as_it_is_then() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let running = start(folder.path(), family(false), &Faults::none()).await;
        let (store, wanted) = (&running.store, family(true));
        let prepare = || async { store.prepared(&wanted).await.unwrap() };
        store.done(PARENTS, create("p", &json!({}))).await;
        store.done(PARENTS, create("q", &json!({}))).await;
        for n in 0..MADE {
            let child = create(&format!("c{n:03}"), &json!({"of": "p"}));
            store.done(CHILDREN, child).await;
        }
        store
            .done(CHILDREN, create("none", &json!({"of": null})))
            .await;
        // A child of nothing, which stays.
        let prepared = prepare().await;
        store.done(CHILDREN, put("x", &json!({"of": "gone"}))).await;
        assert_eq!(store.refused(prepared).await, told("1 record (x)"));
        let refused = store.declare(&wanted).await.unwrap_err().to_string();
        assert_eq!(refused, told("1 record (x)"));
        // A parent that goes leaves its children; what nobody refers to may go.
        store.done(CHILDREN, put("x", &json!({"of": "p"}))).await;
        let prepared = prepare().await;
        store.done(PARENTS, delete("q")).await;
        store.done(PARENTS, delete("p")).await;
        let ids = format!("{} records (c000, c001, c002, ..)", MADE + 1);
        assert_eq!(store.refused(prepared).await, told(&ids));
        let refused = store.declare(&wanted).await.unwrap_err().to_string();
        assert_eq!(refused, told(&ids));
        assert_eq!(store.resources(), family(false));
        // What is mended in time counts no more.
        store.done(PARENTS, create("p", &json!({}))).await;
        let prepared = prepare().await;
        store.done(CHILDREN, put("x", &json!({"of": "gone"}))).await;
        store.done(PARENTS, delete("p")).await;
        store.done(CHILDREN, delete("x")).await;
        store.done(PARENTS, create("p", &json!({}))).await;
        store.adopt(prepared).await.unwrap();
        // From the first moment on, for every record.
        let schema = Arc::clone(&wanted["b"].schema);
        let late = Write {
            schema,
            ..write(CHILDREN, put("y", &json!({"of": "gone"})))
        };
        let late = Store::write(&**store, late).await.unwrap_err();
        assert!(
            matches!(late, StoreError::Refused(CommandError::Invalid(_))),
            "{late:?}"
        );
        let late = Store::write(&**store, write(PARENTS, delete("p")))
            .await
            .unwrap_err();
        assert!(
            matches!(late, StoreError::Refused(CommandError::Referenced { .. })),
            "{late:?}"
        );
        store.assert_indexes().await;
        running.stop().await;
    });
}

#[test]
fn a_reference_of_a_resource_that_comes_back_is_compared_again() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let running = start(folder.path(), family(true), &Faults::none()).await;
        let store = &running.store;
        store.done(PARENTS, create("p", &json!({}))).await;
        store.done(CHILDREN, create("c", &json!({"of": "p"}))).await;
        // Nobody keeps its references while it is not declared.
        let alone: Resources = [("a".to_owned(), resource("a"))].into();
        store.declare(&alone).await.unwrap();
        store.done(PARENTS, delete("p")).await;
        let refused = store.declare(&family(true)).await.unwrap_err().to_string();
        assert_eq!(refused, told("1 record (c)"));
        store.declare(&family(false)).await.unwrap();
        store.done(CHILDREN, delete("c")).await;
        store.declare(&family(true)).await.unwrap();
        running.stop().await;
    });
}

#[test]
fn an_index_that_was_only_tried_goes_again_also_if_its_resource_is_not_declared() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let running = start(folder.path(), family(false), &Faults::none()).await;
        let store = &running.store;
        let indexes = || {
            let kept = |open: &reader_state::OpenEngine| open.indexes.load().of(CHILDREN).len();
            store.holder.look(kept).unwrap()
        };
        store.done(CHILDREN, create("c", &json!({"of": "p"}))).await;
        let alone: Resources = [("a".to_owned(), resource("a"))].into();
        for now in [family(false), alone] {
            store.declare(&now).await.unwrap();
            assert_eq!(indexes(), 0);
            let refused = store.declare(&family(true)).await.unwrap_err().to_string();
            assert_eq!(refused, told("1 record (c)"));
            store.settle_indexes().await;
            while indexes() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        // One that was declared stays for the time when its resource is declared again.
        store.done(PARENTS, create("p", &json!({}))).await;
        for resources in [family(true), [("a".to_owned(), resource("a"))].into()] {
            store.declare(&resources).await.unwrap();
            store.settle_indexes().await;
            assert_eq!(indexes(), 1);
        }
        running.stop().await;
    });
}

/// A record of a client: a parent or a child, by its number, and of a child the number of its parent. It is put, or deleted.
#[derive(Debug, Clone, Copy)]
enum FamilyWrite {
    PutParent(u8),
    DeleteParent(u8),
    PutChild(u8, u8),
    DeleteChild(u8),
}

fn steps() -> impl Strategy<Value = Vec<RuleStep<FamilyWrite>>> {
    use FamilyWrite::{DeleteChild, DeleteParent, PutChild, PutParent};
    let write = prop_oneof![
        3 => (0_u8..4).prop_map(PutParent),
        1 => (0_u8..4).prop_map(DeleteParent),
        3 => (0_u8..8, 0_u8..4).prop_map(|(child, parent)| PutChild(child, parent)),
        2 => (0_u8..8).prop_map(DeleteChild),
    ];
    rule_steps(write)
}

/// The stored parents, and the parent of each stored child.
type Family = (BTreeSet<String>, BTreeMap<String, String>);

async fn stored(store: &SledStore) -> Family {
    let parents = store.all_of(PARENTS).await.into_iter();
    let parents = parents.map(|record| record.id.to_string());
    let children = store.all_of(CHILDREN).await.into_iter();
    let children = children.filter_map(|record| {
        let members = JsonObject::parse(&record.json).unwrap();
        let of = members.members().get("of")?.as_str()?.to_owned();
        Some((record.id.to_string(), of))
    });
    (parents.collect(), children.collect())
}

/// Has a client write one record after the other. Returns the parents that may have been absent or used at some time.
async fn client_writes(
    store: &SledStore,
    schema: &Arc<Schema>,
    writes: &[FamilyWrite],
) -> (Vec<String>, Vec<String>) {
    let (mut absent, mut used) = (Vec::new(), Vec::new());
    for write_of in writes {
        let (collection, command) = match write_of {
            FamilyWrite::PutParent(n) => (PARENTS, put(&format!("p{n}"), &json!({}))),
            FamilyWrite::DeleteParent(n) => {
                absent.push(format!("p{n}"));
                (PARENTS, delete(&format!("p{n}")))
            }
            FamilyWrite::PutChild(n, of) => {
                used.push(format!("p{of}"));
                (
                    CHILDREN,
                    put(&format!("c{n}"), &json!({"of": format!("p{of}")})),
                )
            }
            FamilyWrite::DeleteChild(n) => (CHILDREN, delete(&format!("c{n}"))),
        };
        let schema = if collection == CHILDREN {
            Arc::clone(schema)
        } else {
            Arc::default()
        };
        let written = Store::write(
            store,
            Write {
                schema,
                ..write(collection, command)
            },
        )
        .await;
        match written {
            Ok(_)
            | Err(StoreError::Refused(
                CommandError::Absent | CommandError::Invalid(_) | CommandError::Referenced { .. },
            )) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    (absent, used)
}

async fn play(steps: Vec<RuleStep<FamilyWrite>>) {
    let folder = tempfile::tempdir().unwrap();
    let faults = Faults::armed();
    let running = start(folder.path(), family(false), &faults).await;
    let store = &running.store;
    // Records that nobody writes.
    store.done(PARENTS, create("stays", &json!({}))).await;
    for n in 0..MADE {
        let child = create(&format!("made-{n}"), &json!({"of": "stays"}));
        store.done(CHILDREN, child).await;
    }
    let (mut refers, mut died) = (false, false);
    for step in steps {
        died |= step.dies.is_some();
        if let Some(point) = step.dies {
            faults.arm(point, 1);
        }
        faults.arm("storage.held_comparison", step.held);
        let (parents, children) = stored(store).await;
        let mut absent: BTreeSet<_> = (0..4).map(|n| format!("p{n}")).collect();
        absent.retain(|name| !parents.contains(name));
        let mut used: BTreeSet<_> = children.into_values().collect();
        let (wanted, schema) = (family(step.rule), Arc::clone(&family(refers)["b"].schema));
        let clients = step.clients.iter();
        let clients = clients.map(|writes| client_writes(store, &schema, writes));
        let (changed, done) = join(store.declare(&wanted), join_all(clients)).await;
        faults.arm("writer.message", 0);
        faults.arm("storage.held_comparison", 0);
        for (more_absent, more_used) in done {
            absent.extend(more_absent);
            used.extend(more_used);
        }
        let dangled = absent.intersection(&used).next().is_some();
        match changed {
            Ok(()) => refers = step.rule,
            Err(ResourcesFault::Misfits(found)) => {
                assert!(step.rule && dangled, "{found:?}");
            }
            Err(error) => assert!(died, "{error:?}"),
        }
        assert_eq!(store.resources(), family(refers));
        let (parents, children) = stored(store).await;
        let orphans = children.iter().filter(|(_, of)| !parents.contains(*of));
        let orphans: Vec<_> = orphans.collect();
        assert!(!refers || orphans.is_empty(), "{orphans:?}");
        if refers {
            let kept = Store::write(&**store, write(PARENTS, delete("stays"))).await;
            let kept = kept.unwrap_err();
            assert!(
                matches!(kept, StoreError::Refused(CommandError::Referenced { .. })),
                "{kept:?}"
            );
        }
    }
    store.assert_indexes().await;
    running.stop().await;
}

#[test]
fn whatever_is_written_meanwhile_a_reference_is_refused_or_leads_to_a_record() {
    play_all(32, steps(), play);
}
