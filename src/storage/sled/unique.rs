//! Values that no two records may have: a write that would give them to a second record is refused.

use std::collections::{BTreeSet, HashSet};
use std::hash::{BuildHasher as _, RandomState};

use super::engine::{Engine, Group, Keyspace};
use super::holder::Holder;
use super::index_catalog::{IndexCatalog, KeptIndex};
use super::known::KnownResources;
use super::page;
use super::read_error::ReadError;
use super::reader_state::OpenEngine;
use super::staging::Staging;
use super::store::record;
use super::value;
use crate::record::{
    BATCH_BYTES_MAX, CommandError, EntryIdentity, JsonObject, RecordId, RecordIndex,
};
use crate::storage::fit::{CountedRecords, DataFinding};
use crate::storage::{CollectionId, StoreError};

/// The most keys of an index that are read at a time: the writer may have to wait meanwhile.
const CHUNK_KEYS: usize = 1_000;

/// The values that one command gives to records, before any of them is staged.
#[derive(Debug)]
pub(super) struct OwnValues {
    /// The names of indexes, with what no two records may have in common.
    unique: Vec<(String, Vec<u8>, RecordId)>,
    /// The bytes that the group has with the records.
    bytes: usize,
}

impl OwnValues {
    /// None yet, in a group of so many bytes.
    pub(super) fn beside(bytes: usize) -> Self {
        let unique = Vec::new();
        Self { unique, bytes }
    }

    /// The refusal of a record that would have the same values as another one of the command, or that makes it too long.
    pub(super) fn refusal(
        &mut self,
        declared: &[RecordIndex],
        id: &RecordId,
        json: &[u8],
    ) -> Option<CommandError> {
        self.bytes += json.len();
        if self.bytes > BATCH_BYTES_MAX {
            return Some(CommandError::TooMuch);
        }
        for index in declared.iter().filter(|index| index.unique) {
            let object = JsonObject::parse(json).unwrap_or_default();
            let Some(identity) = index.identity(object.members()) else {
                continue;
            };
            let name = index.name();
            let mut own = self.unique.iter();
            if let Some((.., other)) = own.find(|(of, its, _)| *of == name && *its == identity) {
                return Some(CommandError::Taken {
                    fields: index.fields(),
                    id: other.clone(),
                });
            }
            self.unique.push((name, identity, id.clone()));
        }
        None
    }
}

impl Staging<'_> {
    /// The refusal of a record whose values another one has, as the group leaves it.
    pub(super) fn taken(
        &self,
        collection: CollectionId,
        declared: &[RecordIndex],
        id: &RecordId,
        json: &[u8],
    ) -> Result<Option<CommandError>, ReadError> {
        self.among(collection).taken(declared, id, json)
    }

    /// Shows the ids of the records that have this entry in an index, as the group leaves it, as long as `visit` wants more.
    pub(super) fn with_entry(
        &self,
        collection: CollectionId,
        kept: &KeptIndex,
        entry: &[u8],
        visit: &mut dyn FnMut(RecordId) -> Result<bool, ReadError>,
    ) -> Result<(), ReadError> {
        self.among(collection).with_entry(kept, entry, visit)
    }

    /// The records of a resource, as the group leaves them.
    pub(super) fn among(&self, collection: CollectionId) -> UniqueLook<'_> {
        UniqueLook {
            engine: self.engine,
            group: Some(&self.group),
            indexes: &self.indexes,
            collection,
        }
    }
}

/// Whether another record has the same values as this one.
pub(super) fn clashing(
    open: &OpenEngine,
    collection: CollectionId,
    index: &RecordIndex,
    id: &RecordId,
) -> Result<bool, StoreError> {
    let Some(record) = record(open, collection, id)? else {
        return Ok(false);
    };
    let among = UniqueLook {
        engine: &*open.engine,
        group: None,
        indexes: &open.indexes.load(),
        collection,
    };
    let index = std::slice::from_ref(index);
    Ok(among.taken(index, id, &record.json)?.is_some())
}

/// The records among which one with the same values is looked for.
pub(super) struct UniqueLook<'a> {
    pub(super) engine: &'a dyn Engine,
    /// Changes that the engine does not have yet.
    pub(super) group: Option<&'a Group>,
    pub(super) indexes: &'a IndexCatalog,
    pub(super) collection: CollectionId,
}

impl UniqueLook<'_> {
    /// The refusal of a record whose values another one has.
    pub(super) fn taken(
        &self,
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
            let Some(identity) = index.identity(object.members()) else {
                continue;
            };
            // An index that is not complete has the records that were written since it was declared, among others.
            let Some(kept) = self.indexes.named(self.collection, &index.name()) else {
                continue;
            };
            let entry = index.sorted_entry(object.members());
            if let Some(other) = self.holder_of(kept, &entry, id, &identity)? {
                return Ok(Some(CommandError::Taken {
                    fields: index.fields(),
                    id: other,
                }));
            }
        }
        Ok(None)
    }

    /// Another record with the same values, the first one that is found: from before the index was unique, there may be many.
    fn holder_of(
        &self,
        kept: &KeptIndex,
        entry: &[u8],
        id: &RecordId,
        identity: &[u8],
    ) -> Result<Option<RecordId>, ReadError> {
        let mut holder = None;
        self.with_entry(kept, entry, &mut |other| {
            if other == *id {
                return Ok(true);
            }
            let key = other.key();
            let of = identity_of(self.engine, self.group, self.collection, kept, &key)?;
            if of.as_deref() == Some(identity) {
                holder = Some(other);
            }
            Ok(holder.is_none())
        })?;
        Ok(holder)
    }

    /// Shows the ids of the records that have this entry in an index, as the group leaves it, as long as `visit` wants more.
    pub(super) fn with_entry(
        &self,
        kept: &KeptIndex,
        entry: &[u8],
        visit: &mut dyn FnMut(RecordId) -> Result<bool, ReadError>,
    ) -> Result<(), ReadError> {
        let keyspace = Keyspace::Index(self.collection);
        let beginning = kept.key(entry, &[]);
        let mut show = |key: &[u8]| {
            let id = key.strip_prefix(beginning.as_slice());
            id.and_then(RecordId::from_key)
                .map_or(Ok(true), &mut *visit)
        };
        let staged_at = |key: &[u8]| self.group.and_then(|group| group.get(keyspace, key));
        let mut wants = Ok(true);
        self.engine.scan(keyspace, &beginning, &mut |key, _| {
            let its = key.starts_with(&beginning);
            if its && staged_at(key).is_none() {
                wants = show(key);
            }
            its && matches!(wants, Ok(true))
        })?;
        let staged = self.group.into_iter();
        let staged = staged.flat_map(|group| group.keys_from(keyspace, &beginning));
        for key in staged.take_while(|key| key.starts_with(&beginning)) {
            if !matches!(wants, Ok(true)) {
                break;
            }
            if staged_at(key).flatten().is_some() {
                wants = show(key);
            }
        }
        wants.map(|_| ())
    }
}

/// The identity of the record at a key, if it has one.
fn identity_of(
    engine: &dyn Engine,
    group: Option<&Group>,
    collection: CollectionId,
    kept: &KeptIndex,
    key: &[u8],
) -> Result<Option<Vec<u8>>, ReadError> {
    let found = value::read(engine, group, collection, key)?;
    let object = found.and_then(|found| JsonObject::parse(&found.json).ok());
    Ok(object.and_then(|object| kept.index.identity(object.members())))
}

/// The indexes of which it was told whether values repeat: the number of each, and its name.
pub(super) type ToldIndexes = BTreeSet<(CollectionId, u32, String)>;

/// Tells, once for each index, which records have values that are declared to be unique. For a thread of its own.
pub(super) fn tell_repeated(holder: &Holder, told: &mut ToldIndexes) {
    for finding in find_repeated(holder, told) {
        tracing::warn!("{finding}");
    }
}

/// The indexes with such records, among those of which it was not told yet.
pub(super) fn find_repeated(holder: &Holder, told: &mut ToldIndexes) -> Vec<DataFinding> {
    let known = holder.resources.known.load();
    let mut findings = Vec::new();
    let Some((era, unique)) = holder.look(|open| (open.era, complete_unique(&known, open))) else {
        return findings;
    };
    let of = |(id, kept): &(CollectionId, KeptIndex)| (*id, kept.number, kept.index.name());
    let now: ToldIndexes = unique.iter().map(of).collect();
    told.retain(|index| now.contains(index));
    for index in unique {
        let (id, kept) = &index;
        if told.contains(&of(&index)) {
            continue;
        }
        match repeated(holder, era, *id, kept, &mut |_| true) {
            Ok(Some(records)) => {
                told.insert(of(&index));
                if records.count > 0 {
                    findings.push(DataFinding::Repeated {
                        resource: known.name(*id).unwrap_or_default().to_owned(),
                        fields: kept.index.fields(),
                        records,
                    });
                }
            }
            // The store was closed, or the index is removed: either wakes this thread later.
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "values that are declared to be unique could not be compared");
            }
        }
    }
    findings
}

/// The complete indexes that are declared to be unique.
fn complete_unique(known: &KnownResources, open: &OpenEngine) -> Vec<(CollectionId, KeptIndex)> {
    let catalog = open.indexes.load();
    let ids = (0..open.engine.collections().len()).map(CollectionId);
    let unique = ids.flat_map(|id| {
        let declared = known.indexes(id).unwrap_or_default().iter();
        let names = declared.filter(|index| index.unique).map(RecordIndex::name);
        let kept = names.filter_map(|name| catalog.named(id, &name));
        let complete = kept.filter(|kept| kept.is_complete());
        complete.map(|kept| (id, kept.clone())).collect::<Vec<_>>()
    });
    unique.collect()
}

/// A key of an index: its part without the id, the id, and the identity of the record.
type IdentifiedKey = (Vec<u8>, Option<RecordId>, Option<Vec<u8>>);

/// The records with the same identity as another one before; `None` if the index is not in use any more, or if `goes_on`, which
/// gets the number of keys that were read, does not want to know any more. Records may change meanwhile.
pub(super) fn repeated(
    holder: &Holder,
    era: u64,
    collection: CollectionId,
    kept: &KeptIndex,
    goes_on: &mut dyn FnMut(usize) -> bool,
) -> Result<Option<CountedRecords>, ReadError> {
    let of = kept.keys(collection);
    let name = kept.index.name();
    let (mut found, mut before) = (CountedRecords::default(), Vec::new());
    // The identities of the records whose keys are the same as `before`.
    let (hasher, mut seen) = (RandomState::new(), HashSet::new());
    let mut next = Some(of.beginning.clone());
    while let Some(from) = next {
        let read = |open: &OpenEngine| {
            let catalog = open.indexes.load();
            let now = catalog.named(collection, &name);
            now.filter(|now| now.number == kept.number)?;
            let mut keys = Vec::new();
            let scanned = open.engine.scan(of.keyspace, &from, &mut |key, _| {
                let its = key.starts_with(&of.beginning);
                if its {
                    keys.push(key.to_vec());
                }
                its && keys.len() < CHUNK_KEYS
            });
            let identified = |key: &Vec<u8>| {
                let key = key.get(of.beginning.len()..).unwrap_or_default();
                identified(&*open.engine, collection, kept, key)
            };
            Some(scanned.map_err(ReadError::from).and_then(|()| {
                let all: Result<Vec<_>, ReadError> = keys.iter().map(identified).collect();
                Ok((
                    keys.last().filter(|_| keys.len() == CHUNK_KEYS).cloned(),
                    all?,
                ))
            }))
        };
        let Some(read) = page::at_one_moment(holder, era, read).flatten() else {
            return Ok(None);
        };
        let (last, keys) = read?;
        next = last.map(|last| [last.as_slice(), &[0]].concat());
        if !goes_on(keys.len()) {
            return Ok(None);
        }
        for (entry, id, identity) in keys {
            if entry != before {
                seen.clear();
            }
            before = entry;
            if let Some(id) = id
                && let Some(identity) = identity
                && !seen.insert(hasher.hash_one(identity))
            {
                found.add(&id);
            }
        }
    }
    Ok(Some(found))
}

/// Takes a key of an index apart. Its record is read only if the key does not tell its identity.
fn identified(
    engine: &dyn Engine,
    collection: CollectionId,
    kept: &KeptIndex,
    key: &[u8],
) -> Result<IdentifiedKey, ReadError> {
    let id = kept.index.split(key).map_or(&[][..], |entry| entry.id);
    let entry = key.strip_suffix(id).unwrap_or(key);
    let identity = match RecordIndex::identity_of_entry(entry) {
        EntryIdentity::None => None,
        EntryIdentity::OfEntry => Some(entry.to_vec()),
        EntryIdentity::OfRecord => identity_of(engine, None, collection, kept, id)?,
    };
    Ok((entry.to_vec(), RecordId::from_key(id), identity))
}
