//! Makes snapshots: of a view that nobody changes, and of one that is in use.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::checked::{self, Checked};
use super::data_folder::{self, DataFolder};
use super::engine::{Engine, OpenFault};
use super::healing::TaskKind;
use super::holder::Holder;
use super::page::{self, CHUNK_PAUSE};
use super::stored_record::StoredRecord;
use crate::num::as_u64;
use crate::storage::TaskProgress;
use crate::storage::journal::{
    JournalChange, JournalEffect, JournalError, JournalFiles, Reach, Snapshot, SnapshotWriter,
    StoreId,
};
use crate::storage::{CollectionId, OldestMoment};
use crate::supervision::{MessageId, contain};

/// A snapshot is made when the journal has grown by this much since the last one, or by half of what lives.
const JOURNAL_BYTES_MIN: u64 = if cfg!(test) { 256 << 10 } else { 32 << 20 };

/// The chunks of records that are read between two pauses. A pause after each made a snapshot take half as long again.
const CHUNKS_A_PAUSE: usize = 4;

/// Whether it is time for a snapshot.
pub(super) fn is_due(journal_bytes: u64, checked: &Checked) -> bool {
    let live: u64 = checked.tallies.iter().map(|tally| tally.bytes).sum();
    journal_bytes >= (live / 2).max(JOURNAL_BYTES_MIN)
}

/// The change that made a record what it is.
pub(super) fn change(collection: &str, key: Vec<u8>, record: StoredRecord) -> JournalChange {
    JournalChange {
        seq: record.seq,
        at_ms: record.updated_ms,
        message: MessageId(0),
        collection: collection.to_owned(),
        key,
        effect: JournalEffect::Put {
            created_ms: record.created_ms,
            json: record.json,
        },
        by: None,
    }
}

/// The change that makes a resource go on with its numbers.
pub(super) fn numbers(
    engine: &dyn Engine,
    collection: CollectionId,
) -> Result<Option<JournalChange>, OpenFault> {
    let names = engine.collections();
    let name = names.get(collection.0);
    let next = checked::next_number(engine, collection)?;
    Ok(next.zip(name).map(|(next, name)| JournalChange {
        seq: 0,
        at_ms: 0,
        message: MessageId(0),
        collection: name.clone(),
        key: Vec::new(),
        effect: JournalEffect::Numbers { next },
        by: None,
    }))
}

/// Makes a snapshot of a view that nobody changes meanwhile, and counts the bytes of its records.
pub(super) fn of_view(
    engine: &dyn Engine,
    checked: &Checked,
    store: StoreId,
    data: &DataFolder,
    counter: &AtomicU64,
) -> Result<Snapshot, OpenFault> {
    let mut out = SnapshotWriter::begin(&data.snapshots(), store)?;
    for (index, name) in engine.collections().iter().enumerate() {
        let collection = CollectionId(index);
        let mut written = Ok(());
        page::stored(engine, collection, &[], |key, record| {
            counter.fetch_add(as_u64(record.json.len()), Ordering::Relaxed);
            let change = change(name, key.to_vec(), record);
            written = out.add(change);
            written.is_ok()
        })?;
        written?;
        if let Some(numbers) = numbers(engine, collection)? {
            out.add(numbers)?;
        }
    }
    Ok(out.finish(checked.last_seq)?)
}

/// Makes a snapshot on a thread of its own, beside the writer, and removes what it makes superfluous.
pub(super) fn make_in_background(holder: &Arc<Holder>) {
    if !holder.journal.snapshotting.begin_or_ask() {
        return;
    }
    let of = Arc::clone(holder);
    let thread = std::thread::Builder::new().name("snapshot".to_owned());
    if let Err(error) = thread.spawn(move || make(&of)) {
        tracing::warn!(%error, "no thread for a snapshot: the next one is made when the journal has grown again");
        holder.journal.snapshotting.give_up();
    }
}

/// Ends the time in which no snapshot may be begun. Begins one if it was asked for meanwhile.
pub(super) fn end(holder: &Arc<Holder>) {
    if holder.journal.snapshotting.end() {
        make_in_background(holder);
    }
}

/// Makes a snapshot that was begun, and removes what it makes superfluous.
pub(super) fn make(holder: &Arc<Holder>) {
    holder.journal.set_growth(0);
    match contain(|| beside_the_writer(holder)) {
        Ok(Ok(Some(()))) => {}
        Ok(Ok(None)) => tracing::debug!("no snapshot: the store was closed meanwhile"),
        Ok(Err(error)) => {
            tracing::warn!(%error, "no snapshot was made: the journal is kept, and the next one is made when it has grown again");
        }
        Err(panic) => {
            tracing::error!(%panic, "the making of a snapshot ended in a panic: the journal is kept, and the next one is made when it has grown again");
        }
    }
    end(holder);
}

/// The records are read while they change, and the changes that were made meanwhile follow them. `None` if the store was
/// closed meanwhile.
fn beside_the_writer(holder: &Holder) -> Result<Option<()>, OpenFault> {
    let Some((era, store, begin, names)) = holder.look(|open| {
        let begin = holder.readers.progress().borrow().durable;
        (open.era, open.store, begin, open.engine.collections())
    }) else {
        return Ok(None);
    };
    let task = holder.healing.begin(TaskKind::Snapshot);
    task.has_left(holder.readers.sum(|tally| tally.bytes));
    let mut out = SnapshotWriter::begin(&holder.files.data.snapshots(), store)?;
    for (index, name) in names.iter().enumerate() {
        let collection = CollectionId(index);
        let mut from = Vec::new();
        for number in 1_usize.. {
            let Some(chunk) = page::chunk(holder, era, collection, &mut from)? else {
                return Ok(None);
            };
            if chunk.is_empty() {
                break;
            }
            for (key, record) in chunk {
                task.add(as_u64(record.json.len()));
                let change = change(name, key, record);
                out.add(change)?;
            }
            if number.is_multiple_of(CHUNKS_A_PAUSE) {
                std::thread::park_timeout(CHUNK_PAUSE);
            }
        }
        let numbers = holder.look(|open| numbers(&*open.engine, collection));
        if let Some(numbers) = numbers.transpose()?.flatten() {
            out.add(numbers)?;
        }
    }
    let end = holder.readers.progress().borrow().durable;
    let journal = holder.files.data.journal();
    if end > begin {
        let files = JournalFiles::find(&journal, store)?;
        add_changes(&mut out, &files, begin, end)?;
    }
    let snapshot = out.finish(end)?;
    if let Some(oldest) = Snapshot::thin_out(&holder.files.data.snapshots(), store)? {
        let files = JournalFiles::find(&journal, store)?;
        let removable = match &holder.journal.archiving {
            Some(archiving) => archiving.removable(oldest, &files, holder.space.refuses()),
            None => oldest,
        };
        let since = data_folder::aside_time();
        files.take_before(removable, |path, damaged| {
            if damaged {
                holder.files.move_aside(
                    path,
                    "a damaged file of the journal, whose changes a snapshot has",
                )
            } else {
                fs::remove_file(path)
            }
        })?;
        holder.files.limit_aside(since);
    }
    holder.journal.look_how_far_back(&holder.files.data, store);
    let seconds = task.lasted().as_secs_f64();
    let bytes = snapshot.bytes();
    tracing::info!(file = %snapshot.path().display(), change = snapshot.seq, bytes, seconds, "snapshot written");
    Ok(Some(()))
}

/// Adds the changes after `begin` up to `end` to a snapshot.
fn add_changes(
    out: &mut SnapshotWriter,
    files: &JournalFiles,
    begin: u64,
    end: u64,
) -> Result<(), OpenFault> {
    let reach = files.read::<JournalError>(begin, |changes| {
        let mut seen = changes.into_iter().filter(|change| change.seq <= end);
        seen.try_for_each(|change| out.add(change))
    })?;
    match reach {
        Reach::Damage { last, error } if last < end => Err(error.into()),
        Reach::End(_) | Reach::Damage { .. } => Ok(()),
    }
}

/// The first change that the journal in a folder has. One that is empty begins after the newest snapshot.
pub(super) fn first_change(
    files: &JournalFiles,
    data: &DataFolder,
    store: StoreId,
) -> Result<u64, JournalError> {
    if !files.is_empty() {
        return Ok(files.first().unwrap_or(1));
    }
    let snapshots = Snapshot::find(&data.snapshots(), store)?;
    let newest = snapshots.first();
    Ok(newest.map_or(1, |newest| newest.seq.saturating_add(1)))
}

/// The oldest moment to which the store in a folder can be restored: its first change, or its oldest snapshot.
pub(super) fn oldest_moment(
    data: &DataFolder,
    store: StoreId,
) -> Result<Option<OldestMoment>, JournalError> {
    let snapshots = Snapshot::find(&data.snapshots(), store)?;
    if JournalFiles::find(&data.journal(), store)?.has_first(snapshots.is_empty()) {
        let (change, at_ms) = (1, None);
        return Ok(Some(OldestMoment { change, at_ms }));
    }
    let Some(oldest) = snapshots.last() else {
        return Ok(None);
    };
    Ok(Some(OldestMoment {
        change: oldest.seq,
        at_ms: Some(oldest.written_ms()?),
    }))
}
