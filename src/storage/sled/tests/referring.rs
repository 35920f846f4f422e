//! References between records: what is refused, and what becomes of the records that refer to a deleted one, against a model.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::record::{
    Absent, Atomicity, Field, FieldType, OnDelete, REFERRING_MAX, Reference, RuleViolation,
};
use crate::storage::WriteBatch;

/// The name of a field, what it refers to, and the effect of a deletion.
type ReferringField = (&'static str, &'static str, OnDelete);

/// The resources, with their fields that refer to others.
const RESOURCES: [(&str, &[ReferringField]); 4] = [
    ("a", &[]),
    (
        "b",
        &[
            ("of", "a", OnDelete::Cascade),
            ("parent", "b", OnDelete::SetNull),
        ],
    ),
    ("c", &[("of", "b", OnDelete::Restrict)]),
    (
        "d",
        &[
            ("first", "c", OnDelete::Cascade),
            ("second", "a", OnDelete::SetNull),
            ("third", "d", OnDelete::Cascade),
        ],
    ),
];
const IDS: u64 = 5;

type Key = (usize, u64);
type Model = BTreeMap<Key, BTreeMap<&'static str, Option<u64>>>;

fn schema(references: &[ReferringField]) -> Schema {
    let field = |(name, to, on_delete): &ReferringField| {
        let reference = Reference {
            to: (*to).to_owned(),
            ids: IdScheme::Sequence,
            on_delete: *on_delete,
        };
        Field::new(name, FieldType::Ref(reference))
    };
    Schema::from(references.iter().map(field).collect::<Vec<_>>())
}

fn referring(data: &Path) -> Settings {
    let mut settings = Settings::default();
    settings.server.data = data.to_owned();
    for (name, references) in RESOURCES {
        let fields = references.iter().map(|(field, ..)| field);
        let resource = ResourceSettings {
            ids: IdScheme::Sequence,
            schema: Arc::new(schema(references)),
            indexes: fields.map(|field| RecordIndex::of_name(field)).collect(),
            ..ResourceSettings::at(&format!("/{name}"))
        };
        settings.resources.insert(name.to_owned(), resource);
    }
    settings
}

fn number_of(name: &str) -> usize {
    let found = RESOURCES.iter().position(|(known, _)| *known == name);
    found.unwrap()
}

/// The references of a record of the model, each with the record that it leads to.
fn targets(model: &Model, key: Key) -> Vec<(&'static str, Key, OnDelete)> {
    let of = RESOURCES[key.0].1.iter();
    let found = of.filter_map(|(field, to, on_delete)| {
        let id = model[&key].get(field).copied().flatten()?;
        Some((*field, (number_of(to), id), *on_delete))
    });
    found.collect()
}

/// Puts a record into the model; false if it would refer to nothing.
fn put(model: &mut Model, key: Key, refs: BTreeMap<&'static str, Option<u64>>) -> bool {
    let before = model.get(&key).cloned();
    let dangles = RESOURCES[key.0].1.iter().any(|(field, to, _)| {
        let id = refs.get(field).copied().flatten();
        let to = id.map(|id| (number_of(to), id));
        to.is_some_and(|to| to != key && !model.contains_key(&to))
    });
    assert!(before.is_none_or(|before| before.keys().all(|name| !name.is_empty())));
    if !dangles {
        model.insert(key, refs);
    }
    !dangles
}

/// Deletes from the model: the least set of records that is closed under cascade goes, unless a record that stays is in the way.
fn remove(model: &mut Model, key: Key) -> bool {
    let mut gone = BTreeSet::from([key]);
    loop {
        let more = model.keys().copied().filter(|key| {
            let mut refs = targets(model, *key).into_iter();
            refs.any(|(_, to, effect)| effect == OnDelete::Cascade && gone.contains(&to))
        });
        let more: BTreeSet<_> = more.filter(|key| !gone.contains(key)).collect();
        if more.is_empty() {
            break;
        }
        gone.extend(more);
    }
    let staying: Vec<_> = model
        .keys()
        .copied()
        .filter(|key| !gone.contains(key))
        .collect();
    let hits: Vec<_> = staying
        .into_iter()
        .flat_map(|key| targets(model, key).into_iter().map(move |hit| (key, hit)))
        .filter(|(_, (_, to, _))| gone.contains(to))
        .collect();
    if hits
        .iter()
        .any(|(_, (.., effect))| *effect == OnDelete::Restrict)
    {
        return false;
    }
    for (key, (field, ..)) in hits {
        model.get_mut(&key).unwrap().insert(field, None);
    }
    model.retain(|key, _| !gone.contains(key));
    true
}

fn text(id: u64, refs: &BTreeMap<&'static str, Option<u64>>) -> Bytes {
    let object = JsonObject::parse(json!(refs).to_string().as_bytes()).unwrap();
    object.text(&RecordId::Number(id))
}

fn outcome(result: &Result<Written, CommandError>) -> &'static str {
    match result {
        Ok(_) => "done",
        Err(CommandError::Absent) => "absent",
        Err(CommandError::Duplicate { .. }) => "duplicate",
        Err(CommandError::Invalid(_)) => "dangling",
        Err(CommandError::Referenced { .. }) => "referenced",
        Err(other) => panic!("{other}"),
    }
}

async fn stored(store: &SledStore) -> BTreeMap<Key, Value> {
    let mut all = BTreeMap::new();
    for (number, (name, _)) in RESOURCES.iter().enumerate() {
        let collection = store.collection(name).unwrap();
        for id in 0..IDS {
            if let Some(record) = store.get(collection, &RecordId::Number(id)).await.unwrap() {
                let json = serde_json::from_slice(&record.json).unwrap();
                all.insert((number, id), json);
            }
        }
    }
    all
}

#[expect(
    clippy::too_many_lines,
    reason = "a step is made, expected and compared"
)]
#[test]
fn random_commands_leave_no_reference_to_nothing() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let memory = Arc::<Memory>::default();
        let opener = Box::new(MemoryOpener(Arc::clone(&memory)));
        let (settings, none) = (referring(folder.path()), Faults::none());
        let made = with_engine(opener, &settings, &none, &incidents(folder.path()));
        let running = Running::start(made).await;
        let store = &running.store;
        let mut random = fastrand::Rng::with_seed(7);
        let mut model = Model::new();
        let mut seen = BTreeMap::<_, usize>::new();
        for step in 0..1_500 {
            let resource = random.usize(..RESOURCES.len());
            let (name, references) = RESOURCES[resource];
            let collection = store.collection(name).unwrap();
            let count = if random.u8(..4) == 0 { 3 } else { 1 };
            let (mut commands, mut expected) = (Vec::new(), Vec::new());
            for _ in 0..count {
                let key = (resource, random.u64(..IDS));
                let id = RecordId::Number(key.1);
                let there = model.contains_key(&key);
                let refs: BTreeMap<_, _> = references
                    .iter()
                    .map(|(field, ..)| (*field, (random.u8(..4) > 0).then(|| random.u64(..IDS))))
                    .collect();
                let json = text(key.1, &refs);
                let kind = random.u8(..5);
                let put = |model: &mut Model| {
                    if put(model, key, refs) {
                        "done"
                    } else {
                        "dangling"
                    }
                };
                expected.push(match kind {
                    0 | 1 if there => "duplicate",
                    0 | 1 => put(&mut model),
                    _ if !there => "absent",
                    2 => put(&mut model),
                    _ if remove(&mut model, key) => "done",
                    _ => "referenced",
                });
                let absent = Absent::Refuse;
                commands.push(match kind {
                    0 | 1 => WriteCommand::Create { id, json },
                    2 => WriteCommand::Replace { id, json, absent },
                    _ => WriteCommand::Delete { id },
                });
            }
            let schema = Arc::new(schema(references));
            let writes = commands.into_iter().map(|command| Write {
                schema: Arc::clone(&schema),
                ..write(collection, command)
            });
            let batch = WriteBatch {
                atomicity: Atomicity::Each,
                ..WriteBatch::all(writes.collect())
            };
            let results = store.write_batch(batch).await.unwrap().results;
            let found: Vec<_> = results.iter().map(outcome).collect();
            assert_eq!(found, expected, "step {step} of {name}");
            for outcome in found {
                *seen.entry(outcome).or_default() += 1;
            }
            let expected: BTreeMap<_, _> = model
                .iter()
                .map(|(key, refs)| {
                    let text = text(key.1, refs);
                    (*key, serde_json::from_slice::<Value>(&text).unwrap())
                })
                .collect();
            assert_eq!(stored(store).await, expected, "step {step} of {name}");
        }
        assert!(
            seen.len() == 5 && seen.values().all(|n| *n > 20),
            "{seen:?}"
        );
        running.stop().await;
    });
}

#[test]
fn a_deletion_that_reaches_too_far_is_refused() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let memory = Arc::<Memory>::default();
        let opener = Box::new(MemoryOpener(Arc::clone(&memory)));
        let (settings, none) = (referring(folder.path()), Faults::none());
        let made = with_engine(opener, &settings, &none, &incidents(folder.path()));
        let running = Running::start(made).await;
        let store = &running.store;
        let [a, b] = ["a", "b"].map(|name| store.collection(name).unwrap());
        let number = RecordId::Number;
        let empty = JsonObject::default();
        store
            .create(a, empty.clone(), Some(number(0)))
            .await
            .unwrap();
        let child = JsonObject::parse(br#"{"of":0}"#).unwrap();
        let children = u64::try_from(REFERRING_MAX).unwrap();
        for id in 0..=children {
            store
                .create(b, child.clone(), Some(number(id)))
                .await
                .unwrap();
        }
        let refused = store.delete(a, &number(0)).await.unwrap_err();
        assert_eq!(refused, StoreError::Refused(CommandError::TooManyReferring));
        assert!(store.get(b, &number(0)).await.unwrap().is_some());
        store.delete(b, &number(5)).await.unwrap();
        store.delete(a, &number(0)).await.unwrap();
        for id in [0, children] {
            assert_eq!(store.get(b, &number(id)).await.unwrap(), None);
        }
        let dangling = store.create(b, child, Some(number(1))).await.unwrap_err();
        let violation = RuleViolation::dangling("of", "a", &number(0));
        let expected = StoreError::Refused(CommandError::Invalid(vec![violation]));
        assert_eq!(dangling, expected);
        running.stop().await;
    });
}
