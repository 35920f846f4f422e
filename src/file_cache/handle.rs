//! The file cache as request handlers use it.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::supervision::{AskError, ChildRef, ChildSpec, Faults, Slot};

use super::cache::FileCache;
use super::cache_counters::count;
use super::containment::SafePath;
use super::entry::Entry;
use super::file_error::FileError;
use super::freshness::{Freshness, freshness};
use super::health::Condition;
use super::message::{FileMessage, Loaded};
use super::published::{FilesSetup, Published};
use super::root::RootId;

/// A handle to the file cache. It is cheap to clone and stays valid across restarts of the child.
///
/// Paths are as the client sent them, percent-encoded, without the query and without the route's prefix: empty or
/// beginning with `/`.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(super) published: Arc<Published>,
    child: ChildRef<FileMessage>,
    /// The time of day, for dates and for how far a file's times can be trusted.
    wall: fn() -> SystemTime,
}

impl Files {
    /// A cache that is served by `child`.
    pub(crate) fn new(setup: FilesSetup, child: ChildRef<FileMessage>) -> Self {
        Self {
            published: Arc::new(Published::new(setup)),
            child,
            wall: SystemTime::now,
        }
    }

    /// With another time of day.
    #[cfg(test)]
    pub(crate) fn with_wall(mut self, wall: fn() -> SystemTime) -> Self {
        self.wall = wall;
        self
    }

    /// The child spec: the child runs on an arbiter of its own.
    pub(crate) fn child_spec(&self, slot: &Slot<FileMessage>, faults: Faults) -> ChildSpec {
        let (published, wall) = (Arc::clone(&self.published), self.wall);
        faults.register("file-cache.message");
        faults.register("file-cache.loaded");
        ChildSpec::actor(slot, move |incarnation| {
            let (published, faults) = (Arc::clone(&published), faults.clone());
            async move {
                // Readiness tells the truth from the first moment on.
                if incarnation.generation() == 1 {
                    published.probe_due(Instant::now()).await;
                }
                Ok(FileCache::new(published, &incarnation, wall, faults))
            }
        })
    }

    /// The hot way: the entry at `path`, if there is one that was compared with its file less than `revalidate` ago.
    ///
    /// Takes no lock, sends no message (but one for each half of `revalidate` at most, to have an ageing entry looked at),
    /// and allocates only for a path with a `%`.
    pub(crate) fn hit(&self, root: RootId, path: &str, now: Instant) -> Option<Arc<Entry>> {
        let entry = self.kept(root, path)?;
        let age_ms = entry.age_ms(self.published.millis_at(now));
        match freshness(age_ms, self.published.revalidate_ms) {
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
        count(&self.published.counters.misses);
        let error = match self.ask(root, path).await {
            Ok(loaded) => return Ok(loaded),
            Err(error) => error,
        };
        let bridged = match &error {
            AskError::Rejected(error) => error.bridged_for(),
            AskError::Overloaded { .. }
            | AskError::Expired
            | AskError::Crashed { .. }
            | AskError::Hung { .. }
            | AskError::OutcomeUnknown
            | AskError::ShuttingDown
            | AskError::Lost => Duration::MAX,
        };
        if bridged.is_zero() {
            return Err(error);
        }
        let now_ms = self.published.millis_at(Instant::now());
        let kept = self.kept(root, path);
        let Some(entry) = kept.filter(|kept| Duration::from_millis(kept.age_ms(now_ms)) < bridged)
        else {
            return Err(error);
        };
        if let Some(root) = self.published.root(root) {
            count(&root.stale);
        }
        entry.touch();
        Ok(Loaded::Entry(entry))
    }

    async fn ask(&self, root: RootId, path: &str) -> Result<Loaded, AskError<FileError>> {
        // Refused here, so that nonsense never fills the child's queue.
        let path = SafePath::new(path).map_err(|refusal| AskError::Rejected(refusal.into()))?;
        let hung = self
            .published
            .root(root)
            .is_some_and(|root| root.condition() == Condition::Hung);
        if hung {
            return Err(AskError::Rejected(FileError::Hung));
        }
        let message = |reply| FileMessage {
            root,
            path,
            reply: Some(reply),
        };
        self.child.ask(message, self.published.deadline).await
    }

    /// The entry in memory at `path`, however old.
    pub(super) fn kept(&self, root: RootId, path: &str) -> Option<Arc<Entry>> {
        // Without a `%` a path is its own safe form, or has none and is no key.
        let table = self.published.table.load();
        let entry = if path.contains('%') {
            table.get(root, SafePath::new(path).ok()?.as_str())
        } else {
            table.get(root, path)
        };
        entry.map(Arc::clone)
    }

    /// The routes whose folders are served, with their roots: for health checks.
    pub(crate) fn routes(&self) -> impl Iterator<Item = (&str, RootId)> {
        let roots = self.published.roots.iter().zip(0_u32..);
        roots.map(|(root, index)| (root.site.route.as_str(), RootId::new(index)))
    }

    /// The reason why the files of a root can't be served, for an operator.
    pub(crate) fn fault(&self, root: RootId) -> Option<String> {
        let root = self.published.root(root)?;
        let folder = root.site.path.display();
        match root.condition() {
            Condition::Healthy => None,
            Condition::Hung => Some(format!("its folder {folder} does not answer")),
            Condition::Unreadable(io::ErrorKind::NotFound) => {
                Some(format!("its folder {folder} does not exist"))
            }
            Condition::Unreadable(error) => {
                Some(format!("its folder {folder} can't be read: {error}"))
            }
        }
    }

    fn revalidate(&self, root: RootId, path: &str, entry: &Entry) {
        if !entry.ask() {
            return;
        }
        let Ok(path) = SafePath::new(path) else {
            return;
        };
        let message = FileMessage {
            root,
            path,
            reply: None,
        };
        // Refused: the queue is full or closed. The next one may ask; at worst the entry grows stale.
        if self.child.tell(message).is_err() {
            entry.unask();
        }
    }
}
