//! The indexes that a view has, and how far each of them is. They are in `meta`, so that an index that is being built goes on
//! where it was after any end of the process.
//!
//! ```text
//! meta:  index/<resource> | 0 u8 | number u32  ->  state u8 | length of the name u16 | name | first record that it lacks
//! keys:  number u32 | section u8 | values | id, as RecordIndex makes them; see there
//! ```

// Decision: All indexes of a resource are in one tree.

use std::sync::Arc;

use parking_lot::Mutex;

use super::block_counts::{BlockCounts, CountedKeys};
use super::engine::{Engine, Group, Keyspace};
use super::read_error::ReadError;
use super::stored_record::{Damaged, Fields};
use crate::num::as_u16;
use crate::record::RecordIndex;
use crate::storage::CollectionId;
use crate::storage::fit::Resources;

/// The state of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum IndexState {
    /// It has the records before this key, and of later ones what was written since it was declared.
    Building(Vec<u8>),
    /// It has all records.
    Complete,
    /// It is not declared any more, and its keys are being removed.
    Dropping,
}

/// An index of a view.
#[derive(Debug, Clone)]
pub(super) struct KeptIndex {
    pub(super) number: u32,
    pub(super) index: RecordIndex,
    pub(super) state: IndexState,
    pub(super) counts: Arc<Mutex<BlockCounts>>,
}

impl KeptIndex {
    pub(super) fn new(number: u32, index: RecordIndex, state: IndexState) -> Self {
        Self {
            number,
            index,
            state,
            counts: Arc::default(),
        }
    }

    /// Whether it has all keys of a record of this key.
    pub(super) fn covers(&self, record: &[u8]) -> bool {
        match &self.state {
            IndexState::Building(from) => record < from.as_slice(),
            IndexState::Complete => true,
            IndexState::Dropping => false,
        }
    }

    pub(super) fn is_dropping(&self) -> bool {
        self.state == IndexState::Dropping
    }

    pub(super) fn is_complete(&self) -> bool {
        self.state == IndexState::Complete
    }

    /// A key in its tree.
    pub(super) fn key(&self, entry: &[u8], record: &[u8]) -> Vec<u8> {
        [&self.number.to_be_bytes(), entry, record].concat()
    }

    /// Whether a key of the tree is one of its keys.
    pub(super) fn has(&self, key: &[u8]) -> bool {
        key.starts_with(&self.number.to_be_bytes())
    }

    /// All its keys.
    pub(super) fn keys(&self, collection: CollectionId) -> CountedKeys {
        CountedKeys {
            keyspace: Keyspace::Index(collection),
            beginning: self.number.to_be_bytes().to_vec(),
        }
    }

    /// Stages its state.
    pub(super) fn note(&self, group: &mut Group, resource: &str) {
        let (state, from) = match &self.state {
            IndexState::Building(from) => (0, from.as_slice()),
            IndexState::Complete => (1, &[][..]),
            IndexState::Dropping => (2, &[][..]),
        };
        let name = self.index.name();
        let length = as_u16(name.len()).to_be_bytes();
        let value = [&[state], &length[..], name.as_bytes(), from].concat();
        group.put(Keyspace::Meta, state_key(resource, self.number), value);
    }

    /// Stages that it is no more.
    pub(super) fn forget(&self, group: &mut Group, resource: &str) {
        group.remove(Keyspace::Meta, state_key(resource, self.number));
    }

    fn read(number: u32, value: &[u8]) -> Result<Self, Damaged> {
        let mut fields = Fields(value);
        let state = fields.u8()?;
        let length = u16::from_be_bytes(fields.take()?);
        let (name, from) = fields.0.split_at_checked(length.into()).ok_or(Damaged)?;
        let name = std::str::from_utf8(name).map_err(|_| Damaged)?;
        let state = match state {
            0 => IndexState::Building(from.to_vec()),
            1 => IndexState::Complete,
            2 => IndexState::Dropping,
            _ => return Err(Damaged),
        };
        Ok(Self::new(number, RecordIndex::of_name(name), state))
    }
}

fn state_key(resource: &str, number: u32) -> Vec<u8> {
    [&state_keys(resource), &number.to_be_bytes()[..]].concat()
}

fn state_keys(resource: &str) -> Vec<u8> {
    [b"index/", resource.as_bytes(), &[0]].concat()
}

/// The indexes of a view, and the counts of its records.
#[derive(Debug, Clone, Default)]
pub(super) struct IndexCatalog {
    resources: Vec<KeptIndexes>,
}

/// The indexes of one resource.
#[derive(Debug, Clone, Default)]
pub(super) struct KeptIndexes {
    pub(super) indexes: Vec<KeptIndex>,
    /// The counts of its records.
    pub(super) records: Arc<Mutex<BlockCounts>>,
    /// The last number that was given to an index. While the store is open, the number of a removed index is not given again:
    /// the thread that counts keys may still have it.
    last_number: u32,
}

impl KeptIndexes {
    /// Adds an index that is to be built, and stages that.
    pub(super) fn add(&mut self, index: RecordIndex, group: &mut Group, resource: &str) {
        self.last_number += 1;
        let state = IndexState::Building(Vec::new());
        let kept = KeptIndex::new(self.last_number, index, state);
        kept.note(group, resource);
        self.indexes.push(kept);
    }
}

impl IndexCatalog {
    /// Reads the indexes of a view.
    pub(super) fn read(engine: &dyn Engine) -> Result<Self, ReadError> {
        let mut resources = Vec::new();
        for resource in engine.collections().iter() {
            let (mut indexes, mut read) = (Vec::new(), Ok(()));
            let beginning = state_keys(resource);
            engine.scan(Keyspace::Meta, &beginning, &mut |key, value| {
                let Some(number) = key.strip_prefix(beginning.as_slice()) else {
                    return false;
                };
                let number = number.try_into().map(u32::from_be_bytes);
                match number
                    .map_err(|_| Damaged)
                    .and_then(|n| KeptIndex::read(n, value))
                {
                    Ok(index) => indexes.push(index),
                    Err(_) => read = Err(ReadError::damaged("the state of an index")),
                }
                read.is_ok()
            })?;
            read?;
            let last = indexes.iter().map(|kept: &KeptIndex| kept.number).max();
            resources.push(KeptIndexes {
                indexes,
                records: Arc::default(),
                last_number: last.unwrap_or(0),
            });
        }
        Ok(Self { resources })
    }

    /// The indexes of a resource.
    pub(super) fn of(&self, collection: CollectionId) -> &[KeptIndex] {
        let found = self.resources.get(collection.0);
        found.map_or(&[], |found| &found.indexes)
    }

    /// The index of this name that is not being removed.
    pub(super) fn named(&self, collection: CollectionId, name: &str) -> Option<&KeptIndex> {
        let mut kept = self.of(collection).iter();
        kept.find(|kept| !kept.is_dropping() && kept.index.name() == name)
    }

    /// The counts of the records of a resource.
    pub(super) fn records(&self, collection: CollectionId) -> Option<&Mutex<BlockCounts>> {
        self.resources.get(collection.0).map(|of| &*of.records)
    }

    /// The counts of these keys.
    pub(super) fn counts(&self, of: &CountedKeys) -> Option<&Mutex<BlockCounts>> {
        match of.keyspace {
            Keyspace::Records(collection) => self.records(collection),
            Keyspace::Index(collection) => {
                let mut indexes = self.of(collection).iter();
                let its = |index: &&KeptIndex| of.beginning == index.number.to_be_bytes();
                indexes.find(its).map(|index| &*index.counts)
            }
            Keyspace::Log | Keyspace::Chunks(_) | Keyspace::OldChunks(_) | Keyspace::Meta => None,
        }
    }

    /// All keys that are counted.
    pub(super) fn counted(&self) -> Vec<CountedKeys> {
        let ids = (0..self.resources.len()).map(CollectionId);
        let all = ids.flat_map(|id| {
            let records = CountedKeys::records(id);
            let complete = self.of(id).iter().filter(|index| index.is_complete());
            let indexes = complete.map(move |index| index.keys(id));
            std::iter::once(records).chain(indexes)
        });
        all.collect()
    }

    /// About how many bytes the keys of complete indexes take, as far as they are counted.
    pub(super) fn index_bytes(&self) -> u64 {
        let indexes = self.resources.iter().flat_map(|of| &of.indexes);
        let complete = indexes.filter(|index| index.is_complete());
        complete.map(|index| index.counts.lock().bytes()).sum()
    }

    /// The same for this many resources at least.
    pub(super) fn of_resources(&self, count: usize) -> Self {
        let mut next = self.clone();
        let count = count.max(next.resources.len());
        next.resources.resize_with(count, Default::default);
        next
    }

    /// The indexes of a resource, to be changed; `None` if the catalog has fewer resources.
    pub(super) fn change(&mut self, collection: CollectionId) -> Option<&mut KeptIndexes> {
        self.resources.get_mut(collection.0)
    }

    /// Declares the indexes of resources that have no records yet.
    pub(super) fn declare_empty(
        engine: &dyn Engine,
        resources: &Resources,
    ) -> Result<(), ReadError> {
        let mut group = Group::default();
        for (name, settings) in resources {
            for (number, index) in (1..).zip(&settings.indexes) {
                KeptIndex::new(number, index.clone(), IndexState::Complete).note(&mut group, name);
            }
        }
        if group.is_empty() {
            return Ok(());
        }
        Ok(engine.commit(&group)?)
    }
}
