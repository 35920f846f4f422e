//! The store on sled: one writer that commits in groups, and readers that do not wait for it.
//!
//! A write goes through fixed steps: evaluate, apply in one transaction (`log` first, `meta` last, the fence is checked
//! inside), flush to the disk, publish, answer. A writer that dies in between leaves the engine in doubt; its next
//! incarnation opens the engine again, settles the end of the log, and answers a redelivered message from the log if that
//! message was committed.

mod database;
mod engine;
mod envelope;
mod holder;
mod message;
mod opener;
mod page;
mod recovery;
mod space;
mod staging;
mod store;
#[cfg(test)]
mod tests;
mod value;
mod walk;
mod watermark;
mod writer;

use std::sync::Arc;

pub(crate) use engine::{CollectionId, Opener};
pub(crate) use message::Written;
pub(crate) use store::{ListPage, Store, StoreError};

use crate::settings::Settings;
use crate::supervision::{ChildSpec, Clock, Faults, QueueLimits, Slot};
use holder::Holder;
use opener::SledOpener;
use space::Space;
use writer::{GROUP, Writer, WriterSettings};

/// The store of `settings`, with the recipe of its writer.
pub(crate) fn storage(settings: &Settings, clock: Clock, faults: &Faults) -> (Store, ChildSpec) {
    let path = &settings.server.data;
    let opener = SledOpener::new(path, settings.storage.cache_bytes).with_faults(faults.clone());
    with_engine(Box::new(opener), settings, clock, faults)
}

/// [`storage`] on another engine: for tests, whose engines fail.
pub(crate) fn with_engine(
    opener: Box<dyn Opener>,
    settings: &Settings,
    clock: Clock,
    faults: &Faults,
) -> (Store, ChildSpec) {
    let collections = settings.resources.keys().cloned().collect();
    let space = Space::new(&settings.server.data, settings.storage.reserve);
    let holder = Arc::new(Holder::new(opener, collections, space));
    let limits = settings.supervision.storage;
    let queue = QueueLimits {
        messages: limits.queue.get(),
        bytes: limits.queue_bytes.get(),
    };
    let (slot, writer) = Slot::new("writer", queue, clock);
    let store = Store::new(
        Arc::clone(&holder),
        writer,
        (limits.deadline, settings.storage.flush_limit),
    );
    let schemas = settings
        .resources
        .values()
        .map(|resource| Arc::clone(&resource.schema))
        .collect();
    let settings = WriterSettings {
        flush_limit: settings.storage.flush_limit,
        log_keep: crate::num::as_u64(settings.storage.log_keep),
        faults: faults.clone(),
        schemas,
    };
    let spec = ChildSpec::blocking(&slot, GROUP, faults.clone(), move |life| {
        Ok(Writer::new(Arc::clone(&holder), &life, settings.clone())?)
    });
    (store, spec)
}
