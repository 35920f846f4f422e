//! Scrubbing: everything that is stored is read in the background, and what is found damaged is made again from the other
//! copy before that is needed.

// Decision: Damage is looked for from time to time.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::compaction::DAMAGED_RECORD;
use super::engine::OpenFault;
use super::healing::{HealingTask, TaskKind};
use super::holder::Holder;
use super::page;
use super::snapshots;
use super::store::SledStore;
use super::stored_fit;
use crate::incidents::{Incident, IncidentKind, STORAGE};
use crate::num::as_u64;
use crate::storage::journal::{
    JournalChange, JournalEnd, JournalError, JournalFiles, Reach, Snapshot,
};
use crate::storage::{CollectionId, TaskProgress};
use crate::supervision::contain;

/// After this many bytes there is a pause, so that the disk is free for others: at most 100 MB/s are read.
const STRETCH_BYTES: usize = 1 << 20;
const STRETCH_PAUSE: Duration = Duration::from_millis(10);

/// The fault of a view that lost records, or has some that were deleted.
const MISCOUNTED: &str = "the records in the view do not match its own count";

/// Scrubs a store as long as it is used, on a thread of its own.
pub(super) fn in_background(store: &Arc<SledStore>) {
    let (holder, store) = (Arc::clone(&store.holder), Arc::downgrade(store));
    let scrub = move || {
        let mut told = false;
        while holder.wait_scrub() {
            let work = || {
                told = told || stored_fit::tell_broken_rules(&holder);
                scrub(&holder, &store);
            };
            if let Err(panic) = contain(work) {
                tracing::error!(%panic, "scrubbing the store ended in a panic");
            }
            holder.scrub_ended();
        }
    };
    let thread = std::thread::Builder::new().name("scrub".to_owned());
    if let Err(error) = thread.spawn(scrub) {
        tracing::warn!(%error, "no thread for scrubbing: damage will be found when it is read");
    }
}

fn scrub(holder: &Arc<Holder>, store: &Weak<SledStore>) {
    let task = holder.healing.begin(TaskKind::Scrub).announced();
    match journal_is_whole(holder, &task) {
        Ok(true) => {}
        Ok(false) => {
            holder.journal.leave_segment();
            snapshots::make_in_background(holder);
        }
        Err(error) => tracing::warn!(%error, "the journal could not be scrubbed"),
    }
    if let Some((era, found)) = damaged_view(holder, &task)
        && let Some(store) = store.upgrade()
    {
        store.compactor.heal(era, found);
    }
    let bytes = task.counter().load(Ordering::Relaxed);
    let seconds = task.lasted().as_secs_f64();
    tracing::info!(bytes, seconds, "everything that is stored was read");
}

/// Reads the snapshots and the journal behind the oldest.
fn journal_is_whole(holder: &Holder, task: &HealingTask<'_>) -> Result<bool, OpenFault> {
    let Some(store) = holder.look(|open| open.store) else {
        return Ok(true);
    };
    let durable = holder.readers.progress().borrow().durable;
    let mut read = 0;
    let mut pace = |changes: Vec<JournalChange>| {
        read += changes.iter().map(JournalChange::bytes).sum::<usize>();
        if read >= STRETCH_BYTES {
            read = 0;
            std::thread::park_timeout(STRETCH_PAUSE);
        }
        Ok::<_, JournalError>(())
    };
    let mut whole = true;
    let mut oldest = 0;
    let snapshots = Snapshot::find(&holder.files.data.snapshots(), store)?;
    let files = JournalFiles::find(&holder.files.data.journal(), store)?.counted(task.counter());
    let journal = files.bytes_to_read(snapshots.last().map_or(0, |oldest| oldest.seq));
    let copies: u64 = snapshots.iter().map(Snapshot::bytes).sum();
    task.has_left(copies + journal + holder.readers.sum(|tally| tally.bytes));
    for snapshot in snapshots {
        oldest = snapshot.seq;
        match snapshot.read_counted(task.counter(), &mut pace) {
            Ok(()) => {}
            // It was thinned out meanwhile, or the disk fails.
            Err(error) if error.is_of_disk() => return Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, "a snapshot is damaged: a new one is made");
                let kind = IncidentKind::DamagedSnapshot;
                let done = "a new snapshot is made";
                let incident = Incident::new(kind, STORAGE, &error.to_string(), done);
                let incident = incident.of_file(snapshot.path());
                holder.healing.incidents.add(incident);
                let why = "a damaged snapshot";
                holder
                    .files
                    .move_aside(snapshot.path(), why)
                    .map_err(OpenFault::Io)?;
                whole = false;
            }
        }
    }
    let (last, damage) = match files.read(oldest, &mut pace)? {
        Reach::End(end) if end.last >= durable => (end.last, None),
        // Nothing tells damage of its last frames from a tear, except that they were acknowledged.
        Reach::End(JournalEnd { last, .. }) => {
            let short = format!("it ends at change {last}, and change {durable} was acknowledged");
            (last, Some(short))
        }
        Reach::Damage { last, error } => (last, Some(error.to_string())),
    };
    if damage.is_none() {
        mend_heads(holder, &files)?;
    }
    if let Some(damage) = damage {
        tracing::warn!(damage, "the journal is damaged: a snapshot takes its place");
        let kind = IncidentKind::DamagedJournal;
        let done = "a snapshot takes its place";
        let incident = Incident::new(kind, STORAGE, &damage, done);
        holder.healing.incidents.add(incident);
    }
    Ok(whole && last >= durable)
}

/// Writes the heads of segments again that are damaged. Their changes are read without them, as long as the first frame is
/// whole.
fn mend_heads(holder: &Holder, files: &JournalFiles) -> Result<(), OpenFault> {
    for error in files.mend_heads()? {
        tracing::warn!(%error, "the head of a file of the journal was damaged: it was written again");
        let kind = IncidentKind::DamagedJournal;
        let done = "the head of the file was written again, from its first group of changes";
        let incident = Incident::new(kind, STORAGE, &error.to_string(), done);
        holder.healing.incidents.add(incident);
    }
    Ok(())
}

/// Reads every record of the view. Returns how often the store had been opened if one is damaged, or if it has not as many as it
/// counts.
fn damaged_view(holder: &Holder, task: &HealingTask<'_>) -> Option<(u64, &'static str)> {
    let (era, collections) = holder.look(|open| (open.era, open.engine.collections().len()))?;
    for collection in (0..collections).map(CollectionId) {
        let (before, mut found) = (holder.readers.tally(collection), (0, 0));
        let mut from = Vec::new();
        loop {
            let chunk = match page::chunk(holder, era, collection, &mut from) {
                Ok(chunk) => chunk?,
                Err(OpenFault::View(found)) => {
                    tracing::warn!(
                        found,
                        "a record in the view is damaged: the view is made again"
                    );
                    return Some((era, DAMAGED_RECORD));
                }
                Err(_) => return None,
            };
            let bytes: usize = chunk.iter().map(|(_, record)| record.json.len()).sum();
            if chunk.is_empty() {
                break;
            }
            found = (found.0 + as_u64(chunk.len()), found.1 + as_u64(bytes));
            task.add(as_u64(bytes));
            if bytes >= STRETCH_BYTES / 4 {
                std::thread::park_timeout(STRETCH_PAUSE / 4);
            }
        }
        // If it was written to meanwhile, the two can't be compared.
        if holder.readers.tally(collection) == before && (before.records, before.bytes) != found {
            tracing::warn!(
                counted = before.records,
                found = found.0,
                "{MISCOUNTED}: the view is made again"
            );
            return Some((era, MISCOUNTED));
        }
    }
    None
}
