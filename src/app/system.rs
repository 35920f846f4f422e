//! The daemon as a value: built, started, awaited, stopped and joined step by step.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::assembly::{Assembly, Planned};
use super::errors::{BuildError, Ended};
use super::notifier::Notifier;
use super::phase::{Phase, Phases};
use super::reload::SettingsOrigin;
use super::service_manager::ServiceManager;
use crate::listener::Inherited;
use crate::settings::{AdminListen, Settings};
use crate::storage::{Refusal, Store};
use crate::supervision::{ExitReason, RunningTree, Sentinel, Stopper, Tree};
use crate::telemetry::Reopen;

/// The addresses that are bound at the start: with the ports the kernel chose where the settings say 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// Of the public listeners that have one, in the order of the settings.
    pub public: Vec<SocketAddr>,
    /// Of those that speak TLS.
    pub tls: Vec<SocketAddr>,
    /// Paths of the public unix sockets that were made, in the order of the settings.
    pub unix: Vec<PathBuf>,
    /// Of the admin listener.
    pub admin: AdminListen,
}

/// A daemon inside this process: the explicit way, step by step.
///
/// Its methods block and can be called from any thread that is not itself running a runtime's tasks. Dropping a system
/// that runs stops it and waits for it.
///
/// ```
/// use perennial::{System, settings::Settings};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = std::env::temp_dir().join(format!("perennial-system-{}", std::process::id()));
/// let mut settings = Settings::default();
/// settings.server.listen = vec!["127.0.0.1:0".parse()?];
/// settings.server.admin = "127.0.0.1:0".parse()?;
/// settings.server.data = folder.join("data");
///
/// let mut system = System::build(settings)?; // sockets are bound: clients may connect, and wait
/// system.start()?;                           // children start, in order
/// system.ready()?;                           // all of them serve
/// let address = system.bound().public[0];
/// assert!(std::net::TcpStream::connect(address).is_ok());
/// system.stop();                             // asks; the listeners close first and the disk last
/// system.join()?;                            // all of them are down
/// # std::fs::remove_dir_all(folder)?;
/// # Ok(())
/// # }
/// ```
pub struct System {
    pub(super) parts: Assembly,
    stop: Stop,
    notifier: Option<Notifier>,
    thread: Option<JoinHandle<()>>,
}

impl System {
    /// Binds every socket and prepares every child; nothing runs yet.
    pub fn build(settings: Settings) -> Result<Self, BuildError> {
        Self::build_with(settings, Inherited::default())
    }

    /// The same for a process that was started with sockets, for `server.listen = ["systemd:NAME"]`.
    pub fn build_with(settings: Settings, inherited: Inherited) -> Result<Self, BuildError> {
        Self::with_origin(settings, inherited, None)
    }

    /// Builds a system whose settings a reload can read again.
    pub(super) fn with_origin(
        settings: Settings,
        inherited: Inherited,
        origin: Option<SettingsOrigin>,
    ) -> Result<Self, BuildError> {
        Ok(Self {
            parts: Assembly::new(settings, inherited, origin)?,
            stop: Stop::default(),
            notifier: None,
            thread: None,
        })
    }

    /// The addresses that are bound.
    pub fn bound(&self) -> &Bound {
        &self.parts.bound
    }

    /// The tree of children, which can be looked at from any thread at any time.
    pub fn tree(&self) -> &Tree {
        &self.parts.tree
    }

    /// The present phase.
    pub fn phase(&self) -> Phase {
        self.stop.phases.now()
    }

    /// Opens the file of the access log again, where there is one.
    pub(super) fn access_log(&self) -> Reopen {
        self.parts.access.reopen.clone()
    }

    /// Reports to the service manager from the start on.
    pub(super) fn tell(&mut self, manager: ServiceManager) {
        let (tree, phases) = (self.parts.tree.clone(), self.stop.phases.clone());
        let reloads = Arc::clone(&self.parts.reloads);
        self.notifier = Some(Notifier::new(manager, tree, phases, reloads));
    }

    /// Starts the children, in order, on threads of their own. A second call does nothing.
    pub fn start(&mut self) -> Result<(), BuildError> {
        let Some(planned) = self.parts.planned.take() else {
            return Ok(());
        };
        let (stop, store) = (self.stop.clone(), Arc::clone(&self.parts.store));
        let notifier = self.notifier.take();
        self.stop.phases.enter(Phase::Starting);
        for open in planned.children.public.urls() {
            tracing::info!("listening on {}", open.url);
        }
        match &self.parts.bound.admin {
            AdminListen::Tcp(address) => tracing::info!("admin on http://{address}"),
            AdminListen::Unix(path) => tracing::info!("admin on unix:{}", path.display()),
        }
        let thread = std::thread::Builder::new()
            .name("perennial".to_owned())
            .spawn(move || live(planned, notifier, &store, &stop))
            .map_err(BuildError::Thread)?;
        self.thread = Some(thread);
        Ok(())
    }

    /// Blocks until all children serve; the error says why they never will.
    pub fn ready(&self) -> Result<(), Ended> {
        let settled = |phase: &Phase| matches!(phase, Phase::Ready | Phase::Stopped(_));
        if let Phase::Stopped(reason) = self.stop.phases.wait(settled) {
            return Err(self.ended(reason));
        }
        Ok(())
    }

    /// Asks the daemon to stop: the listeners first, requests in flight within `drain`, the store last.
    pub fn stop(&self) {
        self.stop.stop();
    }

    /// A handle that can ask the daemon to stop, from any thread.
    pub fn stopper(&self) -> Stop {
        self.stop.clone()
    }

    /// Blocks until all children have stopped. The error says why the daemon stopped by itself.
    pub fn join(mut self) -> Result<(), Ended> {
        self.settle();
        if let Phase::Stopped(reason) = self.stop.phases.now()
            && !reason.is_normal()
        {
            return Err(self.ended(reason));
        }
        Ok(())
    }

    fn settle(&mut self) {
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            self.stop.phases.enter(Phase::Stopped(ExitReason::Lost));
        }
    }

    fn ended(&self, reason: ExitReason) -> Ended {
        match (self.parts.store.refusal(), reason) {
            (Some(Refusal { text, held }), ExitReason::ChildrenFailed(causes)) => {
                let causes = Some(causes);
                Ended::DataRefused { text, held, causes }
            }
            (Some(Refusal { text, held }), _) => {
                let causes = None;
                Ended::DataRefused { text, held, causes }
            }
            (None, ExitReason::ChildrenFailed(causes)) => Ended::NotStarted { causes },
            (None, reason) => Ended::GaveUp(reason),
        }
    }
}

impl Drop for System {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.stop();
            self.settle();
        }
    }
}

/// The sentinel beats ten times a second; where this much time lies between two beats, the process stood still.
const PAUSE: Duration = Duration::from_secs(3);

/// The most of the time between two beats for which the process counts as running: for what is more, it was paused.
const RAN_MAX: Duration = Duration::from_millis(500);

/// The time since the machine was started, with the time for which it was suspended. All limits use the clock that stands
/// still meanwhile, so that none runs out.
fn since_boot() -> Duration {
    clock_gettime(ClockId::Boottime)
        .try_into()
        .unwrap_or_default()
}

/// Runs the tree from its start to its end, on the thread of the actix system.
fn live(planned: Planned, mut notifier: Option<Notifier>, store: &Arc<dyn Store>, stop: &Stop) {
    let children = Arc::clone(&planned.children);
    let overdue = Arc::new(OnceLock::new());
    let (verdict, watched, stopper) = (Arc::clone(&overdue), Arc::clone(store), stop.clone());
    let (mut last_beat, mut ran) = (since_boot(), Duration::ZERO);
    let on_beat = Box::new(move |silence| {
        let now = since_boot();
        let gap = now.saturating_sub(std::mem::replace(&mut last_beat, now));
        if gap >= PAUSE {
            tracing::warn!(
                ?gap,
                "nothing ran meanwhile: the process or its machine was paused"
            );
        }
        if let Some(notifier) = &mut notifier {
            notifier.beat(silence);
        }
        children.opener.look_at_files();
        ran += gap.min(RAN_MAX);
        watched.notice_hangs(ran);
        if let Some(age) = watched.overdue(ran)
            && verdict.set(ExitReason::Hung { age }).is_ok()
        {
            tracing::error!(
                ?age,
                "a commit takes longer than storage.flush_limit: look at the disk"
            );
            stopper.stop();
        }
    });
    let reason = actix_rt::System::new().block_on(async {
        // The supervisors have an arbiter to themselves: this thread only waits.
        let (started, tree) = tokio::sync::oneshot::channel();
        let supervisors = actix_rt::Arbiter::new();
        supervisors.spawn_fn(move || {
            // The other end waits right below.
            drop(started.send(planned.prepared.start(planned.env)));
        });
        let Ok(tree) = tree.await else {
            return ExitReason::Lost;
        };
        stop.attach(tree.stopper());
        let sentinel = Sentinel::start(tree.stopper(), planned.pulse, on_beat);
        if let Err(error) = &sentinel {
            tracing::error!(%error, "the system refused a thread for the sentinel: stopping");
            tree.stopper().stop();
        }
        let reason = watch(tree, &stop.phases).await;
        stop.phases.enter(Phase::Stopping);
        drop(sentinel);
        supervisors.stop();
        reason
    });
    planned.children.opener.remove_files();
    // The listeners were closed first; the disk is closed last.
    store.close();
    // If a commit hangs, that is the reason, whatever the children report.
    let reason = overdue.get().cloned().unwrap_or(reason);
    tracing::info!(%reason, "stopped");
    stop.phases.enter(Phase::Stopped(reason));
}

async fn watch(mut tree: RunningTree, phases: &Phases) -> ExitReason {
    if (&mut tree.ready).await.is_ok() {
        tracing::info!("ready");
        phases.enter(Phase::Ready);
    }
    tree.ended().await
}

/// Asks a [`System`] to stop, from any thread at any time.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    root: Arc<OnceLock<Stopper>>,
    phases: Phases,
}

impl Stop {
    /// Asks; asking again changes nothing. Whether this was the first time.
    pub fn stop(&self) -> bool {
        let first = self.phases.enter(Phase::Stopping);
        if let Some(root) = self.root.get() {
            root.stop();
        }
        first
    }

    /// Passes the question on to the tree, also one that came before.
    fn attach(&self, root: Stopper) {
        let root = self.root.get_or_init(|| root);
        if self.phases.now().ending() {
            root.stop();
        }
    }
}
