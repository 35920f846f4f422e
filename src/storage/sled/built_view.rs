//! A view that was made beside the one in use: it catches up with the journal, and the writer puts it in the place of the old
//! one between two groups.

use std::sync::Arc;
use std::sync::mpsc;

use arc_swap::{ArcSwap, ArcSwapOption};

use super::checked::Checked;
use super::engine::{Engine, OpenFault};
use super::holder::Holder;
use super::index_catalog::IndexCatalog;
use super::message::StoreMessage;
use super::reader_state::OpenEngine;
use super::replay::Replay;
use super::writer::Writer;
use crate::storage::journal::{JournalFiles, Reach, StoreId};
use crate::supervision::Delivery;

/// The fault point after that, before the old one is removed.
pub(super) const AFTER_SWAP: &str = "compaction.after_swap";
/// The fault point before a view that was made beside takes the place of the old one.
pub(super) const BEFORE_SWAP: &str = "compaction.before_swap";
/// A view that was made beside the one in use.
pub(super) struct BuiltView {
    pub(super) engine: Box<dyn Engine>,
    pub(super) checked: Checked,
    /// The era of the one in use, which it may replace.
    pub(super) era: u64,
    /// Takes the old one, which is to be removed.
    pub(super) replaced: mpsc::Sender<Arc<OpenEngine>>,
}

impl BuiltView {
    /// Takes over the changes up to `last` from the journal.
    pub(super) fn catch_up(
        &mut self,
        holder: &Holder,
        store: StoreId,
        last: u64,
    ) -> Result<(), OpenFault> {
        // A resource has the same number in every view.
        let names = holder.resources.known.load().names();
        for name in &names {
            self.engine.declare(name)?;
        }
        if !self.engine.collections().starts_with(&names) {
            let why = "resources were declared while it was made";
            return Err(OpenFault::View(why.to_owned()));
        }
        let files = JournalFiles::find(&holder.files.data.journal(), store)?;
        let from = self.checked.last_seq;
        if last <= from {
            return Ok(());
        }
        let mut replay = Replay::new(&mut *self.engine, store, self.checked.clone(), 0)?;
        let reach = files.read::<OpenFault>(from, |changes| {
            let known = changes.into_iter().filter(|change| change.seq <= last);
            replay.add(known.collect())
        })?;
        match reach {
            Reach::Damage {
                last: reached,
                error,
            } if reached < last => return Err(error.into()),
            Reach::Damage { .. } | Reach::End(_) => {}
        }
        let (checked, applied) = replay.finish(last)?;
        self.checked = checked;
        if applied < last - from {
            return Err(OpenFault::View(format!(
                "of the changes after {from} up to {last} it has only {applied}"
            )));
        }
        Ok(())
    }
}

impl Writer {
    /// Uses the view that a message of the batch brings.
    pub(super) fn use_view_from(&mut self, batch: &[Delivery<StoreMessage>]) {
        for delivery in batch {
            if let StoreMessage::UseView { view } = &**delivery
                && let Some(view) = view.lock().take()
            {
                self.use_view(*view);
            }
        }
    }

    /// Puts a view that was made beside in the place of the one in use, if that is still the one that it was made for.
    fn use_view(&mut self, mut view: BuiltView) {
        let Some(open) = self.open.clone().filter(|open| open.era == view.era) else {
            return;
        };
        let last = self.checked.last_seq;
        if let Err(fault) = view.catch_up(&self.holder, open.store, last) {
            tracing::warn!(%fault, "a view that was made beside the one in use does not take its place");
            return;
        }
        self.settings.faults.hit(BEFORE_SWAP);
        let BuiltView {
            engine,
            checked,
            replaced,
            ..
        } = view;
        let indexes = match IndexCatalog::read(&*engine) {
            Ok(indexes) => ArcSwap::from_pointee(indexes),
            Err(error) => {
                tracing::warn!(%error, "a view that was made beside the one in use does not take its place");
                return;
            }
        };
        if self.lacks_indexes(&open, &indexes.load()) {
            tracing::info!(
                "a view that was made beside the one in use lacks an index that was declared meanwhile, and does not take its place"
            );
            return;
        }
        let new = Arc::new(OpenEngine {
            engine,
            indexes,
            era: open.era + 1,
            store: open.store,
            unapplied: ArcSwapOption::empty(),
            log: Arc::clone(&open.log),
        });
        if self.holder.swap(&new, &checked, &|| self.fence.holds()) {
            self.open = Some(new);
            self.checked = checked;
            // If nobody waits for it, the next start removes it.
            drop(replaced.send(open));
            self.settings.faults.hit(AFTER_SWAP);
        }
    }
}
