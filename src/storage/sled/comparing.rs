//! The stored records are compared with a candidate in the background.
//!
//! Rules of fields are a matter of one record, so each is read once. Values that are to be unique are a matter of two: first the
//! indexes of the candidate are built, as those that are declared are, and then they are read through. From the moment on that an
//! index is complete, the writer finds in it the other record with the same values, and notes the one that it puts. So two such
//! records are found whenever the later of them is put. The index stays if the candidate is adopted: no time passes in which
//! `unique` is declared and its index lacks records. References are compared in the same way, see `new_references.rs`.

// Decision: The index of unique is built before unique is declared.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use super::candidate::{NextResources, Outcome, of_new_rules};
use super::failing_disk::not_written;
use super::healing::{HealingTask, TaskKind};
use super::holder::Holder;
use super::index_catalog::KeptIndex;
use super::known::KnownResources;
use super::new_references::RefersToNothing;
use super::page::{self, CHUNK_PAUSE, Chunk};
use super::read_error::ReadError;
use super::staging::Staging;
use super::stored_fit::has;
use super::unique::{clashing, repeated};
use crate::num::as_u64;
use crate::record::{RecordId, RecordIndex};
use crate::storage::fit::{CountedRecords, DataFinding, DataFit};
use crate::storage::journal::{JournalChange, JournalEffect};
use crate::storage::{CollectionId, StoreError, TaskProgress};
use crate::supervision::Faults;

/// The fault point at which a comparison waits for a moment after each chunk.
pub(super) const HELD_COMPARISON: &str = "storage.held_comparison";
/// The pause between two looks whether indexes are complete.
const INDEX_LOOK: Duration = Duration::from_millis(10);

/// A comparison that is under way.
struct Comparison<'a> {
    holder: &'a Holder,
    candidate: &'a NextResources,
    faults: &'a Faults,
    known: Arc<KnownResources>,
    /// The opening of the store that it is about.
    era: u64,
    task: HealingTask<'a>,
}

/// An index that is complete, although it may not be declared yet.
struct TriedIndex<'a> {
    resource: &'a str,
    index: &'a RecordIndex,
    collection: CollectionId,
    kept: KeptIndex,
}

impl TriedIndex<'_> {
    /// Whether its values are to be unique, and were not before.
    fn is_newly_unique(&self, candidate: &NextResources) -> bool {
        let mut of = candidate
            .new_unique
            .get(self.resource)
            .into_iter()
            .flatten();
        of.any(|index| index == self.index)
    }
}

impl Holder {
    /// Compares the stored records with a candidate, as long as it is one. `None` if records changed meanwhile so that it has to
    /// be done again.
    pub(super) fn compare(
        &self,
        candidate: &NextResources,
        faults: &Faults,
    ) -> Result<Option<Vec<DataFinding>>, StoreError> {
        let comparison = Comparison {
            holder: self,
            candidate,
            faults,
            known: self.resources.known.load_full(),
            era: self.look(|open| open.era).ok_or(StoreError::Unavailable)?,
            task: self.healing.begin(TaskKind::Compare),
        };
        // The indexes of the candidate are built while fields are compared.
        self.index_work.wake();
        comparison.expect();
        let mut found = comparison.fields()?;
        let tried = comparison.indexes()?.into_iter();
        for tried in tried.filter(|tried| tried.is_newly_unique(candidate)) {
            let Some(records) = comparison.repeated(&tried)? else {
                return Ok(None);
            };
            let (resource, fields) = (tried.resource.to_owned(), tried.index.fields());
            found.extend((records.count > 0).then_some(DataFinding::NotUnique {
                resource,
                fields,
                records,
            }));
        }
        found.extend(comparison.references()?);
        let ids = self.look(|open| candidate.misfit_ids(&*open.engine));
        found.extend(ids.ok_or(StoreError::Unavailable)??);
        if found.is_empty() {
            candidate.prove(comparison.era);
        }
        Ok(Some(found))
    }

    /// Notes those of the changes from the `first` on that leave a record which stands against the candidate: it breaks the rules of
    /// its resource, has values of another one that are to be unique, or refers to a record that is not there.
    pub(super) fn note_misfits(&self, staging: &Staging<'_>, first: usize) {
        let candidate = self.resources.candidate.load();
        let Some(candidate) = &*candidate else {
            return;
        };
        for change in staging.changes.iter().skip(first) {
            if let Some(collection) = candidate.ids.get(&change.collection)
                && let Some(id) = RecordId::from_key(&change.key)
            {
                match self.is_misfit(candidate, staging, change, *collection, &id) {
                    Ok(false) => {}
                    Ok(true) => candidate.note_misfit(*collection, &id),
                    Err(error) => {
                        tracing::warn!(%error, "a record that was written could not be compared with settings that are to be declared");
                        candidate.note_unknown();
                    }
                }
            }
        }
    }

    /// Whether a change leaves a record that stands against the candidate, or deletes one that others refer to.
    fn is_misfit(
        &self,
        candidate: &NextResources,
        staging: &Staging<'_>,
        change: &JournalChange,
        collection: CollectionId,
        id: &RecordId,
    ) -> Result<bool, ReadError> {
        let (resource, references) = (&*change.collection, &candidate.new_references);
        let known = self.resources.known.load();
        match &change.effect {
            JournalEffect::Put { json, .. } => {
                if candidate.breaks(resource, json) {
                    return Ok(true);
                }
                if let Some(unique) = candidate.new_unique.get(resource)
                    && staging.taken(collection, unique, id, json)?.is_some()
                {
                    return Ok(true);
                }
                let is_there = |to, id: &RecordId| staging.has(to, id);
                let nowhere = references.leading_nowhere(&known, resource, json, is_there)?;
                Ok(!nowhere.is_empty())
            }
            JournalEffect::Delete => references.is_used(&known, staging, resource, id),
            JournalEffect::Numbers { .. } => Ok(false),
        }
    }
}

impl<'a> Comparison<'a> {
    /// Notes how much is to be read.
    fn expect(&self) {
        let fields = self.candidate.other_rules.keys();
        let fields = fields.filter_map(|name| self.known.any_id(name));
        let unique = self.candidate.new_unique.iter();
        let unique = unique.filter_map(|(name, indexes)| {
            let id = self.known.any_id(name)?;
            Some(std::iter::repeat_n(id, indexes.len()))
        });
        let refer = self.candidate.new_references.resources();
        let refer = refer.filter_map(|name| self.known.any_id(name));
        let all = fields.chain(unique.flatten()).chain(refer);
        let bytes = all.map(|id| self.holder.readers.tally(id).bytes).sum();
        self.task.has_left(bytes);
    }

    /// Waits for a moment after a chunk. False if nobody wants to know the outcome any more.
    fn goes_on(&self) -> bool {
        let wanted = || self.candidate.outcome() == Outcome::Open;
        std::thread::park_timeout(CHUNK_PAUSE);
        while wanted() && self.faults.take(HELD_COMPARISON) {
            std::thread::park_timeout(CHUNK_PAUSE);
        }
        wanted()
    }

    /// Shows all records of a resource, in chunks of one moment each.
    fn read(
        &self,
        collection: CollectionId,
        look: &mut dyn FnMut(&Chunk) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut from = Vec::new();
        loop {
            let chunk = page::chunk(self.holder, self.era, collection, &mut from);
            let chunk = chunk.map_err(|fault| {
                tracing::error!(%fault, "records could not be compared with new rules");
                StoreError::Failed
            })?;
            // The store was closed meanwhile, or nobody wants to know any more.
            let chunk = chunk.ok_or(StoreError::Unavailable)?;
            if chunk.is_empty() {
                return Ok(());
            }
            look(&chunk)?;
            let bytes = chunk.iter().map(|(_, record)| as_u64(record.json.len()));
            self.task.add(bytes.sum());
            if !self.goes_on() {
                return Err(StoreError::Unavailable);
            }
        }
    }

    /// The records that break rules of fields.
    fn fields(&self) -> Result<Vec<DataFinding>, StoreError> {
        let mut fit = DataFit::new(self.candidate.resources.clone());
        for name in self.candidate.other_rules.keys() {
            let Some(collection) = self.known.any_id(name) else {
                continue;
            };
            self.read(collection, &mut |chunk| {
                for (key, record) in chunk {
                    if let Some(id) = RecordId::from_key(key)
                        && self.candidate.breaks(name, &record.json)
                    {
                        fit.add(name, &id, &record.json);
                    }
                }
                Ok(())
            })?;
        }
        Ok(of_new_rules(fit))
    }

    /// The records that refer by new references to others that are not there.
    fn references(&self) -> Result<Vec<DataFinding>, StoreError> {
        let (new, known) = (&self.candidate.new_references, &*self.known);
        let mut found = RefersToNothing::default();
        for name in new.resources() {
            let Some(collection) = known.any_id(name) else {
                continue;
            };
            self.read(collection, &mut |chunk| {
                let nowhere = |json: &[u8]| {
                    let there = |to, id: &RecordId| Ok(has(self.holder, to, id));
                    let found = new.leading_nowhere::<Infallible>(known, name, json, there);
                    found.is_ok_and(|found| !found.is_empty())
                };
                let suspects = chunk.iter().filter(|(_, record)| nowhere(&record.json));
                let suspects: Vec<_> = suspects
                    .filter_map(|(key, _)| RecordId::from_key(key))
                    .collect();
                if suspects.is_empty() {
                    return Ok(());
                }
                // A record and the one that it refers to were read at different moments: they are read again at one.
                let still = page::at_one_moment(self.holder, self.era, |open| {
                    let again = |id| new.of_record(known, open, (name, collection), id);
                    suspects.iter().map(again).collect::<Result<Vec<_>, _>>()
                });
                let still = still.ok_or(StoreError::Unavailable)??;
                for (id, fields) in suspects.iter().zip(still) {
                    found.add(name, id, fields);
                }
                Ok(())
            })?;
        }
        Ok(found.findings().collect())
    }

    /// Waits until the indexes are complete that the candidate needs.
    fn indexes(&self) -> Result<Vec<TriedIndex<'a>>, StoreError> {
        loop {
            let all = self.holder.look(|open| {
                let catalog = open.indexes.load();
                let resources = self.candidate.resources.keys();
                let tried = resources.flat_map(|resource| {
                    let tried = self.candidate.tried(resource);
                    tried.map(move |index| (resource.as_str(), index))
                });
                let complete = tried.map(|(resource, index)| {
                    let collection = self.known.any_id(resource)?;
                    let kept = catalog.named(collection, &index.name());
                    let kept = kept.filter(|kept| kept.is_complete())?.clone();
                    Some(TriedIndex {
                        resource,
                        index,
                        collection,
                        kept,
                    })
                });
                (open.era == self.era).then(|| complete.collect::<Option<Vec<_>>>())
            });
            if let Some(all) = all.flatten().ok_or(StoreError::Unavailable)? {
                return Ok(all);
            }
            if self.holder.space.refuses() {
                return Err(StoreError::Full);
            }
            if self.holder.disk.trouble().is_some() {
                return Err(not_written(Duration::ZERO));
            }
            if self.holder.index_work.is_failing() {
                return Err(StoreError::Failed);
            }
            if self.candidate.outcome() != Outcome::Open
                || !self.holder.index_work.pause(INDEX_LOOK)
            {
                return Err(StoreError::Unavailable);
            }
        }
    }

    /// The records with values of another one; `None` if those that were found have changed meanwhile.
    fn repeated(&self, tried: &TriedIndex<'_>) -> Result<Option<CountedRecords>, StoreError> {
        let (collection, index) = (tried.collection, tried.index);
        let tally = self.holder.readers.tally(collection);
        let each = tally.bytes / tally.records.max(1);
        let found = repeated(
            self.holder,
            self.era,
            collection,
            &tried.kept,
            &mut |keys| {
                self.task.add(each * as_u64(keys));
                self.goes_on()
            },
        );
        let records = found?.ok_or(StoreError::Unavailable)?;
        if records.count == 0 {
            return Ok(Some(records));
        }
        // Each part of the index was read at another moment. These are read at one.
        let still = page::at_one_moment(self.holder, self.era, |open| {
            let mut first = records.first.iter();
            let found = first.find_map(|id| match clashing(open, collection, index, id) {
                Ok(false) => None,
                other => Some(other),
            });
            found.unwrap_or(Ok(false))
        });
        let still = still.ok_or(StoreError::Unavailable)??;
        Ok(still.then_some(records))
    }
}
