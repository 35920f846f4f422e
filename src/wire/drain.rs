//! Ends connections when the daemon or their handler stops: each finishes its request and closes. When the daemon stops, all
//! handlers do so within one limit, whichever is asked first.

// Decision: All handlers drain at once.

use std::cell::{Cell, RefCell};
use std::rc::{self, Rc};
use std::sync::{Arc, Weak};
use std::task::{Context, Waker};
use std::time::Duration;

use fnv::FnvHashMap;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// The time for which an idle connection stays open after the drain has begun. Its client may have a request on the way: that
/// is answered with `connection: close`, instead of failing on a closed connection.
const LAST_REQUEST: Duration = Duration::from_millis(500);

/// The end of a drain; `None` unless it has begun.
type Until = watch::Sender<Option<Instant>>;

/// Lets every connection of a handler finish its request and close.
#[derive(Debug, Clone)]
pub(crate) struct Drain {
    /// The longest time that the drain may take, for all handlers that drain together.
    limit: Arc<Mutex<Duration>>,
    until: Arc<Until>,
    /// Those of all handlers that drain together.
    all: Arc<Mutex<Vec<Weak<Until>>>>,
}

impl Drain {
    /// A drain that may take `limit`, and has not begun.
    pub(crate) fn new(limit: Duration) -> Self {
        let until = Arc::new(Until::new(None));
        let all = Arc::new(Mutex::new(vec![Arc::downgrade(&until)]));
        let limit = Arc::new(Mutex::new(limit));
        Self { limit, until, all }
    }

    /// The drain of one more handler.
    pub(crate) fn another(&self) -> Self {
        let until = Arc::new(Until::new(None));
        let mut all = self.all.lock();
        all.retain(|handler| handler.strong_count() > 0);
        all.push(Arc::downgrade(&until));
        Self {
            limit: Arc::clone(&self.limit),
            until,
            all: Arc::clone(&self.all),
        }
    }

    /// The longest time that the drain may take.
    pub(crate) fn limit(&self) -> Duration {
        *self.limit.lock()
    }

    /// Changes that for drains that have not begun.
    pub(crate) fn set_limit(&self, limit: Duration) {
        *self.limit.lock() = limit;
    }

    /// Begins the drain of this handler; the limit runs from the first call. Returns its end.
    pub(crate) fn begin(&self) -> Instant {
        begin(&self.until, Instant::now() + self.limit())
    }

    /// Begins the drain of all handlers. Returns its end.
    pub(crate) fn begin_all(&self) -> Instant {
        let end = self.begin();
        let all = self.all.lock();
        for handler in all.iter().filter_map(Weak::upgrade) {
            begin(&handler, end);
        }
        end
    }

    /// Ends the drain: the handler starts, so its connections are served again.
    pub(crate) fn renew(&self) {
        self.until.send_replace(None);
    }

    /// The drain as the connections of this thread see it.
    pub(crate) fn follow(&self) -> Rc<LocalDrain> {
        LocalDrain::follow(self.until.subscribe())
    }
}

/// Begins a drain that has not begun. Returns its end.
fn begin(until: &Until, mut end: Instant) -> Instant {
    until.send_modify(|until| end = *until.get_or_insert(end));
    end
}

/// The stage of the drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Serving,
    /// Connections end with the next answer.
    Begun,
    /// Idle connections end, too.
    Late,
}

/// The drain as one thread sees it. Connections read it on every turn, so it needs no lock and shares no cache line with
/// other threads.
pub(crate) struct LocalDrain {
    stage: Cell<Stage>,
    next: Cell<u64>,
    waiting: RefCell<FnvHashMap<u64, Waker>>,
    /// The task that copies the stage of the process to this thread.
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
    fn follow(mut until: watch::Receiver<Option<Instant>>) -> Rc<Self> {
        let local = Rc::new(Self {
            stage: Cell::new(Stage::Serving),
            next: Cell::new(0),
            waiting: RefCell::default(),
            follower: Cell::new(None),
        });
        let weak = Rc::downgrade(&local);
        let follower = actix_rt::spawn(async move {
            // Without a sender there is nothing to wait for.
            while until.wait_for(Option::is_some).await.is_ok() {
                Self::reach(&weak, Stage::Begun);
                let renewed = until.wait_for(Option::is_none);
                if tokio::time::timeout(LAST_REQUEST, renewed).await.is_err() {
                    Self::reach(&weak, Stage::Late);
                    if until.wait_for(Option::is_none).await.is_err() {
                        return;
                    }
                }
                Self::reach(&weak, Stage::Serving);
            }
        });
        local.follower.set(Some(follower));
        local
    }

    fn reach(local: &rc::Weak<Self>, stage: Stage) {
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
    /// Whether the connection has had a turn since the stage became `Late`.
    looked: bool,
}

impl DrainWatch {
    /// The stage; the task is woken when it changes.
    fn stage(&mut self, cx: &Context<'_>) -> Stage {
        // A connection is one task from beginning to end, so its waker stays the same.
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

    /// Whether an idle connection has to end. It has one more turn before, to read a request that has already arrived.
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
