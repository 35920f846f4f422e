//! Blocking file calls of one root, on threads that nothing else waits for.
//!
//! `open`, `stat` and `read` may take for ever (a network disk whose server is gone), and nothing can interrupt them. So no
//! child makes them on its own thread: each root has [`CALLS_PER_ROOT`] calls at a time on a pool, and each call a limit.
//! One that is overdue shows that the root hangs (`health`); its thread is left to itself and counted. Threads that never
//! come back are bounded: [`RENEWALS_MAX`] times, when a probe is answered although calls are stuck (the folder was
//! mounted anew), the root gets a new set of calls.

use std::hash::{Hash, Hasher};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;

use super::containment::SafePath;
use super::file_error::FileError;
use super::folder::probe;
use super::health::{Condition, Health};
use super::limits::CacheLimits;
use super::root::{RootId, SiteRoot};
use super::roots::ROOTS_MAX;
use super::table::Table;
use crate::telemetry::Counter;

/// Calls of one root that run at a time.
pub(crate) const CALLS_PER_ROOT: usize = 16;
/// The most times that a root with stuck calls gets a new set of calls.
const RENEWALS_MAX: usize = 3;
/// Probes of one root that may be stuck.
const PROBES_PER_ROOT: usize = 8;
/// Stack of a thread that makes file calls.
const STACK_BYTES: usize = 256 * 1024;

/// The threads that make blocking file calls. They are made when needed and end when they were idle for some seconds.
#[derive(Debug)]
pub(crate) struct CallThreads {
    pub(super) handle: Handle,
    pub(super) runtime: Option<Runtime>,
}

impl CallThreads {
    /// Threads for every root that there may be. Each root limits its own calls.
    pub(crate) fn new() -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .thread_name("file-calls")
            .thread_stack_size(STACK_BYTES)
            .max_blocking_threads(
                ROOTS_MAX * (CALLS_PER_ROOT * (1 + RENEWALS_MAX) + PROBES_PER_ROOT),
            )
            .build()?;
        Ok(Self {
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
        })
    }
}

impl Drop for CallThreads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Dropping it would wait for calls that are stuck.
            runtime.shutdown_background();
        }
    }
}

/// A folder that is served, with what is in memory of it, its calls and its health. It outlives the file-cache child's lives.
#[derive(Debug)]
pub(crate) struct RootIo {
    pub(crate) id: RootId,
    pub(crate) site: SiteRoot,
    /// The files in memory; only the child changes it.
    pub(crate) table: ArcSwap<Table>,
    /// The number of its [`RootHandle`](super::RootHandle)s; once it is 0, it stays 0.
    pub(super) handles: AtomicUsize,
    threads: Handle,
    limits: Arc<CacheLimits>,
    _place: OwnedSemaphorePermit,
    probes: Arc<Semaphore>,
    state: Mutex<RootState>,
    /// Requests that were refused because too many waited for this root.
    pub(crate) refused: Counter,
    /// Answers with what was in memory because the file could not be looked at.
    pub(crate) stale: Counter,
    #[cfg(test)]
    pub(crate) hang: super::tests::HangSwitch,
}

#[derive(Debug)]
struct RootState {
    health: Health,
    /// The path that a probe looks at: that of the last overdue call, since any other might be answered from a cache.
    suspect: SafePath,
    /// The calls that may begin.
    permits: Arc<Semaphore>,
    /// The number of times that the root got new permits.
    renewals: usize,
}

impl RootIo {
    /// A folder with one handle.
    pub(crate) fn new(
        id: RootId,
        site: SiteRoot,
        threads: &CallThreads,
        limits: Arc<CacheLimits>,
        place: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            id,
            site,
            table: ArcSwap::from_pointee(Table::empty()),
            handles: AtomicUsize::new(1),
            threads: threads.handle.clone(),
            limits,
            _place: place,
            probes: Arc::new(Semaphore::new(PROBES_PER_ROOT)),
            state: Mutex::new(RootState {
                health: Health::new(Instant::now()),
                suspect: SafePath::top(),
                permits: Arc::new(Semaphore::new(CALLS_PER_ROOT)),
                renewals: 0,
            }),
            refused: Counter::default(),
            stale: Counter::default(),
            #[cfg(test)]
            hang: super::tests::HangSwitch::default(),
        }
    }

    /// Whether somebody has a handle of it.
    pub(crate) fn is_used(&self) -> bool {
        self.handles.load(Ordering::Acquire) > 0
    }

    pub(crate) fn condition(&self) -> Condition {
        self.state.lock().health.condition
    }

    /// Whether the folder does not answer.
    pub(crate) fn hung(&self) -> bool {
        self.condition() == Condition::Hung
    }

    /// Calls that are overdue and have not come back.
    pub(crate) fn stuck(&self) -> u32 {
        self.state.lock().health.stuck
    }

    /// The reason why the files of the root can't be served, for an operator.
    pub(crate) fn fault(&self) -> Option<String> {
        let fault = match self.condition() {
            Condition::Healthy => return None,
            Condition::Hung => "does not answer".to_owned(),
            Condition::Unreadable(error) => format!("can't be read: {error}"),
        };
        Some(format!("its folder {} {fault}", self.site.path.display()))
    }

    /// Waits until a call may begin.
    pub(crate) async fn turn(&self) -> OwnedSemaphorePermit {
        loop {
            let permits = Arc::clone(&self.state.lock().permits);
            // They are closed when the root gets new ones.
            if let Ok(permit) = permits.acquire_owned().await {
                return permit;
            }
        }
    }

    /// Begins `call`, which is about `path`.
    pub(crate) fn begin<T: Send + 'static>(
        self: &Arc<Self>,
        path: &SafePath,
        turn: OwnedSemaphorePermit,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Call<T> {
        let decided = Arc::new(AtomicBool::new(false));
        let end = CallEnd {
            root: Arc::clone(self),
            decided: Arc::clone(&decided),
            _permit: turn,
        };
        let thread = self.threads.spawn_blocking(move || {
            #[cfg(test)]
            end.root.hang.pass();
            let result = call();
            drop(end);
            result
        });
        Call {
            root: Arc::clone(self),
            path: path.clone(),
            decided,
            thread,
        }
    }

    /// Notes what a look that was answered in time shows about the folder.
    pub(crate) fn answered<T>(&self, result: &Result<T, FileError>) {
        self.judge(|state| state.health.answered(condition_of(result), Instant::now()));
    }

    /// Whether it is time for a probe.
    pub(crate) fn is_probe_due(&self, now: Instant) -> bool {
        self.state.lock().health.probe_at <= now
    }

    /// Puts the next probe off: one is about to be made.
    pub(crate) fn postpone_probe(&self) {
        self.state.lock().health.postpone(Instant::now());
    }

    /// All that the result of a probe depends on.
    pub(crate) fn probed_place(&self) -> (PathBuf, Vec<String>, bool, SafePath) {
        let SiteRoot {
            path,
            index,
            built_in,
            ..
        } = &self.site;
        let suspect = self.state.lock().suspect.clone();
        (path.clone(), index.clone(), *built_in, suspect)
    }

    /// Looks whether the folder answers, and judges the folder by it. `None` if that could not be found out.
    pub(crate) async fn probe(self: &Arc<Self>) -> Option<Condition> {
        let path = self.state.lock().suspect.clone();
        // If all probes are stuck, only one that comes back can tell anything new.
        let permit = Arc::clone(&self.probes).try_acquire_owned().ok()?;
        let (root, looked) = (Arc::clone(self), path.clone());
        let mut call = self.begin(&path, permit, move || probe(&root.site, &looked));
        let Some(result) = call.in_time().await else {
            return Some(Condition::Hung);
        };
        let condition = condition_of(&result);
        self.probed(condition);
        Some(condition)
    }

    /// Judges the folder by a probe, its own or that of a folder that is the same on the disk.
    pub(crate) fn probed(&self, condition: Condition) {
        self.judge(|state| {
            if condition == Condition::Hung {
                return state.health.hangs(Instant::now());
            }
            let news = state.health.probed(condition, Instant::now());
            if state.health.stuck > 0
                && state.permits.available_permits() == 0
                && state.renewals < RENEWALS_MAX
            {
                state.renewals += 1;
                state.permits.close();
                state.permits = Arc::new(Semaphore::new(CALLS_PER_ROOT));
            }
            news
        });
    }

    /// Applies one piece of news, and logs a change.
    fn judge(&self, news: impl FnOnce(&mut RootState) -> Option<Condition>) {
        let Some(condition) = news(&mut self.state.lock()) else {
            return;
        };
        let (route, folder) = (&self.site.route, self.site.path.display());
        match condition {
            Condition::Healthy => {
                tracing::info!(route, %folder, "the folder of a route can be read again");
            }
            Condition::Unreadable(error) => tracing::warn!(
                route,
                %folder,
                %error,
                "the folder of a route can't be read: create it, make it readable, or correct files.root"
            ),
            Condition::Hung => tracing::warn!(
                route,
                %folder,
                limit = ?self.limits.call_time(),
                "the folder of a route does not answer: look at its disk or mount; what is in memory is served meanwhile"
            ),
        }
    }
}

impl PartialEq for RootIo {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for RootIo {}

impl Hash for RootIo {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

/// The condition of the folder that the result of a call shows.
fn condition_of<T>(result: &Result<T, FileError>) -> Condition {
    match result {
        Err(FileError::Root(error)) => Condition::Unreadable(*error),
        Ok(_) | Err(_) => Condition::Healthy,
    }
}

/// A call that runs on a thread of the pool.
#[derive(Debug)]
pub(crate) struct Call<T> {
    root: Arc<RootIo>,
    path: SafePath,
    /// Set by the first of two events: the call ends, or it is overdue.
    decided: Arc<AtomicBool>,
    thread: JoinHandle<T>,
}

impl<T> Call<T> {
    /// The result, if it came in time; otherwise its root counts as hung.
    pub(crate) async fn in_time(&mut self) -> Option<T> {
        if let Ok(ended) =
            tokio::time::timeout(self.root.limits.call_time(), &mut self.thread).await
        {
            return result_of(ended);
        }
        let mut ended = false;
        // Decided under the lock, so that the return of the call is counted after its delay.
        self.root.judge(|state| {
            ended = self.decided.swap(true, Ordering::SeqCst);
            if ended {
                return None;
            }
            state.suspect = self.path.clone();
            state.health.overdue(Instant::now())
        });
        if !ended {
            return None;
        }
        // It has ended just now.
        result_of((&mut self.thread).await)
    }

    /// Waits for the late result.
    pub(crate) async fn late(self) -> Option<T> {
        result_of(self.thread.await)
    }
}

/// The result of a call; a panic of the call goes on in the task that waits for it. `None` if the pool has been shut down.
fn result_of<T>(ended: Result<T, JoinError>) -> Option<T> {
    match ended {
        Ok(result) => Some(result),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => None,
    }
}

/// Dropped on the call's own thread when it ends, whoever still waits for it.
struct CallEnd {
    root: Arc<RootIo>,
    decided: Arc<AtomicBool>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for CallEnd {
    fn drop(&mut self) {
        if self.decided.swap(true, Ordering::SeqCst) {
            self.root
                .judge(|state| state.health.returned(Instant::now()));
        }
    }
}
