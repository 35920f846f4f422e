//! The end of connections: each finishes what it has been asked, and closes.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long a connection may still be asked something. Its client may have sent a request that nobody has read yet, or
/// be about to: one that asks again and again learns of the end from an answer, and not from a closed connection.
const LAST_REQUEST: Duration = Duration::from_millis(500);

/// Lets every connection finish its request and close.
#[derive(Debug, Clone)]
pub(crate) struct Drain {
    begun: watch::Sender<bool>,
}

impl Drain {
    /// Not begun.
    pub(crate) fn new() -> Self {
        Self {
            begun: watch::Sender::new(false),
        }
    }

    /// Begins.
    pub(crate) fn begin(&self) {
        self.begun.send_replace(true);
    }

    /// Connections are served again.
    pub(crate) fn renew(&self) {
        self.begun.send_replace(false);
    }

    /// The drain as the connections of this thread see it.
    pub(crate) fn follow(&self) -> Rc<LocalDrain> {
        LocalDrain::follow(self.begun.subscribe())
    }
}

/// The stage of the drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Serving,
    /// Connections end with the next answer.
    Begun,
    /// Connections that are not being asked anything end, too.
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
                if tokio::time::timeout(LAST_REQUEST, renewed).await.is_err() {
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

    /// Lets one connection, which is one task, wait for the drain.
    pub(crate) fn watch(self: Rc<Self>) -> DrainWatch {
        DrainWatch {
            drain: self,
            key: None,
            looked: false,
        }
    }
}

/// One connection's wait for the drain.
pub(crate) struct DrainWatch {
    drain: Rc<LocalDrain>,
    key: Option<u64>,
    /// The connection has had a turn since it was too late to ask.
    looked: bool,
}

impl DrainWatch {
    /// The stage; the task is woken when it changes.
    fn stage(&mut self, cx: &Context<'_>) -> Stage {
        // A connection is one task all its life, so its waker stays.
        if self.key.is_none() {
            let key = self.drain.next.get();
            self.drain.next.set(key.wrapping_add(1));
            let waker = cx.waker().clone();
            self.drain.waiting.borrow_mut().insert(key, waker);
            self.key = Some(key);
        }
        self.drain.stage.get()
    }

    /// Whether the drain has begun.
    pub(crate) fn begun(&mut self, cx: &Context<'_>) -> bool {
        self.stage(cx) > Stage::Serving
    }

    /// Whether a connection that asks nothing has to end. However late it is, a request that is there already is read
    /// first, in one more turn.
    pub(crate) fn late(&mut self, cx: &Context<'_>) -> bool {
        let late = self.stage(cx) == Stage::Late;
        let looked = std::mem::replace(&mut self.looked, late);
        if late && !looked {
            cx.waker().wake_by_ref();
        }
        late && looked
    }
}

impl Drop for DrainWatch {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.drain.waiting.borrow_mut().remove(&key);
        }
    }
}
