//! Where a view can be made from: a snapshot and the journal behind it, if together they have all that was acknowledged.

use std::sync::atomic::AtomicU64;

use super::engine::OpenFault;
use super::healing::HealingTask;
use super::opening::Opening;
use super::start::{self, Copies, JournalState, Remedy};
use crate::storage::TaskProgress;
use crate::storage::journal::{JournalEnd, JournalFiles, Reach, Snapshot, StoreId};

impl Opening<'_> {
    /// The newest snapshot that can be read and has, with the journal behind it, all that was acknowledged. `None` if the
    /// journal alone has it.
    pub(super) fn best_source(
        &self,
        store: StoreId,
        files: &JournalFiles,
        acknowledged: Option<u64>,
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
                        tracing::warn!(%fault, "a damaged snapshot was passed over");
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
        acknowledged: Option<u64>,
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
            lost @ (Remedy::Lost { .. } | Remedy::Unknown) => Err(match (refused(lost), told) {
                (OpenFault::Damaged(text), Some(told)) => {
                    OpenFault::Damaged(format!("{text} ({told})"))
                }
                (fault, _) => fault,
            }),
        }
    }
}

/// The damage that ended a reading of the journal.
pub(super) fn damage_in(reach: &Reach) -> Option<String> {
    match reach {
        Reach::Damage { error, .. } => Some(error.to_string()),
        Reach::End(_) => None,
    }
}

/// The end of the journal and its state. `base` is the last change that is known without it.
pub(super) fn judge(files: &JournalFiles, reach: Reach, base: u64) -> (JournalEnd, JournalState) {
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
        Remedy::Unknown | Remedy::Replay | Remedy::Renew => {
            "the file marks can't be read, and without it nobody knows where the journal ended"
                .to_owned()
        }
    })
}
