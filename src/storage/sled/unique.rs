//! Values that no two records may have: a write that would give them to a second record is refused.

use super::engine::{EngineError, Keyspace};
use super::holder::Holder;
use super::index_catalog::KeptIndex;
use super::read_error::ReadError;
use super::reader_state::OpenEngine;
use super::staging::Staging;
use super::value;
use crate::record::{CommandError, JsonObject, RecordId, RecordIndex};
use crate::storage::CollectionId;
use crate::storage::fit::{CountedRecords, DataFinding};

impl Staging<'_> {
    /// The refusal of a record whose values another one has, as the group leaves it.
    pub(super) fn taken(
        &self,
        collection: CollectionId,
        declared: &[RecordIndex],
        id: &RecordId,
        json: &[u8],
    ) -> Result<Option<CommandError>, ReadError> {
        let mut unique = declared.iter().filter(|index| index.unique).peekable();
        if unique.peek().is_none() {
            return Ok(None);
        }
        let object = JsonObject::parse(json).unwrap_or_default();
        for index in unique {
            let Some(entry) = index.unique_entry(object.members()) else {
                continue;
            };
            let name = index.name();
            let mut kept = self.indexes.of(collection).iter();
            let of = |kept: &&KeptIndex| !kept.is_dropping() && kept.index.name() == name;
            let Some(kept) = kept.find(of) else {
                continue;
            };
            if let Some(other) = self.holder_of(collection, kept, &entry, id, &object)? {
                return Ok(Some(CommandError::Taken {
                    fields: index.fields(),
                    id: other,
                }));
            }
        }
        Ok(None)
    }

    /// Another record with the same values.
    fn holder_of(
        &self,
        collection: CollectionId,
        kept: &KeptIndex,
        entry: &[u8],
        id: &RecordId,
        object: &JsonObject,
    ) -> Result<Option<RecordId>, ReadError> {
        let keyspace = Keyspace::Index(collection);
        let beginning = kept.key(entry, &[]);
        let mut others = Vec::new();
        let mut add = |key: &[u8]| {
            let other = key
                .strip_prefix(beginning.as_slice())
                .and_then(RecordId::from_key);
            others.extend(other.filter(|other| other != id));
        };
        self.engine.scan(keyspace, &beginning, &mut |key, _| {
            let its = key.starts_with(&beginning);
            if its && self.group.get(keyspace, key).is_none() {
                add(key);
            }
            its
        })?;
        let staged = self.group.keys_from(keyspace, &beginning);
        for key in staged.take_while(|key| key.starts_with(&beginning)) {
            if self.group.get(keyspace, key).flatten().is_some() {
                add(key);
            }
        }
        for other in others {
            let found = value::read(self.engine, Some(&self.group), collection, &other.key())?;
            let other_object = found.and_then(|found| JsonObject::parse(&found.json).ok());
            let same = |found: JsonObject| kept.index.is_same(found.members(), object.members());
            if other_object.is_some_and(same) {
                return Ok(Some(other));
            }
        }
        Ok(None)
    }
}

/// Tells which records have values that are declared to be unique. For a thread of its own.
pub(super) fn tell_repeated(holder: &Holder) {
    let known = holder.known.load();
    let told = holder.look(|open| {
        let catalog = open.indexes.load();
        for (id, name) in (0..)
            .map(CollectionId)
            .zip(open.engine.collections().iter())
        {
            let unique = known.indexes(id).unwrap_or_default().iter();
            for declared in unique.filter(|index| index.unique) {
                let its =
                    |kept: &&KeptIndex| kept.is_complete() && kept.index.name() == declared.name();
                let Some(kept) = catalog.of(id).iter().find(its) else {
                    continue;
                };
                let records = repeated(open, id, kept)?;
                if records.count > 0 {
                    let finding = DataFinding::Repeated {
                        resource: name.clone(),
                        fields: declared.fields(),
                        records,
                    };
                    tracing::warn!("{finding}");
                }
            }
        }
        Ok::<_, EngineError>(())
    });
    if let Some(Err(error)) = told {
        tracing::warn!(%error, "values that are declared to be unique could not be compared");
    }
}

/// The records with the same key as the one before.
fn repeated(
    open: &OpenEngine,
    collection: CollectionId,
    kept: &KeptIndex,
) -> Result<CountedRecords, EngineError> {
    let of = kept.keys(collection);
    let mut found = CountedRecords::default();
    let mut before = Vec::new();
    open.engine
        .scan(of.keyspace, &of.beginning, &mut |key, _| {
            let Some(key) = key.strip_prefix(of.beginning.as_slice()) else {
                return false;
            };
            let id = kept.index.split(key).map(|entry| entry.id);
            let entry = id.and_then(|id| key.strip_suffix(id)).unwrap_or(key);
            if entry == before
                && RecordIndex::tells_apart(entry)
                && let Some(id) = id.and_then(RecordId::from_key)
            {
                found.add(&id);
            }
            before = entry.to_vec();
            true
        })?;
    Ok(found)
}
