//! The end of connections: each finishes what it has been asked, and closes.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::connection::Connection;

/// How long a connection that has not been asked anything yet may still be asked: it was accepted, and its client may
/// have sent a request that nobody has read.
const FIRST_REQUEST: Duration = Duration::from_millis(500);

/// Lets every connection finish its request and close.
#[derive(Debug, Clone)]
pub struct Drain {
    begun: watch::Sender<bool>,
}

impl Drain {
    /// Not begun.
    pub fn new() -> Self {
        Self {
            begun: watch::Sender::new(false),
        }
    }

    /// Begins.
    pub fn begin(&self) {
        self.begun.send_replace(true);
    }

    /// Connections are served again.
    pub fn renew(&self) {
        self.begun.send_replace(false);
    }

    /// The drain as the connections of this thread see it.
    pub(crate) fn follow(&self) -> Rc<LocalDrain> {
        LocalDrain::follow(self.begun.subscribe())
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

/// How far the drain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Serving,
    /// Connections end with what they have been asked, or are being asked.
    Begun,
    /// Connections that have not been asked anything end, too.
    Late,
}

/// The drain as one thread sees it. Connections look at it on every turn, so there is no lock on their way, nor a cache
/// line that threads share.
pub(crate) struct LocalDrain {
    stage: Cell<Stage>,
    next: Cell<u64>,
    waiting: RefCell<HashMap<u64, Waker>>,
    /// The task that waits for the process.
    follower: Cell<Option<JoinHandle<()>>>,
}

impl Drop for LocalDrain {
    fn drop(&mut self) {
        if let Some(follower) = self.follower.take() {
            follower.abort();
        }
    }
}

impl LocalDrain {
    fn follow(mut begun: watch::Receiver<bool>) -> Rc<Self> {
        let local = Rc::new(Self {
            stage: Cell::new(Stage::Serving),
            next: Cell::new(0),
            waiting: RefCell::default(),
            follower: Cell::new(None),
        });
        let weak = Rc::downgrade(&local);
        let follower = actix_rt::spawn(async move {
            // Without a sender there is nothing to wait for.
            while begun.wait_for(|begun| *begun).await.is_ok() {
                Self::reach(&weak, Stage::Begun);
                let renewed = begun.wait_for(|begun| !*begun);
                if tokio::time::timeout(FIRST_REQUEST, renewed).await.is_err() {
                    Self::reach(&weak, Stage::Late);
                    if begun.wait_for(|begun| !*begun).await.is_err() {
                        return;
                    }
                }
                Self::reach(&weak, Stage::Serving);
            }
        });
        local.follower.set(Some(follower));
        local
    }

    fn reach(local: &Weak<Self>, stage: Stage) {
        if let Some(local) = local.upgrade() {
            local.stage.set(stage);
            local.waiting.borrow().values().for_each(Waker::wake_by_ref);
        }
    }

    /// Whether answers are the last ones of their connections.
    pub(crate) fn begun(&self) -> bool {
        self.stage.get() > Stage::Serving
    }

    /// Completes when `connection` has to end.
    pub(crate) fn end_of(self: Rc<Self>, connection: Option<Rc<Connection>>) -> EndOf {
        EndOf {
            drain: self,
            connection,
            place: None,
        }
    }
}

/// One connection's wait for the drain.
pub(crate) struct EndOf {
    drain: Rc<LocalDrain>,
    connection: Option<Rc<Connection>>,
    place: Option<u64>,
}

impl Future for EndOf {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let fresh = self.connection.as_ref().is_some_and(|c| c.fresh());
        // A connection is one task all its life, so its waker stays.
        if self.place.is_none() {
            let place = self.drain.next.get();
            self.drain.next.set(place.wrapping_add(1));
            let waker = cx.waker().clone();
            self.drain.waiting.borrow_mut().insert(place, waker);
            self.place = Some(place);
            if fresh && self.drain.begun() {
                // However late it is: a request that is there already is read in this turn.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        match self.drain.stage.get() {
            Stage::Serving => Poll::Pending,
            Stage::Begun if fresh => Poll::Pending,
            Stage::Begun | Stage::Late => Poll::Ready(()),
        }
    }
}

impl Drop for EndOf {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.drain.waiting.borrow_mut().remove(&place);
        }
    }
}
