//! Other resources are declared while the store runs, in three steps.
//!
//! *Propose* gives them their numbers and changes nothing. *Prepare*: the candidate is put where the writer sees it, and then
//! the stored records are compared with it in the background (`comparing.rs`). A record that a write puts from then on, and that
//! stands against the candidate, is noted by the writer; so each record is looked at by one of the two: the comparison begins
//! once all that was decided before is in the view. *Adopt*: the writer reads the noted records again, and declares the
//! candidate between two groups, unless a misfit was found. One store of a pointer divides before from after, so a writer that
//! dies leaves the one set or the other.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};

use super::candidate::{NextResources, Outcome, newly_broken};
use super::holder::Holder;
use super::known::KnownResources;
use super::message::StoreMessage;
use super::reader_state::OpenEngine;
use super::store::SledStore;
use super::stored_fit;
use crate::record::{CommandError, RecordId, Schema};
use crate::storage::fit::{DataFinding, Resources};
use crate::storage::proposal::Proposal;
use crate::storage::{
    CollectionId, PreparedResources, ProposedResources, ResourcesFault, StoreError,
};

/// The most times that the stored records are compared with one candidate, if the store is opened again meanwhile.
const COMPARISONS_MAX: usize = 3;

/// A record that a write puts, and the rules that it was decided by.
pub(super) struct PutRecord<'a> {
    /// Whether there is no record of this id yet.
    pub(super) creates: bool,
    pub(super) collection: CollectionId,
    pub(super) schema: &'a Arc<Schema>,
    pub(super) id: &'a RecordId,
    pub(super) json: &'a [u8],
}

/// The writer's answer to a candidate.
#[derive(Debug)]
pub(super) enum Declaration {
    Done,
    Misfits(Vec<DataFinding>),
    /// The candidate does not fit what is declared or noted by now.
    Overtaken,
}

impl Proposal for NextResources {
    fn collection(&self, name: &str) -> Option<CollectionId> {
        self.ids.get(name).copied()
    }

    fn adopted(&self) -> bool {
        self.outcome() == Outcome::Adopted
    }
}

/// The resources that are declared, and those that are to be declared next. An adopted candidate is forgotten only after its
/// resources are known, so that each record is held against one of the two at least.
pub(super) struct DeclaredResources {
    /// The resources, and which of them are declared.
    pub(super) known: ArcSwap<KnownResources>,
    pub(super) candidate: ArcSwapOption<NextResources>,
}

impl DeclaredResources {
    pub(super) fn new(declared: Resources) -> Self {
        Self {
            known: ArcSwap::from_pointee(KnownResources::new(declared)),
            candidate: ArcSwapOption::empty(),
        }
    }

    /// Declares a candidate, unless it was withdrawn or others were declared since it was proposed.
    fn put_in_force(&self, candidate: &Arc<NextResources>, names: &[String]) -> bool {
        let mut outcome = candidate.outcome.lock();
        while *outcome == Outcome::Open {
            let now = self.known.load();
            if now.version != candidate.base {
                break;
            }
            let next = Arc::new(now.with(names, &candidate.resources));
            if Arc::ptr_eq(&now, &self.known.compare_and_swap(&*now, next)) {
                *outcome = Outcome::Adopted;
                self.forget_candidate(candidate);
            }
        }
        *outcome == Outcome::Adopted
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

/// A candidate that may be declared. It is withdrawn when this is dropped.
struct PreparedCandidate {
    holder: Arc<Holder>,
    candidate: Arc<NextResources>,
}

impl PreparedCandidate {
    /// Ends the waiting, and returns whether they were adopted before.
    fn settle(&self) -> bool {
        let mut outcome = self.candidate.outcome.lock();
        if *outcome == Outcome::Open {
            *outcome = Outcome::Withdrawn;
            self.holder.resources.forget_candidate(&self.candidate);
            // The indexes that were built for it go.
            self.holder.index_work.wake();
        }
        *outcome == Outcome::Adopted
    }
}

impl Drop for PreparedCandidate {
    fn drop(&mut self) {
        self.settle();
    }
}

impl SledStore {
    pub(super) fn propose_resources(&self, resources: &Resources) -> ProposedResources {
        let known = self.holder.resources.known.load();
        let engine = self.holder.look(|open| open.engine.collections());
        let engine = engine.unwrap_or_else(|| known.names().into());
        let candidate = NextResources::new(&known, &engine, resources);
        ProposedResources::new(Arc::new(candidate))
    }

    pub(super) async fn prepare_resources(
        &self,
        proposed: ProposedResources,
    ) -> Result<PreparedResources, ResourcesFault> {
        let candidate = proposed.into_part::<NextResources>();
        let candidate = candidate.ok_or(ResourcesFault::Overtaken)?;
        let prepared = PreparedCandidate {
            holder: Arc::clone(&self.holder),
            candidate: Arc::clone(&candidate),
        };
        let prepared = PreparedResources::new(prepared);
        if candidate.is_like_now() {
            return Ok(prepared);
        }
        self.holder
            .resources
            .candidate
            .store(Some(Arc::clone(&candidate)));
        let mut found = Err(StoreError::Unavailable);
        for _ in 0..COMPARISONS_MAX {
            self.ask(|reply| StoreMessage::Applied { reply }).await?;
            let (holder, next) = (Arc::clone(&self.holder), Arc::clone(&candidate));
            let faults = self.faults.clone();
            let compare = tokio::task::spawn_blocking(move || holder.compare(&next, &faults));
            found = compare.await.map_err(|_| StoreError::Failed)?;
            if !matches!(found, Ok(None) | Err(StoreError::Unavailable)) {
                break;
            }
        }
        match found? {
            Some(found) if found.is_empty() => Ok(prepared),
            Some(found) => Err(ResourcesFault::Misfits(found)),
            None => Err(ResourcesFault::Overtaken),
        }
    }

    pub(super) async fn adopt_resources(
        &self,
        prepared: PreparedResources,
    ) -> Result<(), ResourcesFault> {
        let prepared = prepared.into_part::<PreparedCandidate>();
        let prepared = prepared.ok_or(ResourcesFault::Overtaken)?;
        let candidate = &prepared.candidate;
        if candidate.is_like_now() {
            // The writer has nothing to do with the rest of the settings.
            let adopted = self.holder.resources.put_in_force(candidate, &[]);
            self.holder.index_work.wake();
            return adopted.then_some(()).ok_or(ResourcesFault::Overtaken);
        }
        let before = self.holder.resources.known.load_full();
        let message = |reply| StoreMessage::Declare {
            candidate: Arc::clone(candidate),
            reply,
        };
        let declared = self.ask(message).await;
        // The message may still be in the queue if nobody answered it. This decides.
        if prepared.settle() {
            let gone = |name: &str| before.id(name).is_some();
            stored_fit::tell_undeclared(&self.holder, gone);
            self.holder.index_work.wake();
            return Ok(());
        }
        Err(match declared? {
            Declaration::Misfits(found) => ResourcesFault::Misfits(found),
            Declaration::Done | Declaration::Overtaken => ResourcesFault::Overtaken,
        })
    }
}

impl Holder {
    /// Decides whether a record may be put that keeps the rules of its request: it has to keep the rules that are declared
    /// now, too, and a new one has to have an id that requests can name now.
    pub(super) fn judge(&self, put: &PutRecord<'_>) -> Result<(), CommandError> {
        let known = self.resources.known.load();
        if put.creates && !known.ids(put.collection).reaches(put.id) {
            return Err(CommandError::Overtaken);
        }
        let other = |schema: &Arc<Schema>| !Arc::ptr_eq(schema, put.schema) && schema != put.schema;
        if let Some(now) = known.schema(put.collection).filter(|now| other(now)) {
            let broken = newly_broken(now, Some(put.schema), put.json);
            if !broken.is_empty() {
                return Err(CommandError::Invalid(broken));
            }
        }
        Ok(())
    }

    /// Declares a candidate, unless a record breaks its rules. Called by the writer between two groups. If it dies here, the
    /// message is delivered again, and whatever was done is done again.
    pub(super) fn declare(
        &self,
        open: &OpenEngine,
        candidate: &Arc<NextResources>,
    ) -> Result<Declaration, StoreError> {
        if candidate.outcome() == Outcome::Adopted {
            return Ok(Declaration::Done);
        }
        if !self.resources.is_candidate(candidate) {
            return Ok(Declaration::Overtaken);
        }
        let mut found = candidate.noted_misfits(&self.resources.known.load(), open)?;
        found.extend(candidate.misfit_ids(&*open.engine)?);
        if !found.is_empty() {
            return Ok(Declaration::Misfits(found));
        }
        if candidate.noted_too_many() || !candidate.is_proven(open.era) {
            return Ok(Declaration::Overtaken);
        }
        for name in &candidate.names {
            let declared = open.engine.declare(name);
            declared.map_err(|error| {
                tracing::error!(%error, "a resource could not be declared");
                StoreError::Failed
            })?;
        }
        let names = open.engine.collections();
        // Another declaration that failed half way may have left a name in one view and not in the next.
        let as_proposed = *names == *candidate.names;
        if as_proposed && self.resources.put_in_force(candidate, &names) {
            Ok(Declaration::Done)
        } else {
            Ok(Declaration::Overtaken)
        }
    }
}
