//! Compares the settings with the records of a store that need not be open, for `perennial check --data`.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;

use super::data_folder::DataFolder;
use super::print::{PrintError, store_of};
use crate::record::RecordId;
use crate::storage::fit::{DataFinding, DataFit, RepeatedValues, Resources};
use crate::storage::journal::{JournalChange, JournalEffect, JournalFiles, Reach, Snapshot};

/// The findings of a comparison of the settings with the records of a data folder.
pub(crate) fn data_fit(data: &Path, resources: &Resources) -> Result<Vec<DataFinding>, PrintError> {
    let hasher = RandomState::new();
    let of = |change: &JournalChange| hasher.hash_one((&change.collection, &change.key));
    // The last change of each record. The records are too many to be kept.
    let mut last = HashMap::new();
    read(data, |change| {
        let last = last.entry(of(&change)).or_insert(change.seq);
        *last = change.seq.max(*last);
    })?;
    let mut fit = DataFit::new(resources.clone());
    let repeated = resources.iter();
    let repeated = repeated.map(|(name, of)| (name.clone(), RepeatedValues::of(&of.indexes)));
    let mut repeated: BTreeMap<_, _> = repeated.collect();
    let mut there = HashMap::new();
    read(data, |change| {
        let is_last = last.get(&of(&change)) == Some(&change.seq);
        if let (JournalEffect::Put { json, .. }, true) = (&change.effect, is_last)
            && let Some(id) = RecordId::from_key(&change.key)
        {
            // A snapshot may have the same change twice.
            last.remove(&of(&change));
            there.insert(of(&change), change.seq);
            fit.add(&change.collection, &id, json);
            if let Some(repeated) = repeated.get_mut(&change.collection) {
                repeated.add(&id, json);
            }
        }
    })?;
    let mut refers = resources.keys();
    if refers.any(|name| fit.has_references(name)) {
        read(data, |change| {
            let hash = of(&change);
            if let JournalEffect::Put { json, .. } = &change.effect
                && there.get(&hash) == Some(&change.seq)
                && let Some(id) = RecordId::from_key(&change.key)
            {
                // It is there, and was looked at.
                there.insert(hash, 0);
                fit.add_references(&change.collection, &id, json, |to, id| {
                    let key = id.key().into_owned();
                    there.contains_key(&hasher.hash_one((&to.to_owned(), &key)))
                });
            }
        })?;
    }
    let mut found = fit.findings();
    found.extend(
        repeated
            .into_iter()
            .flat_map(|(name, of)| of.findings(&name)),
    );
    Ok(found)
}

/// Shows the changes of the newest snapshot and of the journal behind it.
fn read(data: &Path, mut visit: impl FnMut(JournalChange)) -> Result<(), PrintError> {
    let folder = DataFolder::new(data);
    let (store, _) = store_of(&folder)?;
    let mut show = |changes: Vec<JournalChange>| {
        changes.into_iter().for_each(&mut visit);
        Ok::<_, PrintError>(())
    };
    let snapshots = Snapshot::find(&folder.snapshots(), store)?;
    let mut base = 0;
    if let Some(snapshot) = snapshots.first() {
        snapshot.read(&mut show)?;
        base = snapshot.seq;
    }
    match JournalFiles::find(&folder.journal(), store)?.read(base, show)? {
        Reach::End(_) => Ok(()),
        Reach::Damage { error, .. } => Err(error.into()),
    }
}
