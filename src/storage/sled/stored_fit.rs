//! Compares the settings with an opened store: ids before it is served, resources and fields while it is served.

use std::time::Duration;

use super::engine::{Engine, Keyspace, OpenFault};
use super::holder::Holder;
use super::page;
use super::read_error::ReadError;
use super::store::record;
use crate::record::{IdScheme, RecordId};
use crate::storage::CollectionId;
use crate::storage::fit::{CountedRecords, DataFinding, DataFit, Resources, StoredIds, only_one};

/// The pause after each chunk of records whose fields are checked, so that this takes a part of one processor only.
const CHUNK_PAUSE: Duration = Duration::from_millis(5);

/// Refuses a store that has records which no request could name with these settings.
pub(super) fn ids(engine: &dyn Engine, resources: &Resources) -> Result<(), OpenFault> {
    for (name, settings) in resources {
        let names = engine.collections();
        let Some(index) = names.iter().position(|known| known == name) else {
            continue;
        };
        match stored_ids(engine, CollectionId(index), settings.ids)?.judge(name, settings.ids) {
            Some(refusal) if refusal.is_refusal() => return Err(OpenFault::Settings(refusal)),
            Some(finding) => tracing::warn!("{finding}"),
            None => {}
        }
    }
    Ok(())
}

/// The ids that a kind of ids does not read, and if there are some, those that only it reads. They are found by their keys,
/// without a look at all others.
pub(super) fn stored_ids(
    engine: &dyn Engine,
    collection: CollectionId,
    kind: IdScheme,
) -> Result<StoredIds, ReadError> {
    let mut ids = StoredIds::default();
    match kind {
        IdScheme::Sequence => {
            add_digits(engine, collection, &mut ids.digits)?;
            if ids.digits.count > 0 {
                add_numbers(engine, collection, &mut ids.numbers)?;
            }
        }
        IdScheme::Uuid | IdScheme::Client => {
            add_numbers(engine, collection, &mut ids.numbers)?;
            if ids.numbers.count > 0 {
                add_digits(engine, collection, &mut ids.digits)?;
            }
        }
    }
    Ok(ids)
}

/// Counts the ids that are numbers: their keys come before all others.
fn add_numbers(
    engine: &dyn Engine,
    collection: CollectionId,
    numbers: &mut CountedRecords,
) -> Result<(), ReadError> {
    engine.scan(Keyspace::Records(collection), &[], &mut |key, _| {
        let id = RecordId::from_key(key);
        let id = id.filter(|id| matches!(id, RecordId::Number(_)));
        id.inspect(|id| numbers.add(id)).is_some()
    })?;
    Ok(())
}

/// Counts the texts that read as a number. That is 0, or it begins with another digit: a UUID of our time does not.
fn add_digits(
    engine: &dyn Engine,
    collection: CollectionId,
    digits: &mut CountedRecords,
) -> Result<(), ReadError> {
    for (from, first) in [(b"0", b'0'..=b'0'), (b"1", b'1'..=b'9')] {
        engine.scan(Keyspace::Records(collection), from, &mut |key, _| {
            let its = key.first().is_some_and(|byte| first.contains(byte));
            let id = RecordId::from_key(key).filter(|_| its);
            if let Some(id) = id.filter(|id| !IdScheme::Sequence.reaches(id)) {
                digits.add(&id);
            }
            its && from != b"0"
        })?;
    }
    Ok(())
}

/// Tells which of these resources have records and are not declared.
pub(super) fn tell_undeclared(holder: &Holder, of: impl Fn(&str) -> bool) {
    let known = holder.resources.known.load();
    let told = holder.look(|open| {
        let tally = |id| holder.readers.tally(id);
        let declared = known.declared();
        let empty = |name: &str| known.id(name).is_some_and(|id| tally(id).records == 0);
        let empty = only_one(declared.iter().filter(|(name, _)| empty(name)));
        for (id, name) in known.undeclared().filter(|(_, name)| of(name)) {
            let mut records = CountedRecords::default();
            let visit = &mut |key: &[u8], _: &[u8]| {
                RecordId::from_key(key).inspect(|id| records.add(id));
                !records.names_enough()
            };
            let keyspace = Keyspace::Records(id);
            open.engine.scan(keyspace, &[], visit)?;
            records.count = tally(id).records;
            if records.count > 0 {
                let (resource, empty) = (name.to_owned(), empty.clone());
                let finding = DataFinding::Undeclared {
                    resource,
                    records,
                    empty,
                };
                tracing::warn!("{finding}");
            }
        }
        Ok::<_, ReadError>(())
    });
    if let Some(Err(error)) = told {
        tracing::warn!(%error, "resources that are not declared could not be counted");
    }
}

/// Reads the records of the resources with fields, and tells which break their rules. False if the store is not open. For a
/// thread of its own.
pub(super) fn tell_broken_rules(holder: &Holder) -> bool {
    let Some(era) = holder.look(|open| open.era) else {
        return false;
    };
    let known = holder.resources.known.load_full();
    let declared = known.declared();
    let mut fit = DataFit::new(declared.clone());
    let mut look = || {
        for (name, settings) in &declared {
            let Some(id) = known.id(name) else {
                continue;
            };
            let mut from = Vec::new();
            while settings.schema.has_rules() {
                let chunk = page::chunk(holder, era, id, &mut from)?;
                let chunk = chunk.unwrap_or_default();
                if chunk.is_empty() {
                    break;
                }
                for (key, record) in &chunk {
                    if let Some(id) = RecordId::from_key(key) {
                        fit.add(name, &id, &record.json);
                        if fit.has_references(name) {
                            fit.add_references(name, &id, &record.json, |to, to_id| {
                                let to = known.id(to);
                                to.is_some_and(|to| has(holder, to, to_id))
                                    || !is_still(holder, known.id(name), &id, record.seq)
                            });
                        }
                    }
                }
                std::thread::park_timeout(CHUNK_PAUSE);
            }
        }
        Ok::<_, OpenFault>(())
    };
    if let Err(fault) = look() {
        tracing::warn!(%fault, "not all records could be compared with the fields of the settings");
    }
    let findings = fit.findings().into_iter();
    let of_fields = |finding: &DataFinding| {
        matches!(
            finding,
            DataFinding::Fields { .. } | DataFinding::Dangling { .. }
        )
    };
    for finding in findings.filter(of_fields) {
        tracing::warn!("{finding}");
    }
    true
}

/// Whether there is a record of this id; also if nobody can tell.
pub(super) fn has(holder: &Holder, collection: CollectionId, id: &RecordId) -> bool {
    let found = holder.look(|open| record(open, collection, id));
    found.is_none_or(|found| found.map_or(true, |found| found.is_some()))
}

/// Whether a record is as it was after this change.
fn is_still(holder: &Holder, collection: Option<CollectionId>, id: &RecordId, seq: u64) -> bool {
    let found = collection.and_then(|it| holder.look(|open| record(open, it, id)));
    found.is_some_and(|found| {
        found.is_ok_and(|found| found.is_some_and(|found| found.revision.0 == seq))
    })
}
