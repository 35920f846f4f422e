//! The store on sled: one writer that commits in groups, and readers that do not wait for it.
//!
//! A write goes through fixed steps: evaluate, apply in one transaction (`log` first, `meta` last, the fence is checked
//! inside), flush to the disk, publish, answer. A writer that dies in between leaves the engine in doubt; its next
//! incarnation opens the engine again, settles the end of the log, and answers a redelivered message from the log if that
//! message was committed.
//!
//! Order of reading:
//!
//! 1. What is stored: `engine` (keyspaces of bytes), `stored_record`, `value` (records and their chunks), `log`.
//! 2. How it is written: `message`, `writer`, `staging`.
//! 3. How it is read: `store`, `find`, `page`, `scan`, on top of `reader_state` and `seqlock`.
//! 4. How it is opened and kept open: `holder`, `engine_state`, `recovery`, `watermark`, `space`.
//! 5. What is measured: `metrics`.
//! 6. What is sled's own: `database` and `opener`, the only files that name the crate.

mod database;
mod engine;
mod engine_state;
mod find;
mod holder;
mod log;
mod message;
mod metrics;
mod opener;
mod page;
mod read_error;
mod reader_state;
mod recovery;
mod scan;
mod seqlock;
mod space;
mod staging;
mod store;
mod stored_record;
#[cfg(test)]
mod tests;
mod value;
mod watermark;
mod writer;

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::Store;
use crate::settings::Settings;
use crate::supervision::{ChildSpec, Faults, Slot};
use engine::Opener;
use find::QueryCounts;
use holder::Holder;
use opener::SledOpener;
use scan::SCANS_MAX;
use space::Space;
use store::SledStore;
use writer::{GROUP, Writer, WriterSettings, commit_times};

/// The store that `settings` describe, and the child spec of its writer.
pub(crate) fn storage(settings: &Settings, faults: &Faults) -> (Arc<dyn Store>, ChildSpec) {
    let path = &settings.server.data;
    let opener = SledOpener::new(path, settings.storage.cache_bytes, faults);
    let (store, spec) = with_engine(Box::new(opener), settings, faults);
    (store, spec)
}

/// The same on another engine, for tests whose engines fail.
fn with_engine(
    opener: Box<dyn Opener>,
    settings: &Settings,
    faults: &Faults,
) -> (Arc<SledStore>, ChildSpec) {
    let collections = settings.resources.keys().cloned().collect();
    let space = Space::new(&settings.server.data, settings.storage.reserve);
    let holder = Arc::new(Holder::new(opener, collections, space));
    let limits = settings.supervision.children.storage;
    let (slot, writer) = Slot::with_limits("writer", limits.limits());
    let commits = commit_times();
    let resources = settings.resources.values();
    let store = SledStore {
        holder: Arc::clone(&holder),
        writer,
        ids: resources.clone().map(|resource| resource.ids).collect(),
        deadline: limits.deadline,
        flush_limit: settings.storage.flush_limit,
        scans: Arc::new(Semaphore::new(SCANS_MAX)),
        commits: commits.clone(),
        queries: QueryCounts::default(),
    };
    for point in writer::POINTS {
        faults.register(point);
    }
    let settings = WriterSettings {
        flush_limit: settings.storage.flush_limit,
        log_keep: crate::num::as_u64(settings.storage.log_keep),
        faults: faults.clone(),
        schemas: resources
            .map(|resource| Arc::clone(&resource.schema))
            .collect(),
        commits,
    };
    let spec = ChildSpec::blocking(&slot, GROUP, move |incarnation| {
        Ok(Writer::new(
            Arc::clone(&holder),
            &incarnation,
            settings.clone(),
        )?)
    });
    (Arc::new(store), spec)
}
