//! The file-cache child: it decides which file is looked at, and is the only one that publishes a table.
//!
//! It never waits for a disk: calls run on the threads of their root (`root_io`). A thousand clients that miss one file
//! cause one look, and a root that hangs delays only requests for its files.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::future;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Duration, Instant};

use super::budget::Budget;
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
use super::table::Table;
use super::waiting::{Joined, WaitingList};
use crate::num::as_u64;
use crate::settings::ContentCoding;
use crate::supervision::{
    BoxError, Child, ChildContext, Delivery, Faults, Fence, Incarnation, LocalBoxFuture,
};

/// The time between two looks whether folders have come out of use or the budget has changed.
const FOLLOW_PAUSE: Duration = Duration::from_millis(500);

/// A file in memory: its root and the safe path below it.
pub(super) type FileKey = (Arc<RootIo>, Arc<str>);

/// Those who wait, for files of one root.
pub(super) type Waiting = WaitingList<Delivery<FileMessage>>;

/// One incarnation of the file cache. What has to outlive it is published; the budget is made again from that.
pub(crate) struct FileCache(Rc<Looks>);

/// The state that the tasks of one incarnation share. They run on one thread.
pub(super) struct Looks {
    pub(super) published: Arc<Published>,
    pub(super) budget: RefCell<Budget<FileKey>>,
    waiting: RefCell<HashMap<RootId, Waiting>>,
    /// Those who wait for an encoded content.
    pub(super) makings: RefCell<HashMap<(RootId, ContentCoding), Waiting>>,
    /// The number of encoded contents that are being made.
    pub(super) making: Rc<Cell<usize>>,
    pub(super) fence: Fence,
    faults: Faults,
}

/// The result of a look at a file on the disk.
type LookResult = Result<Look, FileError>;

impl FileCache {
    pub(crate) fn new(
        published: Arc<Published>,
        incarnation: &Incarnation,
        faults: Faults,
    ) -> Self {
        let looks = Looks {
            budget: RefCell::new(Budget::new(published.limits.budget_bytes())),
            waiting: RefCell::default(),
            makings: RefCell::default(),
            making: Rc::default(),
            fence: incarnation.fence(),
            faults,
            published,
        };
        for root in looks.published.roots.all() {
            for (path, entry) in root.table.load().iter() {
                let key = (Arc::clone(&root), Arc::clone(path));
                // All fit, unless the budget has become smaller.
                if !looks.admit(&key, entry) {
                    looks.publish(&key, None);
                }
            }
        }
        Self(Rc::new(looks))
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
        if let Some(coding) = message.coding {
            return looks.encode(message, coding, cx);
        }
        let (root, path) = (Arc::clone(&message.root), message.path.clone());
        let known = known(&root, &path);
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

    /// Probes the folders: those that answer now and then, so that their loss is noticed without requests. Follows the
    /// settings: forgets folders that nobody uses any more, and keeps to a smaller budget.
    fn run(
        &mut self,
        _: &mut ChildContext,
    ) -> Option<LocalBoxFuture<'static, Result<(), BoxError>>> {
        let looks = Rc::clone(&self.0);
        Some(Box::pin(async move {
            let probing = async {
                loop {
                    looks.published.probe_due().await;
                    tokio::time::sleep(PROBE_FIRST).await;
                }
            };
            // A probe of a folder that hangs takes its time.
            let following = async {
                loop {
                    looks.forget_unused();
                    looks.follow_budget();
                    tokio::time::sleep(FOLLOW_PAUSE).await;
                }
            };
            future::join(probing, following).await.0
        }))
    }
}

/// Answers a message, if a caller waits.
pub(super) fn settle(message: &Delivery<FileMessage>, answer: Result<Loaded, FileError>) {
    if let Some(reply) = &message.reply {
        reply.settle(answer);
    }
}

impl Looks {
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
        let mut call = self.begin_look(&root, &path, turn);
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

    fn begin_look(
        &self,
        root: &Arc<RootIo>,
        path: &SafePath,
        turn: OwnedSemaphorePermit,
    ) -> Call<LookResult> {
        let (known, looked) = (known(root, path), path.clone());
        self.begin(root, path, turn, move |loader, _| {
            loader.look(&looked, known.as_ref(), || ())
        })
    }

    /// Begins a call that uses a loader.
    pub(super) fn begin<T: Send + 'static>(
        &self,
        root: &Arc<RootIo>,
        path: &SafePath,
        turn: OwnedSemaphorePermit,
        call: impl FnOnce(&Loader<'_>, &Published) -> T + Send + 'static,
    ) -> Call<T> {
        let published = Arc::clone(&self.published);
        let site = Arc::clone(root);
        let call = move || {
            let loader = Loader {
                root: &site.site,
                max_file_bytes: published.limits.max_file_bytes(),
                counters: &published.counters,
                memory_files: &published.memory_files,
                large_files: &published.large_files,
                now: (published.wall)(),
                now_ms: published.millis_at(Instant::now()),
            };
            call(&loader, &published)
        };
        root.begin(path, turn, call)
    }

    fn with_waiting<T>(&self, root: &RootIo, change: impl FnOnce(&mut Waiting) -> T) -> T {
        let mut all = self.waiting.borrow_mut();
        let waiting = all.entry(root.id).or_default();
        let result = change(waiting);
        if waiting.is_empty() {
            all.remove(&root.id);
        }
        result
    }

    /// Keeps what a look found, and returns the answer.
    fn keep_looked(
        &self,
        root: &Arc<RootIo>,
        path: &SafePath,
        looked: LookResult,
    ) -> Result<Loaded, FileError> {
        let key = (Arc::clone(root), Arc::clone(path.key()));
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
            Ok(Look::Listing(listing)) => {
                self.forget(&key);
                Ok(Loaded::Listing(listing))
            }
            Err(error) if error.is_about_the_file() => {
                self.forget(&key);
                Err(error)
            }
            Err(error) => {
                // An error of the whole folder is logged when the folder is judged.
                if let Some(known) = known(root, path)
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
    fn keep(&self, key: &FileKey, entry: &Arc<Entry>) {
        if let Some(before) = key.0.table.load().get(&key.1) {
            entry.adopt(before);
        }
        self.budget.borrow_mut().remove(key);
        // A folder that nobody uses any more is forgotten, or will be in a moment. What is larger than the whole budget is
        // served and not kept.
        if !key.0.is_used() || !self.admit(key, entry) {
            return self.forget(key);
        }
        self.publish(key, Some(Arc::clone(entry)));
    }

    /// Makes room for `entry` in the budget; false if it is larger than all of it.
    pub(super) fn admit(&self, key: &FileKey, entry: &Entry) -> bool {
        let mut budget = self.budget.borrow_mut();
        let admitted = budget.admit(key.clone(), entry.cost(), take_used);
        drop(budget);
        let fits = admitted.is_some();
        self.drop_evicted(&admitted.unwrap_or_default());
        fits
    }

    pub(super) fn drop_evicted(&self, evicted: &[FileKey]) {
        let evictions = &self.published.counters.evictions;
        evictions.inc_by(as_u64(evicted.len()));
        for gone in evicted {
            self.publish(gone, None);
        }
    }

    fn forget(&self, key: &FileKey) {
        if key.0.table.load().get(&key.1).is_some() {
            self.published.counters.dropped.inc();
            self.budget.borrow_mut().remove(key);
            self.publish(key, None);
        }
    }

    /// Publishes a new table of a root: with `entry` at `key`, or without any. An incarnation that was replaced while it hung
    /// publishes nothing: the fence says so, and if its successor has published in between, so does the comparison.
    pub(super) fn publish(&self, key: &FileKey, entry: Option<Arc<Entry>>) {
        if !self.fence.holds() {
            return;
        }
        let (root, path) = key;
        let table = root.table.load_full();
        let next = Arc::new(table.with(path, entry));
        let previous = root.table.compare_and_swap(&table, next);
        if Arc::ptr_eq(&previous, &table) {
            self.count();
        }
    }

    pub(super) fn count(&self) {
        let (budget, counters) = (self.budget.borrow(), &self.published.counters);
        counters.entries.set(as_u64(budget.len()));
        counters.bytes.set(as_u64(budget.used_bytes));
    }

    /// Forgets the files of folders that nobody uses any more.
    fn forget_unused(&self) {
        if !self.fence.holds() {
            return;
        }
        for root in self.published.roots.take_unused() {
            let table = root.table.swap(Arc::new(Table::empty()));
            for (path, _) in table.iter() {
                let key = (Arc::clone(&root), Arc::clone(path));
                self.budget.borrow_mut().remove(&key);
            }
            self.count();
            // Without files it may be the folder of settings that were refused.
            if table.iter().next().is_none() {
                continue;
            }
            let (route, folder) = (&root.site.route, root.site.path.display());
            tracing::info!(route, %folder, "a folder is no longer in use: its files have left the memory");
        }
    }

    /// Keeps to the budget of the settings, if it has changed.
    fn follow_budget(&self) {
        let limit = self.published.limits.budget_bytes();
        let evicted = {
            let mut budget = self.budget.borrow_mut();
            if budget.limit_bytes == limit {
                return;
            }
            budget.limit_bytes = limit;
            budget.make_room(0, take_used)
        };
        self.drop_evicted(&evicted);
    }
}

pub(super) fn known(root: &RootIo, path: &SafePath) -> Option<Arc<Entry>> {
    root.table.load().get(path.as_str()).map(Arc::clone)
}

/// Whether what is in memory was used since the last question.
pub(super) fn take_used((root, path): &FileKey) -> bool {
    let table = root.table.load();
    table.get(path).is_some_and(|entry| entry.take_used())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_cache::RootHandle;

    impl FileCache {
        /// The answer to a request for `path`.
        pub(crate) async fn load(
            &self,
            root: &RootHandle,
            path: &SafePath,
        ) -> Result<Loaded, FileError> {
            let (looks, root) = (&self.0, &root.0);
            let mut call = looks.begin_look(root, path, root.turn().await);
            let looked = call.in_time().await.unwrap();
            looks.keep_looked(root, path, looked)
        }
    }
}
