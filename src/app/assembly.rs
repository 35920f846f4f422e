//! Everything is put together here, before anything runs.

use std::iter;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use super::bounds::ServerBounds;
use super::errors::BuildError;
use super::reload::{self, Reloading, SettingsOrigin, Values, Watching};
use super::run_file::RunFile;
use super::serving::{Serving, edition};
use super::sockets::Sockets;
use super::system::Bound;
use crate::admin::{
    Admin, Check, Checks, Explain, Histories, Records, ReloadOrder, ReloadStatus, Reloads, Running,
};
use crate::api::{AskedRequest, Explainer, Site};
use crate::backup::BackupSchedule;
use crate::file_cache::{CallThreads, Files};
use crate::incidents::Incidents;
use crate::listener::{
    self, ConnectionBounds, Inherited, ListenerMetrics, ListenerState, SharedListening, SocketFile,
};
use crate::places::Places;
use crate::request_handler::{self, GiveWay, HandlerRef, PeerBound};
use crate::settings::{AutoCount, SettingValues, Settings};
use crate::storage;
use crate::supervision::{
    ChildRef, ChildSpec, Env, Faults, PreparedTree, Pulse, QueueLimits, Slot, SupervisorSpec, Tree,
};
use crate::telemetry::{AccessGuard, AccessSink, MetricSource, Metrics};
use crate::wire::{
    Access, ConnectionCounters, Drain, Editions, HandlerMetrics, HttpMetrics, Parts, Responder,
    RoutePatterns,
};

/// Connections that may wait for one handler; they are few bytes each, and the listener waits when it is full.
const HANDLER_QUEUE: QueueLimits = QueueLimits {
    messages: 1024,
    bytes: 1 << 20,
};
/// Connections of the admin listener; the oldest ones are closed for newer ones.
const ADMIN_CONNECTIONS: usize = 128;
/// The time that the admin's own connections have to end at the very end.
const ADMIN_DRAIN: Duration = Duration::from_secs(1);

/// The parts of a system.
pub(super) struct Assembly {
    pub(super) bound: Bound,
    pub(super) tree: Tree,
    /// Taken when the system starts.
    pub(super) planned: Option<Planned>,
    /// The program around the daemon adds its own.
    pub(super) metrics: Metrics,
    pub(super) store: Arc<dyn storage::Store>,
    /// Outlives the handlers, whose last lines it writes out.
    pub(super) access: Option<AccessGuard>,
    /// Reads the settings again, if they can be.
    pub(super) reloader: Option<ChildRef<ReloadOrder>>,
    /// The settings in force, and the reloads.
    pub(super) reloads: Arc<Reloads>,
}

/// All that a system needs to be started.
pub(super) struct Planned {
    pub(super) prepared: PreparedTree,
    pub(super) env: Env,
    pub(super) pulse: Arc<Pulse>,
    pub(super) run_file: RunFile,
    pub(super) incidents: Arc<Incidents>,
    /// Removed when the listeners are gone.
    pub(super) socket_files: Vec<SocketFile>,
}

/// What is told of the settings, and what reads them again and watches them.
type SettingsParts = (Arc<Reloads>, Option<(SupervisorSpec, Arc<Watching>)>);

/// Builds the children of a system; holds what all of them need.
struct Builder {
    settings: Settings,
    faults: Faults,
    counters: Arc<ConnectionCounters>,
    bounds: Arc<ServerBounds>,
    access: Option<AccessSink>,
    patterns: Arc<RoutePatterns>,
    listener_metrics: ListenerMetrics,
}

impl Assembly {
    /// Binds every socket and prepares every child.
    pub(super) fn new(
        settings: Settings,
        inherited: Inherited,
        origin: Option<SettingsOrigin>,
    ) -> Result<Self, BuildError> {
        let opened = AccessSink::open(&settings.logging).map_err(BuildError::AccessLog)?;
        let (sink, access) = opened.unzip();
        let builder = Builder::new(settings, sink);
        let incidents = Arc::new(Incidents::new(&builder.settings.server.data));
        let (store, writer) = storage::storage(&builder.settings, &builder.faults, &incidents);
        let pulse = Pulse::new();
        let admin = Arc::new(Admin::new(Arc::clone(&pulse), builder.faults.clone()));
        let sockets = Sockets::new(&builder.settings.server, inherited)?;
        let bound = sockets.bound().map_err(BuildError::Address)?;
        let (files, file_cache) = builder.files()?;
        let serving = Serving {
            files: files.clone(),
            store: Arc::clone(&store),
            counters: Arc::clone(&builder.counters),
            patterns: Arc::clone(&builder.patterns),
        };
        let site = Editions::new(serving.first(&builder.settings)?);
        let admin_editions = Editions::new(edition(1, &builder.settings, Arc::clone(&admin)));
        let (reloads, settings) = builder.settings(origin, serving, &site, &admin_editions);
        let (settings, watching) = settings.unzip();
        let (handlers, refs, http) = builder.handlers(&site);
        let (storage, backups) = builder.storage(writer);
        let spec = builder
            .supervisor("perennial")
            .child(builder.admin(sockets.admin, &admin_editions, settings))
            .child(storage)
            .child(file_cache)
            .child(handlers)
            .child(builder.listeners(&sockets.public, &refs));
        let prepared = PreparedTree::new(spec)?.with_pulse(Arc::clone(&pulse));
        let tree = prepared.tree();
        let metrics = Metrics::new(tree.clone());
        metrics.add(http);
        metrics.add(Arc::clone(&site));
        metrics.add(Arc::clone(&reloads));
        metrics.add_some(watching);
        metrics.add_some(backups);
        metrics.add_some(builder.access);
        metrics.add(builder.listener_metrics);
        metrics.add(Arc::clone(&store));
        metrics.add(files.clone());
        metrics.add(Arc::clone(&incidents));
        admin.attach(Running {
            tree: tree.clone(),
            supervisors: prepared.supervisors(),
            metrics: metrics.clone(),
            checks: checks(&store, &files),
            histories: Histories::new(&store),
            records: Records::new(&store),
            incidents: Arc::clone(&incidents),
            explain: explain(&site),
            reloads: Arc::clone(&reloads),
        });
        Ok(Self {
            bound,
            tree,
            planned: Some(Planned {
                prepared,
                env: env(builder.faults),
                pulse,
                run_file: RunFile::new(&builder.settings.server.data),
                incidents,
                socket_files: sockets.files,
            }),
            metrics,
            store,
            access,
            reloader: reloads.child.clone(),
            reloads,
        })
    }
}

/// Fault points are armed only where the settings allow it.
fn faults(settings: &Settings) -> Faults {
    if settings.chaos.enabled {
        Faults::armed()
    } else {
        Faults::none()
    }
}

fn env(faults: Faults) -> Env {
    Env {
        faults,
        ..Env::default()
    }
}

impl Builder {
    fn new(settings: Settings, access: Option<AccessSink>) -> Self {
        let bounds = Arc::new(ServerBounds::new(&settings.server));
        let routes = settings.routes.len() + settings.resources.len();
        Self {
            counters: Arc::clone(&bounds.counters),
            bounds,
            patterns: Arc::new(RoutePatterns::with_room(routes)),
            faults: faults(&settings),
            settings,
            access,
            listener_metrics: ListenerMetrics::default(),
        }
    }

    /// A supervisor as the settings want all of them.
    fn supervisor(&self, name: &str) -> SupervisorSpec {
        let settings = &self.settings.supervision;
        SupervisorSpec::new(name)
            .strategy(settings.strategy)
            .intensity(settings.max_restarts)
            .backoff(settings.backoff)
    }

    /// The writer and, if there is a schedule, the child that makes backups, with what that counts.
    fn storage(&self, writer: ChildSpec) -> (SupervisorSpec, Option<impl MetricSource + use<>>) {
        let supervisor = self.supervisor("storage").child(writer);
        let schedule = BackupSchedule::new(&self.settings, &self.faults);
        match schedule.map(BackupSchedule::child_spec) {
            Some((spec, metrics)) => (supervisor.child(spec), Some(metrics)),
            None => (supervisor, None),
        }
    }

    fn parts<R: Responder>(
        &self,
        editions: &Arc<Editions<R>>,
        metrics: &Arc<HandlerMetrics>,
        drain: &Drain,
    ) -> Parts<R> {
        Parts {
            editions: Arc::clone(editions),
            metrics: Arc::clone(metrics),
            counters: Arc::clone(&self.counters),
            drain: drain.clone(),
            access: None,
        }
    }

    /// A handler and its listener for the admin's address alone: full public handlers must not fail a health check.
    fn admin(
        &self,
        socket: OwnedFd,
        admin: &Arc<Editions<Admin>>,
        settings: Option<SupervisorSpec>,
    ) -> SupervisorSpec {
        let drain = Drain::new(ADMIN_DRAIN);
        let mut parts = self.parts(admin, &Arc::new(HandlerMetrics::new(0)), &drain);
        // Its connections are none of the public ones.
        parts.counters = Arc::new(ConnectionCounters::default());
        let (spec, handler) = request_handler::prepare(
            "admin-handler",
            HANDLER_QUEUE,
            parts,
            GiveWay::Any,
            self.faults.clone(),
        );
        let places = Places::new(ADMIN_CONNECTIONS);
        let event_loop = handler.event_loop.clone();
        let socket = SharedListening::new(socket, false);
        let handlers = vec![handler];
        let peers = PeerBound::new(ADMIN_CONNECTIONS);
        let bounds = ConnectionBounds { places, peers };
        let (faults, counters) = (Faults::none(), self.listener_metrics.admin.clone());
        let state = ListenerState::new(&socket, handlers, Some(0), bounds, faults, counters);
        let listener = listener::child_spec("admin-listener", &event_loop, state);
        let supervisor = self.supervisor("admin").child(spec).child(listener);
        match settings {
            Some(settings) => supervisor.child(settings),
            None => supervisor,
        }
    }

    /// What is told of the settings, and the children that read them again, if they can be.
    fn settings(
        &self,
        origin: Option<SettingsOrigin>,
        serving: Serving,
        site: &Arc<Editions<Site>>,
        admin: &Arc<Editions<Admin>>,
    ) -> SettingsParts {
        let Some(origin) = origin else {
            let hash = SettingValues::default().hash();
            let status = ReloadStatus::first("none".to_owned(), hash);
            return (Arc::new(Reloads::new(None, status)), None);
        };
        let (slot, child) = reload::slot();
        let status = ReloadStatus::first(origin.source.name(), origin.values.hash());
        let reloads = Arc::new(Reloads::new(Some(child.clone()), status));
        let source = origin.source.clone();
        let watch = self.settings.server.watch;
        let watching = Watching::new(source, child, Arc::clone(&reloads), watch);
        let reloading = Arc::new(Reloading {
            values: Values::first(origin.values.clone()),
            origin,
            serving,
            bounds: Arc::clone(&self.bounds),
            site: Arc::clone(site),
            admin: Arc::clone(admin),
            reloads: Arc::clone(&reloads),
            watching: Arc::clone(&watching),
            faults: self.faults.clone(),
        });
        let supervisor = reload::supervisor(&self.settings)
            .child(reloading.child_spec(&slot))
            .child(Arc::clone(&watching).child_spec());
        (reloads, Some((supervisor, watching)))
    }

    fn files(&self) -> Result<(Files, ChildSpec), BuildError> {
        let settings = &self.settings;
        let limits = settings.supervision.children.file_cache;
        let (slot, child) = Slot::with_limits("file-cache", limits.limits());
        let threads = CallThreads::new().map_err(BuildError::Thread)?;
        let files = Files::new(&settings.file_cache, limits.deadline, threads, child);
        let spec = files.child_spec(&slot, self.faults.clone());
        let spec = spec.start_timeout(settings.supervision.start_timeout);
        Ok((files, spec))
    }

    fn handlers(
        &self,
        site: &Arc<Editions<Site>>,
    ) -> (SupervisorSpec, Vec<HandlerRef>, HttpMetrics) {
        let count = match self.settings.server.handlers {
            AutoCount::Auto => std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            AutoCount::Count(count) => count.get(),
        };
        let drain = Drain::new(self.settings.server.drain);
        let mut http = HttpMetrics {
            patterns: Arc::clone(&self.patterns),
            handlers: Vec::new(),
            connections: Arc::clone(&self.counters),
        };
        let mut supervisor = self.supervisor("request-handlers").start_together();
        let mut refs = Vec::new();
        for n in 0..count {
            let metrics = Arc::new(HandlerMetrics::new(self.patterns.room()));
            let mut parts = self.parts(site, &metrics, &drain.another());
            parts.access = self.access.as_ref().map(|sink| Access {
                sink: sink.clone(),
                patterns: Arc::clone(&self.patterns),
            });
            let (spec, handler) = request_handler::prepare(
                &format!("handler-{n}"),
                HANDLER_QUEUE,
                parts,
                GiveWay::Unasked,
                self.faults.clone(),
            );
            let limit = self.settings.supervision.start_timeout;
            supervisor = supervisor.child(spec.start_timeout(limit));
            refs.push(handler);
            http.handlers.push(metrics);
        }
        (supervisor, refs, http)
    }

    fn listeners(
        &self,
        sockets: &[Arc<SharedListening>],
        handlers: &[HandlerRef],
    ) -> SupervisorSpec {
        let mut supervisor = self.supervisor("listeners").start_together();
        // Each handler has a listener for each socket, on its own thread.
        let pairs = sockets.iter().flat_map(|socket| {
            let handlers = handlers.iter().enumerate();
            handlers.map(move |(near, handler)| (socket, near, handler))
        });
        for (n, (socket, near, handler)) in pairs.enumerate() {
            let (all, bounds) = (handlers.to_vec(), self.bounds.connections.clone());
            let (faults, counters) = (self.faults.clone(), self.listener_metrics.public.clone());
            let state = ListenerState::new(socket, all, Some(near), bounds, faults, counters);
            let name = format!("listener-{n}");
            let spec = listener::child_spec(&name, &handler.event_loop, state);
            let limit = self.settings.supervision.start_timeout;
            supervisor = supervisor.child(spec.start_timeout(limit));
        }
        supervisor
    }
}

/// The function by which the admin listener explains a request to the site.
fn explain(site: &Arc<Editions<Site>>) -> Explain {
    let editions = Arc::clone(site);
    Box::new(move |method, url| {
        let site = Arc::clone(&editions.current().responder);
        let asked = AskedRequest::parse(method, url);
        Box::pin(async move {
            let asked = asked.map_err(|error| error.to_string())?;
            let explainer = Explainer {
                routes: &site.routes,
                settings: &site.settings,
            };
            Ok(serde_json::json!(explainer.running(&asked, &site).await))
        })
    })
}

/// The checks of `/readyz`, besides the state of the children.
fn checks(store: &Arc<dyn storage::Store>, files: &Files) -> Box<Checks> {
    let (store, files) = (Arc::clone(store), files.clone());
    Box::new(move || {
        let fault = || "the store is being opened, or its writer restarted".to_owned();
        let storage = Check {
            name: "storage".to_owned(),
            fault: (!store.ready()).then(|| store.trouble().unwrap_or_else(fault)),
            doing: store.doing(),
        };
        let folders = files.roots().into_iter().map(|root| Check {
            name: format!("files:{}", root.site.route),
            fault: root.fault(),
            doing: None,
        });
        iter::once(storage).chain(folders).collect()
    })
}
