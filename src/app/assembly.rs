//! Puts the children, slots and metrics of all rooms together, before anything runs.

mod children;

use std::iter;
use std::sync::Arc;

use super::bounds::ServerBounds;
use super::errors::BuildError;
use super::reload::{self, Limited, LiveChildren, Reloading, SettingsOrigin, Values, Watching};
use super::serving::{Serving, edition};
use super::system::Bound;
use super::tls::TlsInForce;
use crate::admin::{
    Admin, Check, Checks, Explain, Histories, Listening, Records, ReloadOrder, ReloadStatus,
    Reloads, Running,
};
use crate::api::{AskedRequest, Explainer, Feeds, Site};
use crate::file_cache::{CallThreads, Files};
use crate::incidents::Incidents;
use crate::listener::{Inherited, ListenerMetrics};
use crate::settings::{SettingValues, Settings};
use crate::storage;
use crate::supervision::{
    ChildRef, ChildSpec, Env, Faults, PreparedTree, Pulse, Slot, SupervisorSpec, Tree,
};
use crate::telemetry::{AccessGuard, AccessSink, Metrics};
use crate::wire::{Editions, HandlerCounters, Hosts, HttpsRules, ProxyRules, RoutePatterns};

/// The name of the root supervisor.
pub(super) const ROOT: &str = "perennial";
/// The name of the supervisor of the children that read and watch the settings.
pub(super) const SETTINGS: &str = "settings";
/// The name of the supervisor of the writer and of the backups.
pub(super) const STORAGE: &str = "storage";

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
    pub(super) access: AccessGuard,
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
    /// The files of its sockets are removed when the listeners are gone.
    pub(super) children: Arc<LiveChildren>,
}

/// The status of the settings, and the children that read them again and watch them.
type SettingsParts = (Arc<Reloads>, Option<(SupervisorSpec, Arc<Watching>)>);

/// Builds the children of a system; holds what all of them need.
struct Builder {
    settings: Settings,
    faults: Faults,
    bounds: Arc<ServerBounds>,
    handler_counters: Arc<HandlerCounters>,
    access: AccessSink,
    limited: Arc<Limited>,
    patterns: Arc<RoutePatterns>,
    listener_metrics: ListenerMetrics,
    tls: Arc<TlsInForce>,
}

impl Assembly {
    /// Binds every socket and prepares every child.
    pub(super) fn new(
        settings: Settings,
        inherited: Inherited,
        origin: Option<SettingsOrigin>,
    ) -> Result<Self, BuildError> {
        let opened = AccessSink::open(&settings.logging);
        let (sink, access) = opened.map_err(BuildError::AccessLog)?;
        let builder = Builder::new(settings, sink);
        let incidents = Arc::new(Incidents::new(&builder.settings.server.data));
        let (store, writer) = storage::storage(&builder.settings, &builder.faults, &incidents);
        let pulse = Pulse::new();
        let admin = Arc::new(Admin::new(Arc::clone(&pulse), builder.faults.clone()));
        let sockets = builder.open(inherited)?;
        let bound = sockets.bound.clone();
        let (files, file_cache) = builder.files()?;
        let serving = builder.serving(&files, &store);
        let site = Editions::new(serving.first(&builder.settings)?);
        let admin_editions = builder.admin_editions(&admin);
        let (children, [admin_children, handlers, listeners]) =
            builder.live_children(sockets, &site, &admin_editions);
        let (reloads, settings) =
            builder.settings(origin, serving, &site, &admin_editions, &children);
        let (settings, watching) = settings.unzip();
        let admin_children = settings
            .into_iter()
            .fold(admin_children, SupervisorSpec::child);
        builder.limited.backups.attach(&store);
        let storage = builder.storage(writer);
        let spec = builder
            .supervisor(ROOT)
            .child(admin_children)
            .child(storage)
            .child(file_cache)
            .child(handlers)
            .child(listeners);
        let prepared = builder.prepare(spec, &pulse)?;
        let tree = prepared.tree();
        let metrics = Metrics::new(tree.clone());
        builder.add_metrics(&metrics);
        metrics.add(builder.listener_metrics);
        metrics.add(Arc::clone(&site));
        metrics.add(Arc::clone(&reloads));
        metrics.add_some(watching);
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
            store: Arc::clone(&store),
            explain: explain(&site),
            reloads: Arc::clone(&reloads),
            listening: listening(&children, &builder.tls),
        });
        Ok(Self {
            bound,
            tree,
            planned: Some(Planned {
                prepared,
                env: env(builder.faults),
                pulse,
                children,
            }),
            metrics,
            store,
            access,
            reloader: reloads.child.clone(),
            reloads,
        })
    }
}

fn env(faults: Faults) -> Env {
    Env {
        faults,
        ..Env::default()
    }
}

impl Builder {
    fn new(settings: Settings, access: AccessSink) -> Self {
        let bounds = Arc::new(ServerBounds::new(&settings.server));
        let limited = Arc::new(Limited::new(&settings));
        let routes = settings.routes.len() + settings.resources.len();
        let patterns = RoutePatterns::with_room(routes);
        Self {
            handler_counters: HandlerCounters::new(patterns.room()),
            bounds,
            patterns: Arc::new(patterns),
            faults: limited.faults.clone(),
            limited,
            tls: TlsInForce::new(&settings.tls),
            settings,
            access,
            listener_metrics: ListenerMetrics::default(),
        }
    }

    /// The tree. From now on a reload knows its supervisors.
    fn prepare(
        &self,
        spec: SupervisorSpec,
        pulse: &Arc<Pulse>,
    ) -> Result<PreparedTree, BuildError> {
        let prepared = PreparedTree::new(spec)?.with_pulse(Arc::clone(pulse));
        // Set once: a system is assembled once.
        drop(self.limited.supervisors.set(prepared.supervisors()));
        Ok(prepared)
    }

    fn serving(&self, files: &Files, store: &Arc<dyn storage::Store>) -> Serving {
        Serving {
            files: files.clone(),
            store: Arc::clone(store),
            feeds: Feeds::new(Arc::<dyn storage::Store>::clone(store)),
            counters: Arc::clone(&self.bounds.counters),
            patterns: Arc::clone(&self.patterns),
        }
    }

    /// The first edition of the admin listener.
    fn admin_editions(&self, admin: &Arc<Admin>) -> Arc<Editions<Admin>> {
        let https = HttpsRules::default();
        let hosts = Hosts::new(&self.settings).serving_unknown();
        let proxies = ProxyRules::default();
        Editions::new(edition(
            1,
            &self.settings,
            hosts,
            proxies,
            https,
            Arc::clone(admin),
        ))
    }

    /// Adds the metrics of what all its children share.
    fn add_metrics(&self, metrics: &Metrics) {
        metrics.add(self.http());
        metrics.add(Arc::clone(&self.tls));
        metrics.add(Arc::clone(&self.limited.backups));
        metrics.add(self.access.clone());
    }

    /// A supervisor as the settings want all of them.
    fn supervisor(&self, name: &str) -> SupervisorSpec {
        SupervisorSpec::new(name).limits(reload::supervisor_limits(name, &self.settings))
    }

    /// The writer and, if there is a schedule, the child that makes backups.
    fn storage(&self, writer: ChildSpec) -> SupervisorSpec {
        let supervisor = self.supervisor(STORAGE).child(writer);
        match self.limited.backups.begin(&self.settings) {
            Some(schedule) => supervisor.child(schedule),
            None => supervisor,
        }
    }

    /// The status of the settings, and the children that read them again, if there is a file.
    fn settings(
        &self,
        origin: Option<SettingsOrigin>,
        serving: Serving,
        site: &Arc<Editions<Site>>,
        admin: &Arc<Editions<Admin>>,
        children: &Arc<LiveChildren>,
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
        let tls = Arc::clone(&self.tls);
        let watching = Watching::new(source, child, Arc::clone(&reloads), watch, tls);
        let reloading = Arc::new(Reloading {
            values: Values::first(origin.values.clone()),
            origin,
            serving,
            children: Arc::clone(children),
            limited: Arc::clone(&self.limited),
            access: self.access.clone(),
            site: Arc::clone(site),
            admin: Arc::clone(admin),
            reloads: Arc::clone(&reloads),
            watching: Arc::clone(&watching),
            tls: Arc::clone(&self.tls),
            faults: self.faults.clone(),
        });
        let supervisor = self
            .supervisor(SETTINGS)
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
        Ok((files, spec))
    }
}

/// The function by which the admin listener tells the public addresses and the certificates.
fn listening(children: &Arc<LiveChildren>, tls: &Arc<TlsInForce>) -> Box<Listening> {
    let (children, tls) = (Arc::clone(children), Arc::clone(tls));
    Box::new(move || {
        let listeners = children.public.urls();
        [
            ("listeners", serde_json::json!(listeners)),
            ("certificates", tls.view()),
        ]
    })
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
