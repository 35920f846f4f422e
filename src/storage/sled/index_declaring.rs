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

/// The reason why an index has to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IndexNeed {
    /// It is declared.
    Declared,
    /// It tells whether a candidate can be declared.
    Tried,
}

impl IndexNeed {
    /// The text for the log when such an index is new.
    fn told(self, index: &RecordIndex) -> &'static str {
        match self {
            Self::Declared if index.unique => {
                "an index is new, and is built; until it is complete, unique is enforced only among the records that it has and those that are written from now on"
            }
            Self::Declared => "an index is new, and is built",
            Self::Tried => {
                "an index is built, to see whether the records fit other settings; if not, it is removed again"
            }
        }
    }
}

/// The opening of the engine and the version of the declaration that its indexes are in line with.
pub(super) type DeclaredIndexes = (u64, u64);

/// The indexes that were made to try a candidate, by the names of their keys, until they are declared or removed.
pub(super) type TriedIndexes = BTreeSet<(CollectionId, String)>;

impl Writer {
    /// Begins the indexes that are declared and not there yet, and ends those that are not declared any more, unless that was
    /// done for this declaration.
    pub(super) fn follow_declaration(&mut self, open: &OpenEngine) -> Result<(), BoxError> {
        let now = (open.era, self.holder.resources.known.load().version);
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
        let (known, candidate) = (
            self.holder.resources.known.load(),
            self.holder.resources.candidate.load(),
        );
        let needed = NeededIndexes {
            known: &known,
            candidate: candidate.as_deref(),
        };
        let mut tried = self.holder.index_work.tried.lock();
        let next = needed.catalog(catalog, &names, &mut group, &mut tried);
        drop(tried);
        let Some(next) = next else {
            return Ok(false);
        };
        self.change_view(open, &group, next)?;
        self.holder.index_work.wake();
        Ok(true)
    }

    /// Whether another view lacks an index that there has to be, and that is complete now.
    pub(super) fn lacks_indexes(&self, open: &OpenEngine, other: &IndexCatalog) -> bool {
        let (known, candidate) = (
            self.holder.resources.known.load(),
            self.holder.resources.candidate.load(),
        );
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

/// The indexes that there have to be.
struct NeededIndexes<'a> {
    known: &'a KnownResources,
    candidate: Option<&'a NextResources>,
}

impl NeededIndexes<'_> {
    /// Those of a resource, each with the reason.
    fn of<'b>(
        &'b self,
        id: CollectionId,
        name: &'b str,
    ) -> impl Iterator<Item = (&'b RecordIndex, IndexNeed)> {
        let declared = self.known.indexes(id).unwrap_or_default().iter();
        let declared = declared.map(|index| (index, IndexNeed::Declared));
        let tried = self
            .candidate
            .into_iter()
            .flat_map(move |next| next.tried(name));
        declared.chain(tried.map(|index| (index, IndexNeed::Tried)))
    }

    /// The catalog with these indexes; `None` if it has them already.
    fn catalog(
        &self,
        mut catalog: IndexCatalog,
        names: &[String],
        group: &mut Group,
        tried: &mut TriedIndexes,
    ) -> Option<IndexCatalog> {
        let mut changed = false;
        for (id, name) in (0..).map(CollectionId).zip(names) {
            let names: BTreeSet<_> = self.of(id, name).map(|(index, _)| index.name()).collect();
            // Those of a resource that is not declared stay as they are, unless they were made for a candidate only.
            let declared = self.known.indexes(id);
            for index in declared.unwrap_or_default() {
                tried.remove(&(id, index.name()));
            }
            for kept in &mut catalog.change(id)?.indexes {
                if names.contains(&kept.index.name()) {
                    continue;
                }
                let was_tried = tried.remove(&(id, kept.index.name()));
                if (declared.is_some() || was_tried) && !kept.is_dropping() {
                    tracing::info!(resource = %name, fields = %kept.index.fields(), "an index is not declared any more, and is removed");
                    kept.state = IndexState::Dropping;
                    kept.counts = Arc::default();
                    kept.note(group, name);
                    changed = true;
                }
            }
            for (index, need) in self.of(id, name) {
                if catalog.named(id, &index.name()).is_none() {
                    tracing::info!(resource = %name, fields = %index.fields(), "{}", need.told(index));
                    catalog.change(id)?.add(index.clone(), group, name);
                    if need == IndexNeed::Tried {
                        tried.insert((id, index.name()));
                    }
                    changed = true;
                }
            }
        }
        changed.then_some(catalog)
    }
}
