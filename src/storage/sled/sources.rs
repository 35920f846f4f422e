//! Finds a source for a new view: a snapshot and the journal after it, if together they have all acknowledged changes. Also brings
//! an existing view and the journal into agreement.

use std::sync::atomic::AtomicU64;

use super::engine::OpenFault;
use super::healing::HealingTask;
use super::opening::Opening;
use super::start::{self, Copies, JournalState, Remedy};
use crate::storage::TaskProgress;
use crate::storage::journal::{Acknowledged, JournalEnd, JournalFiles, Reach, Snapshot, StoreId};

impl Opening<'_> {
    /// The newest snapshot that can be read and has, with the journal behind it, all that was acknowledged. `None` if the
    /// journal alone has it.
    pub(super) fn best_source(
        &self,
        store: StoreId,
        files: &JournalFiles,
        acknowledged: Acknowledged,
        task: &HealingTask<'_>,
    ) -> Result<(Option<Snapshot>, JournalEnd), OpenFault> {
        let mut fault = None;
        let mut snapshots: Vec<_> = Snapshot::find(&self.data.snapshots(), store)?
            .into_iter()
            .map(Some)
            .collect();
        // Without a snapshot the journal has everything, from the first change on.
        snapshots.push(None);
        for snapshot in snapshots {
            let base = snapshot.as_ref();
            let journal = files.bytes_to_read(base.map_or(0, |snapshot| snapshot.seq));
            // It is read once to check it, and once to apply it.
            task.has_left(2 * (base.map_or(0, Snapshot::bytes) + journal));
            match Self::source(files, base, acknowledged, task.counter()) {
                Ok(end) => {
                    if let Some(fault) = fault {
                        tracing::warn!(%fault, "a damaged snapshot was skipped");
                    }
                    return Ok((snapshot, end));
                }
                Err(OpenFault::Io(error)) => return Err(OpenFault::Io(error)),
                Err(found) => fault = fault.or(Some(found)),
            }
        }
        Err(fault.unwrap_or_else(|| OpenFault::Damaged("it has no copies".to_owned())))
    }

    /// Reads a snapshot and the journal behind it, and changes nothing. Returns the journal's end if together they have all
    /// that was acknowledged.
    pub(super) fn source(
        files: &JournalFiles,
        snapshot: Option<&Snapshot>,
        acknowledged: Acknowledged,
        counter: &AtomicU64,
    ) -> Result<JournalEnd, OpenFault> {
        let base = snapshot.map_or(0, |snapshot| snapshot.seq);
        if let Some(snapshot) = snapshot {
            snapshot.read_counted::<OpenFault>(counter, |_| Ok(()))?;
        }
        let reach = files.read::<OpenFault>(base, |_| Ok(()))?;
        let told = damage_in(&reach);
        let (end, state) = judge(files, reach, base);
        let copies = Copies {
            acknowledged,
            view: Some(base),
            journal: end.last,
            state,
        };
        match start::remedy(&copies) {
            Remedy::Replay => Ok(end),
            // The journal goes on after the snapshot, with a new file.
            Remedy::Renew => Ok(JournalEnd {
                number: files.last_number(),
                last: base,
                ..JournalEnd::default()
            }),
            lost @ (Remedy::Lost { .. } | Remedy::Unknown { .. }) => {
                Err(match (refused(lost), told) {
                    (OpenFault::Damaged(text), Some(told)) => {
                        OpenFault::Damaged(format!("{text} ({told})"))
                    }
                    (fault, _) => fault,
                })
            }
        }
    }
}

/// A view that can be trusted beside its journal, and what makes the two agree.
pub(super) struct Agreement {
    pub(super) remedy: Remedy,
    /// The last change of the view, with what the journal has right behind it if that is needed.
    pub(super) view: u64,
    pub(super) end: JournalEnd,
    /// The damage of the journal.
    pub(super) found: Option<String>,
}

impl Agreement {
    /// Compares a view whose last change is `at` with the journal, and changes nothing.
    pub(super) fn read(
        files: &JournalFiles,
        store: StoreId,
        at: u64,
        acknowledged: Acknowledged,
    ) -> Result<Self, OpenFault> {
        let reach = files.read::<OpenFault>(at, |_| Ok(()))?;
        let found = damage_in(&reach);
        let (end, state) = judge(files, reach, 0);
        let remedy = |view| {
            start::remedy(&Copies {
                acknowledged,
                view: Some(view),
                journal: end.last,
                state,
            })
        };
        let mut agreement = Self {
            remedy: remedy(at),
            view: at,
            end,
            found,
        };
        if matches!(agreement.remedy, Remedy::Lost { .. }) {
            // A process that was killed took the last changes of the view with it. The journal has them, also behind damage.
            agreement.view = files.read_past_damage::<OpenFault>(store, at, |_| Ok(()))?;
            agreement.remedy = remedy(agreement.view);
        }
        Ok(agreement)
    }
}

/// The damage that ended a reading of the journal.
fn damage_in(reach: &Reach) -> Option<String> {
    match reach {
        Reach::Damage { error, .. } => Some(error.to_string()),
        Reach::End(_) => None,
    }
}

/// The end of the journal and its state. `base` is the last change that is known without it.
fn judge(files: &JournalFiles, reach: Reach, base: u64) -> (JournalEnd, JournalState) {
    let damaged = |last| {
        let end = JournalEnd {
            number: files.last_number(),
            last,
            ..JournalEnd::default()
        };
        (end, JournalState::Damaged)
    };
    match reach {
        // A snapshot needs no journal; a view without one does.
        Reach::End(_) if files.is_empty() && base == 0 => damaged(0),
        Reach::End(end) if end.clean => (end, JournalState::Whole),
        Reach::End(end) => (end, JournalState::Torn),
        Reach::Damage { last, error } => {
            tracing::warn!(%error, "the journal is damaged");
            damaged(last)
        }
    }
}

pub(super) fn refused(remedy: Remedy) -> OpenFault {
    OpenFault::Damaged(match remedy {
        Remedy::Lost { first, last } => {
            format!("the changes {first} to {last} were acknowledged, and no copy has them")
        }
        Remedy::Unknown { certain, last } if certain > last => format!(
            "the journal and the snapshots end at change {last}, but change {certain} was acknowledged, and perhaps later ones: the marks are damaged, too"
        ),
        Remedy::Unknown { last, .. } => format!(
            "changes after {last} may have been acknowledged: the end of the journal is damaged, and so are the marks"
        ),
        Remedy::Replay | Remedy::Renew => "its copies agree".to_owned(),
    })
}
