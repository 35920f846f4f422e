//! Stores that an older release wrote.

use std::fs;

use super::super::checked::{SCHEMA, SCHEMA_KEY};
use super::super::database::SledEngine;
use super::super::engine::{Engine as _, Group};
use super::super::stored_record::StoredRecord;
use super::opening::{Damage, flip, make, segments, used};
use super::*;
use crate::storage::{Moment, restore_folder};

#[test]
fn a_store_of_the_format_before_is_taken_over() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let old = SledEngine::open(&folder.path().join("sled"), 1 << 20, &names()).unwrap();
        let mut group = Group::default();
        for n in 1..=20_u64 {
            let record = StoredRecord {
                seq: n,
                created_ms: n,
                updated_ms: n,
                json: format!("{{\"n\":{n}}}").into(),
            };
            let key = RecordId::Number(n).key().into_owned();
            group.put(Keyspace::Records(BOOKS), key, record.encode());
        }
        group.put(Keyspace::Meta, &b"schema"[..], 2_u32.to_be_bytes().to_vec());
        group.put(
            Keyspace::Meta,
            &b"last_seq"[..],
            20_u64.to_be_bytes().to_vec(),
        );
        group.put(
            Keyspace::Meta,
            &b"next/books"[..],
            31_u64.to_be_bytes().to_vec(),
        );
        old.commit(&group).unwrap();
        old.flush().unwrap();
        drop(old);
        let running = Running::on_sled(folder.path(), &Faults::none()).await;
        let records = running.all().await;
        assert_eq!(records.len(), 20);
        assert_eq!(records[4].revision.0, 5);
        running.stop().await;
        assert!(!folder.path().join("sled").exists(), "moved aside");
        let running = Running::on_sled(folder.path(), &Faults::none()).await;
        assert_eq!(running.all().await, records);
        running.stop().await;
    });
}

/// An older release must not use a view whose indexes it would not keep.
#[test]
fn a_view_of_the_version_before_gets_the_version_that_has_indexes() {
    let ways: [Damage; 2] = [
        ("nothing", |_| {}),
        ("the last change is damaged", |data| {
            let last = segments(data).pop().unwrap();
            flip(&last, used(&last) - 5);
        }),
    ];
    for (name, damage) in ways {
        run(async move {
            let folder = tempfile::tempdir().unwrap();
            let records = make(folder.path()).await;
            let snapshots =
                || fs::read_dir(folder.path().join("snapshots")).map_or(0, Iterator::count);
            assert_eq!(snapshots(), 0);
            let view = folder.path().join("view");
            let open = || SledEngine::open(&view, 1 << 20, &names()).unwrap();
            let engine = open();
            let mut group = Group::default();
            group.put(Keyspace::Meta, SCHEMA_KEY, 3_u32.to_be_bytes().to_vec());
            engine.commit(&group).unwrap();
            engine.flush().unwrap();
            drop(engine);
            damage(folder.path());
            let settings = indexed(folder.path(), &["n"]);
            let running =
                Running::start(sled_with(folder.path(), &settings, &Faults::none())).await;
            assert_eq!(running.all().await, records, "{name}");
            running.store.assert_indexes().await;
            running.stop().await;
            assert!(snapshots() > 0, "{name}: a snapshot comes before the step");
            // Back to the moment before: by the snapshot, without what came after it.
            let last = records
                .iter()
                .map(|record| record.revision.0)
                .max()
                .unwrap();
            let back = tempfile::tempdir().unwrap();
            restore_folder(folder.path(), Moment::Change(last), back.path()).unwrap();
            let taken_back = Running::on_sled(back.path(), &Faults::none()).await;
            assert_eq!(taken_back.all().await, records, "{name}");
            taken_back.stop().await;
            let version = open().get(Keyspace::Meta, SCHEMA_KEY).unwrap();
            assert_eq!(version.unwrap()[..], SCHEMA.to_be_bytes(), "{name}");
        });
    }
}
