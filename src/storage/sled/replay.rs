//! Applies changes of the journal or of a snapshot to a view.

use std::sync::Arc;
use std::time::Duration;

use super::checked::{Checked, LAST_SEQ_KEY, SCHEMA, SCHEMA_KEY, STORE_KEY, tally_key};
use super::engine::{Engine, Group, Keyspace, OpenFault};
use super::index_catalog::IndexCatalog;
use super::log::seq_key;
use super::read_error::ReadError;
use super::staging::{Origin, Staging};
use super::stored_record::Damaged;
use crate::record::RecordId;
use crate::storage::CollectionId;
use crate::storage::journal::{JournalChange, JournalEffect, StoreId};

/// The most bytes that are applied at once, and one change more.
const GROUP_BYTES: usize = 1 << 20;
/// The same beside a view that is in use, where readers and the writer wait meanwhile, and the pause after it.
const BESIDE_BYTES: usize = 64 << 10;
const BESIDE_PAUSE: Duration = Duration::from_millis(1);

/// A view that changes are applied to.
pub(super) struct Replay<'a> {
    engine: &'a mut dyn Engine,
    store: StoreId,
    checked: Checked,
    /// Changes before this one get no entry in the log of changes.
    log_from: u64,
    waiting: Vec<JournalChange>,
    waiting_bytes: usize,
    /// The number of changes that were applied.
    applied: u64,
    /// Whether the changes are those of a snapshot.
    from_snapshot: bool,
    /// Whether the view is worth nothing before all is applied.
    unfinished: bool,
    beside: bool,
    indexes: Arc<IndexCatalog>,
}

impl<'a> Replay<'a> {
    pub(super) fn new(
        engine: &'a mut dyn Engine,
        store: StoreId,
        checked: Checked,
        log_from: u64,
    ) -> Result<Self, ReadError> {
        Ok(Self {
            indexes: Arc::new(IndexCatalog::read(engine)?),
            engine,
            store,
            checked,
            log_from,
            waiting: Vec::new(),
            waiting_bytes: 0,
            applied: 0,
            from_snapshot: false,
            unfinished: false,
            beside: false,
        })
    }

    /// The changes are those of a snapshot, which are not in the order in which they were made. Others follow: the view counts
    /// as empty until [`of_new_view`](Self::of_new_view) has ended.
    pub(super) fn of_snapshot(self) -> Self {
        Self {
            from_snapshot: true,
            unfinished: true,
            ..self
        }
    }

    /// The view is being made: it counts as empty until all is applied.
    pub(super) fn of_new_view(self) -> Self {
        Self {
            unfinished: true,
            ..self
        }
    }

    /// There is a view in use beside it, which is not to be delayed.
    pub(super) fn beside(self, beside: bool) -> Self {
        Self { beside, ..self }
    }

    /// Applies changes, sooner or later. A record that has a later change already keeps it.
    pub(super) fn add(&mut self, changes: Vec<JournalChange>) -> Result<(), OpenFault> {
        for change in changes {
            self.waiting_bytes += change.bytes();
            self.waiting.push(change);
            if self.beside && self.waiting_bytes >= BESIDE_BYTES {
                self.apply()?;
                std::thread::park_timeout(BESIDE_PAUSE);
            } else if self.waiting_bytes >= GROUP_BYTES {
                self.apply()?;
            }
        }
        Ok(())
    }

    /// Applies what is left, and says that the view is at change `last` now.
    pub(super) fn finish(mut self, last: u64) -> Result<(Checked, u64), OpenFault> {
        self.checked.last_seq = self.checked.last_seq.max(last);
        if self.from_snapshot {
            // Which resource's record was deleted last is not known. The number must not be lower than before: it is part of
            // the entity tag of lists.
            let collections = self.engine.collections().len();
            let tallies = &mut self.checked.tallies;
            tallies.resize_with(collections, Default::default);
            for tally in tallies {
                tally.seq = tally.seq.max(last);
            }
        }
        if self.unfinished && !self.from_snapshot {
            self.apply()?;
            self.unfinished = false;
        }
        self.apply()?;
        Ok((self.checked, self.applied))
    }

    fn apply(&mut self) -> Result<(), OpenFault> {
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        let known = self.engine.collections();
        for change in &waiting {
            if !known.contains(&change.collection) {
                self.engine.declare(&change.collection)?;
            }
        }
        let collections = self.engine.collections().len();
        self.checked
            .tallies
            .resize_with(collections, Default::default);
        let indexes = Arc::clone(&self.indexes);
        let mut staging = Staging {
            log_from: self.log_from,
            ..Staging::new(&*self.engine, self.checked.clone(), indexes)
        };
        for change in waiting {
            apply(&mut staging, change)?;
            self.applied += 1;
        }
        let Staging {
            mut group, checked, ..
        } = staging;
        add_figures(&mut group, &checked, &*self.engine);
        let mut meta = |key: &[u8], value: Vec<u8>| group.put(Keyspace::Meta, key, value);
        meta(STORE_KEY, self.store.0.to_be_bytes().to_vec());
        if self.unfinished {
            self.engine.load(&group)?;
        } else {
            meta(SCHEMA_KEY, SCHEMA.to_be_bytes().to_vec());
            self.engine.commit(&group)?;
        }
        self.checked = checked;
        Ok(())
    }
}

fn apply(staging: &mut Staging<'_>, change: JournalChange) -> Result<(), OpenFault> {
    let mut names = staging.names.iter();
    let collection = names.position(|name| *name == change.collection);
    let collection = CollectionId(collection.ok_or(Damaged)?);
    let origin = Origin {
        collection,
        message: change.message,
        seq: change.seq,
        at_ms: change.at_ms,
    };
    if let JournalEffect::Numbers { next } = change.effect {
        let next = next.max(staging.next_number(collection)?);
        staging.give_next(collection, next);
        return Ok(());
    }
    let id = RecordId::from_key(&change.key).ok_or(Damaged)?;
    let mut target = staging.target(collection, id)?;
    let current = target.current.as_ref();
    if current.is_some_and(|current| current.revision.0 >= change.seq) {
        return Ok(());
    }
    match change.effect {
        JournalEffect::Put { created_ms, json } => {
            target.created_ms = Some(created_ms);
            staging.put(origin, target, json);
        }
        JournalEffect::Delete | JournalEffect::Numbers { .. } => {
            staging.remove(origin, target);
        }
    }
    Ok(())
}

/// Adds the figures of a view, as they are after `group`, to it.
pub(super) fn add_figures(group: &mut Group, checked: &Checked, engine: &dyn Engine) {
    for (name, tally) in engine.collections().iter().zip(&checked.tallies) {
        group.put(Keyspace::Meta, tally_key(name), tally.encode());
    }
    let last = seq_key(checked.last_seq).to_vec();
    group.put(Keyspace::Meta, LAST_SEQ_KEY, last);
}
