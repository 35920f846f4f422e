//! References that a candidate declares and that are not in force yet: stored records may refer by them to others that are not
//! there.
//!
//! The index of each is built first. Once it is complete, all records are read: what refers to one that was deleted before is
//! found then. From that moment on the writer finds in the index the records that refer to one that it deletes, and notes it.
//! Records that refer to nothing are noted when they are put.

use std::collections::{BTreeMap, BTreeSet};

use super::index_catalog::IndexCatalog;
use super::known::KnownResources;
use super::read_error::ReadError;
use super::reader_state::OpenEngine;
use super::referring::entry_of;
use super::staging::Staging;
use super::store::record;
use super::unique::UniqueLook;
use crate::record::{JsonObject, RecordId, RecordIndex, Reference};
use crate::storage::fit::{CountedRecords, DataFinding, Resources};
use crate::storage::{CollectionId, StoreError};

/// The most records of one field that are looked at because the record that they refer to was deleted. More need not be counted.
const REFERRING_LOOKED_AT: usize = 1_000;

/// The new references of resources that may have records, by resource, with their fields.
#[derive(Debug, Default)]
pub(super) struct NewReferences(BTreeMap<String, Vec<(String, Reference)>>);

/// Records that would refer to nothing, by resource, field and the resource that the field leads to.
#[derive(Debug, Default)]
pub(super) struct RefersToNothing(BTreeMap<(String, String, String), CountedRecords>);

impl NewReferences {
    /// Those of these resources that are not in force.
    pub(super) fn of(known: &KnownResources, resources: &Resources) -> Self {
        let new = resources.iter().filter_map(|(name, settings)| {
            let id = known.any_id(name)?;
            let in_force = |field: &str, reference: &Reference| {
                let mut all = known.references_to(&reference.to);
                all.any(|(from, its, _)| from == id && its == field)
            };
            let references = settings.schema.references();
            let new = references.filter(|(field, reference)| !in_force(field, reference));
            let new: Vec<_> = new
                .map(|(field, reference)| (field.to_owned(), reference.clone()))
                .collect();
            (!new.is_empty()).then(|| (name.clone(), new))
        });
        Self(new.collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The resources with some.
    pub(super) fn resources(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    /// Whether a resource has one with this index.
    pub(super) fn needs(&self, resource: &str, index: &RecordIndex) -> bool {
        let mut of = self.0.get(resource).into_iter().flatten();
        of.any(|(field, _)| index.name() == *field)
    }

    /// The fields of a record that refer by new references to no record, with the resources that they lead to.
    pub(super) fn leading_nowhere<E>(
        &self,
        known: &KnownResources,
        resource: &str,
        json: &[u8],
        is_there: impl Fn(CollectionId, &RecordId) -> Result<bool, E>,
    ) -> Result<Vec<(&str, &str)>, E> {
        let mut found = Vec::new();
        let Some(new) = self.0.get(resource) else {
            return Ok(found);
        };
        // A text that is no object is damage, and told elsewhere.
        let object = JsonObject::parse(json).unwrap_or_default();
        for (field, reference) in new {
            let value = object.members().get(field);
            let Some(id) = value.and_then(|value| reference.id(value)) else {
                continue;
            };
            let there = match known.any_id(&reference.to) {
                Some(collection) => is_there(collection, &id)?,
                None => false,
            };
            if !there {
                found.push((field.as_str(), reference.to.as_str()));
            }
        }
        Ok(found)
    }

    /// The same of a stored record; none if it is not there.
    pub(super) fn of_record(
        &self,
        known: &KnownResources,
        open: &OpenEngine,
        (resource, collection): (&str, CollectionId),
        id: &RecordId,
    ) -> Result<Vec<(&str, &str)>, StoreError> {
        let Some(found) = record(open, collection, id)? else {
            return Ok(Vec::new());
        };
        let is_there = |to, id: &RecordId| record(open, to, id).map(|found| found.is_some());
        self.leading_nowhere(known, resource, &found.json, is_there)
    }

    /// Whether a new reference of any record leads to this one, which a group deletes, as the group leaves them. Records that are
    /// not in an index yet, since it is not complete, are found later.
    pub(super) fn is_used(
        &self,
        known: &KnownResources,
        staging: &Staging<'_>,
        resource: &str,
        id: &RecordId,
    ) -> Result<bool, ReadError> {
        let mut found = false;
        let among = |collection| staging.among(collection);
        self.referring(known, (resource, id), &staging.indexes, among, &mut |_| {
            found = true;
            false
        })?;
        Ok(found)
    }

    /// The records that refer to one that is not there, as the engine has them between two groups.
    pub(super) fn left_by(
        &self,
        known: &KnownResources,
        open: &OpenEngine,
        resource: &str,
        id: &RecordId,
    ) -> Result<BTreeSet<(CollectionId, RecordId)>, ReadError> {
        let (mut found, indexes) = (BTreeSet::new(), open.indexes.load());
        let among = |collection| UniqueLook {
            engine: &*open.engine,
            group: None,
            indexes: &indexes,
            collection,
        };
        self.referring(known, (resource, id), &indexes, among, &mut |child| {
            found.insert(child);
            found.len() < REFERRING_LOOKED_AT
        })?;
        Ok(found)
    }

    /// Shows the records that refer to one, of each field as long as `visit` wants more.
    fn referring<'a>(
        &self,
        known: &KnownResources,
        (resource, id): (&str, &RecordId),
        indexes: &IndexCatalog,
        among: impl Fn(CollectionId) -> UniqueLook<'a>,
        visit: &mut dyn FnMut((CollectionId, RecordId)) -> bool,
    ) -> Result<(), ReadError> {
        for (from, new) in &self.0 {
            let Some(from) = known.any_id(from) else {
                continue;
            };
            for (field, _) in new.iter().filter(|(_, reference)| reference.to == resource) {
                let kept = indexes.named(from, field);
                if let Some(kept) = kept.filter(|kept| kept.is_complete())
                    && let Some(entry) = entry_of(kept, field, id)
                {
                    let mut show = |child| Ok(visit((from, child)));
                    among(from).with_entry(kept, &entry, &mut show)?;
                }
            }
        }
        Ok(())
    }
}

impl RefersToNothing {
    /// Adds a record that refers to nothing by these fields, each with the resource that it leads to.
    pub(super) fn add(&mut self, resource: &str, id: &RecordId, fields: Vec<(&str, &str)>) {
        for (field, to) in fields {
            let key = (resource.to_owned(), field.to_owned(), to.to_owned());
            self.0.entry(key).or_default().add(id);
        }
    }

    pub(super) fn findings(self) -> impl Iterator<Item = DataFinding> {
        let found = self.0.into_iter();
        found.map(
            |((resource, field, to), records)| DataFinding::NewDangling {
                resource,
                field,
                to,
                records,
            },
        )
    }
}
