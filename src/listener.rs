//! The listener: a child that accepts connections from a socket, which the app has bound, and hands them to request
//! handlers.

// Decision: Each handler has a listener on its own thread.
// Decision: The oldest idle connection of all handlers gives way.

mod bind;
mod inherited;
mod least_loaded;
mod listening;
mod metrics;
mod socket_error;
mod state;
#[cfg(test)]
mod tests;
mod unix_path;

pub(crate) use bind::{bind, try_bind};
pub(crate) use inherited::Inherited;
pub(crate) use listening::SharedListening;
pub(crate) use metrics::{ListenerCounters, ListenerMetrics};
pub use socket_error::SocketError;
pub(crate) use state::{ConnectionBounds, ListenerState};
pub(crate) use unix_path::{OpenTo, SocketFile, bind_unix, try_bind_unix};

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, timeout};

use crate::num::as_u64;
use crate::places::TakenPlace;
use crate::supervision::{
    BoxError, Child, ChildContext, ChildSpec, Delivery, EventLoop, Incarnation, LocalBoxFuture,
    Message, Slot, StartError,
};
use crate::wire::{ClientWait, register};

/// The pause after an accept failed for want of descriptors or memory, and between two looks for a handler or for a
/// connection that can make room.
const PAUSE: Duration = Duration::from_millis(10);

/// The time for which a listener that stops waits for handlers, and for places.
const LAST_HANDOVER: Duration = Duration::from_secs(1);

/// The fault point at which a listener hangs before it is ready.
const HANGING_START: &str = "listener.hanging_start";

/// A listener takes no messages: it works from its socket.
#[derive(Debug)]
pub(crate) enum ListenerMessage {}

impl Message for ListenerMessage {
    fn kind(&self) -> &'static str {
        match *self {}
    }
}

/// One incarnation of a listener.
pub(crate) struct Listener {
    state: Arc<ListenerState>,
    socket: Option<AsyncFd<OwnedFd>>,
}

/// The child spec of a listener that runs on `event_loop`.
pub(crate) fn child_spec(
    name: &str,
    event_loop: &EventLoop,
    state: Arc<ListenerState>,
) -> ChildSpec {
    let (slot, _) = Slot::new(name);
    ChildSpec::actor_on(event_loop, &slot, move |_| {
        let state = Arc::clone(&state);
        async move {
            state.faults.hang(HANGING_START).await;
            let socket = state.socket.socket.try_clone();
            let socket = socket.map_err(StartError::failed)?;
            let socket = register(socket).map_err(StartError::failed)?;
            Ok(Listener {
                state,
                socket: Some(socket),
            })
        }
    })
}

impl Child for Listener {
    type Message = ListenerMessage;

    fn handle(&mut self, message: Delivery<ListenerMessage>, _: &mut ChildContext) {
        match *message {}
    }

    fn run(
        &mut self,
        cx: &mut ChildContext,
    ) -> Option<LocalBoxFuture<'static, Result<(), BoxError>>> {
        let socket = self.socket.take()?;
        Some(Box::pin(accept(
            Arc::clone(&self.state),
            socket,
            cx.incarnation().clone(),
        )))
    }

    /// The clients in the backlog are accepted, and later ones are refused at once, so that they go elsewhere. Those of an
    /// inherited socket wait in its backlog for the next daemon.
    fn stop(&mut self) -> LocalBoxFuture<'static, ()> {
        let state = Arc::clone(&self.state);
        Box::pin(async move { state.close(Instant::now() + LAST_HANDOVER).await })
    }

    /// The other listeners of the socket go on, and the next incarnation accepts from it. What was accepted is handed over.
    fn stop_alone(&mut self) -> LocalBoxFuture<'static, ()> {
        let state = Arc::clone(&self.state);
        Box::pin(async move {
            // If no handler runs by then, the client waits for the next incarnation.
            let until = Instant::now() + LAST_HANDOVER;
            state.hand_over_until(until).await;
        })
    }

    /// The next incarnation accepts from the same socket.
    fn step_aside(&mut self) -> LocalBoxFuture<'static, ()> {
        Box::pin(async {})
    }
}

async fn accept(
    state: Arc<ListenerState>,
    socket: AsyncFd<OwnedFd>,
    incarnation: Incarnation,
) -> Result<(), BoxError> {
    let mut rotation = 0_usize;
    let mut accepted = false;
    loop {
        // A connection that the incarnation before had accepted comes first.
        while state.has_waiting() {
            rotation = rotation.wrapping_add(1);
            if state.hand_over(rotation) {
                incarnation.progress();
            } else {
                tokio::time::sleep(PAUSE).await;
            }
        }
        let mut ready = socket.readable().await?;
        // The kernel makes a new file before it looks whether a client is there, so it is asked first.
        if std::mem::take(&mut accepted) && !has_client(socket.get_ref()) {
            ready.clear_ready();
            continue;
        }
        // A place is taken when a client is there: one that is held in advance would be missing at another socket.
        let place = place(&state, &socket).await?;
        if state.has_waiting() {
            // The stop of this incarnation has accepted it meanwhile.
            continue;
        }
        match ready.try_io(|socket| listening::accept(socket.get_ref())) {
            Ok(Ok((socket, address))) => {
                accepted = true;
                state.keep(socket, address, place);
                state.faults.hit("listener.accepted");
            }
            // The incarnation is about to end. (A unix socket that was shut has nothing to accept, and is always ready.)
            _ if state.socket.is_shut() => return std::future::pending().await,
            // Another listener of the socket was quicker.
            Err(_would_block) => {}
            Ok(Err(error)) if is_the_clients(&error) => {}
            Ok(Err(error)) => {
                state.counters.failed.inc();
                tracing::error!(%error, "a connection could not be accepted; if too many files are open, raise LimitNOFILE or ulimit -n");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// A place among all connections. Clients wait in the kernel's backlog until there is one; idle connections are closed for
/// them, and then those whose head is not whole.
async fn place(state: &ListenerState, socket: &AsyncFd<OwnedFd>) -> Result<TakenPlace, BoxError> {
    if let Some(place) = state.bounds.places.try_take() {
        return Ok(place);
    }
    let mut place = std::pin::pin!(Arc::clone(&state.bounds.places).take());
    let mut counted = false;
    loop {
        // Room is made for clients that are there, and not for those that may come.
        while !has_client(socket.get_ref()) {
            // Nor is a place waited for: one that is free would be kept from the other sockets until the next client.
            place.set(Arc::clone(&state.bounds.places).take());
            let mut ready = socket.readable().await?;
            if has_client(socket.get_ref()) {
                break;
            }
            ready.clear_ready();
        }
        if !std::mem::replace(&mut counted, true) {
            state.counters.full.inc();
        }
        make_room(state);
        if let Ok(place) = timeout(PAUSE, &mut place).await {
            return Ok(place);
        }
    }
}

/// Closes a connection that gives way: the oldest of all handlers whose handshake is not complete, only if there is none the
/// oldest idle one, and then the oldest whose head is not whole.
fn make_room(state: &ListenerState) {
    let (now, handlers) = (Instant::now(), state.handlers.load());
    for wait in [
        ClientWait::Handshake,
        ClientWait::Request,
        ClientWait::RestOfHead,
    ] {
        let handlers = handlers.iter().map(|handler| &handler.load);
        let with_age = handlers.filter_map(|load| Some((load.oldest(wait, now)?, load)));
        let mut by_age: Vec<_> = with_age.collect();
        by_age.sort_by_key(|(since, _)| *since);
        // It may have ended or begun a request since.
        let mut closed = by_age.iter().map(|(_, load)| load.make_room(wait, now));
        if let Some(closed) = closed.find(|closed| *closed > 0) {
            state.counters.gave_way.inc_by(as_u64(closed));
            return;
        }
    }
}

/// Whether a client waits in the backlog. The reactor knows only whether one came.
fn has_client(socket: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(socket, PollFlags::IN)];
    !matches!(poll(&mut fds, Some(&Timespec::default())), Ok(0))
}

/// Whether the client went away while it waited, which is no fault of this process.
fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}
