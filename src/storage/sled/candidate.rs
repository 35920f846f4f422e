//! The resources that are to be declared next: how they differ from those of now, and which records are known to stand against
//! them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;

use super::engine::{Engine, OpenFault};
use super::known::KnownResources;
use super::new_references::{NewReferences, RefersToNothing};
use super::reader_state::OpenEngine;
use super::store::record;
use super::stored_fit;
use super::unique::clashing;
use crate::record::{JsonObject, RecordId, RecordIndex, RuleViolation, Schema};
use crate::storage::fit::{CountedRecords, DataFinding, DataFit, Resources};
use crate::storage::{CollectionId, StoreError};

/// The most records that break the rules of a candidate that are noted while it is prepared.
const NOTED_MAX: usize = 1000;

/// The resources that are to be declared next.
#[derive(Debug)]
pub(super) struct NextResources {
    pub(super) resources: Resources,
    /// The version of the known resources that they may take the place of.
    pub(super) base: u64,
    /// The names that the engine has when they are declared.
    pub(super) names: Vec<String>,
    pub(super) ids: BTreeMap<String, CollectionId>,
    /// Those with other rules than before, by name, with the rules as they were declared last. A record that breaks these
    /// already does not count.
    pub(super) other_rules: BTreeMap<String, Option<Arc<Schema>>>,
    /// Indexes that are unique from then on, by resource, of those that may have records.
    pub(super) new_unique: BTreeMap<String, Vec<RecordIndex>>,
    pub(super) new_references: NewReferences,
    /// The opening of the store in which no values stood twice, and no reference led to nothing. What was written since then
    /// is noted.
    proven: Mutex<Option<u64>>,
    /// Those whose ids are to be compared.
    other_ids: Resources,
    /// Whether a resource comes or goes.
    other_names: bool,
    noted: Mutex<NotedRecords>,
    pub(super) outcome: Mutex<Outcome>,
}

/// Records that writes have put since the preparation began, and that break the rules of the candidate, have values of another
/// one that it makes unique, or refer to nothing; and records that writes have deleted, and that others refer to. Each was noted
/// before its commit, which may have failed, and may have been changed since.
#[derive(Debug, Default)]
struct NotedRecords {
    records: BTreeSet<(CollectionId, RecordId)>,
    /// Whether there are more than are noted, or some that could not be looked at.
    more: bool,
}

/// Records with values of another one, by resource and fields.
type Clashes = BTreeMap<(String, String), CountedRecords>;

/// The outcome of a candidate; the first one stays. The lock is held for moments only, never while anything is read or
/// written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Open,
    Adopted,
    Withdrawn,
}

impl NextResources {
    pub(super) fn new(known: &KnownResources, engine: &[String], resources: &Resources) -> Self {
        let now = known.declared();
        let other_names = !now.keys().eq(resources.keys());
        let lacking = resources.keys().filter(|name| !engine.contains(name));
        let names: Vec<_> = engine.iter().chain(lacking).cloned().collect();
        let next = known.with(&names, resources);
        let ids = resources.keys();
        let ids = ids.filter_map(|name| Some((name.clone(), next.id(name)?)));
        let last = |name: &str| known.schema(known.any_id(name)?).cloned();
        let rules = resources.iter();
        let rules = rules.filter(|(name, next)| {
            next.schema.has_rules() && last(name).is_none_or(|last| last != next.schema)
        });
        let unique_before = |name: &str, index: &RecordIndex| {
            let before = known.any_id(name).and_then(|id| known.indexes(id));
            before.is_some_and(|before| before.contains(index))
        };
        let may_have_records = resources.iter();
        let may_have_records = may_have_records.filter(|(name, _)| known.any_id(name).is_some());
        let unique = may_have_records.filter_map(|(name, next)| {
            let unique = next.indexes.iter().filter(|index| index.unique);
            let new = unique.filter(|index| !unique_before(name, index));
            let new: Vec<_> = new.cloned().collect();
            (!new.is_empty()).then(|| (name.clone(), new))
        });
        let ids_of = |of: &Resources, name: &String| of.get(name).map(|settings| settings.ids);
        let others = resources.iter();
        let others = others.filter(|(name, _)| ids_of(&now, name) != ids_of(resources, name));
        Self {
            base: known.version,
            ids: ids.collect(),
            other_rules: rules.map(|(name, _)| (name.clone(), last(name))).collect(),
            new_unique: unique.collect(),
            new_references: NewReferences::of(known, resources),
            other_ids: others
                .map(|(name, settings)| (name.clone(), settings.clone()))
                .collect(),
            other_names,
            proven: Mutex::default(),
            noted: Mutex::default(),
            outcome: Mutex::new(Outcome::Open),
            resources: resources.clone(),
            names,
        }
    }

    /// Whether the store has nothing to do for it.
    pub(super) fn is_like_now(&self) -> bool {
        let alone = self.other_rules.is_empty() && self.other_ids.is_empty() && !self.other_names;
        alone && !self.needs_indexes()
    }

    /// Whether it declares something that stored records can be compared with only by means of indexes.
    fn needs_indexes(&self) -> bool {
        !(self.new_unique.is_empty() && self.new_references.is_empty())
    }

    /// The indexes that are built before it is declared.
    pub(super) fn tried<'a>(&'a self, resource: &'a str) -> impl Iterator<Item = &'a RecordIndex> {
        let unique = self.new_unique.get(resource).into_iter().flatten();
        let declared = self.resources.get(resource).into_iter();
        let declared = declared.flat_map(|settings| &settings.indexes);
        let of_references = declared.filter(|index| self.new_references.needs(resource, index));
        unique.chain(of_references)
    }

    pub(super) fn outcome(&self) -> Outcome {
        *self.outcome.lock()
    }

    /// Whether a record breaks the new rules of its resource, and not those that it was kept by.
    pub(super) fn breaks(&self, resource: &str, json: &[u8]) -> bool {
        let Some((kept_by, next)) = self
            .other_rules
            .get(resource)
            .zip(self.resources.get(resource))
        else {
            return false;
        };
        !newly_broken(&next.schema, kept_by.as_deref(), json).is_empty()
    }

    /// Notes a record that stands against the candidate as a write is about to leave it.
    pub(super) fn note_misfit(&self, collection: CollectionId, id: &RecordId) {
        let mut noted = self.noted.lock();
        if noted.records.len() < NOTED_MAX {
            noted.records.insert((collection, id.clone()));
        } else {
            noted.more = true;
        }
    }

    /// Notes that a record was put that could not be looked at.
    pub(super) fn note_unknown(&self) {
        self.noted.lock().more = true;
    }

    /// Whether more such records were written than could be noted.
    pub(super) fn noted_too_many(&self) -> bool {
        self.noted.lock().more
    }

    /// Notes that nothing stands against it in this opening of the store, as far as the writer has noted nothing.
    pub(super) fn prove(&self, era: u64) {
        *self.proven.lock() = Some(era);
    }

    /// Whether it needs no indexes, or that was noted in this opening of the store.
    pub(super) fn is_proven(&self, era: u64) -> bool {
        !self.needs_indexes() || *self.proven.lock() == Some(era)
    }

    /// The noted records, and the records that refer to a noted one that is deleted. Called between two groups, so each record that
    /// was noted is in the view, or is not stored.
    fn noted(
        &self,
        known: &KnownResources,
        open: &OpenEngine,
    ) -> Result<BTreeSet<(CollectionId, RecordId)>, StoreError> {
        let mut noted = self.noted.lock().records.clone();
        let mut left = BTreeSet::new();
        for (collection, id) in &noted {
            if let Some(name) = known.name(*collection)
                && record(open, *collection, id)?.is_none()
            {
                left.extend(self.new_references.left_by(known, open, name, id)?);
            }
        }
        noted.extend(left);
        Ok(noted)
    }

    /// The noted records that still break the rules of the candidate.
    pub(super) fn noted_misfits(
        &self,
        known: &KnownResources,
        open: &OpenEngine,
    ) -> Result<Vec<DataFinding>, StoreError> {
        let (mut fit, mut clashes) = (DataFit::new(self.resources.clone()), Clashes::new());
        let mut to_nothing = RefersToNothing::default();
        for (collection, id) in &self.noted(known, open)? {
            let Some(name) = known.name(*collection) else {
                continue;
            };
            if let Some(found) = record(open, *collection, id)?
                && self.breaks(name, &found.json)
            {
                fit.add(name, id, &found.json);
            }
            let of = (name, *collection);
            let nowhere = self.new_references.of_record(known, open, of, id)?;
            to_nothing.add(name, id, nowhere);
            for index in self.new_unique.get(name).into_iter().flatten() {
                if clashing(open, *collection, index, id)? {
                    let of = clashes.entry((name.to_owned(), index.fields()));
                    of.or_insert_with(CountedRecords::default).add(id);
                }
            }
        }
        let clashes = clashes.into_iter();
        let clashes = clashes.map(|((resource, fields), records)| DataFinding::NotUnique {
            resource,
            fields,
            records,
        });
        let of_rules = of_new_rules(fit).into_iter();
        Ok(of_rules
            .chain(clashes)
            .chain(to_nothing.findings())
            .collect())
    }

    /// The stored ids that no request could name.
    pub(super) fn misfit_ids(
        &self,
        engine: &dyn Engine,
    ) -> Result<Option<DataFinding>, StoreError> {
        match stored_fit::ids(engine, &self.other_ids) {
            Ok(()) => Ok(None),
            Err(OpenFault::Settings(refusal)) => Ok(Some(refusal)),
            Err(fault) => {
                tracing::error!(%fault, "ids could not be compared with the settings");
                Err(StoreError::Failed)
            }
        }
    }
}

pub(super) fn of_new_rules(fit: DataFit) -> Vec<DataFinding> {
    let findings = fit.findings().into_iter();
    findings.filter_map(DataFinding::of_new_rules).collect()
}

/// The rules that a record breaks; `None` if it breaks none, or is no object, which is damage and told elsewhere.
fn broken_rules(schema: &Schema, json: &[u8]) -> Option<Vec<RuleViolation>> {
    let mut object = JsonObject::parse(json).ok()?;
    object.remove_id();
    schema.check_stored(object).err()
}

/// The rules that a record breaks, without those that it broke before already.
pub(super) fn newly_broken(
    schema: &Schema,
    before: Option<&Schema>,
    json: &[u8],
) -> Vec<RuleViolation> {
    let Some(mut broken) = broken_rules(schema, json) else {
        return Vec::new();
    };
    let old = before.and_then(|before| broken_rules(before, json));
    let old = old.unwrap_or_default();
    broken.retain(|rule| !old.iter().any(|old| old.is_like(rule)));
    broken
}
