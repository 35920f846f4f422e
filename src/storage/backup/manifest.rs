//! The manifest of a backup: its first and last change and its counts, and how they are computed. Pure.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher as _};

use fnv::FnvHasher;
use serde::{Deserialize, Serialize};

use crate::num::as_u64;
use crate::storage::ANSWERS;
use crate::storage::journal::{JournalChange, JournalEffect};

/// The text at the end of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// The release that made it.
    pub(crate) program: String,
    /// The id of the store.
    pub(crate) store: String,
    /// The first change to which a store can be restored; all later ones can be had, too.
    pub(crate) first: u64,
    /// The time of that, in milliseconds since 1970; 0 in backups of releases that did not write it.
    #[serde(default)]
    pub(crate) first_ms: u64,
    /// The last change.
    pub(crate) last: u64,
    /// The time of the last change, in milliseconds since 1970; that of the snapshot if there is none after it.
    pub(crate) last_ms: u64,
    /// The time when the backup was made, in milliseconds since 1970.
    pub(crate) taken_ms: u64,
    /// The records of each resource after the last change.
    pub(crate) resources: BTreeMap<String, Totals>,
}

impl Manifest {
    /// The number of all records that clients made.
    pub(crate) fn records(&self) -> u64 {
        self.of_clients().map(|(_, totals)| totals.records).sum()
    }

    /// The resources with records that clients made.
    pub(crate) fn of_clients(&self) -> impl Iterator<Item = (&String, &Totals)> {
        self.resources.iter().filter(|(name, _)| *name != ANSWERS)
    }
}

/// The records of a resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Totals {
    pub(crate) records: u64,
    /// The sum of the hashes (64-bit FNV-1a) of all records with their keys and revisions.
    pub(crate) hash: u64,
}

/// Counts records while changes go by. It takes about 40 bytes of memory for each record.
#[derive(Debug, Default)]
pub(super) struct Census {
    resources: BTreeMap<String, ByKey>,
}

/// For the hash of each key: the record's revision and hash.
type ByKey = HashMap<u64, (u64, u64), BuildHasherDefault<FnvHasher>>;

impl Census {
    /// Counts a change. A record that has a later change already keeps it.
    pub(super) fn add(&mut self, change: &JournalChange) {
        if !self.resources.contains_key(&change.collection) {
            let name = change.collection.clone();
            self.resources.insert(name, HashMap::default());
        }
        let Some(records) = self.resources.get_mut(&change.collection) else {
            return;
        };
        let mut hasher = FnvHasher::default();
        hasher.write(&change.key);
        let key = hasher.finish();
        let later = records.get(&key).is_some_and(|(seq, _)| *seq >= change.seq);
        match &change.effect {
            JournalEffect::Put { json, .. } if !later => {
                hasher.write(&change.seq.to_be_bytes());
                hasher.write(json);
                records.insert(key, (change.seq, hasher.finish()));
            }
            JournalEffect::Delete if !later => {
                records.remove(&key);
            }
            JournalEffect::Put { .. } | JournalEffect::Delete | JournalEffect::Numbers { .. } => {}
        }
    }

    /// The records that were counted. Resources without records are left out.
    pub(super) fn totals(&self) -> BTreeMap<String, Totals> {
        let resources = self.resources.iter();
        let with_records = resources.filter(|(_, records)| !records.is_empty());
        let totals = with_records.map(|(name, records)| {
            let hashes = records.values().map(|(_, hash)| hash);
            let totals = Totals {
                records: as_u64(records.len()),
                hash: hashes.fold(0, |sum, hash| sum.wrapping_add(*hash)),
            };
            (name.clone(), totals)
        });
        totals.collect()
    }
}
