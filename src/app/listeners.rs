//! The listeners of some addresses: one for each socket and handler, on the handler's thread.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;

use super::handlers::{add, not_removed};
use super::reload::difference::{compare, free_name, take_out};
use super::sockets::{ListenAddress, OpenAddress};
use crate::admin::NotReloaded;
use crate::listener::{self, ConnectionBounds, ListenerCounters, ListenerState, SharedListening};
use crate::request_handler::{HandlerLoad, HandlerRef, Handlers};
use crate::supervision::{ChildSpec, Faults, OrderError, SupervisorRef};
use crate::wire::Speaks;

/// The parts that all listeners of a kind share.
pub(super) struct ListenerParts {
    pub(super) handlers: Arc<Handlers>,
    pub(super) bounds: ConnectionBounds,
    pub(super) faults: Faults,
    pub(super) counters: ListenerCounters,
}

/// The listeners of a kind: the public ones, or that of the admin.
pub(super) struct Listeners {
    supervisor: SupervisorRef,
    /// The name of a listener by its number.
    name: fn(usize) -> String,
    /// The child before which they have their place, if not behind all others.
    before: Option<&'static str>,
    parts: ListenerParts,
    running: Mutex<RunningListeners>,
}

/// A URL at which clients are served.
#[derive(serde::Serialize)]
pub(super) struct OpenUrl {
    pub(super) url: String,
    /// Whether its clients speak TLS.
    tls: bool,
}

#[derive(Default)]
struct RunningListeners {
    addresses: Vec<OpenAddress>,
    all: Vec<RunningListener>,
}

struct RunningListener {
    name: String,
    socket: SpeakingSocket,
    /// The load of the handler on its thread.
    near: Arc<HandlerLoad>,
}

/// A socket with the protocol of its clients.
#[derive(Clone)]
struct SpeakingSocket {
    socket: Arc<SharedListening>,
    speaks: Speaks,
}

impl SpeakingSocket {
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.socket, &other.socket) && self.speaks == other.speaks
    }
}

impl RunningListener {
    fn serves(&self, (socket, handler): &(SpeakingSocket, HandlerRef)) -> bool {
        self.socket.is(socket) && Arc::ptr_eq(&self.near, &handler.load)
    }
}

impl RunningListeners {
    fn sockets(&self) -> impl Iterator<Item = SpeakingSocket> {
        self.addresses.iter().flat_map(|open| {
            let speaks = open.address.speaks;
            let sockets = open.sockets.iter().cloned();
            sockets.map(move |socket| SpeakingSocket { socket, speaks })
        })
    }

    /// All pairs of a socket and a handler.
    fn pairs(&self, handlers: &[HandlerRef]) -> Vec<(SpeakingSocket, HandlerRef)> {
        let pairs = self.sockets().flat_map(|socket| {
            let handlers = handlers.iter().cloned();
            handlers.map(move |handler| (socket.clone(), handler))
        });
        pairs.collect()
    }
}

impl Listeners {
    /// None yet; `supervisor` will have them.
    pub(super) fn new(
        supervisor: SupervisorRef,
        name: fn(usize) -> String,
        before: Option<&'static str>,
        parts: ListenerParts,
    ) -> Self {
        Self {
            supervisor,
            name,
            before,
            parts,
            running: Mutex::default(),
        }
    }

    /// The addresses that are wanted and not open, and the sockets of those that are open and not wanted.
    pub(super) fn changes(
        &self,
        wanted: &[ListenAddress],
    ) -> (Vec<ListenAddress>, Vec<Arc<SharedListening>>) {
        let open = &self.running.lock().addresses;
        let difference = compare(open, wanted, |open, wanted| open.address == *wanted);
        let missing = difference.missing.iter().filter_map(|at| wanted.get(*at));
        let going = difference.surplus.iter().filter_map(|at| open.get(*at));
        let going = going.flat_map(|open| open.sockets.iter().cloned());
        (missing.cloned().collect(), going.collect())
    }

    /// The URLs at which clients reach them, and the protocol of each.
    pub(super) fn urls(&self) -> Vec<OpenUrl> {
        let running = self.running.lock();
        let urls = running.addresses.iter().flat_map(|open| {
            let tls = open.address.speaks == Speaks::Https;
            open.urls().into_iter().map(move |url| OpenUrl { url, tls })
        });
        urls.collect()
    }

    /// The specs of the listeners that are missing when these addresses are open, too, with their names.
    pub(super) fn missing(
        &self,
        opened: Vec<OpenAddress>,
        limit: Duration,
    ) -> Vec<(String, ChildSpec)> {
        let mut running = self.running.lock();
        running.addresses.extend(opened);
        let handlers = self.parts.handlers.load_full();
        let wanted = running.pairs(&handlers);
        let missing = compare(&running.all, &wanted, RunningListener::serves).missing;
        let mut taken: Vec<String> = running.all.iter().map(|one| one.name.clone()).collect();
        taken.extend(self.supervisor.children().into_iter().map(|view| view.name));
        let mut specs = Vec::new();
        for (socket, handler) in missing.into_iter().filter_map(|at| wanted.get(at)) {
            let (_, name) = free_name(self.name, |name| taken.iter().any(|one| one == name));
            let spec = self.listener(&name, socket, handler);
            taken.push(name.clone());
            running.all.push(RunningListener {
                name: name.clone(),
                socket: socket.clone(),
                near: Arc::clone(&handler.load),
            });
            specs.push((name, spec.start_timeout(limit)));
        }
        specs
    }

    fn listener(
        &self,
        name: &str,
        SpeakingSocket { socket, speaks }: &SpeakingSocket,
        handler: &HandlerRef,
    ) -> ChildSpec {
        let ListenerParts {
            handlers,
            bounds,
            faults,
            counters,
        } = &self.parts;
        let state = ListenerState::new(
            socket,
            *speaks,
            Arc::clone(handlers),
            Some(Arc::clone(&handler.load)),
            bounds.clone(),
            faults.clone(),
            counters.clone(),
        );
        listener::child_spec(name, &handler.event_loop, state)
    }

    /// Starts the listeners of these addresses and of all handlers, and waits until they are ready. The error says which are
    /// not, and why.
    pub(super) async fn start(
        &self,
        opened: Vec<OpenAddress>,
        limit: Duration,
    ) -> Result<(), NotReloaded> {
        let missing = self.missing(opened, limit);
        add(&self.supervisor, self.before, missing).await
    }

    /// Closes all addresses but the `wanted` ones, and removes the listeners that are not needed then. Clients that have
    /// connected are handed over before.
    pub(super) async fn finish(&self, wanted: &[ListenAddress]) {
        let (going, surplus) = {
            let mut running = self.running.lock();
            let open = &running.addresses;
            let going = compare(open, wanted, |open, wanted| open.address == *wanted).surplus;
            let going = take_out(&mut running.addresses, &going);
            let pairs = running.pairs(&self.parts.handlers.load());
            let surplus = compare(&running.all, &pairs, RunningListener::serves).surplus;
            (going, take_out(&mut running.all, &surplus))
        };
        // From here on no client finds a unix socket; those that have are accepted.
        going.iter().for_each(OpenAddress::remove_file);
        let kept: Vec<_> = self.running.lock().sockets().collect();
        let removed = surplus.into_iter().map(|listener| {
            let closes = !kept
                .iter()
                .any(|kept| Arc::ptr_eq(&kept.socket, &listener.socket.socket));
            self.remove(listener, closes)
        });
        join_all(removed).await;
        for open in going {
            tracing::info!(address = %open.address, "reload: no longer listening");
        }
    }

    /// Removes one listener, and waits until it is gone, unless it stands before the child that waits.
    async fn remove(&self, listener: RunningListener, closes: bool) {
        let name = &*listener.name;
        let removed = async {
            let removal = self.supervisor.begin_removal(name, closes).await?;
            if self.before.is_none() {
                removal.done().await?;
            }
            Ok(())
        };
        match removed.await {
            Ok(()) => tracing::info!(child = name, "reload: removed"),
            Err(OrderError::NotFound) => {}
            Err(error) => {
                not_removed(name, &error);
                self.running.lock().all.push(listener);
            }
        }
    }
}
