//! Blocking file calls of one root, on threads that nothing else waits for.
//!
//! `open`, `stat` and `read` may take for ever (a network disk whose server is gone), and nothing can interrupt them. So no
//! child makes them on its own thread: each root has [`CALLS_PER_ROOT`] calls at a time on a pool, and each call a limit.
//! One that is overdue shows that the root hangs (`health`); its thread is left to itself and counted. Threads that never
//! come back are bounded: [`RENEWALS_MAX`] times, when a probe is answered although calls are stuck (the folder was
//! mounted anew), the root gets a new set of calls.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;

use super::containment::SafePath;
use super::file_error::FileError;
use super::folder::probe;
use super::health::{Condition, Health};
use super::root::SiteRoot;

/// Calls of one root that run at a time.
pub(crate) const CALLS_PER_ROOT: usize = 16;
/// The most times that a root with stuck calls gets a new set of calls.
const RENEWALS_MAX: usize = 3;
/// Probes of one root that may be stuck.
const PROBES_PER_ROOT: usize = 8;
/// The longest time that a call may take before the root counts as hung, whatever the settings allow a request to wait.
const CALL_LIMIT_MAX: Duration = Duration::from_secs(10);
/// Stack of a thread that makes file calls.
const STACK_BYTES: usize = 256 * 1024;

/// The threads that make blocking file calls. They are made when needed and end when they were idle for some seconds.
#[derive(Debug)]
pub(crate) struct CallThreads {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl CallThreads {
    /// Threads for this many roots.
    pub(crate) fn new(roots: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .thread_name("file-calls")
            .thread_stack_size(STACK_BYTES)
            .max_blocking_threads(
                (roots * (CALLS_PER_ROOT * (1 + RENEWALS_MAX) + PROBES_PER_ROOT)).max(1),
            )
            .build()?;
        Ok(Self {
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
        })
    }

    /// Those of the runtime that runs the test, whose paused clock then waits for them.
    #[cfg(test)]
    pub(crate) fn of_the_test() -> Self {
        Self {
            handle: Handle::current(),
            runtime: None,
        }
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

/// A folder that is served, with its calls and its health. It outlives the file-cache child's lives.
#[derive(Debug)]
pub(crate) struct RootIo {
    pub(crate) site: SiteRoot,
    threads: Handle,
    limit: Duration,
    calls: Mutex<CallSet>,
    probes: Arc<Semaphore>,
    health: Mutex<Judged>,
    /// Tells the prober that a root has stopped answering.
    pub(crate) alarm: Arc<Notify>,
    /// Requests that were refused because too many waited for this root.
    pub(crate) refused: AtomicU64,
    /// Answers with what was in memory because the file could not be looked at.
    pub(crate) stale: AtomicU64,
    #[cfg(test)]
    pub(crate) hang: HangSwitch,
}

#[derive(Debug)]
struct CallSet {
    permits: Arc<Semaphore>,
    renewals: usize,
}

#[derive(Debug)]
struct Judged {
    health: Health,
    /// What was asked for when the root stopped answering: a probe that looks elsewhere might be answered from a cache.
    suspect: Option<SafePath>,
}

impl RootIo {
    /// `deadline` is how long a request waits for a file: a call is overdue early enough for the request to be answered.
    pub(crate) fn new(
        site: SiteRoot,
        threads: &CallThreads,
        deadline: Duration,
        alarm: Arc<Notify>,
    ) -> Self {
        Self {
            site,
            threads: threads.handle.clone(),
            limit: (deadline * 3 / 4).min(CALL_LIMIT_MAX),
            calls: Mutex::new(CallSet {
                permits: Arc::new(Semaphore::new(CALLS_PER_ROOT)),
                renewals: 0,
            }),
            probes: Arc::new(Semaphore::new(PROBES_PER_ROOT)),
            health: Mutex::new(Judged {
                health: Health::new(Instant::now()),
                suspect: None,
            }),
            alarm,
            refused: AtomicU64::new(0),
            stale: AtomicU64::new(0),
            #[cfg(test)]
            hang: HangSwitch::default(),
        }
    }

    pub(crate) fn condition(&self) -> Condition {
        self.health.lock().health.condition()
    }

    /// Calls that are overdue and have not come back.
    pub(crate) fn stuck(&self) -> u32 {
        self.health.lock().health.stuck()
    }

    pub(crate) fn probe_at(&self) -> Instant {
        self.health.lock().health.probe_at()
    }

    /// Waits for a turn and begins `call`, which is about `path`. `None`: the root was given a new set of calls meanwhile.
    pub(crate) async fn begin<T: Send + 'static>(
        self: &Arc<Self>,
        path: &SafePath,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Option<Call<T>> {
        let permits = Arc::clone(&self.calls.lock().permits);
        let permit = permits.acquire_owned().await.ok()?;
        Some(self.spawn(path.clone(), permit, call))
    }

    fn spawn<T: Send + 'static>(
        self: &Arc<Self>,
        path: SafePath,
        permit: OwnedSemaphorePermit,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Call<T> {
        let state = Arc::new(AtomicU8::new(RUNNING));
        let end = CallEnd {
            root: Arc::clone(self),
            state: Arc::clone(&state),
            _permit: permit,
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
            path,
            state,
            thread,
        }
    }

    /// Notes what a look that was answered in time shows about the folder.
    pub(crate) fn answered<T>(&self, result: &Result<T, FileError>) {
        let now = Instant::now();
        self.judge(|judged| judged.health.answered(folder_error(result), now));
    }

    /// Looks whether the folder answers, and judges by it.
    pub(crate) async fn probe(self: &Arc<Self>) {
        let suspect = {
            let mut judged = self.health.lock();
            judged.health.postpone(Instant::now());
            judged.suspect.clone()
        };
        // All probes are stuck: only one that comes back can tell anything new.
        let Ok(permit) = Arc::clone(&self.probes).try_acquire_owned() else {
            return;
        };
        let root = Arc::clone(self);
        let path = suspect.unwrap_or_else(SafePath::top);
        let looked = path.clone();
        let mut call = self.spawn(path, permit, move || probe(&root.site, &looked));
        let Some(result) = call.in_time().await else {
            return;
        };
        let now = Instant::now();
        self.judge(|judged| judged.health.probed(folder_error(&result), now));
        let mut calls = self.calls.lock();
        if self.stuck() > 0
            && calls.permits.available_permits() == 0
            && calls.renewals < RENEWALS_MAX
        {
            calls.renewals += 1;
            calls.permits.close();
            calls.permits = Arc::new(Semaphore::new(CALLS_PER_ROOT));
        }
    }

    fn overdue(&self, path: &SafePath) {
        let now = Instant::now();
        self.judge(|judged| {
            judged.suspect = Some(path.clone());
            judged.health.overdue(now)
        });
        self.alarm.notify_one();
    }

    /// Applies one piece of news, and logs a change.
    fn judge(&self, news: impl FnOnce(&mut Judged) -> Option<Condition>) {
        let Some(condition) = news(&mut self.health.lock()) else {
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
                limit = ?self.limit,
                "the folder of a route does not answer: look at its disk or mount; what is in memory is served meanwhile"
            ),
        }
    }
}

/// The error of the folder itself, if there is one.
fn folder_error<T>(result: &Result<T, FileError>) -> Option<io::ErrorKind> {
    match result {
        Err(FileError::Root { kind }) => Some(*kind),
        Ok(_) | Err(_) => None,
    }
}

const RUNNING: u8 = 0;
const OVERDUE: u8 = 1;
const ENDED: u8 = 2;

/// A call that runs on a thread of the pool.
#[derive(Debug)]
pub(crate) struct Call<T> {
    root: Arc<RootIo>,
    path: SafePath,
    state: Arc<AtomicU8>,
    thread: JoinHandle<T>,
}

impl<T> Call<T> {
    /// The result, if it came in time; otherwise its root counts as hung.
    pub(crate) async fn in_time(&mut self) -> Option<T> {
        if let Ok(ended) = tokio::time::timeout(self.root.limit, &mut self.thread).await {
            return result_of(ended);
        }
        let overdue =
            self.state
                .compare_exchange(RUNNING, OVERDUE, Ordering::SeqCst, Ordering::SeqCst);
        if overdue.is_err() {
            // It has ended just now.
            return result_of((&mut self.thread).await);
        }
        self.root.overdue(&self.path);
        None
    }

    /// Waits for the late result.
    pub(crate) async fn late(self) -> Option<T> {
        result_of(self.thread.await)
    }
}

/// A panic goes on in whoever waits for the call. `None`: the pool has been shut down.
fn result_of<T>(ended: Result<T, JoinError>) -> Option<T> {
    match ended.map_err(JoinError::try_into_panic) {
        Ok(result) => Some(result),
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(_)) => None,
    }
}

/// Dropped on the call's own thread when it ends, whoever still waits for it.
struct CallEnd {
    root: Arc<RootIo>,
    state: Arc<AtomicU8>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for CallEnd {
    fn drop(&mut self) {
        if self.state.swap(ENDED, Ordering::SeqCst) == OVERDUE {
            let now = Instant::now();
            self.root.judge(|judged| judged.health.returned(now));
        }
    }
}

/// Makes every call of a root hang, for a test.
#[cfg(test)]
#[derive(Debug, Default)]
pub(crate) struct HangSwitch {
    on: Mutex<bool>,
    changed: parking_lot::Condvar,
}

#[cfg(test)]
impl HangSwitch {
    pub(crate) fn set(&self, on: bool) {
        *self.on.lock() = on;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let mut on = self.on.lock();
        while *on {
            self.changed.wait(&mut on);
        }
    }
}
