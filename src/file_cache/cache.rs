//! The file-cache child: it decides which file is looked at, and is the only one that publishes a table.
//!
//! It never waits for a disk: calls run on the threads of their root (`root_io`). A thousand clients that miss one file
//! cause one look, and a root that hangs delays only requests for its files.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use tokio::time::Instant;

use crate::num::as_u64;
use crate::supervision::{
    BoxError, Child, ChildContext, Delivery, Faults, Fence, Incarnation, LocalBoxFuture,
};

use super::budget::{Admission, Budget, cost};
use super::cache_counters::count;
use super::containment::SafePath;
use super::entry::Entry;
use super::file_error::FileError;
use super::freshness::{Freshness, freshness};
use super::health::Condition;
use super::large::Large;
use super::loader::{Loader, Look};
use super::message::{FileMessage, Loaded};
use super::published::Published;
use super::root::RootId;
use super::root_io::{Call, RootIo};
use super::table::{Key, Table};
use super::waiting::{Joined, WaitingList};

/// One incarnation of the file cache. What has to outlive it is published; the budget is made again from that.
pub(crate) struct FileCache {
    looks: Rc<Looks>,
}

/// What the tasks of one incarnation share. They run on one thread.
struct Looks {
    published: Arc<Published>,
    budget: RefCell<Budget<Key>>,
    /// By the index of the root.
    waiting: RefCell<Vec<WaitingList<Delivery<FileMessage>>>>,
    fence: Fence,
    wall: fn() -> SystemTime,
    faults: Faults,
}

type Looked = Result<Look, FileError>;

impl FileCache {
    pub(crate) fn new(
        published: Arc<Published>,
        incarnation: &Incarnation,
        wall: fn() -> SystemTime,
        faults: Faults,
    ) -> Self {
        let mut budget = Budget::new(published.limits.budget_bytes);
        for (key, entry) in published.table.load().iter() {
            // All fit: the life before kept to the same budget.
            budget.admit(key, cost(entry.bytes.len()), |_| false);
        }
        let waiting = published
            .roots
            .iter()
            .map(|_| WaitingList::default())
            .collect();
        Self {
            looks: Rc::new(Looks {
                published,
                budget: RefCell::new(budget),
                waiting: RefCell::new(waiting),
                fence: incarnation.fence(),
                wall,
                faults,
            }),
        }
    }
}

impl Child for FileCache {
    type Message = FileMessage;

    fn handle(&mut self, message: Delivery<FileMessage>, cx: &mut ChildContext) {
        let looks = &self.looks;
        looks.faults.hit("file-cache.message");
        if message.expired() {
            return;
        }
        let (root, path) = (message.root, message.path.clone());
        let known = looks.known(root, &path);
        match (&message.reply, &known) {
            // It was loaded while this message waited.
            (Some(reply), Some(known)) if looks.fresh(known) => {
                reply.settle(Ok(Loaded::Entry(Arc::clone(known))));
                return;
            }
            // It was evicted meanwhile: nobody asked for it to come back.
            (None, None) => return,
            (Some(_), Some(_) | None) | (None, Some(_)) => {}
        }
        if looks.hung(root) {
            // It began to hang while this message waited.
            if let Some(known) = known {
                known.unask();
            }
            return settle(&message, Err(FileError::Hung));
        }
        let joined = match looks.waiting.borrow_mut().get_mut(root.index()) {
            Some(waiting) => waiting.join(path.key(), message),
            None => return settle(&message, Err(FileError::Absent)),
        };
        match joined {
            Joined::Later => {}
            Joined::First => cx.spawn(Rc::clone(looks).look(root, path)),
            Joined::Full(message) => {
                if let Some(root) = looks.published.root(root) {
                    count(&root.refused);
                }
                settle(&message, Err(FileError::Busy));
            }
        }
    }

    /// Probes the folders: those that answer now and then, so that their loss is noticed without requests.
    fn run(
        &mut self,
        _: &mut ChildContext,
    ) -> Option<LocalBoxFuture<'static, Result<(), BoxError>>> {
        let published = Arc::clone(&self.looks.published);
        Some(Box::pin(async move {
            loop {
                published.probe_due(Instant::now()).await;
                let alarm = published.alarm.notified();
                match published.roots.iter().map(|root| root.probe_at()).min() {
                    // An alarm has changed when the next probe is due.
                    Some(next) => drop(tokio::time::timeout_at(next, alarm).await),
                    None => alarm.await,
                }
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
    fn known(&self, root: RootId, path: &SafePath) -> Option<Arc<Entry>> {
        let table = self.published.table.load();
        table.get(root, path.as_str()).map(Arc::clone)
    }

    fn hung(&self, root: RootId) -> bool {
        let root = self.published.root(root);
        root.is_some_and(|root| root.condition() == Condition::Hung)
    }

    fn fresh(&self, entry: &Entry) -> bool {
        let now_ms = self.published.millis_at(Instant::now());
        freshness(entry.age_ms(now_ms), self.published.revalidate_ms) == Freshness::Fresh
    }

    /// Looks at the file for all who wait for it.
    async fn look(self: Rc<Self>, id: RootId, path: SafePath) {
        let Some(root) = self.published.root(id).map(Arc::clone) else {
            return;
        };
        let known = self.known(id, &path);
        let mut call = self.begin(&root, &path, known.clone()).await;
        // Answered meanwhile: the root has stopped answering.
        if !self.with_waiting(id, |waiting| waiting.wants(path.as_str())) {
            return;
        }
        let in_time = match &mut call {
            Some(call) => call.in_time().await,
            None => None,
        };
        let looked = match (in_time, call) {
            (Some(looked), _) => looked,
            (None, call) => {
                for message in self.with_waiting(id, WaitingList::take_all) {
                    settle(&message, Err(FileError::Hung));
                }
                let Some(looked) = late(call).await else {
                    return;
                };
                looked
            }
        };
        self.faults.hit("file-cache.loaded");
        root.answered(&looked);
        let answer = self.keep_looked(id, &root, &path, looked, known);
        for message in self.with_waiting(id, |waiting| waiting.take(path.as_str())) {
            settle(&message, answer.clone());
        }
    }

    async fn begin(
        &self,
        root: &Arc<RootIo>,
        path: &SafePath,
        known: Option<Arc<Entry>>,
    ) -> Option<Call<Looked>> {
        let (published, wall) = (Arc::clone(&self.published), self.wall);
        let (site, looked) = (Arc::clone(root), path.clone());
        let look = move || {
            let loader = Loader {
                root: &site.site,
                max_file_bytes: published.limits.max_file_bytes,
                counters: &published.counters,
                now: wall(),
                now_ms: published.millis_at(Instant::now()),
            };
            let result = loader.look(&looked, known.as_deref(), || ());
            if let (Ok(Look::Unchanged), Some(known)) = (&result, &known) {
                known.checked(loader.now_ms);
            }
            result
        };
        root.begin(path, look).await
    }

    fn with_waiting<T: Default>(
        &self,
        root: RootId,
        change: impl FnOnce(&mut WaitingList<Delivery<FileMessage>>) -> T,
    ) -> T {
        let mut waiting = self.waiting.borrow_mut();
        waiting
            .get_mut(root.index())
            .map(change)
            .unwrap_or_default()
    }

    /// Keeps what a look found in the place of what was `known`, and says what to answer.
    fn keep_looked(
        &self,
        id: RootId,
        root: &Arc<RootIo>,
        path: &SafePath,
        looked: Looked,
        known: Option<Arc<Entry>>,
    ) -> Result<Loaded, FileError> {
        let key = (id, Arc::clone(path.key()));
        let counters = &self.published.counters;
        match (looked, known) {
            (Ok(Look::Unchanged), Some(known)) => {
                count(&counters.unchanged);
                Ok(Loaded::Entry(known))
            }
            // `Unchanged` is said of what is known only; were it not so, this is what the client would see.
            (Ok(Look::Unchanged), None) => Err(FileError::Absent),
            (Ok(Look::Read(entry)), _) => {
                self.keep(&key, &entry);
                Ok(Loaded::Entry(entry))
            }
            (Ok(Look::Large(opened)), _) => {
                count(&counters.large);
                self.forget(&key);
                Ok(Loaded::Large(Box::new(Large::new(*opened, root, path))))
            }
            (Ok(Look::Moved), _) => {
                self.forget(&key);
                Ok(Loaded::Moved)
            }
            (Err(error), Some(known)) if !error.is_about_the_file() => {
                // What is wrong with the whole folder is told by the folder's health.
                if known.doubt() && !matches!(error, FileError::Root { .. }) {
                    let (route, file) = (&root.site.route, path.as_str());
                    tracing::warn!(route, file, %error, "a cached file can't be looked at: its copy in memory is kept");
                }
                Err(error)
            }
            (Err(error), _) => {
                self.forget(&key);
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
        let next = match budget.admit(key.clone(), cost(entry.bytes.len()), marked) {
            Admission::Kept(evicted) => {
                let counters = &self.published.counters;
                counters
                    .evictions
                    .fetch_add(as_u64(evicted.len()), Ordering::Relaxed);
                let next = evicted
                    .iter()
                    .fold(Table::clone(&table), |table, gone| table.with(gone, None));
                next.with(key, Some(Arc::clone(entry)))
            }
            // Served, and not kept: the next request reads it again.
            Admission::TooLarge if table.get(key.0, &key.1).is_none() => return,
            Admission::TooLarge => Table::clone(&table).with(key, None),
        };
        self.publish(&table, next, &budget);
    }

    fn forget(&self, key: &Key) {
        let table = self.published.table.load_full();
        if table.get(key.0, &key.1).is_some() {
            count(&self.published.counters.dropped);
            let mut budget = self.budget.borrow_mut();
            budget.remove(key);
            self.publish(&table, Table::clone(&table).with(key, None), &budget);
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
            let (entries, bytes) = (as_u64(budget.len()), as_u64(budget.used_bytes()));
            counters.entries.store(entries, Ordering::Relaxed);
            counters.bytes.store(bytes, Ordering::Relaxed);
        }
    }
}

async fn late(call: Option<Call<Looked>>) -> Option<Looked> {
    call?.late().await
}

#[cfg(test)]
impl FileCache {
    /// The answer to a request for `path`.
    pub(super) async fn load(&self, id: RootId, path: &SafePath) -> Result<Loaded, FileError> {
        let looks = &self.looks;
        let root = looks.published.root(id).unwrap();
        let known = looks.known(id, path);
        let mut call = looks.begin(root, path, known.clone()).await.unwrap();
        let looked = call.in_time().await.unwrap();
        looks.keep_looked(id, root, path, looked, known)
    }
}
