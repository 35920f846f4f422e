//! The folders that are in use, which come and go while the daemon runs.
//!
//! A route holds a [`RootHandle`]; the folder is in use as long as somebody holds a handle of it. The settings of a new
//! generation get the handle of an equal folder that is in use, with all that is in memory of it. When the last handle is
//! dropped, nothing happens at once: the child finds the folder in its next turn ([`Roots::take_unused`]) and forgets its
//! files. Calls and downloads that still run keep the folder itself until they end, and its place among [`ROOTS_MAX`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::limits::CacheLimits;
use super::root::{RootId, SiteRoot};
use super::root_io::{CallThreads, RootIo};

/// Folders that are in use or have calls that still run: those of two generations with two thousand routes each.
pub(crate) const ROOTS_MAX: usize = 4096;

/// A folder can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RootFault {
    /// There are too many.
    #[error(
        "{ROOTS_MAX} folders are in use or wait for calls that hang: remove routes, or try again when the old ones are gone"
    )]
    TooMany,
    /// It was looked at.
    #[error(
        "route {route}: {fault}: correct files.root, or look at its permissions, disk or mount"
    )]
    Unusable {
        /// The prefix of its route.
        route: String,
        /// The reason.
        fault: String,
    },
}

/// A folder that is in use. It is, until this is dropped; that never waits.
#[derive(Debug)]
pub(crate) struct RootHandle(pub(super) Arc<RootIo>);

impl RootHandle {
    /// The folder, with the rules for its files.
    pub(crate) fn site(&self) -> &SiteRoot {
        &self.0.site
    }

    /// Another handle of a folder that is still in use.
    fn of_used(root: &Arc<RootIo>) -> Option<Self> {
        let one_more = |handles: usize| (handles > 0).then_some(handles + 1);
        let (set, fetch) = (Ordering::AcqRel, Ordering::Acquire);
        root.handles.fetch_update(set, fetch, one_more).ok()?;
        Some(Self(Arc::clone(root)))
    }

    /// Whether nobody else uses the folder.
    pub(super) fn is_the_only_one(&self) -> bool {
        self.0.handles.load(Ordering::Acquire) <= 1
    }

    /// The reason why the folder can't be used, as far as it is known.
    pub(super) fn fault(&self) -> Option<RootFault> {
        let route = self.0.site.route.clone();
        let fault = self.0.fault()?;
        Some(RootFault::Unusable { route, fault })
    }
}

impl Drop for RootHandle {
    fn drop(&mut self) {
        self.0.handles.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Every folder in use. It outlives the incarnations of the file-cache child.
#[derive(Debug)]
pub(crate) struct Roots {
    listed: Mutex<ListedRoots>,
    places: Arc<Semaphore>,
    limits: Arc<CacheLimits>,
    threads: CallThreads,
}

#[derive(Debug, Default)]
struct ListedRoots {
    /// By route, the youngest last.
    by_route: BTreeMap<String, Vec<Arc<RootIo>>>,
    next: u64,
}

impl Roots {
    pub(crate) fn new(limits: Arc<CacheLimits>, threads: CallThreads) -> Self {
        Self {
            listed: Mutex::default(),
            places: Arc::new(Semaphore::new(ROOTS_MAX)),
            limits,
            threads,
        }
    }

    /// The folder that `site` describes: an equal one that is in use, or a new one.
    pub(crate) fn add(&self, site: SiteRoot) -> Result<RootHandle, RootFault> {
        let mut listed = self.listed.lock();
        let ListedRoots { by_route, next } = &mut *listed;
        let same_route = by_route.entry(site.route.clone()).or_default();
        let mut equal = same_route.iter().filter(|root| root.site == site);
        if let Some(used) = equal.find_map(RootHandle::of_used) {
            return Ok(used);
        }
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| RootFault::TooMany)?;
        let (id, limits) = (RootId(*next), Arc::clone(&self.limits));
        *next += 1;
        let root = Arc::new(RootIo::new(id, site, &self.threads, limits, place));
        same_route.push(Arc::clone(&root));
        // It begins with one handle: this one.
        Ok(RootHandle(root))
    }

    /// All that are listed.
    pub(crate) fn all(&self) -> Vec<Arc<RootIo>> {
        let listed = self.listed.lock();
        listed.by_route.values().flatten().cloned().collect()
    }

    /// The folder of each route, for health and metrics: the youngest in use. (Requests of the generation before may still
    /// use another.)
    pub(crate) fn of_routes(&self) -> Vec<Arc<RootIo>> {
        let listed = self.listed.lock();
        let routes = listed.by_route.values();
        let youngest = routes.filter_map(|roots| roots.iter().rfind(|root| root.is_used()));
        youngest.cloned().collect()
    }

    /// Takes those out of the list that nobody uses any more, for ever: an equal folder becomes a new one.
    pub(crate) fn take_unused(&self) -> Vec<Arc<RootIo>> {
        let mut listed = self.listed.lock();
        let mut unused = Vec::new();
        listed.by_route.retain(|_, roots| {
            unused.extend(roots.extract_if(.., |root| !root.is_used()));
            !roots.is_empty()
        });
        unused
    }
}
