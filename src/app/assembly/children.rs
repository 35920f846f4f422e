//! The children that a reload adds and removes, as they are at the start: request handlers, listeners, and the admin's.

use std::sync::Arc;
use std::time::Duration;

use super::Builder;
use crate::admin::Admin;
use crate::api::Site;
use crate::app::errors::BuildError;
use crate::app::handlers::{self, HANDLER_QUEUE, HandlerParts, RequestHandlers};
use crate::app::listeners::{ListenerParts, Listeners};
use crate::app::reload::LiveChildren;
use crate::app::sockets::{ListenAddress, OpenAddress, SocketOpener, bound};
use crate::app::system::Bound;
use crate::listener::{ConnectionBounds, Inherited};
use crate::places::Places;
use crate::request_handler::{self, GiveWay, Handlers, PeerBound};
use crate::supervision::{ChildSpec, Faults, SupervisorSpec};
use crate::wire::{Drain, Editions, HandlerMetrics, HttpMetrics, Parts};

/// Connections of the admin listener; the oldest ones are closed for newer ones.
const ADMIN_CONNECTIONS: usize = 128;
/// The time that the admin's own connections have to end at the very end.
const ADMIN_DRAIN: Duration = Duration::from_secs(1);

/// The sockets of the start, and what opens more.
pub(super) struct FirstSockets {
    pub(super) bound: Bound,
    opener: SocketOpener,
    public: Vec<OpenAddress>,
    admin: Vec<OpenAddress>,
}

impl Builder {
    /// Opens the sockets of all addresses. The error names all that can't be had.
    pub(super) fn open(&self, inherited: Inherited) -> Result<FirstSockets, BuildError> {
        let opener = SocketOpener::new(inherited);
        let public = ListenAddress::public(&self.settings);
        let admin = ListenAddress::admin(&self.settings.server);
        let sockets = opener.open_both(&public, &admin, &[]);
        opener.tell_unnamed(&public);
        let (public, admin) = sockets.map_err(BuildError::Sockets)?;
        Ok(FirstSockets {
            bound: bound(&public, &admin).map_err(BuildError::Address)?,
            opener,
            public,
            admin,
        })
    }

    /// The children that a reload adds and removes, and the supervisors of the admin's, of the handlers and of the listeners.
    pub(super) fn live_children(
        &self,
        sockets: FirstSockets,
        site: &Arc<Editions<Site>>,
        admin: &Arc<Editions<Admin>>,
    ) -> (Arc<LiveChildren>, [SupervisorSpec; 3]) {
        let (handlers, handlers_supervisor) = self.handlers(site);
        let (public, listeners_supervisor) = self.listeners(sockets.public, &handlers);
        let (admin, admin_supervisor) = self.admin(sockets.admin, admin);
        let children = LiveChildren {
            opener: sockets.opener,
            bounds: Arc::clone(&self.bounds),
            handlers,
            public,
            admin,
        };
        let supervisors = [admin_supervisor, handlers_supervisor, listeners_supervisor];
        (Arc::new(children), supervisors)
    }

    /// A handler and its listener for the admin's address alone: full public handlers must not fail a health check.
    fn admin(
        &self,
        open: Vec<OpenAddress>,
        admin: &Arc<Editions<Admin>>,
    ) -> (Listeners, SupervisorSpec) {
        let parts = Parts {
            editions: Arc::clone(admin),
            metrics: Arc::new(HandlerMetrics::new(0)),
            // Its connections are none of the public ones.
            counters: Arc::default(),
            drain: Drain::new(ADMIN_DRAIN),
            access: None,
            tls: Arc::default(),
        };
        let (spec, handler) = request_handler::prepare(
            "admin-handler",
            HANDLER_QUEUE,
            parts,
            GiveWay::Any,
            self.faults.clone(),
        );
        let supervisor = self.supervisor("admin").child(spec);
        let parts = ListenerParts {
            handlers: Arc::new(Handlers::from_pointee(vec![handler])),
            bounds: ConnectionBounds {
                places: Places::new(ADMIN_CONNECTIONS),
                peers: PeerBound::new(ADMIN_CONNECTIONS),
            },
            faults: Faults::none(),
            counters: self.listener_metrics.admin.clone(),
        };
        let name = |number| match number {
            0 => "admin-listener".to_owned(),
            _ => format!("admin-listener-{number}"),
        };
        let before = Some("settings");
        let listeners = Listeners::new(supervisor.supervisor_ref(), name, before, parts);
        let supervisor = with_children(supervisor, listeners.missing(open, self.limit()));
        (listeners, supervisor)
    }

    /// The time that a child has to become ready.
    fn limit(&self) -> Duration {
        self.settings.supervision.start_timeout
    }

    fn handlers(&self, site: &Arc<Editions<Site>>) -> (RequestHandlers, SupervisorSpec) {
        let supervisor = self.supervisor("request-handlers").start_together();
        let parts = HandlerParts {
            site: Arc::clone(site),
            patterns: Arc::clone(&self.patterns),
            counters: Arc::clone(&self.bounds.counters),
            metrics: Arc::clone(&self.handler_counters),
            access: self.access.clone(),
            faults: self.faults.clone(),
            drain: self.limited.drain.clone(),
            tls: Arc::clone(&self.tls.acceptor),
        };
        let handlers = RequestHandlers::new(supervisor.supervisor_ref(), parts);
        let count = handlers::count(&self.settings.server);
        let missing = handlers.missing(count, self.limit());
        handlers.give_connections(count);
        (handlers, with_children(supervisor, missing))
    }

    fn listeners(
        &self,
        open: Vec<OpenAddress>,
        handlers: &RequestHandlers,
    ) -> (Listeners, SupervisorSpec) {
        let supervisor = self.supervisor("listeners").start_together();
        let parts = ListenerParts {
            handlers: Arc::clone(&handlers.taking),
            bounds: self.bounds.connections.clone(),
            faults: self.faults.clone(),
            counters: self.listener_metrics.public.clone(),
        };
        let name = |number| format!("listener-{number}");
        let listeners = Listeners::new(supervisor.supervisor_ref(), name, None, parts);
        let missing = listeners.missing(open, self.limit());
        (listeners, with_children(supervisor, missing))
    }

    pub(super) fn http(&self) -> HttpMetrics {
        HttpMetrics {
            patterns: Arc::clone(&self.patterns),
            handlers: Arc::clone(&self.handler_counters),
            connections: Arc::clone(&self.bounds.counters),
        }
    }
}

fn with_children(supervisor: SupervisorSpec, children: Vec<(String, ChildSpec)>) -> SupervisorSpec {
    let specs = children.into_iter().map(|(_, spec)| spec);
    specs.fold(supervisor, SupervisorSpec::child)
}
