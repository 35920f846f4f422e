//! Scrubbing: everything that is stored is read in the background, and what is found damaged is made again from the other
//! copy before that is needed.

// Decision: Damage is looked for from time to time.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::engine::OpenFault;
use super::healing::{HealingTask, TaskKind};
use super::holder::Holder;
use super::page;
use super::snapshots;
use super::store::SledStore;
use super::stored_fit;
use crate::incidents::{Incident, IncidentKind, STORAGE};
use crate::num::as_u64;
use crate::storage::journal::{JournalChange, JournalEnd, JournalFiles, Reach, Snapshot};
use crate::storage::{CollectionId, TaskProgress};
use crate::supervision::contain;

/// After this many bytes there is a pause, so that the disk is free for others: at most 100 MB/s are read.
const STRETCH_BYTES: usize = 1 << 20;
const STRETCH_PAUSE: Duration = Duration::from_millis(10);

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
            holder.leave_segment();
            snapshots::make_in_background(holder);
        }
        Err(error) => tracing::warn!(%error, "the journal could not be scrubbed"),
    }
    if let Some(era) = damaged_view(holder, &task)
        && let Some(store) = store.upgrade()
    {
        store.compactor.heal(era);
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
        Ok::<_, OpenFault>(())
    };
    let mut whole = true;
    let mut oldest = 0;
    let snapshots = Snapshot::find(&holder.data.snapshots(), store)?;
    let files = JournalFiles::find(&holder.data.journal(), store)?.counted(task.counter());
    let journal = files.bytes_to_read(snapshots.last().map_or(0, |oldest| oldest.seq));
    let copies: u64 = snapshots.iter().map(Snapshot::bytes).sum();
    task.has_left(copies + journal + holder.readers.sum(|tally| tally.bytes));
    for snapshot in snapshots {
        oldest = snapshot.seq;
        match snapshot.read_counted(task.counter(), &mut pace) {
            Ok(()) => {}
            // It was thinned out meanwhile, or the disk fails.
            Err(fault @ OpenFault::Io(_)) => return Err(fault),
            Err(fault) => {
                tracing::warn!(%fault, "a snapshot is damaged: a new one is made");
                let kind = IncidentKind::DamagedSnapshot;
                let done = "a new snapshot is made";
                let incident = Incident::new(kind, STORAGE, &fault.to_string(), done);
                let incident = incident.of_file(snapshot.path());
                holder.healing.incidents.add(incident);
                let why = "a damaged snapshot";
                holder
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
    if let Some(damage) = damage {
        tracing::warn!(damage, "the journal is damaged: a snapshot takes its place");
        let kind = IncidentKind::DamagedJournal;
        let done = "a snapshot takes its place";
        let incident = Incident::new(kind, STORAGE, &damage, done);
        holder.healing.incidents.add(incident);
    }
    Ok(whole && last >= durable)
}

/// Reads every record of the view. Returns how often the store had been opened if one is damaged.
fn damaged_view(holder: &Holder, task: &HealingTask<'_>) -> Option<u64> {
    let (era, collections) = holder.look(|open| (open.era, open.engine.collections().len()))?;
    for collection in (0..collections).map(CollectionId) {
        let mut from = Vec::new();
        loop {
            let chunk = match page::chunk(holder, era, collection, &mut from) {
                Ok(chunk) => chunk?,
                Err(OpenFault::View(found)) => {
                    tracing::warn!(
                        found,
                        "a record in the view is damaged: the view is made again"
                    );
                    return Some(era);
                }
                Err(_) => return None,
            };
            let bytes: usize = chunk.iter().map(|(_, record)| record.json.len()).sum();
            if chunk.is_empty() {
                break;
            }
            task.add(as_u64(bytes));
            if bytes >= STRETCH_BYTES / 4 {
                std::thread::park_timeout(STRETCH_PAUSE / 4);
            }
        }
    }
    None
}
