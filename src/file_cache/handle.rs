//! The file cache as request handlers use it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::cache::FileCache;
use super::compressor::Compressor;
use super::containment::SafePath;
use super::entry::{Entry, Freshness};
use super::file_error::FileError;
use super::limits::CacheLimits;
use super::message::{FileMessage, Loaded};
use super::metrics::CacheCounters;
use super::published::Published;
use super::root::SiteRoot;
use super::root_io::{CallThreads, RootIo};
use super::roots::{RootFault, RootHandle, Roots};
use crate::descriptors::DescriptorShares;
use crate::memory_file::MemoryFiles;
use crate::settings::{ContentCoding, FileCacheSettings};
use crate::supervision::{AskError, ChildRef, ChildSpec, Faults, QueueLimits, Slot};

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
    /// A cache without folders, which is served by `child`. A request waits for a file until `deadline` at most; blocking calls
    /// are made by `threads`.
    pub(crate) fn new(
        limits: &FileCacheSettings,
        deadline: Duration,
        threads: CallThreads,
        child: ChildRef<FileMessage>,
    ) -> Self {
        let shares = DescriptorShares::now();
        let limits = Arc::new(CacheLimits::new(limits, deadline));
        let compressor = Compressor::new(&threads);
        let published = Arc::new(Published {
            roots: Roots::new(Arc::clone(&limits), threads),
            counters: CacheCounters::default(),
            memory_files: MemoryFiles::new(shares.memory_files),
            large_files: Arc::new(Semaphore::new(shares.connections)),
            compressor,
            limits,
            wall: SystemTime::now,
            base: Instant::now(),
        });
        Self { published, child }
    }

    /// The folder that `site` describes, for as long as the handle is held. If an equal one is in use, it is that one, with
    /// what is in memory of it. A new one should be looked at before it is served: [`probe_new`](super::probe_new).
    pub(crate) fn add(&self, site: SiteRoot) -> Result<RootHandle, RootFault> {
        self.published.roots.add(site).inspect_err(|_| {
            self.published.counters.roots_full.inc();
        })
    }

    /// Changes the limits. The child follows in its next turn.
    pub(crate) fn set_limits(&self, limits: &FileCacheSettings, deadline: Duration) {
        self.published.limits.set(limits, deadline);
    }

    /// Changes the limits of the child's queue. What waits in it stays.
    pub(crate) fn set_queue(&self, limits: QueueLimits) {
        self.child.set_limits(limits);
    }

    /// Counts a request for parts of a file that gets the whole file, since it asks for too much.
    pub(crate) fn count_ignored_ranges(&self) {
        self.published.counters.ranges_ignored.inc();
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

    /// The hot way: the entry at `path`, if there is one that was compared with its file less than `revalidate` ago. Whoever
    /// answers with it calls [`count_hit`](Self::count_hit).
    ///
    /// Takes no lock, sends no message (but one for each half of `revalidate` at most, to have an ageing entry looked at),
    /// and allocates only for a path with a `%`.
    pub(crate) fn fresh(&self, root: &RootHandle, path: &str, now: Instant) -> Option<Arc<Entry>> {
        let entry = kept(root, path)?;
        match self.published.freshness(&entry, now) {
            Freshness::Fresh => {}
            Freshness::Ageing => self.revalidate(root, path, &entry),
            Freshness::Stale => return None,
        }
        entry.touch();
        Some(entry)
    }

    /// Counts an answer with an entry that was [`fresh`](Self::fresh).
    pub(crate) fn count_hit(&self) {
        self.published.counters.hits.count();
    }

    /// Both.
    pub(crate) fn hit(&self, root: &RootHandle, path: &str, now: Instant) -> Option<Arc<Entry>> {
        let entry = self.fresh(root, path, now)?;
        self.count_hit();
        Some(entry)
    }

    /// The slow way: has the child look at the file, and waits for it.
    ///
    /// What is in memory is better than most errors, and is answered in their place: while the child is overloaded or
    /// restarts, while the root does not answer (then at once), and while the disk fails.
    pub(crate) async fn load(
        &self,
        root: &RootHandle,
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
        let kept = kept(root, path);
        let Some(entry) = kept.filter(|kept| Duration::from_millis(kept.age_ms(now_ms)) < bridged)
        else {
            return Err(error);
        };
        root.0.stale.inc();
        entry.touch();
        Ok(Loaded::Entry(entry))
    }

    /// Has the file in memory at `path` encoded, and waits for it, but not long. The result is the file as it is in memory then,
    /// with the encoded content or without; `None` if it is not in memory.
    pub(crate) async fn encoded(
        &self,
        root: &RootHandle,
        path: &str,
        coding: ContentCoding,
    ) -> Option<Arc<Entry>> {
        match self.ask_for(root, path, Some(coding)).await {
            Ok(Loaded::Entry(entry)) => Some(entry),
            Ok(Loaded::Large(_) | Loaded::Moved | Loaded::Listing(_)) | Err(_) => None,
        }
    }

    pub(super) async fn ask(
        &self,
        root: &RootHandle,
        path: &str,
    ) -> Result<Loaded, AskError<FileError>> {
        self.ask_for(root, path, None).await
    }

    async fn ask_for(
        &self,
        root: &RootHandle,
        path: &str,
        coding: Option<ContentCoding>,
    ) -> Result<Loaded, AskError<FileError>> {
        // Refused here, so that nonsense never fills the child's queue.
        let path = SafePath::new(path).map_err(|refusal| AskError::Rejected(refusal.into()))?;
        if root.0.hung() {
            return Err(AskError::Rejected(FileError::Hung));
        }
        let message = |reply| FileMessage {
            root: Arc::clone(&root.0),
            path,
            coding,
            reply: Some(reply),
        };
        self.child
            .ask(message, self.published.limits.deadline())
            .await
    }

    /// The folder of each route: for health checks and metrics.
    pub(crate) fn roots(&self) -> Vec<Arc<RootIo>> {
        self.published.roots.of_routes()
    }

    fn revalidate(&self, root: &RootHandle, path: &str, entry: &Entry) {
        if !entry.ask() {
            return;
        }
        let Ok(path) = SafePath::new(path) else {
            return;
        };
        let message = FileMessage {
            root: Arc::clone(&root.0),
            path,
            coding: None,
            reply: None,
        };
        // The queue is full or closed: the next request may ask. At worst the entry becomes stale.
        if self.child.tell(message).is_err() {
            entry.unask();
        }
    }
}

/// The entry in memory at `path`, however old.
pub(super) fn kept(root: &RootHandle, path: &str) -> Option<Arc<Entry>> {
    // A path without a `%` equals its safe form, or breaks a rule and so is no key of the table.
    let table = root.0.table.load();
    let entry = if path.contains('%') {
        table.get(SafePath::new(path).ok()?.as_str())
    } else {
        table.get(path)
    };
    entry.map(Arc::clone)
}
