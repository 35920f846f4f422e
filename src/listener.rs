//! The listener: a child that accepts from a socket it does not own, and hands connections to request handlers.

mod bind;
mod least_loaded;

pub use bind::{BindError, bind};
pub use least_loaded::{Candidate, least_loaded};

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::request_handler::{Connection, HandlerLoad, Socket, Ticket};
use crate::supervision::{
    BoxError, Child, ChildRef, ChildSpec, Cx, Delivery, Faults, Life, LocalBoxFuture, Message,
    Placement, Slot, StartError,
};

/// How long to wait after an accept failed for want of descriptors or memory, and between two looks for a handler.
const PAUSE: Duration = Duration::from_millis(20);

/// How often a lasting failure is logged.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(1);

/// A listener takes no messages: it works from its socket.
#[derive(Debug)]
pub enum ListenerMessage {}

impl Message for ListenerMessage {
    fn kind(&self) -> &'static str {
        match *self {}
    }
}

/// A request handler, as a listener knows it.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where connections go.
    pub handler: ChildRef<Connection>,
    /// How many it has.
    pub load: Arc<HandlerLoad>,
}

/// An accepted socket with its place among all connections.
type Arrival = (Socket, Option<SocketAddr>, OwnedSemaphorePermit);

/// What outlives every incarnation of one listener.
#[derive(Debug)]
pub struct Door {
    /// Bound by the app, once.
    pub socket: TcpListener,
    /// Who serves.
    pub targets: Vec<Target>,
    /// Places for connections, shared by all public listeners.
    pub places: Arc<Semaphore>,
    /// Faults to pass.
    pub faults: Faults,
    /// What has been accepted and not handed over: no death drops it.
    in_hand: Mutex<Option<Arrival>>,
}

impl Door {
    /// A door that nobody stands at yet.
    pub fn new(
        socket: TcpListener,
        targets: Vec<Target>,
        places: Arc<Semaphore>,
        faults: Faults,
    ) -> Arc<Self> {
        Arc::new(Self {
            socket,
            targets,
            places,
            faults,
            in_hand: Mutex::new(None),
        })
    }

    fn in_hand(&self) -> std::sync::MutexGuard<'_, Option<Arrival>> {
        self.in_hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over what is in hand. False if no handler takes it now.
    fn hand_over(&self, rotation: usize) -> bool {
        let mut in_hand = self.in_hand();
        let candidates: Vec<_> = self
            .targets
            .iter()
            .map(|target| Candidate {
                running: target.handler.running(),
                connections: target.load.living(),
                queue: target.handler.queue_messages(),
            })
            .collect();
        let chosen = least_loaded(&candidates, rotation);
        let Some(target) = chosen.and_then(|chosen| self.targets.get(chosen)) else {
            return false;
        };
        // Whatever happens below, the socket is either told or back in hand.
        let Some((socket, peer, place)) = in_hand.take() else {
            return true;
        };
        let ticket = Ticket::new(&target.load, place);
        match target.handler.tell(Connection::new(socket, peer, ticket)) {
            Ok(()) => true,
            Err(refused) => {
                let back = refused.message.take();
                *in_hand = back
                    .and_then(|(socket, peer, ticket)| Some((socket, peer, ticket.into_place()?)));
                false
            }
        }
    }
}

/// One life of a listener.
pub struct Listener {
    door: Arc<Door>,
    socket: Option<AsyncFd<TcpListener>>,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Listener({:?})", self.door.socket)
    }
}

/// The recipe of a listener.
pub fn child_spec(slot: &Slot<ListenerMessage>, door: Arc<Door>, faults: Faults) -> ChildSpec {
    ChildSpec::actor(slot, Placement::Own, faults, move |_| {
        let door = Arc::clone(&door);
        Box::pin(async move {
            let socket = door.socket.try_clone().map_err(StartError::failed)?;
            // A listening socket of std keeps its descriptor for life, which is what the deprecation worries about; and
            // tokio's own listener would register every accepted socket here, on the wrong thread.
            #[expect(
                deprecated,
                reason = "its successor asks for a promise that no compiler checks"
            )]
            let socket = AsyncFd::new(socket).map_err(StartError::failed)?;
            Ok(Listener {
                door,
                socket: Some(socket),
            })
        })
    })
}

impl Child for Listener {
    type Message = ListenerMessage;

    fn handle(&mut self, message: Delivery<ListenerMessage>, _: &mut Cx) {
        match *message {}
    }

    fn run(&mut self, cx: &mut Cx) -> Option<LocalBoxFuture<'static, Result<(), BoxError>>> {
        let socket = self.socket.take()?;
        Some(Box::pin(accept(
            Arc::clone(&self.door),
            socket,
            cx.life().clone(),
        )))
    }
}

async fn accept(door: Arc<Door>, socket: AsyncFd<TcpListener>, life: Life) -> Result<(), BoxError> {
    let mut rotation = 0_usize;
    let mut complained = None;
    loop {
        // What the life before had in hand comes first.
        while door.in_hand().is_some() {
            rotation = rotation.wrapping_add(1);
            if door.hand_over(rotation) {
                life.progress();
            } else {
                tokio::time::sleep(PAUSE).await;
            }
        }
        let place = Arc::clone(&door.places).acquire_owned().await?;
        let accepted = loop {
            let mut ready = socket.readable().await?;
            match ready.try_io(|socket| socket.get_ref().accept()) {
                Ok(accepted) => break accepted,
                Err(_would_block) => {}
            }
        };
        match accepted {
            Ok((stream, peer)) => {
                *door.in_hand() = Some((Socket::Tcp(stream), Some(peer), place));
                door.faults.hit("listener.accepted");
            }
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                if complained.is_none_or(|at: Instant| at.elapsed() >= COMPLAINT_PAUSE) {
                    complained = Some(Instant::now());
                    tracing::error!(%error, "accepting failed; raise the limit of open files if that is it");
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// A client that went away while it waited is no fault of ours.
fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}
