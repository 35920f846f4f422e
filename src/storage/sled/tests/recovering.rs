//! The check at each open: it settles the tail of a group that was cut off, and refuses what does not fit together.

use std::sync::Arc;

use bytes::Bytes;

use super::super::engine::{Engine, Group, Keyspace, OpenFault};
use super::super::log::{LogEntry, seq_key};
use super::super::recovery::{self, LAST_SEQ_KEY, SCHEMA_KEY, Tally, tally_key};
use super::super::stored_record::StoredRecord;
use super::BOOKS;
use super::memory::MemoryEngine;
use crate::storage::ChangeKind;
use crate::supervision::MessageId;

pub(super) fn names() -> Vec<String> {
    vec!["books".to_owned()]
}

/// The figures of a resource whose records are all `{}`.
pub(super) fn tally(records: u64, seq: u64) -> Tally {
    let bytes = 2 * records;
    Tally {
        records,
        seq,
        bytes,
    }
}

/// An engine with `acknowledged` changes, each of which made the record of its number.
fn with_records(acknowledged: u64) -> MemoryEngine {
    let engine = MemoryEngine(Arc::default());
    let mut group = Group::default();
    for seq in 1..=acknowledged {
        put(&mut group, seq, seq, ChangeKind::Put);
    }
    let tally = tally(acknowledged, acknowledged);
    group.put(Keyspace::Meta, SCHEMA_KEY, 1_u32.to_be_bytes().to_vec());
    group.put(Keyspace::Meta, LAST_SEQ_KEY, seq_key(acknowledged).to_vec());
    group.put(Keyspace::Meta, tally_key("books"), tally.encode());
    engine.commit(&group, &|| true).unwrap();
    engine
}

pub(super) fn put(group: &mut Group, seq: u64, id: u64, kind: ChangeKind) {
    log(group, seq, id, kind);
    let json = Bytes::from_static(b"{}");
    let record = StoredRecord {
        seq,
        created_ms: 0,
        updated_ms: 0,
        json,
    };
    group.put(Keyspace::Records(BOOKS), id.to_string(), record.encode());
}

fn log(group: &mut Group, seq: u64, id: u64, kind: ChangeKind) {
    let message = MessageId(seq.into());
    let (collection, id) = ("books".to_owned(), id.to_string().into_bytes());
    let entry = LogEntry {
        kind,
        message,
        at_ms: 0,
        collection,
        id,
    };
    group.put(Keyspace::Log, seq_key(seq), entry.encode());
}

pub(super) fn logged(engine: &MemoryEngine) -> Vec<u64> {
    let mut seqs = Vec::new();
    engine
        .scan(Keyspace::Log, &[], &mut |key, _| {
            seqs.push(u64::from_be_bytes(key.try_into().unwrap()));
            true
        })
        .unwrap();
    seqs
}

#[test]
fn each_command_of_a_torn_group_is_settled_by_what_was_applied() {
    let engine = with_records(3);
    let mut torn = Group::default();
    put(&mut torn, 4, 4, ChangeKind::Put); // its effect is there
    log(&mut torn, 5, 5, ChangeKind::Put); // it is not
    log(&mut torn, 6, 1, ChangeKind::Delete); // record 1 is still there
    log(&mut torn, 7, 2, ChangeKind::Delete); // record 2 is gone
    torn.remove(Keyspace::Records(BOOKS), "2");
    log(&mut torn, 8, 9, ChangeKind::Put); // overtaken by the next
    put(&mut torn, 9, 9, ChangeKind::Put);
    engine.commit(&torn, &|| true).unwrap();
    let checked = recovery::check(&engine, &names(), Some(3)).unwrap();
    assert_eq!(checked.last_seq, 9);
    assert_eq!(checked.tallies, [tally(4, 9)], "1, 3, 4 and 9");
    assert_eq!(logged(&engine), [1, 2, 3, 4, 7, 8, 9]);
    let again = recovery::check(&engine, &names(), Some(3)).unwrap();
    assert_eq!(again, checked, "settled once, settled for good");
}

#[test]
fn all_entries_of_a_record_in_a_torn_group_are_settled_alike() {
    let engine = with_records(1);
    let mut torn = Group::default();
    log(&mut torn, 2, 7, ChangeKind::Put);
    log(&mut torn, 3, 7, ChangeKind::Delete);
    log(&mut torn, 4, 1, ChangeKind::Delete);
    put(&mut torn, 5, 1, ChangeKind::Put);
    torn.remove(Keyspace::Records(BOOKS), "1");
    engine.commit(&torn, &|| true).unwrap();
    recovery::check(&engine, &names(), Some(1)).unwrap();
    // 7: made and removed, both. 1: removed and made again, of which the last did not come to be: neither.
    assert_eq!(logged(&engine), [1, 2, 3, 5]);
}

#[test]
fn a_resource_that_was_not_declared_while_a_tail_was_settled_is_counted_again() {
    let engine = with_records(2);
    let mut torn = Group::default();
    put(&mut torn, 3, 3, ChangeKind::Put);
    engine.commit(&torn, &|| true).unwrap();
    assert_eq!(recovery::check(&engine, &[], Some(2)).unwrap().last_seq, 3);
    let checked = recovery::check(&engine, &names(), Some(3)).unwrap();
    assert_eq!(checked.tallies, [tally(3, 3)]);
}

#[test]
fn a_store_that_contradicts_itself_is_refused_with_the_figures() {
    let refused = |engine: &MemoryEngine, acknowledged| match recovery::check(
        engine,
        &names(),
        Some(acknowledged),
    ) {
        Err(OpenFault::Damaged(found)) => found,
        other => panic!("{other:?}"),
    };
    let engine = with_records(3);
    assert_eq!(
        refused(&engine, 4),
        "it ends at change 3, but change 4 was acknowledged"
    );
    let mut group = Group::default();
    group.remove(Keyspace::Records(BOOKS), "2");
    engine.commit(&group, &|| true).unwrap();
    assert_eq!(
        refused(&engine, 3),
        "resource books has 2 records, but 3 were acknowledged"
    );
    group.remove(Keyspace::Log, seq_key(3));
    engine.commit(&group, &|| true).unwrap();
    assert_eq!(
        refused(&engine, 3),
        "the log ends at change 2, but change 3 was acknowledged"
    );
    let mut newer = Group::default();
    let next = recovery::SCHEMA + 1;
    newer.put(Keyspace::Meta, SCHEMA_KEY, next.to_be_bytes().to_vec());
    engine.commit(&newer, &|| true).unwrap();
    let error = recovery::check(&engine, &names(), Some(0)).unwrap_err();
    assert!(matches!(error, OpenFault::Newer { found, .. } if found == next));
}
