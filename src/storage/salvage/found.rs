//! Collects what pieces of a store's copies tell about its changes. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use crate::record::RecordId;
use crate::storage::journal::{DamagedPiece, JournalChange, JournalEffect};
use crate::supervision::MessageId;

/// A piece of knowledge about the changes, from one copy.
#[derive(Debug)]
pub(super) enum Told {
    /// A change that is whole.
    Change(JournalChange),
    /// All effects of the changes from `first` to `last` were told, or something later of the same records.
    All { first: u64, last: u64 },
    /// A place can't be read.
    Damaged(DamagedPiece),
    /// A record of a view can't be read.
    DamagedEntry { collection: String, key: Vec<u8> },
    /// Something else can't be read.
    Fault(String),
}

/// The newest change of a record that is whole in any copy.
#[derive(Debug, Clone, Copy)]
struct Newest {
    seq: u64,
    is_put: bool,
    taken: bool,
}

/// All that was told. It takes about 100 bytes of memory for each record besides its key.
#[derive(Debug, Default)]
pub(super) struct KnownChanges {
    resources: BTreeMap<String, HashMap<Vec<u8>, Newest>>,
    next: BTreeMap<String, u64>,
    known: Vec<(u64, u64)>,
    /// Resource, key and, if it seems to be known, number of changes that are damaged in a copy.
    damaged: BTreeSet<(String, Vec<u8>, Option<u64>)>,
}

/// A record whose last change is in no copy whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LostRecord {
    pub(crate) collection: String,
    /// Its id as it can be read.
    pub(crate) id: String,
    /// The number of the damaged change, if that seems to be known.
    pub(crate) change: Option<u64>,
    /// The change that is whole: what came out is its content. `None` if nothing came out.
    pub(crate) instead: Option<u64>,
}

impl KnownChanges {
    /// Adds what was told. Returns a text for a place that can't be read.
    pub(super) fn add(&mut self, told: Told) -> Option<String> {
        match told {
            Told::Change(change) => {
                self.add_change(change);
                None
            }
            Told::All { first, last } => {
                self.known.push((first, last));
                None
            }
            Told::Damaged(piece) => {
                let DamagedPiece {
                    path,
                    at,
                    bytes,
                    fault,
                    seeming,
                } = piece;
                for change in seeming {
                    let damaged = (change.collection, change.key, Some(change.seq));
                    self.damaged.insert(damaged);
                }
                let file = path.display();
                Some(format!("{file}, {bytes} bytes from byte {at} on: {fault}"))
            }
            Told::DamagedEntry { collection, key } => {
                self.damaged.insert((collection, key, None));
                None
            }
            Told::Fault(fault) => Some(fault),
        }
    }

    fn add_change(&mut self, change: JournalChange) {
        let JournalChange {
            seq,
            collection,
            key,
            effect,
            ..
        } = change;
        let is_put = match effect {
            JournalEffect::Put { .. } => true,
            JournalEffect::Delete => false,
            JournalEffect::Numbers { next } => {
                let known = self.next.entry(collection).or_default();
                *known = next.max(*known);
                return;
            }
        };
        self.known.push((seq, seq));
        let records = self.resources.entry(collection).or_default();
        let newest = Newest {
            seq,
            is_put,
            taken: false,
        };
        let known = records.entry(key).or_insert(newest);
        if known.seq < seq {
            *known = newest;
        }
        if self.known.len() >= KNOWN_MAX {
            self.known = merged(std::mem::take(&mut self.known));
        }
    }

    /// Whether this change makes a record what it is in the end; said once for each record.
    pub(super) fn takes(&mut self, change: &JournalChange) -> bool {
        if !matches!(change.effect, JournalEffect::Put { .. }) {
            return false;
        }
        let records = self.resources.get_mut(&change.collection);
        let newest = records.and_then(|records| records.get_mut(&change.key));
        newest.is_some_and(|newest| {
            let takes = newest.is_put && newest.seq == change.seq && !newest.taken;
            newest.taken |= takes;
            takes
        })
    }

    /// Whether each record was taken.
    pub(super) fn all_taken(&self) -> bool {
        let mut all = self.resources.values().flat_map(HashMap::values);
        all.all(|newest| newest.taken || !newest.is_put)
    }

    /// The changes that make the resources go on with their numbers: none is given twice, if a record with it was known.
    pub(super) fn numbers(&self) -> Vec<JournalChange> {
        let mut next = self.next.clone();
        for (name, records) in &self.resources {
            let numbers = records
                .keys()
                .filter_map(|key| match RecordId::from_key(key) {
                    Some(RecordId::Number(number)) => Some(number.saturating_add(1)),
                    Some(RecordId::Text(_)) | None => None,
                });
            if let Some(given) = numbers.max() {
                let known = next.entry(name.clone()).or_default();
                *known = given.max(*known);
            }
        }
        let change = |(collection, next)| JournalChange {
            seq: 0,
            at_ms: 0,
            message: MessageId(0),
            collection,
            key: Vec::new(),
            effect: JournalEffect::Numbers { next },
            by: None,
        };
        next.into_iter().map(change).collect()
    }

    /// The last change that is known.
    pub(super) fn last(&self) -> u64 {
        self.known.iter().map(|(_, last)| *last).max().unwrap_or(0)
    }

    /// The changes up to `last` that no copy has.
    pub(super) fn missing(&self, last: u64) -> Vec<(u64, u64)> {
        let mut missing = Vec::new();
        let mut next = 1;
        for (from, to) in merged(self.known.clone()) {
            if next < from {
                missing.push((next, from - 1));
            }
            next = next.max(to.saturating_add(1));
        }
        if next <= last {
            missing.push((next, last));
        }
        missing
    }

    /// The records whose last change may be a damaged one. An entry of a view that is damaged costs nothing if no change is
    /// `missing`.
    pub(super) fn lost(&self, missing: bool) -> Vec<LostRecord> {
        let damaged = self.damaged.iter();
        let lost = damaged.filter_map(|(collection, key, change)| {
            let newest = self.resources.get(collection).and_then(|all| all.get(key));
            let known = newest.map_or(0, |newest| newest.seq);
            let is_lost = missing && change.is_none_or(|change| known < change);
            is_lost.then(|| LostRecord {
                collection: collection.clone(),
                id: RecordId::from_key(key)
                    .map_or_else(|| format!("{key:02x?}"), |id| id.to_string()),
                change: *change,
                instead: newest.filter(|newest| newest.is_put).map(|one| one.seq),
            })
        });
        lost.collect()
    }
}

/// The most stretches of numbers in memory before they are put together.
const KNOWN_MAX: usize = 1 << 20;

/// The same numbers in as few stretches as possible, in order.
fn merged(mut stretches: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    stretches.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for (from, to) in stretches {
        match merged.last_mut() {
            Some((_, end)) if from <= end.saturating_add(1) => *end = (*end).max(to),
            _ => merged.push((from, to)),
        }
    }
    merged
}

impl fmt::Display for LostRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { collection, id, .. } = self;
        match self.change {
            Some(change) => write!(f, "{collection}/{id}: its change {change} is damaged; ")?,
            None => write!(f, "{collection}/{id}: the view has it damaged; ")?,
        }
        match self.instead {
            Some(change) => write!(f, "what came out is of change {change}"),
            None => f.write_str("nothing came out"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_changes_are_those_between_the_known_ones() {
        for (known, last, expected) in [
            (&[][..], 0, &[][..]),
            (&[], 2, &[(1, 2)]),
            (&[(1, 3), (4, 4)], 4, &[]),
            (&[(4, 4), (1, 2), (2, 2)], 6, &[(3, 3), (5, 6)]),
            (&[(1, 9), (3, 4)], 9, &[]),
            (&[(5, 9)], 9, &[(1, 4)]),
        ] {
            let found = KnownChanges {
                known: known.to_vec(),
                ..KnownChanges::default()
            };
            assert_eq!(found.missing(last), expected, "{known:?}");
        }
    }
}
