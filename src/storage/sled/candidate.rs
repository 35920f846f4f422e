//! The resources that are to be declared next: how they differ from those of now, and which records are known to stand against
//! them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;

use super::engine::{Engine, OpenFault};
use super::known::KnownResources;
use super::reader_state::OpenEngine;
use super::store::record;
use super::stored_fit;
use super::unique::clashing;
use crate::record::{JsonObject, RecordId, RecordIndex, RuleViolation, Schema};
use crate::storage::fit::{CountedRecords, DataFinding, DataFit, Resources};
use crate::storage::{CollectionId, StoreError};

/// How many records that break the rules of a candidate are noted while it is prepared.
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
    /// The opening of the store in which they had no values twice. What was written since then is noted.
    proven: Mutex<Option<u64>>,
    /// Those whose ids are to be compared.
    other_ids: Resources,
    /// Whether a resource comes or goes.
    other_names: bool,
    noted: Mutex<NotedRecords>,
    pub(super) outcome: Mutex<Outcome>,
}

/// Records that writes have put since the preparation began, and that break the rules of the candidate or have values of another
/// one that it makes unique. Each was noted before its commit, which may have failed, and may have been changed since.
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
        let rules = self.other_rules.is_empty() && self.new_unique.is_empty();
        rules && self.other_ids.is_empty() && !self.other_names
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
        let broken = |schema: &Schema| broken_rules(schema, json).is_some();
        broken(&next.schema) && !kept_by.as_deref().is_some_and(broken)
    }

    /// Notes a record that a write is about to put, if it breaks the rules.
    pub(super) fn note(
        &self,
        resource: &str,
        collection: CollectionId,
        id: &RecordId,
        json: &[u8],
    ) {
        if self.breaks(resource, json) {
            self.note_misfit(collection, id);
        }
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

    /// Notes that no two records have the same values in this opening of the store, as far as the writer has noted none.
    pub(super) fn prove(&self, era: u64) {
        *self.proven.lock() = Some(era);
    }

    /// Whether it makes nothing unique, or that was noted in this opening of the store.
    pub(super) fn is_proven(&self, era: u64) -> bool {
        self.new_unique.is_empty() || *self.proven.lock() == Some(era)
    }

    /// The noted records that still break the rules, or have values of another one that are to be unique. Between two groups,
    /// so all that was noted is in the view, or is not stored.
    pub(super) fn noted_misfits(
        &self,
        known: &KnownResources,
        open: &OpenEngine,
    ) -> Result<Vec<DataFinding>, StoreError> {
        let (mut fit, mut clashes) = (DataFit::new(self.resources.clone()), Clashes::new());
        for (collection, id) in &self.noted.lock().records {
            let Some(name) = known.name(*collection) else {
                continue;
            };
            if let Some(found) = record(open, *collection, id)?
                && self.breaks(name, &found.json)
            {
                fit.add(name, id, &found.json);
            }
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
        Ok(of_new_rules(fit).into_iter().chain(clashes).collect())
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
pub(super) fn broken_rules(schema: &Schema, json: &[u8]) -> Option<Vec<RuleViolation>> {
    let mut object = JsonObject::parse(json).ok()?;
    object.remove_id();
    schema.check_stored(object).err()
}
