//! Brings the indexes that there are in line with those that are declared. The writer does so before the first group that it
//! writes after a declaration, so that every write of that time changes the new indexes, and `unique` is enforced among these
//! writes before an index is complete.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::candidate::NextResources;
use super::engine::Group;
use super::index_catalog::{IndexCatalog, IndexState, KeptIndex};
use super::known::KnownResources;
use super::reader_state::OpenEngine;
use super::writer::Writer;
use crate::record::RecordIndex;
use crate::storage::CollectionId;
use crate::supervision::BoxError;

const NEW: &str = "an index is new, and is built";
const LIMITED: &str = "an index is new, and is built; until it is complete, unique is enforced only among the records that it has and those that are written from now on";
const TRIED: &str =
    "an index is built, to see whether its values can be unique; if not, it is removed again";

/// The opening of the engine and the version of the declaration that its indexes are in line with.
pub(super) type DeclaredIndexes = (u64, u64);

impl Writer {
    /// Begins the indexes that are declared and not there yet, and ends those that are not declared any more, unless that was
    /// done for this declaration.
    pub(super) fn follow_declaration(&mut self, open: &OpenEngine) -> Result<(), BoxError> {
        let now = (open.era, self.holder.known.load().version);
        if self.declared != Some(now) {
            self.declare_indexes(open)?;
            self.declared = Some(now);
        }
        Ok(())
    }

    /// The same at any time. False if there is nothing to be changed.
    pub(super) fn declare_indexes(&self, open: &OpenEngine) -> Result<bool, BoxError> {
        let names = open.engine.collections();
        let catalog = open.indexes.load().of_resources(names.len());
        let mut group = Group::default();
        let (known, candidate) = (self.holder.known.load(), self.holder.candidate.load());
        let needed = NeededIndexes {
            known: &known,
            candidate: candidate.as_deref(),
        };
        let Some(next) = needed.catalog(catalog, &names, &mut group) else {
            return Ok(false);
        };
        self.change_view(open, &group, next)?;
        self.holder.index_work.wake();
        Ok(true)
    }

    /// Whether another view lacks an index that there has to be, and that is complete now.
    pub(super) fn lacks_indexes(&self, open: &OpenEngine, other: &IndexCatalog) -> bool {
        let (known, candidate) = (self.holder.known.load(), self.holder.candidate.load());
        let needed = NeededIndexes {
            known: &known,
            candidate: candidate.as_deref(),
        };
        let (now, names) = (open.indexes.load(), open.engine.collections());
        let complete = |catalog: &IndexCatalog, id, index: &RecordIndex| {
            let kept = catalog.named(id, &index.name());
            kept.is_some_and(KeptIndex::is_complete)
        };
        let mut resources = (0..).map(CollectionId).zip(names.iter());
        resources.any(|(id, name)| {
            let mut needed = needed.of(id, name);
            needed.any(|(index, _)| complete(&now, id, index) && !complete(other, id, index))
        })
    }
}

/// The indexes that there have to be: those that are declared, and those that a candidate makes unique.
struct NeededIndexes<'a> {
    known: &'a KnownResources,
    candidate: Option<&'a NextResources>,
}

impl NeededIndexes<'_> {
    /// Those of a resource, each with what the log tells when it is new.
    fn of(
        &self,
        id: CollectionId,
        name: &str,
    ) -> impl Iterator<Item = (&RecordIndex, &'static str)> {
        let declared = self.known.indexes(id).unwrap_or_default().iter();
        let declared = declared.map(|index| (index, if index.unique { LIMITED } else { NEW }));
        let tried = self.candidate.and_then(|next| next.new_unique.get(name));
        declared.chain(tried.into_iter().flatten().map(|index| (index, TRIED)))
    }

    /// The catalog with these indexes; `None` if it has them already.
    fn catalog(
        &self,
        mut catalog: IndexCatalog,
        names: &[String],
        group: &mut Group,
    ) -> Option<IndexCatalog> {
        let mut changed = false;
        for (id, name) in (0..).map(CollectionId).zip(names) {
            let names: BTreeSet<_> = self.of(id, name).map(|(index, _)| index.name()).collect();
            // Those of a resource that is not declared stay as they are.
            let is_declared = self.known.indexes(id).is_some();
            for kept in &mut catalog.change(id)?.indexes {
                let goes = is_declared && !names.contains(&kept.index.name());
                if goes && !kept.is_dropping() {
                    tracing::info!(resource = %name, fields = %kept.index.fields(), "an index is not declared any more, and is removed");
                    kept.state = IndexState::Dropping;
                    kept.counts = Arc::default();
                    kept.note(group, name);
                    changed = true;
                }
            }
            for (index, told) in self.of(id, name) {
                if catalog.named(id, &index.name()).is_none() {
                    tracing::info!(resource = %name, fields = %index.fields(), "{told}");
                    catalog.change(id)?.add(index.clone(), group, name);
                    changed = true;
                }
            }
        }
        changed.then_some(catalog)
    }
}
