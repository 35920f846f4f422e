//! What the edge holds of the file cache.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::settings;
use crate::supervision::{AskError, ChildRef, ChildSpec, Clock, Faults, Placement, Slot};

use super::cache::FileCache;
use super::containment::SafePath;
use super::entry::Entry;
#[cfg(test)]
use super::figures::Figures;
use super::file_error::FileError;
use super::freshness::{Freshness, freshness};
use super::message::{FileMessage, Loaded};
use super::published::Published;
use super::root::{Root, RootId};

/// The file cache, for those who want files. Cheap to clone; the same through all lives of the child.
///
/// Paths are as the client sent them, percent-encoded, without the query and without the route's prefix: empty or
/// beginning with `/`.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(super) published: Arc<Published>,
    child: ChildRef<FileMessage>,
    clock: Clock,
    /// The time of day, for dates and for how far a file's times can be trusted.
    wall: fn() -> SystemTime,
}

impl Files {
    /// A cache of `roots`, whose places in the list are their [`RootId`]s, served by `child`.
    pub(crate) fn new(
        roots: Vec<Root>,
        limits: settings::FileCacheSettings,
        child: ChildRef<FileMessage>,
        clock: Clock,
    ) -> Self {
        let published = Arc::new(Published::new(roots, limits, clock.now()));
        Self {
            published,
            child,
            clock,
            wall: SystemTime::now,
        }
    }

    /// With another time of day.
    #[cfg(test)]
    pub(crate) fn with_wall(mut self, wall: fn() -> SystemTime) -> Self {
        self.wall = wall;
        self
    }

    /// The recipe of the child: on an arbiter of its own, since it waits for disks.
    pub(crate) fn child_spec(&self, slot: &Slot<FileMessage>, faults: Faults) -> ChildSpec {
        let (published, clock, wall) = (Arc::clone(&self.published), self.clock, self.wall);
        ChildSpec::actor(slot, Placement::Own, faults.clone(), move |life| {
            let (published, faults) = (Arc::clone(&published), faults.clone());
            Box::pin(async move { Ok(FileCache::new(published, &life, clock, wall, faults)) })
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
        Some(entry)
    }

    /// The slow way: has the child look at the file, and waits for it up to `deadline`.
    pub(crate) async fn load(
        &self,
        root: RootId,
        path: &str,
        deadline: Duration,
    ) -> Result<Loaded, AskError<FileError>> {
        // Refused here, so that nonsense never fills the child's queue.
        let path = SafePath::new(path).map_err(|refusal| AskError::Answer(refusal.into()))?;
        self.child
            .ask(|reply| FileMessage::Load { root, path, reply }, deadline)
            .await
    }

    /// What is in memory at `path`, however old: for an edge that would rather serve what was true a moment ago than an
    /// error, while the child is overloaded or grows back.
    pub(crate) fn kept(&self, root: RootId, path: &str) -> Option<Arc<Entry>> {
        // Without a `%` a path is its own safe form, or has none and is no key.
        let table = self.published.table.load();
        let entry = if path.contains('%') {
            table.get(root, SafePath::new(path).ok()?.as_str())
        } else {
            table.get(root, path)
        };
        entry.map(Arc::clone)
    }

    /// What the cache counts.
    #[cfg(test)]
    pub(crate) fn figures(&self) -> Figures {
        self.published.counters.read()
    }

    fn revalidate(&self, root: RootId, path: &str, entry: &Entry) {
        if !entry.ask() {
            return;
        }
        let Ok(path) = SafePath::new(path) else {
            return;
        };
        // Refused: the queue is full or closed. The next one may ask; at worst the entry grows stale.
        if self
            .child
            .tell(FileMessage::Revalidate { root, path })
            .is_err()
        {
            entry.unask();
        }
    }
}
