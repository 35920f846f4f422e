//! The store's families of `/metrics`.

use super::checked::Tally;
use super::store::SledStore;
use crate::telemetry::Rows;

/// Writes all of them.
pub(super) fn write(store: &SledStore, rows: &mut Rows<'_>) {
    store.holder.space.write(rows);
    rows.metric(
        "perennial_storage_removed_aside",
        "Folders of what was moved aside that were removed, since there was too much of it",
        &store.holder.files.removed_aside,
    );
    let readers = &store.holder.readers;
    rows.counter(
        "perennial_storage_durable_changes",
        "The number of the last change that is on the disk",
        readers.progress().borrow().durable,
    );
    store.holder.disk.write(rows);
    if let Some(archiving) = &store.holder.journal.archiving {
        archiving.write(rows, readers.progress().borrow().durable);
    }
    store.compactor.counts.write(rows);
    store.holder.healing.write(rows);
    rows.counters(
        "perennial_storage_queries",
        "Lists answered by reading a page (page), the records of the ids asked for (ids), those that an index names (index), or the whole resource (scan)",
        store.queries.read().map(|(plan, count)| ([("plan", plan)], count)),
    );
    let scans = store.queries.scans.lock().clone();
    rows.counters(
        "perennial_storage_scans",
        "Lists for which the whole resource was read, by a declared field that an index would have to have; other: none is declared",
        scans.iter().map(|((resource, field), count)| {
            ([("resource", resource.as_str()), ("field", field.as_str())], *count)
        }),
    );
    rows.counters(
        "perennial_storage_limited_scans",
        "Lists that were not answered since reading the whole resource would have gone beyond a limit: others were being read (turn), it took too long (time), or it has more records than storage.scan_records (records)",
        store.queries.limits.read().map(|(limit, count)| ([("limit", limit)], count)),
    );
    rows.counter(
        "perennial_storage_refused_histories",
        "Histories of records that were not read, since others were being read",
        store.queries.refused_histories(),
    );
    let known = store.holder.resources.known.load();
    let (known, declared) = (&known, known.declared());
    let by_resource = |value: fn(Tally) -> u64| {
        declared.keys().map(move |name| {
            let tally = known.id(name).map(|id| readers.tally(id));
            let tally = tally.unwrap_or_default();
            ([("resource", name.as_str())], value(tally))
        })
    };
    rows.gauges(
        "perennial_storage_records",
        "Records of a resource",
        by_resource(|tally| tally.records),
    );
    rows.gauges(
        "perennial_storage_record_bytes",
        "Bytes of all records of a resource, as they are served",
        by_resource(|tally| tally.bytes),
    );
    let kept = readers.tally(store.holder.answers());
    store.holder.answer_counts.write(rows, kept);
    rows.metric(
        "perennial_storage_commit_seconds",
        "How long a group of writes takes until it is on the disk",
        &store.commits,
    );
}
