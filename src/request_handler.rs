//! The request handler: a child that owns a thread and runs connections on it.
//!
//! Each connection is a task of the thread, not of the incarnation: when the handler panics, its connections go on, and the
//! next incarnation takes new ones.

// Decision: A group restart keeps connections.

mod load;
mod peers;

pub(crate) use load::{GiveWay, HandlerLoad};
pub(crate) use peers::PeerBound;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::places::TakenPlace;
use crate::supervision::{
    Child, ChildContext, ChildRef, ChildSpec, Delivery, EventLoop, Faults, LocalBoxFuture, Message,
    QueueLimits, Shutdown, Slot,
};
use crate::wire::{CurrentWait, Drain, Parts, Peer, Responder, Service, Socket};
use load::LivingConnection;
use peers::PeerPlace;

/// The time beyond the limit of the drain that a handler has to end by itself.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// The fault point at which a handler hangs before it is ready.
const HANGING_START: &str = "handler.hanging_start";

/// One incarnation of a request handler.
pub(crate) struct RequestHandler {
    service: Service,
    load: Arc<HandlerLoad>,
    drain: Drain,
    faults: Faults,
}

/// A request handler, as a listener knows it.
#[derive(Debug, Clone)]
pub(crate) struct HandlerRef {
    /// Its child, which gets connections.
    pub child: ChildRef<Handover>,
    /// Its connections.
    pub load: Arc<HandlerLoad>,
    /// The thread it runs on.
    pub event_loop: EventLoop,
}

/// The handlers that take new connections, as all their listeners know them; a reload replaces the list.
pub(crate) type Handlers = ArcSwap<Vec<HandlerRef>>;

/// The longest time that a request handler takes to stop, whose drain has this limit.
pub(crate) fn stop_timeout(drain: Duration) -> Duration {
    drain.saturating_add(DRAIN_GRACE)
}

/// Returns the child spec of a request handler, and the reference that listeners use; up to `queue` connections may wait.
pub(crate) fn prepare<R: Responder>(
    name: &str,
    queue: QueueLimits,
    parts: Parts<R>,
    give_way: GiveWay,
    faults: Faults,
) -> (ChildSpec, HandlerRef) {
    let (slot, child) = Slot::with_limits(name, queue);
    let (event_loop, load) = (EventLoop::default(), Arc::new(HandlerLoad::new(give_way)));
    let handler = HandlerRef {
        child,
        load: Arc::clone(&load),
        event_loop: event_loop.clone(),
    };
    let drain = parts.drain.clone();
    let shutdown = Shutdown::Timeout(stop_timeout(drain.limit()));
    let parts = Arc::new(parts);
    faults.register("handler.message");
    faults.register(HANGING_START);
    let spec = ChildSpec::actor_on(&event_loop, &slot, move |_| {
        let (parts, load) = (Arc::clone(&parts), Arc::clone(&load));
        let (drain, faults) = (drain.clone(), faults.clone());
        async move {
            faults.hang(HANGING_START).await;
            drain.renew();
            let service = Service::build(parts).await?;
            Ok(RequestHandler {
                service,
                load,
                drain,
                faults,
            })
        }
    });
    (spec.shutdown(shutdown), handler)
}

impl Child for RequestHandler {
    type Message = Handover;

    fn handle(&mut self, message: Delivery<Handover>, _: &mut ChildContext) {
        if message.attempt() == 1 {
            self.faults.hit("handler.message");
        }
        let Some((accepted, living)) = message.take() else {
            return;
        };
        let wait = Arc::<CurrentWait>::default();
        let connection = self.service.serve(accepted.socket, accepted.peer, &wait);
        let connection = self.load.join(connection, wait, accepted.peer_place);
        drop(actix_rt::spawn(async move {
            connection.await;
            drop((living, accepted.place));
        }));
    }

    /// Nothing has to be waited for: the connections are tasks of the thread and go on.
    fn step_aside(&mut self) -> LocalBoxFuture<'static, ()> {
        Box::pin(async {})
    }

    /// All handlers drain at once.
    fn stop(&mut self) -> LocalBoxFuture<'static, ()> {
        let until = self.drain.begin_all();
        Box::pin(drained(Arc::clone(&self.load), until))
    }

    /// The connections of the other handlers stay.
    fn stop_alone(&mut self) -> LocalBoxFuture<'static, ()> {
        let until = self.drain.begin();
        Box::pin(drained(Arc::clone(&self.load), until))
    }
}

/// Waits for the end of all connections, or of the drain.
async fn drained(load: Arc<HandlerLoad>, until: Instant) {
    if timeout_at(until, load.drained()).await.is_err() {
        tracing::warn!(
            connections = load.living(),
            "closing connections that did not finish in time"
        );
    }
}

/// A connection that no handler serves yet.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// The socket.
    pub socket: Socket,
    /// The client.
    pub peer: Peer,
    /// Its place among the connections of its peer, if these have a bound.
    pub peer_place: Option<PeerPlace>,
    /// Its place among all connections.
    pub place: TakenPlace,
}

/// A connection as a message: taken out once, by the handler that serves it.
#[derive(Debug)]
pub(crate) struct Handover {
    accepted: Mutex<Option<(Accepted, LivingConnection)>>,
}

impl Handover {
    /// A connection on its way to the handler with this load.
    pub(crate) fn new(accepted: Accepted, load: &Arc<HandlerLoad>) -> Self {
        let living = LivingConnection::new(load);
        Self {
            accepted: Mutex::new(Some((accepted, living))),
        }
    }

    /// Takes it out, with its `LivingConnection` guard; `None` the second time.
    pub(crate) fn take(&self) -> Option<(Accepted, LivingConnection)> {
        self.accepted.lock().take()
    }
}

impl Message for Handover {
    fn kind(&self) -> &'static str {
        "connection"
    }

    fn redeliverable(&self) -> bool {
        self.accepted.lock().is_some()
    }
}
