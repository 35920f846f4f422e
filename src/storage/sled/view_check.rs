//! Compares a view with the journal, record by record, within bounded memory.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use super::checked::{Checked, next_number};
use super::engine::{Engine, Keyspace, OpenFault};
use super::index_check::{self, IndexFault};
use super::stored_record::StoredRecord;
use super::value;
use crate::num::as_u64;
use crate::record::RecordId;
use crate::storage::CollectionId;
use crate::storage::journal::{JournalChange, JournalEffect, JournalFiles, Reach, Snapshot};

/// The most differences that are named; the others are counted.
const NAMED_MAX: usize = 10;

/// The copies of a store besides its view.
#[derive(Clone, Copy)]
pub(super) struct ViewSource<'a> {
    pub(super) snapshot: Option<&'a Snapshot>,
    pub(super) journal: &'a JournalFiles,
}

impl ViewSource<'_> {
    /// Shows the changes that make a view of change `last`, in order.
    fn read(self, last: u64, mut visit: impl FnMut(JournalChange)) -> Result<(), OpenFault> {
        let base = self.snapshot.map_or(0, |snapshot| snapshot.seq);
        if let Some(snapshot) = self.snapshot {
            snapshot.read::<OpenFault>(|changes| {
                changes.into_iter().for_each(&mut visit);
                Ok(())
            })?;
        }
        let reach = self.journal.read::<OpenFault>(base, |changes| {
            let seen = changes.into_iter().filter(|change| change.seq <= last);
            seen.for_each(&mut visit);
            Ok(())
        })?;
        match reach {
            Reach::Damage { last: read, error } if read < last => Err(error.into()),
            Reach::End(_) | Reach::Damage { .. } => Ok(()),
        }
    }
}

/// The differences of a view from its source.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Differences {
    pub(super) count: u64,
    /// The first ones.
    pub(super) named: Vec<String>,
}

impl Differences {
    fn add(&mut self, what: String) {
        self.count += 1;
        if self.named.len() < NAMED_MAX {
            self.named.push(what);
        }
    }

    fn add_record(&mut self, resource: &str, key: &[u8], what: &str) {
        let id = RecordId::from_key(key);
        let id = id.map_or_else(|| format!("{key:02x?}"), |id| id.to_string());
        self.add(format!("the record {id} of {resource} {what}"));
    }
}

/// The records that a view should have, and the next number, of one resource.
#[derive(Default)]
struct ExpectedResource {
    records: HashMap<Vec<u8>, StoredRecord>,
    /// 0 if none was given.
    next: u64,
}

impl ExpectedResource {
    fn apply(&mut self, change: JournalChange, is_wanted: impl Fn(&[u8]) -> bool) {
        let number = match RecordId::from_key(&change.key) {
            Some(RecordId::Number(number)) => Some(number),
            Some(RecordId::Text(_)) | None => None,
        };
        let given = match (&change.effect, number) {
            (JournalEffect::Numbers { next }, _) => *next,
            (JournalEffect::Put { .. }, Some(number)) => number.saturating_add(1),
            (JournalEffect::Put { .. } | JournalEffect::Delete, _) => 0,
        };
        self.next = self.next.max(given);
        let found = self.records.get(&change.key);
        if !is_wanted(&change.key) || found.is_some_and(|found| found.seq >= change.seq) {
            return;
        }
        match change.effect {
            JournalEffect::Put { created_ms, json } => {
                let record = StoredRecord {
                    seq: change.seq,
                    created_ms,
                    updated_ms: change.at_ms,
                    // The change's own text is a part of its whole frame.
                    json: Bytes::copy_from_slice(&json),
                };
                self.records.insert(change.key, record);
            }
            JournalEffect::Delete => drop(self.records.remove(&change.key)),
            JournalEffect::Numbers { .. } => {}
        }
    }
}

/// Compares a view with its source. The source is read `parts` times, so that only a part of the records is in memory at a
/// time.
pub(super) fn compare(
    engine: &dyn Engine,
    checked: &Checked,
    source: ViewSource<'_>,
    parts: u32,
) -> Result<Differences, OpenFault> {
    let mut differences = Differences::default();
    let mut found = vec![(0, 0); engine.collections().len()];
    for part in 0..parts.max(1) {
        let in_part = |key: &[u8]| crc32c::crc32c(key) % parts.max(1) == part;
        let mut expected = BTreeMap::<String, ExpectedResource>::new();
        source.read(checked.last_seq, |change| {
            let resource = expected.entry(change.collection.clone()).or_default();
            resource.apply(change, in_part);
        })?;
        for (index, name) in engine.collections().iter().enumerate() {
            let collection = CollectionId(index);
            let expected = expected.remove(name).unwrap_or_default();
            let mut records = expected.records;
            let (count, bytes) =
                compare_records(engine, collection, in_part, &mut records, &mut differences)?;
            if let Some(found) = found.get_mut(index) {
                *found = (found.0 + count, found.1 + bytes);
            }
            for key in records.keys() {
                differences.add_record(name, key, "is missing");
            }
            let next = next_number(engine, collection)?.unwrap_or(0);
            if part == 0 && next != expected.next {
                let expected = expected.next;
                differences.add(format!(
                    "the next number of {name} is {next}, not {expected}"
                ));
            }
        }
        let missing = expected.values().map(|left| left.records.len());
        let missing: usize = missing.sum();
        if missing > 0 {
            differences.add(format!(
                "all {missing} records of resources that it does not know are missing"
            ));
        }
    }
    let names = engine.collections();
    index_check::compare(engine, |id, kept, key, fault| {
        let of = names.get(id.0).map_or("", String::as_str);
        let what = match fault {
            IndexFault::Lacks => "is missing in the index of",
            IndexFault::Stray => "has a wrong key in the index of",
        };
        differences.add_record(of, key, &format!("{what} {}", kept.index.fields()));
    })?;
    for ((tally, name), (records, bytes)) in checked.tallies.iter().zip(names.iter()).zip(found) {
        if (tally.records, tally.bytes) != (records, bytes) {
            let (counted, of) = (tally.records, tally.bytes);
            differences.add(format!(
                "it counts {counted} records of {of} bytes in {name}, and has {records} of {bytes}"
            ));
        }
    }
    Ok(differences)
}

/// Compares the records of a part of a resource, and removes them from `expected`. Returns how many records there are, and
/// their bytes.
fn compare_records(
    engine: &dyn Engine,
    collection: CollectionId,
    in_part: impl Fn(&[u8]) -> bool,
    expected: &mut HashMap<Vec<u8>, StoredRecord>,
    differences: &mut Differences,
) -> Result<(u64, u64), OpenFault> {
    let names = engine.collections();
    let name = names.get(collection.0).map_or("", String::as_str);
    let (mut count, mut bytes) = (0, 0);
    engine.scan(Keyspace::Records(collection), &[], &mut |key, stored| {
        if !in_part(key) {
            return true;
        }
        let expected = expected.remove(key);
        let stored = Bytes::copy_from_slice(stored);
        match value::whole(engine, None, collection, key, stored) {
            Ok(record) => {
                count += 1;
                bytes += as_u64(record.json.len());
                match expected {
                    Some(expected) if expected == record => {}
                    Some(_) => differences.add_record(name, key, "differs from the journal"),
                    None => differences.add_record(name, key, "is not in the journal"),
                }
            }
            Err(error) => differences.add_record(name, key, &format!("can't be read: {error}")),
        }
        true
    })?;
    Ok((count, bytes))
}
