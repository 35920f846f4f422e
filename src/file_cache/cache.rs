//! The file-cache child: it decides which file is looked at, and is the only one that publishes a table.
//!
//! It never waits for a disk: calls run on the threads of their root (`root_io`). A thousand clients that miss one file
//! cause one look, and a root that hangs delays only requests for its files.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::budget::{Budget, cost};
use super::containment::SafePath;
use super::entry::{Entry, Freshness};
use super::file_error::FileError;
use super::health::PROBE_FIRST;
use super::large::Large;
use super::loader::{Loader, Look};
use super::message::{FileMessage, Loaded};
use super::published::Published;
use super::root::RootId;
use super::root_io::{Call, RootIo};
use super::table::{Key, Table};
use super::waiting::{Joined, WaitingList};
use crate::num::as_u64;
use crate::supervision::{
    BoxError, Child, ChildContext, Delivery, Faults, Fence, Incarnation, LocalBoxFuture,
};

/// One incarnation of the file cache. What has to outlive it is published; the budget is made again from that.
pub(crate) struct FileCache(Rc<Looks>);

/// What the tasks of one incarnation share. They run on one thread.
struct Looks {
    published: Arc<Published>,
    budget: RefCell<Budget<Key>>,
    waiting: RefCell<HashMap<RootId, WaitingList<Delivery<FileMessage>>>>,
    fence: Fence,
    faults: Faults,
}

type Looked = Result<Look, FileError>;

impl FileCache {
    pub(crate) fn new(
        published: Arc<Published>,
        incarnation: &Incarnation,
        faults: Faults,
    ) -> Self {
        let mut budget = Budget::new(published.limits.budget_bytes);
        for (key, entry) in published.table.load().iter() {
            // All fit: the incarnation before kept to the same budget.
            budget.admit(key, cost(entry.content.length()), |_| false);
        }
        Self(Rc::new(Looks {
            published,
            budget: RefCell::new(budget),
            waiting: RefCell::default(),
            fence: incarnation.fence(),
            faults,
        }))
    }
}

impl Child for FileCache {
    type Message = FileMessage;

    fn handle(&mut self, message: Delivery<FileMessage>, cx: &mut ChildContext) {
        let looks = &self.0;
        looks.faults.hit("file-cache.message");
        if message.expired() {
            return;
        }
        let (root, path) = (Arc::clone(&message.root), message.path.clone());
        let known = looks.known(&root, &path);
        let asked = message.reply.is_some();
        if let Some(fresh) = known.as_ref().filter(|known| asked && looks.fresh(known)) {
            // It was loaded while this message waited.
            return settle(&message, Ok(Loaded::Entry(Arc::clone(fresh))));
        }
        if known.is_none() && !asked {
            // It was evicted while this message waited, and nobody asks for it.
            return;
        }
        if root.hung() {
            // It began to hang while this message waited.
            if let Some(known) = known {
                known.unask();
            }
            return settle(&message, Err(FileError::Hung));
        }
        match looks.with_waiting(&root, |waiting| waiting.join(path.key(), message)) {
            Joined::Later => {}
            Joined::First => cx.spawn(Rc::clone(looks).look(root, path)),
            Joined::Full(message) => {
                root.refused.inc();
                settle(&message, Err(FileError::Busy));
            }
        }
    }

    /// Probes the folders: those that answer now and then, so that their loss is noticed without requests.
    fn run(
        &mut self,
        _: &mut ChildContext,
    ) -> Option<LocalBoxFuture<'static, Result<(), BoxError>>> {
        let published = Arc::clone(&self.0.published);
        Some(Box::pin(async move {
            loop {
                published.probe_due().await;
                tokio::time::sleep(PROBE_FIRST).await;
            }
        }))
    }
}

/// Answers a message, if a caller waits.
fn settle(message: &Delivery<FileMessage>, answer: Result<Loaded, FileError>) {
    if let Some(reply) = &message.reply {
        reply.settle(answer);
    }
}

impl Looks {
    fn known(&self, root: &RootIo, path: &SafePath) -> Option<Arc<Entry>> {
        let table = self.published.table.load();
        table.get(root.id, path.as_str()).map(Arc::clone)
    }

    fn fresh(&self, entry: &Entry) -> bool {
        self.published.freshness(entry, Instant::now()) == Freshness::Fresh
    }

    /// Looks at the file for all who wait for it.
    async fn look(self: Rc<Self>, root: Arc<RootIo>, path: SafePath) {
        let turn = root.turn().await;
        // The root has stopped answering meanwhile, and all who waited were told so.
        if !self.with_waiting(&root, |waiting| waiting.wants(path.as_str())) {
            return;
        }
        let mut call = self.begin(&root, &path, turn);
        let looked = if let Some(looked) = call.in_time().await {
            looked
        } else {
            for message in self.with_waiting(&root, WaitingList::take_all) {
                settle(&message, Err(FileError::Hung));
            }
            let Some(looked) = call.late().await else {
                return;
            };
            looked
        };
        self.faults.hit("file-cache.loaded");
        root.answered(&looked);
        let answer = self.keep_looked(&root, &path, looked);
        for message in self.with_waiting(&root, |waiting| waiting.take(path.as_str())) {
            settle(&message, answer.clone());
        }
    }

    fn begin(
        &self,
        root: &Arc<RootIo>,
        path: &SafePath,
        turn: OwnedSemaphorePermit,
    ) -> Call<Looked> {
        let known = self.known(root, path);
        let published = Arc::clone(&self.published);
        let (site, looked) = (Arc::clone(root), path.clone());
        let look = move || {
            let loader = Loader {
                root: &site.site,
                max_file_bytes: published.limits.max_file_bytes,
                counters: &published.counters,
                memory_files: &published.memory_files,
                large_files: &published.large_files,
                now: (published.wall)(),
                now_ms: published.millis_at(Instant::now()),
            };
            loader.look(&looked, known.as_ref(), || ())
        };
        root.begin(path, turn, look)
    }

    fn with_waiting<T>(
        &self,
        root: &RootIo,
        change: impl FnOnce(&mut WaitingList<Delivery<FileMessage>>) -> T,
    ) -> T {
        change(self.waiting.borrow_mut().entry(root.id).or_default())
    }

    /// Keeps what a look found, and returns the answer.
    fn keep_looked(
        &self,
        root: &Arc<RootIo>,
        path: &SafePath,
        looked: Looked,
    ) -> Result<Loaded, FileError> {
        let key = (root.id, Arc::clone(path.key()));
        let counters = &self.published.counters;
        match looked {
            Ok(Look::Unchanged(entry)) => {
                counters.unchanged.inc();
                Ok(Loaded::Entry(entry))
            }
            Ok(Look::Read(entry)) => {
                self.keep(&key, &entry);
                Ok(Loaded::Entry(entry))
            }
            Ok(Look::Large(opened)) => {
                counters.large.inc();
                self.forget(&key);
                let (root, path) = (Arc::clone(root), path.clone());
                Ok(Loaded::Large(Large { opened, root, path }))
            }
            Ok(Look::Moved) => {
                self.forget(&key);
                Ok(Loaded::Moved)
            }
            Err(error) if error.is_about_the_file() => {
                self.forget(&key);
                Err(error)
            }
            Err(error) => {
                // An error of the whole folder is logged when the folder is judged.
                if let Some(known) = self.known(root, path)
                    && known.doubt()
                    && !matches!(error, FileError::Root(_))
                {
                    let (route, file) = (&root.site.route, path.as_str());
                    tracing::warn!(route, file, %error, "a cached file can't be looked at: its copy in memory is kept");
                }
                Err(error)
            }
        }
    }

    /// Takes `entry` into the table, in the place of what is there, and evicts what it displaces.
    fn keep(&self, key: &Key, entry: &Arc<Entry>) {
        let table = self.published.table.load_full();
        let mut budget = self.budget.borrow_mut();
        budget.remove(key);
        let marked = |key: &Key| {
            let entry = table.get(key.0, &key.1);
            entry.is_some_and(|entry| entry.take_used())
        };
        let Some(evicted) = budget.admit(key.clone(), cost(entry.content.length()), marked) else {
            // It is larger than the whole budget: served and not kept.
            drop(budget);
            return self.forget(key);
        };
        let evictions = &self.published.counters.evictions;
        evictions.inc_by(as_u64(evicted.len()));
        let mut next = table.with(key, Some(Arc::clone(entry)));
        for gone in &evicted {
            next = next.with(gone, None);
        }
        self.publish(&table, next, &budget);
    }

    fn forget(&self, key: &Key) {
        let table = self.published.table.load_full();
        if table.get(key.0, &key.1).is_some() {
            self.published.counters.dropped.inc();
            let mut budget = self.budget.borrow_mut();
            budget.remove(key);
            self.publish(&table, table.with(key, None), &budget);
        }
    }

    /// Publishes `next` in the place of `table`. An incarnation that was replaced while it hung publishes nothing: the
    /// fence says so, and if its successor has published in between, so does the comparison.
    fn publish(&self, table: &Arc<Table>, next: Table, budget: &Budget<Key>) {
        if !self.fence.holds() {
            return;
        }
        let previous = self.published.table.compare_and_swap(table, Arc::new(next));
        if Arc::ptr_eq(&previous, table) {
            let counters = &self.published.counters;
            counters.entries.set(as_u64(budget.len()));
            counters.bytes.set(as_u64(budget.used_bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl FileCache {
        /// The answer to a request for `path`.
        pub(crate) async fn load(&self, id: RootId, path: &SafePath) -> Result<Loaded, FileError> {
            let looks = &self.0;
            let root = looks.published.root(id).unwrap();
            let mut call = looks.begin(root, path, root.turn().await);
            let looked = call.in_time().await.unwrap();
            looks.keep_looked(root, path, looked)
        }
    }
}
