//! The store on sled: one writer that commits in groups, and readers that do not wait for it.
//!
//! A write goes through fixed steps: evaluate, append to the journal and sync, publish, answer, apply to the view in one
//! transaction. A writer that dies in between leaves the store in doubt; it is opened again, the view takes over what only
//! the journal has, and a redelivered message is answered from the log of changes if that message was committed.
//!
//! Order of reading:
//!
//! 1. What is stored: `engine` (keyspaces of bytes), `stored_record`, `value` (records and their chunks), `log`, `checked`.
//! 2. How it is written: `message`, `writer`, `batch`, `deciding`, `referring` (references between records),
//!    `answers` with `stored_answer`, `staging`, `commit`, `replay`.
//! 3. How it is read: `store`, `find` with `query_look` and `query_counts`, `page`, `scan`, `past`, `feed`, on top of
//!    `reader_state` and `seqlock`; with indexes: `index_catalog` (which there are), `index_reading`, `index_walk`, `block_counts`, `index_declaring`, `index_building`,
//!    `unique`, `index_check`.
//! 4. How it is opened and kept open: `data_folder`, `folder_use` with `run_file`, `start` (the decisions), `owner` (which store
//!    the files are of), `opening`, `looking_first`, `sources`, `snapshots`, `one_at_a_time`, `view_flush`, `archiving`, `scrub`, `healing`,
//!    `compaction`, `held_bytes`, `built_view`, `old_format`, `holder` (what outlives a writer) with `store_files`,
//!    `journal_upkeep` and `attempts`, `engine_state`, `space`, `failing_disk`, `limits`; `stored_fit` compares it with the
//!    settings, `known` has the resources, and `declaring` with `candidate`, `comparing` and `new_references` changes which of them are declared.
//! 5. What is measured: `metrics`; what is printed: `print`; what is salvaged: `salvaged_view`; what is checked: `data_check`,
//!    `view_copy`, `folder_fault`, `view_check`, `data_fit`.
//! 6. What is sled's own: `database` and `opener`, the only files that name the crate.

mod answers;
mod archiving;
mod attempts;
mod batch;
mod block_counts;
mod built_view;
mod candidate;
mod checked;
mod commit;
mod compaction;
mod comparing;
mod data_check;
mod data_fit;
mod data_folder;
mod database;
mod deciding;
mod declaring;
mod engine;
mod engine_state;
mod failing_disk;
mod feed;
mod find;
mod folder_fault;
mod folder_use;
mod guarded_keys;
mod healing;
mod held_bytes;
mod holder;
mod index_building;
mod index_catalog;
mod index_check;
mod index_declaring;
mod index_reading;
mod index_sets;
mod index_walk;
mod journal_upkeep;
mod known;
mod limits;
mod log;
mod look_clock;
mod looking_first;
mod matching;
mod message;
mod metrics;
mod new_references;
mod old_format;
mod one_at_a_time;
mod opener;
mod opening;
mod owner;
mod page;
mod past;
mod planning;
mod print;
mod query_counts;
mod query_look;
mod read_error;
mod reader_state;
mod referring;
mod replay;
mod run_file;
mod salvaged_view;
mod scan;
mod scrub;
mod seqlock;
mod snapshots;
mod sources;
mod space;
mod staging;
mod start;
mod store;
mod store_files;
mod stored_answer;
mod stored_fit;
mod stored_record;
#[cfg(test)]
mod tests;
mod unique;
mod value;
mod view_check;
mod view_copy;
mod view_flush;
mod view_log;
mod writer;

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::Store;
use crate::incidents::Incidents;
use crate::settings::Settings;
use crate::supervision::{ChildSpec, Faults, Slot};
use archiving::Archiving;
use built_view::{AFTER_SWAP, BEFORE_SWAP};
use commit::{FAILING_SYNC, HANGING_SYNC, WEAK_SYNC};
use compaction::Compactor;
use comparing::HELD_COMPARISON;
pub(crate) use data_check::{DataCheck, ViewCheck, check_data};
pub(crate) use data_fit::data_fit;
pub(super) use data_folder::DataFolder;
use engine::Opener;
use feed::PAGES_READ_MAX;
pub(crate) use folder_fault::FolderFault;
use holder::Holder;
use limits::SharedLimits;
use opener::SledOpener;
pub(super) use owner::{identify, own_marks_of_copy};
use past::HISTORIES_MAX;
pub(crate) use print::{PrintError, journal_begins, print_journal, read_past, store_in};
use query_counts::QueryCounts;
pub(super) use salvaged_view::{NoView, SalvagedView, ViewEntry};
use scan::{HELD_SCAN, scans_max};
use space::Space;
pub(crate) use space::spare_bytes;
pub(super) use start::is_trusted;
use store::SledStore;
use writer::{GROUP, Writer, WriterSettings, commit_times};

/// The store that `settings` describe, and the child spec of its writer.
pub(crate) fn storage(
    settings: &Settings,
    faults: &Faults,
    incidents: &Arc<Incidents>,
) -> (Arc<dyn Store>, ChildSpec) {
    let data = DataFolder::new(&settings.server.data);
    let opener = SledOpener::new(data.view(), settings.storage.cache_bytes);
    let (store, spec) = with_engine(Box::new(opener), settings, faults, incidents);
    (store, spec)
}

/// The same on another engine, for tests whose engines fail.
fn with_engine(
    opener: Box<dyn Opener>,
    settings: &Settings,
    faults: &Faults,
    incidents: &Arc<Incidents>,
) -> (Arc<SledStore>, ChildSpec) {
    let limits = SharedLimits::new(settings);
    let space = Space::new(&settings.server.data, &limits, incidents);
    let data = DataFolder::new(&settings.server.data);
    let declared = settings.resources.clone();
    let archiving = Archiving::new(&data, &settings.storage, &limits);
    let holder = Holder::new(opener, data, declared, limits, space, archiving, incidents);
    let holder = Arc::new(holder);
    let queue = settings.supervision.children.storage;
    let (slot, writer) = Slot::with_limits("writer", queue.limits());
    let commits = commit_times();
    let compactor = Compactor {
        holder: Arc::clone(&holder),
        writer: writer.clone(),
        counts: Arc::default(),
    };
    let store = SledStore {
        holder: Arc::clone(&holder),
        writer,
        scans: Arc::new(Semaphore::new(scans_max())),
        histories: Arc::new(Semaphore::new(HISTORIES_MAX)),
        feed_reads: Arc::new(Semaphore::new(PAGES_READ_MAX)),
        commits: commits.clone(),
        queries: QueryCounts::default(),
        compactor,
        faults: faults.clone(),
    };
    for point in writer::POINTS
        .into_iter()
        .chain([WEAK_SYNC, FAILING_SYNC, HANGING_SYNC])
        .chain([BEFORE_SWAP, AFTER_SWAP, HELD_COMPARISON, HELD_SCAN])
    {
        faults.register(point);
    }
    let settings = WriterSettings {
        faults: faults.clone(),
        commits,
    };
    let spec = ChildSpec::blocking(&slot, GROUP, move |incarnation| {
        Ok(Writer::new(
            Arc::clone(&holder),
            incarnation,
            settings.clone(),
        )?)
    });
    let store = Arc::new(store);
    scrub::in_background(&store);
    view_flush::in_background(&store.holder);
    space::look_in_background(&store.holder);
    index_building::in_background(&store);
    store.compactor.in_background(&store);
    archiving::in_background(&store.holder);
    (store, spec)
}
