//! The file cache as request handlers use it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::cache::FileCache;
use super::containment::SafePath;
use super::entry::{Entry, Freshness};
use super::file_error::FileError;
use super::message::{FileMessage, Loaded};
use super::metrics::CacheCounters;
use super::published::Published;
use super::root::{RootId, SiteRoot};
use super::root_io::{CallThreads, RootIo};
use super::table::Table;
use crate::descriptors::DescriptorShares;
use crate::memory_file::MemoryFiles;
use crate::num::as_millis;
use crate::settings::FileCacheSettings;
use crate::supervision::{AskError, ChildRef, ChildSpec, Faults, Slot};

/// A handle to the file cache. It is cheap to clone and stays valid across restarts of the child.
///
/// Paths are as the client sent them, percent-encoded, without the query and without the route's prefix: empty or
/// beginning with `/`.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(super) published: Arc<Published>,
    child: ChildRef<FileMessage>,
}

impl Files {
    /// A cache of the folders in `roots`, each of which has its index as its [`RootId`], that is served by `child`. A request
    /// waits for a file until `deadline` at most; blocking calls are made by `threads`.
    pub(crate) fn new(
        roots: Vec<SiteRoot>,
        limits: FileCacheSettings,
        deadline: Duration,
        threads: CallThreads,
        child: ChildRef<FileMessage>,
    ) -> Self {
        let roots = roots.into_iter().enumerate();
        let roots = roots.map(|(index, site)| RootIo::new(RootId(index), site, &threads, deadline));
        let roots: Vec<_> = roots.map(Arc::new).collect();
        let shares = DescriptorShares::now();
        let published = Arc::new(Published {
            table: ArcSwap::from_pointee(Table::empty(roots.len())),
            counters: CacheCounters::default(),
            memory_files: MemoryFiles::new(shares.memory_files),
            large_files: Arc::new(Semaphore::new(shares.connections)),
            revalidate_ms: as_millis(limits.revalidate),
            limits,
            deadline,
            roots,
            wall: SystemTime::now,
            base: Instant::now(),
            _threads: threads,
        });
        Self { published, child }
    }

    /// The child spec: the child runs on an arbiter of its own.
    pub(crate) fn child_spec(&self, slot: &Slot<FileMessage>, faults: Faults) -> ChildSpec {
        let published = Arc::clone(&self.published);
        faults.register("file-cache.message");
        faults.register("file-cache.loaded");
        ChildSpec::actor(slot, move |incarnation| {
            let (published, faults) = (Arc::clone(&published), faults.clone());
            async move {
                // The folders are judged before the first readiness check.
                if incarnation.generation() == 1 {
                    published.probe_due().await;
                }
                Ok(FileCache::new(published, &incarnation, faults))
            }
        })
    }

    /// The hot way: the entry at `path`, if there is one that was compared with its file less than `revalidate` ago.
    ///
    /// Takes no lock, sends no message (but one for each half of `revalidate` at most, to have an ageing entry looked at),
    /// and allocates only for a path with a `%`.
    pub(crate) fn hit(&self, root: RootId, path: &str, now: Instant) -> Option<Arc<Entry>> {
        let entry = self.kept(root, path)?;
        match self.published.freshness(&entry, now) {
            Freshness::Fresh => {}
            Freshness::Ageing => self.revalidate(root, path, &entry),
            Freshness::Stale => return None,
        }
        entry.touch();
        self.published.counters.hits.count();
        Some(entry)
    }

    /// The slow way: has the child look at the file, and waits for it.
    ///
    /// What is in memory is better than most errors, and is answered in their place: while the child is overloaded or
    /// restarts, while the root does not answer (then at once), and while the disk fails.
    pub(crate) async fn load(
        &self,
        root: RootId,
        path: &str,
    ) -> Result<Loaded, AskError<FileError>> {
        self.published.counters.misses.inc();
        let error = match self.ask(root, path).await {
            Ok(loaded) => return Ok(loaded),
            Err(error) => error,
        };
        let bridged = if let AskError::Rejected(error) = &error {
            error.bridged_for()
        } else {
            Duration::MAX
        };
        let now_ms = self.published.millis_at(Instant::now());
        let kept = self.kept(root, path);
        let Some(entry) = kept.filter(|kept| Duration::from_millis(kept.age_ms(now_ms)) < bridged)
        else {
            return Err(error);
        };
        if let Some(root) = self.published.root(root) {
            root.stale.inc();
        }
        entry.touch();
        Ok(Loaded::Entry(entry))
    }

    async fn ask(&self, root: RootId, path: &str) -> Result<Loaded, AskError<FileError>> {
        // Refused here, so that nonsense never fills the child's queue.
        let path = SafePath::new(path).map_err(|refusal| AskError::Rejected(refusal.into()))?;
        let root = self.published.root(root);
        let root = root.ok_or(AskError::Rejected(FileError::Absent))?;
        if root.hung() {
            return Err(AskError::Rejected(FileError::Hung));
        }
        let message = |reply| FileMessage {
            root: Arc::clone(root),
            path,
            reply: Some(reply),
        };
        self.child.ask(message, self.published.deadline).await
    }

    /// The entry in memory at `path`, however old.
    pub(super) fn kept(&self, root: RootId, path: &str) -> Option<Arc<Entry>> {
        // A path without a `%` equals its safe form, or breaks a rule and so is no key of the table.
        let table = self.published.table.load();
        let entry = if path.contains('%') {
            table.get(root, SafePath::new(path).ok()?.as_str())
        } else {
            table.get(root, path)
        };
        entry.map(Arc::clone)
    }

    /// The folders that are served: for health checks and metrics.
    pub(crate) fn roots(&self) -> &[Arc<RootIo>] {
        &self.published.roots
    }

    fn revalidate(&self, root: RootId, path: &str, entry: &Entry) {
        if !entry.ask() {
            return;
        }
        let (Some(root), Ok(path)) = (self.published.root(root), SafePath::new(path)) else {
            return;
        };
        let message = FileMessage {
            root: Arc::clone(root),
            path,
            reply: None,
        };
        // The queue is full or closed: the next request may ask. At worst the entry becomes stale.
        if self.child.tell(message).is_err() {
            entry.unask();
        }
    }
}
