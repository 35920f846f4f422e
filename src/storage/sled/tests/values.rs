//! Bodies of every length: they are read whole, and leave no chunks behind when they are replaced or removed.

use super::super::database::SledEngine;
use super::super::engine::{Engine, Group, Keyspace};
use super::super::read_error::ReadError;
use super::super::stored_record::StoredRecord;
use super::super::value::{self, Before, CHUNK_BYTES};
use super::memory::MemoryEngine;
use super::*;

const MIB: usize = 1 << 20;

fn record(seq: u64, bytes: usize) -> StoredRecord {
    // No two chunks are alike.
    let json = (0..bytes).map(|n| u8::try_from((n / 7 + n / CHUNK_BYTES) % 251).unwrap());
    StoredRecord {
        seq,
        created_ms: 1,
        updated_ms: seq,
        json: json.collect(),
    }
}

fn before(engine: &dyn Engine, group: &Group, id: &[u8]) -> Before {
    let current = value::read(engine, Some(group), BOOKS, id).unwrap();
    Before::look(engine, group, BOOKS, id, current.as_ref()).unwrap()
}

fn write(engine: &dyn Engine, id: &[u8], record: Option<&StoredRecord>) -> Group {
    let mut group = Group::default();
    let before = before(engine, &group, id);
    match record {
        Some(record) => before.put(&mut group, record),
        None => before.remove(&mut group),
    }
    group
}

fn keys(engine: &dyn Engine, keyspace: Keyspace) -> usize {
    let mut keys = 0;
    let mut largest = 0;
    engine
        .scan(keyspace, &[], &mut |_, value| {
            keys += 1;
            largest = largest.max(value.len());
            true
        })
        .unwrap();
    assert!(largest <= CHUNK_BYTES, "{largest}");
    keys
}

fn lengths_come_and_go(engine: &dyn Engine) {
    // One neighbour's id is the beginning of the id, the other begins with it.
    let (id, neighbours) = (b"dune".as_slice(), [b"dun".as_slice(), b"dune-2"]);
    for neighbour in neighbours {
        let group = write(engine, neighbour, Some(&record(1, 10_000)));
        engine.commit(&group).unwrap();
    }
    let lengths = [
        100, 4_065, 4_066, 4_067, 4_096, 8_192, 8_193, 60_000, 300, MIB, 5_000, MIB, 1,
    ];
    for (seq, bytes) in (2..).zip(lengths) {
        let new = record(seq, bytes);
        let group = write(engine, id, Some(&new));
        assert!(group.bytes() >= bytes, "chunks count");
        engine.commit(&group).unwrap();
        let read = value::read(engine, None, BOOKS, id).unwrap();
        assert_eq!(read, Some(new), "{bytes}");
        let chunks = if bytes <= 4_066 {
            0
        } else {
            bytes.div_ceil(CHUNK_BYTES)
        };
        assert_eq!(keys(engine, Keyspace::Chunks(BOOKS)), chunks + 6, "{bytes}");
    }
    let group = write(engine, id, Some(&record(99, MIB)));
    engine.commit(&group).unwrap();
    engine.commit(&write(engine, id, None)).unwrap();
    assert_eq!(value::read(engine, None, BOOKS, id).unwrap(), None);
    assert_eq!(keys(engine, Keyspace::Chunks(BOOKS)), 6, "the neighbours'");
    assert_eq!(keys(engine, Keyspace::Records(BOOKS)), 2);
    for neighbour in neighbours {
        let read = value::read(engine, None, BOOKS, neighbour).unwrap();
        assert_eq!(read, Some(record(1, 10_000)));
    }
}

#[test]
fn a_body_of_any_length_is_read_whole_and_leaves_no_chunks_behind() {
    lengths_come_and_go(&MemoryEngine::new(Arc::default(), &names()));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sled");
    let engine = SledEngine::open(&path, 16 << 20, &names()).unwrap();
    lengths_come_and_go(&engine);
    engine.flush().unwrap();
    let blobs = std::fs::read_dir(path.join("blobs")).unwrap().count();
    assert_eq!(blobs, 0, "no page became a file of its own");
}

#[test]
fn a_group_sees_its_own_chunks() {
    let engine = MemoryEngine::new(Arc::default(), &names());
    let mut group = write(&engine, b"x", Some(&record(1, 9_000)));
    let read = |group: &Group| value::read(&engine, Some(group), BOOKS, b"x").unwrap();
    assert_eq!(read(&group), Some(record(1, 9_000)));
    let again = before(&engine, &group, b"x");
    again.put(&mut group, &record(2, 20_000));
    assert_eq!(read(&group), Some(record(2, 20_000)));
    engine.commit(&group).unwrap();
    assert_eq!(keys(&engine, Keyspace::Chunks(BOOKS)), 5);
    let mut group = Group::default();
    for remove in [false, true] {
        let before = before(&engine, &group, b"x");
        if remove {
            before.remove(&mut group);
        } else {
            before.put(&mut group, &record(3, 50_000));
        }
    }
    assert_eq!(read(&group), None);
    engine.commit(&group).unwrap();
    assert_eq!(keys(&engine, Keyspace::Chunks(BOOKS)), 0);
}

#[test]
fn a_chunk_that_is_missing_cut_or_changed_is_damage() {
    let good = record(1, 9_000);
    for damage in [
        |chunks: &mut Vec<u8>| chunks.clear(),
        |chunks: &mut Vec<u8>| chunks.truncate(chunks.len() - 1),
        |chunks: &mut Vec<u8>| chunks[7] ^= 4,
        |chunks: &mut Vec<u8>| chunks.push(0),
    ] {
        for n in 0..3 {
            let engine = MemoryEngine::new(Arc::default(), &names());
            let group = write(&engine, b"x", Some(&good));
            engine.commit(&group).unwrap();
            let mut keyspaces = engine.0.keyspaces.lock();
            let chunks = keyspaces.get_mut(&Keyspace::Chunks(BOOKS)).unwrap();
            damage(chunks.values_mut().nth(n).unwrap());
            drop(keyspaces);
            let read = value::read(&engine, None, BOOKS, b"x");
            assert!(matches!(read, Err(ReadError::Damaged { .. })));
        }
    }
}

#[test]
fn a_long_body_is_read_listed_and_deleted_like_a_short_one() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let running = Running::on_sled(folder.path(), &Faults::none()).await;
        let text = format!("{{\"t\":\"{}\"}}", "x".repeat(MIB - 100));
        let long = || JsonObject::parse(text.as_bytes()).unwrap();
        let creates = (0..4).map(|_| running.store.create(BOOKS, long(), None));
        let mut made = Vec::new();
        for created in futures_util::future::join_all(creates).await {
            made.push(created.unwrap());
        }
        made.sort_by(|a, b| a.id.cmp(&b.id));
        running.stop().await;
        let running = Running::on_sled(folder.path(), &Faults::none()).await;
        assert_eq!(running.all().await, made);
        let got = running.store.get(BOOKS, &made[0].id).await;
        assert_eq!(got, Ok(Some(made[0].clone())));
        for record in &made {
            let deleted = running.store.delete(BOOKS, &record.id).await;
            assert_eq!(deleted, Ok(Some(record.clone())));
        }
        running.stop().await;
        let engine = SledEngine::open(&folder.path().join("view"), 1 << 20, &names()).unwrap();
        assert_eq!(keys(&engine, Keyspace::Chunks(BOOKS)), 0);
    });
}
