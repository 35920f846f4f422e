//! Looks at a store before its view is opened. Opening a view changes it, and a store that is refused is left as it is: whether it
//! will be is decided from what can be read without that, or from a copy of the view.

// Decision: A refusal changes nothing.

use super::checked::{self, Checked};
use super::engine::{Engine, OpenFault};
use super::healing::TaskKind;
use super::opening::Opening;
use super::page;
use super::sources::{Agreement, refused};
use super::start::Remedy;
use crate::storage::CollectionId;
use crate::storage::journal::{Acknowledged, JournalFiles, Snapshot, StoreId};

/// The longest journal and snapshot that are read before the view is opened: reading them takes less than a tenth of a second.
const READ_FIRST_BYTES: u64 = 32 << 20;

/// The figures of the view of a store.
pub(super) fn figures(engine: &dyn Engine, store: StoreId) -> Result<Checked, OpenFault> {
    let checked = checked::read(engine, store)?;
    checked.ok_or_else(|| OpenFault::View("it is empty".to_owned()))
}

impl Opening<'_> {
    /// The store that the view is of, if it can be read.
    pub(super) fn store_of_view(&self) -> Option<StoreId> {
        let store = self
            .opener
            .exists()
            .then(|| self.in_copy(checked::store_of));
        store?.ok()?
    }

    /// The error for a store that can't be opened with its view. Changes nothing: opening a view changes it, so a copy is opened,
    /// unless the journal and the snapshots have everything. If they are so long that reading them would take too long, their
    /// end counts.
    pub(super) fn will_agree(
        &self,
        store: StoreId,
        acknowledged: Acknowledged,
    ) -> Result<(), OpenFault> {
        let task = self.healing.begin(TaskKind::CatchUp);
        let files = JournalFiles::find(&self.data.journal(), store)?;
        let snapshots = Snapshot::find(&self.data.snapshots(), store)?;
        let newest = snapshots.first().map_or((0, 0), |it| (it.seq, it.bytes()));
        let is_sure = if newest.1 + files.bytes_to_read(newest.0) <= READ_FIRST_BYTES {
            match self.best_source(store, &files, acknowledged, &task) {
                Err(fault @ (OpenFault::Io(_) | OpenFault::Newer { .. })) => return Err(fault),
                found => found.is_ok(),
            }
        } else if let Acknowledged::Exactly(last) = acknowledged {
            let end = Agreement::read(&files, store, last, acknowledged)?;
            let follows = |it: &Snapshot| files.first().is_none_or(|first| it.seq + 1 >= first);
            let reaches_back =
                files.has_first(snapshots.is_empty()) || snapshots.iter().any(follows);
            reaches_back && end.remedy == Remedy::Replay
        } else {
            false
        };
        if is_sure {
            return Ok(());
        }
        let agrees = self.in_copy(|engine| {
            let at = figures(engine, store)?.last_seq;
            match Agreement::read(&files, store, at, acknowledged)?.remedy {
                // Nothing else may have these records.
                Remedy::Replay | Remedy::Renew => {
                    (0..engine.collections().len()).try_for_each(|index| {
                        Ok(page::stored(engine, CollectionId(index), &[], |_, _| true)?)
                    })
                }
                lost @ (Remedy::Lost { .. } | Remedy::Unknown { .. }) => Err(refused(lost)),
            }
        });
        match agrees {
            // Without room for a copy, the view itself is opened.
            Err(fault) if fault.is_full() => Ok(()),
            agrees => agrees,
        }
    }

    /// The result of `look` in a copy of the view.
    pub(super) fn in_copy<T>(
        &self,
        look: impl FnOnce(&dyn Engine) -> Result<T, OpenFault>,
    ) -> Result<T, OpenFault> {
        let found = self.opener.open_copy().and_then(|engine| look(&*engine));
        if let Err(error) = self.opener.remove_copy() {
            tracing::warn!(%error, "a copy of the view could not be removed: it takes room");
        }
        found
    }
}
