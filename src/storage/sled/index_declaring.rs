//! Brings the indexes that there are in line with those that are declared. The writer does so before the first group that it
//! writes after a declaration, so that every write of that time changes the new indexes, and `unique` is enforced among these
//! writes before an index is complete.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::engine::Group;
use super::index_catalog::{IndexCatalog, IndexState};
use super::known::KnownResources;
use super::reader_state::OpenEngine;
use super::writer::Writer;
use crate::record::RecordIndex;
use crate::storage::CollectionId;
use crate::supervision::BoxError;

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
        let Some(next) = declared(&self.holder.known.load(), catalog, &names, &mut group) else {
            return Ok(false);
        };
        self.change_view(open, &group, next)?;
        self.holder.index_work.wake();
        Ok(true)
    }
}

/// The catalog with the indexes that are declared now; `None` if it has them already.
fn declared(
    known: &KnownResources,
    mut catalog: IndexCatalog,
    names: &[String],
    group: &mut Group,
) -> Option<IndexCatalog> {
    let mut changed = false;
    for (id, name) in (0..).map(CollectionId).zip(names) {
        let Some(declared) = known.indexes(id) else {
            continue;
        };
        let wanted: BTreeSet<_> = declared.iter().map(RecordIndex::name).collect();
        for kept in &mut catalog.change(id)?.indexes {
            if !kept.is_dropping() && !wanted.contains(&kept.index.name()) {
                tracing::info!(resource = %name, fields = %kept.index.fields(), "an index is not declared any more, and is removed");
                kept.state = IndexState::Dropping;
                kept.counts = Arc::default();
                kept.note(group, name);
                changed = true;
            }
        }
        for index in declared {
            if catalog.named(id, &index.name()).is_some() {
                continue;
            }
            let limits = if index.unique {
                "; until it is complete, unique is enforced only among the records that it has and those that are written from now on"
            } else {
                ""
            };
            tracing::info!(resource = %name, fields = %index.fields(), "an index is new, and is built{limits}");
            catalog.change(id)?.add(index.clone(), group, name);
            changed = true;
        }
    }
    changed.then_some(catalog)
}
