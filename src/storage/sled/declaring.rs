//! Other resources are declared while the store runs, in two steps.
//!
//! *Prepare*: the candidate is put where the writer sees it, and then the stored records are compared with it in the
//! background. A write that the writer decides from then on is compared by the writer itself, so each record is looked at by
//! one of the two: the comparison begins once all that was decided before is in the view. *Adopt*: the writer declares the
//! candidate between two groups, unless a misfit was found. One store of a pointer divides before from after, so a writer that
//! dies leaves the one set or the other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::engine::{Engine, OpenFault};
use super::holder::Holder;
use super::known::KnownResources;
use super::message::StoreMessage;
use super::page;
use super::reader_state::OpenEngine;
use super::store::SledStore;
use super::stored_fit;
use crate::record::{CommandError, JsonObject, RecordId, RuleViolation, Schema};
use crate::storage::fit::{DataFinding, DataFit, Resources};
use crate::storage::{CollectionId, ResourcesFault, StoreError};

/// The pause after each chunk of records that are compared, so that this takes a part of one processor only.
const CHUNK_PAUSE: Duration = Duration::from_millis(1);
/// The progress is logged each time that so many records were compared.
const TOLD_RECORDS: usize = 100_000;

/// A record that a write puts, and the rules that it was decided by.
pub(super) struct PutRecord<'a> {
    pub(super) collection: CollectionId,
    pub(super) schema: &'a Arc<Schema>,
    pub(super) id: &'a RecordId,
    pub(super) json: &'a [u8],
}

/// The resources that are to be declared next.
#[derive(Debug)]
pub(super) struct NextResources {
    resources: Resources,
    /// Those with other rules than now, by name, with the rules as they are now. A record that breaks these already does not
    /// count.
    other_rules: BTreeMap<String, Option<Arc<Schema>>>,
    /// Those whose ids are to be compared.
    other_ids: Resources,
    /// Whether a resource comes or goes.
    other_names: bool,
    fit: Mutex<DataFit>,
    outcome: Mutex<Outcome>,
}

/// The outcome of a candidate; the first one stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Open,
    Adopted,
    Withdrawn,
}

impl NextResources {
    fn new(known: &KnownResources, resources: &Resources) -> Self {
        let now = known.declared();
        let schema = |name: &String| now.get(name).map(|now| Arc::clone(&now.schema));
        let others = |other: &dyn Fn(&String) -> bool| -> Resources {
            let others = resources.iter().filter(|(name, _)| other(name));
            others
                .map(|(name, settings)| (name.clone(), settings.clone()))
                .collect()
        };
        let ids = |of: &Resources, name: &String| of.get(name).map(|settings| settings.ids);
        let rules = resources.iter();
        let rules = rules.filter(|(name, next)| {
            next.schema.has_rules() && schema(name).is_none_or(|now| now != next.schema)
        });
        Self {
            other_rules: rules
                .map(|(name, _)| (name.clone(), schema(name)))
                .collect(),
            other_ids: others(&|name| ids(&now, name) != ids(resources, name)),
            other_names: !now.keys().eq(resources.keys()),
            fit: Mutex::new(DataFit::new(resources.clone())),
            outcome: Mutex::new(Outcome::Open),
            resources: resources.clone(),
        }
    }

    /// Whether the store has nothing to do for it.
    fn is_like_now(&self) -> bool {
        self.other_rules.is_empty() && self.other_ids.is_empty() && !self.other_names
    }

    /// Looks at a record. It does not count if it breaks the rules that it was kept by, too.
    fn add(&self, resource: &str, id: &RecordId, json: &[u8], kept_by: Option<&Schema>) {
        let fits = |schema: &Schema| broken_rules(schema, json).is_none();
        if kept_by.is_none_or(fits) {
            self.fit.lock().add(resource, id, json);
        }
    }

    /// The rules that records break which were looked at so far.
    fn broken(&self) -> Vec<DataFinding> {
        let findings = self.fit.lock().clone().findings();
        findings
            .into_iter()
            .filter_map(DataFinding::of_new_rules)
            .collect()
    }

    /// All that is known to stand against it.
    fn misfits(&self, engine: &dyn Engine) -> Result<Vec<DataFinding>, StoreError> {
        let mut found = self.broken();
        match stored_fit::ids(engine, &self.other_ids) {
            Ok(()) => {}
            Err(OpenFault::Settings(refusal)) => found.push(refusal),
            Err(fault) => {
                tracing::error!(%fault, "ids could not be compared with the settings");
                return Err(StoreError::Failed);
            }
        }
        Ok(found)
    }
}

/// The rules that a record breaks; `None` if it breaks none, or is no object, which is damage and told elsewhere.
fn broken_rules(schema: &Schema, json: &[u8]) -> Option<Vec<RuleViolation>> {
    let mut object = JsonObject::parse(json).ok()?;
    object.remove_id();
    schema.check(&mut object).err()
}

/// Resources that may be declared. They may not any more once this is dropped.
#[derive(Debug)]
pub(crate) struct PreparedResources {
    holder: Arc<Holder>,
    candidate: Arc<NextResources>,
}

impl PreparedResources {
    /// Ends the waiting, and returns whether they were adopted before.
    fn settle(&self) -> bool {
        let mut outcome = self.candidate.outcome.lock();
        if *outcome == Outcome::Open {
            *outcome = Outcome::Withdrawn;
            self.holder.forget_candidate(&self.candidate);
        }
        *outcome == Outcome::Adopted
    }
}

impl Drop for PreparedResources {
    fn drop(&mut self) {
        self.settle();
    }
}

impl SledStore {
    pub(super) async fn prepare_resources(
        &self,
        resources: &Resources,
    ) -> Result<PreparedResources, ResourcesFault> {
        let candidate = Arc::new(NextResources::new(&self.holder.known.load(), resources));
        let prepared = PreparedResources {
            holder: Arc::clone(&self.holder),
            candidate: Arc::clone(&candidate),
        };
        if candidate.is_like_now() {
            return Ok(prepared);
        }
        self.holder.candidate.store(Some(Arc::clone(&candidate)));
        self.ask(|reply| StoreMessage::Applied { reply }).await?;
        let holder = Arc::clone(&self.holder);
        let compare = tokio::task::spawn_blocking(move || holder.compare(&candidate));
        let found = compare.await.map_err(|_| StoreError::Failed)??;
        if found.is_empty() {
            Ok(prepared)
        } else {
            Err(ResourcesFault::Misfits(found))
        }
    }

    pub(super) async fn adopt_resources(
        &self,
        prepared: PreparedResources,
    ) -> Result<(), ResourcesFault> {
        let candidate = &prepared.candidate;
        let before = self.holder.known.load_full();
        if candidate.is_like_now() {
            // The writer has nothing to do with the rest of the settings.
            let resources = &candidate.resources;
            self.holder.known.rcu(|known| known.with(&[], resources));
            return Ok(());
        }
        let message = |reply| StoreMessage::Declare {
            candidate: Arc::clone(candidate),
            reply,
        };
        let declared = self.ask(message).await;
        // The message may still be in the queue if nobody answered it. This decides.
        if prepared.settle() {
            let gone = |name: &str| before.id(name).is_some();
            stored_fit::tell_undeclared(&self.holder, gone);
            return Ok(());
        }
        match declared {
            Ok(found) => Err(ResourcesFault::Misfits(found)),
            Err(error) => Err(error.into()),
        }
    }
}

impl Holder {
    /// Decides whether a record may be put that keeps the rules of its request: it has to keep the rules that are declared
    /// now, too. Notes whether it keeps those that are to be declared.
    pub(super) fn judge(&self, put: &PutRecord<'_>) -> Result<(), CommandError> {
        let known = self.known.load();
        let other = |schema: &Arc<Schema>| !Arc::ptr_eq(schema, put.schema) && schema != put.schema;
        if let Some(now) = known.schema(put.collection).filter(|now| other(now))
            && let Some(broken) = broken_rules(now, put.json)
            && broken_rules(put.schema, put.json).is_none()
        {
            return Err(CommandError::Invalid(broken));
        }
        if let Some(candidate) = &*self.candidate.load()
            && let Some(name) = known.name(put.collection)
            && candidate.other_rules.contains_key(name)
        {
            candidate.add(name, put.id, put.json, Some(put.schema));
        }
        Ok(())
    }

    /// Compares the stored records with a candidate, as long as it is one.
    fn compare(&self, candidate: &Arc<NextResources>) -> Result<Vec<DataFinding>, StoreError> {
        let known = self.known.load_full();
        let era = self.look(|open| open.era).ok_or(StoreError::Unavailable)?;
        for (name, now) in &candidate.other_rules {
            let Some(collection) = known.any_id(name) else {
                continue;
            };
            let (mut from, mut records) = (Vec::new(), 0);
            loop {
                let chunk = page::chunk(self, era, collection, &from);
                let chunk = chunk.map_err(|fault| {
                    tracing::error!(%fault, "records could not be compared with new rules");
                    StoreError::Failed
                })?;
                // The store was closed meanwhile, or nobody wants to know any more.
                let chunk = chunk.filter(|_| *candidate.outcome.lock() == Outcome::Open);
                let chunk = chunk.ok_or(StoreError::Unavailable)?;
                let Some((last, _)) = chunk.last() else {
                    break;
                };
                from = [last.as_slice(), &[0]].concat();
                for (key, record) in &chunk {
                    if let Some(id) = RecordId::from_key(key) {
                        candidate.add(name, &id, &record.json, now.as_deref());
                    }
                }
                if (records + chunk.len()) / TOLD_RECORDS > records / TOLD_RECORDS {
                    let so_far = records + chunk.len();
                    tracing::info!(resource = %name, records = so_far, "records are compared with new rules");
                }
                records += chunk.len();
                std::thread::park_timeout(CHUNK_PAUSE);
            }
        }
        let found = self.look(|open| candidate.misfits(&*open.engine));
        found.ok_or(StoreError::Unavailable)?
    }

    /// Declares a candidate, unless something stands against it, which is returned. Called by the writer between two groups.
    /// If it dies here, the message is delivered again, and whatever was done is done again.
    pub(super) fn declare(
        &self,
        open: &OpenEngine,
        candidate: &Arc<NextResources>,
    ) -> Result<Vec<DataFinding>, StoreError> {
        let mut outcome = candidate.outcome.lock();
        match *outcome {
            Outcome::Adopted => return Ok(Vec::new()),
            Outcome::Withdrawn => return Err(StoreError::Expired),
            Outcome::Open => {}
        }
        if !self.is_candidate(candidate) {
            // Another one was prepared after it.
            return Err(StoreError::Busy);
        }
        let found = candidate.misfits(&*open.engine)?;
        if !found.is_empty() {
            return Ok(found);
        }
        for name in candidate.resources.keys() {
            let declared = open.engine.declare(name);
            declared.map_err(|error| {
                tracing::error!(%error, "a resource could not be declared");
                StoreError::Failed
            })?;
        }
        let names = open.engine.collections();
        self.known
            .rcu(|known| known.with(&names, &candidate.resources));
        *outcome = Outcome::Adopted;
        self.forget_candidate(candidate);
        Ok(found)
    }

    fn is_candidate(&self, candidate: &Arc<NextResources>) -> bool {
        let current = self.candidate.load();
        current
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, candidate))
    }

    fn forget_candidate(&self, candidate: &Arc<NextResources>) {
        self.candidate.compare_and_swap(candidate, None);
    }
}

impl std::fmt::Debug for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Holder")
    }
}
