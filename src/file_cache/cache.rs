//! The file-cache child: the only one that touches the disk, the only one that publishes a table.
//!
//! It does its work at once and on its own thread. A slow disk delays misses, and only misses; and since loads come one
//! after the other, a thousand clients that miss one file cause one reading: the others find it fresh.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use crate::supervision::{Child, Clock, Cx, Delivery, Faults, Fence, Life};

use super::budget::{Admission, Budget, cost};
use super::containment::SafePath;
use super::entry::Entry;
use super::figures::count;
use super::file_error::FileError;
use super::freshness::{Freshness, freshness};
use super::loader::{Loader, Look};
use super::message::{FileMessage, Loaded};
use super::published::Published;
use super::root::RootId;
use super::table::{Key, Table};

/// One incarnation of the file cache. What has to outlive it is published; the ring of the budget is made again from
/// that.
#[derive(Debug)]
pub(crate) struct FileCache {
    published: Arc<Published>,
    budget: Budget<Key>,
    fence: Fence,
    clock: Clock,
    wall: fn() -> SystemTime,
    faults: Faults,
}

impl FileCache {
    pub(crate) fn new(
        published: Arc<Published>,
        life: &Life,
        clock: Clock,
        wall: fn() -> SystemTime,
        faults: Faults,
    ) -> Self {
        let mut budget = Budget::new(published.limits.budget_bytes);
        let mut overdrawn = Vec::new();
        for (key, entry) in published.table.load().iter() {
            match budget.admit(key.clone(), cost(entry.bytes.len()), |_| false) {
                Admission::Kept(evicted) => overdrawn.extend(evicted),
                Admission::TooLarge => overdrawn.push(key),
            }
        }
        // Its predecessor kept the budget as well, so this is a net and not a path.
        debug_assert!(
            overdrawn.is_empty(),
            "a published table exceeded its budget"
        );
        Self {
            published,
            budget,
            fence: life.fence(),
            clock,
            wall,
            faults,
        }
    }

    pub(super) fn load(&mut self, root: RootId, path: &SafePath) -> Result<Loaded, FileError> {
        let now_ms = self.published.millis_at(self.clock.now());
        let known = self
            .published
            .table
            .load()
            .get(root, path.as_str())
            .map(Arc::clone);
        if let Some(known) = &known
            && freshness(known.age_ms(now_ms), self.published.revalidate_ms) == Freshness::Fresh
        {
            return Ok(Loaded::Entry(Arc::clone(known)));
        }
        let loader = Loader {
            root: self.published.root(root).ok_or(FileError::Absent)?,
            max_file_bytes: self.published.limits.max_file_bytes,
            counters: &self.published.counters,
            now: (self.wall)(),
            now_ms,
        };
        let look = loader.look(path, known.as_deref(), || ());
        self.faults.hit("file-cache.loaded");
        let key = (root, Arc::clone(path.key()));
        match (look, known) {
            (Ok(Look::Unchanged), Some(known)) => {
                count(&self.published.counters.unchanged);
                known.checked(now_ms);
                Ok(Loaded::Entry(known))
            }
            // `Unchanged` is said of what is known only; were it not so, this is what the client would see.
            (Ok(Look::Unchanged), None) => Err(FileError::Absent),
            (Ok(Look::Read(entry)), known) => {
                self.keep(key, &entry, known.is_some());
                Ok(Loaded::Entry(entry))
            }
            (Ok(Look::Large(large)), known) => {
                count(&self.published.counters.large);
                self.forget(&key, known.is_some());
                Ok(Loaded::Large(large))
            }
            (Ok(Look::Moved), known) => {
                self.forget(&key, known.is_some());
                Ok(Loaded::Moved)
            }
            (Err(error), known) => {
                self.forget(&key, known.is_some());
                Err(error)
            }
        }
    }

    /// Takes `entry` into the table, in the place of what was `known`, and evicts what it displaces.
    fn keep(&mut self, key: Key, entry: &Arc<Entry>, known: bool) {
        let table = self.published.table.load_full();
        if known {
            self.budget.remove(&key);
        }
        let marked = |key: &Key| {
            table
                .get(key.0, &key.1)
                .is_some_and(|entry| entry.take_used())
        };
        match self
            .budget
            .admit(key.clone(), cost(entry.bytes.len()), marked)
        {
            Admission::Kept(evicted) => {
                for _ in &evicted {
                    count(&self.published.counters.evictions);
                }
                let next = evicted
                    .iter()
                    .fold(Table::clone(&table), |t, gone| t.with(gone, None));
                self.publish(&table, next.with(&key, Some(Arc::clone(entry))));
            }
            // Served, and not kept: the next request reads it again.
            Admission::TooLarge if known => {
                self.publish(&table, Table::clone(&table).with(&key, None));
            }
            Admission::TooLarge => {}
        }
    }

    fn forget(&mut self, key: &Key, known: bool) {
        if known {
            count(&self.published.counters.dropped);
            self.budget.remove(key);
            let table = self.published.table.load_full();
            self.publish(&table, Table::clone(&table).with(key, None));
        }
    }

    /// Publishes `next` in the place of `table`. An incarnation that was replaced while it hung publishes nothing: the
    /// fence says so, and if its successor has published in between, so does the comparison.
    fn publish(&self, table: &Arc<Table>, next: Table) {
        if !self.fence.holds() {
            return;
        }
        let previous = self.published.table.compare_and_swap(table, Arc::new(next));
        if Arc::ptr_eq(&previous, table) {
            let figure = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
            let counters = &self.published.counters;
            counters
                .entries
                .store(figure(self.budget.len()), Ordering::Relaxed);
            counters
                .bytes
                .store(figure(self.budget.used_bytes()), Ordering::Relaxed);
        }
    }
}

impl Child for FileCache {
    type Message = FileMessage;

    fn handle(&mut self, message: Delivery<FileMessage>, _: &mut Cx) {
        self.faults.hit("file-cache.message");
        if message.expired() {
            return;
        }
        match &*message {
            FileMessage::Load { root, path, reply } => {
                // False means that the caller has left meanwhile; the entry is there for the next one.
                reply.settle(self.load(*root, path));
            }
            FileMessage::Revalidate { root, path } => {
                let known = self
                    .published
                    .table
                    .load()
                    .get(*root, path.as_str())
                    .is_some();
                // Evicted meanwhile: nobody asked for it to come back.
                if known && let Err(error) = self.load(*root, path) {
                    tracing::debug!(path = path.as_str(), %error, "a cached file can't be had any more");
                }
            }
        }
    }
}
