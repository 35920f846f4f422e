//! Administering the children of a running supervisor: start, terminate, restart, delete, look and count, with OTP's
//! meanings and OTP's errors.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::child_spec::ChildSpec;
use super::event::Input;
use super::exit_reason::ExitReason;
use super::rules::Rules;
use super::spec_fault::SpecFaults;
use super::tree::NodeView;

/// Orders to one supervisor that may be on their way; whoever has one more waits.
const ORDERS_MAX: usize = 64;

/// Why a supervisor did not do as ordered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// A child of that name is there, and alive.
    #[error("a child of this name runs already")]
    AlreadyStarted,
    /// A child of that name is there, and down.
    #[error("a child of this name is there already, and down")]
    AlreadyPresent,
    /// It is alive: it has to be terminated first.
    #[error("the child runs")]
    Running,
    /// It has died, and its restart is under way.
    #[error("the child is being restarted")]
    Restarting,
    /// There is no child of that name.
    #[error("no child of this name")]
    NotFound,
    /// The spec is wrong; nothing was added.
    #[error(transparent)]
    Faulty(#[from] SpecFaults),
    /// The child could not be started. A new one was not added; an old one stays, and is down.
    #[error("the child could not be started: {0}")]
    StartFailed(ExitReason),
    /// It was terminated before it was ready.
    #[error("terminated before it was ready")]
    Terminated,
    /// The supervisor does not run, or ended before it was done.
    #[error("the supervisor does not run")]
    NotRunning,
}

/// Where a child stands after a start that was ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// This life of it serves.
    Running {
        /// Which life it is.
        generation: u64,
    },
    /// It is not wanted now (OTP: `{ok, undefined}`).
    Down,
}

/// How many children a supervisor has (OTP: `count_children`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Specs, running or not.
    pub specs: usize,
    /// Children that are alive.
    pub active: usize,
    /// Specs of supervisors.
    pub supervisors: usize,
    /// Specs of anything else.
    pub workers: usize,
}

pub(crate) type Answer = Result<Standing, AdminError>;

/// Where the answer to an order goes. The order counts as one until then.
pub(crate) struct Reply<T> {
    to: oneshot::Sender<T>,
    _place: Option<OwnedSemaphorePermit>,
}

impl<T> Reply<T> {
    pub(crate) fn send(self, answer: T) {
        // Whoever ordered may have gone; what was ordered is done all the same.
        drop(self.to.send(answer));
    }
}

/// What a supervisor is ordered to do.
pub(crate) enum Order {
    Start(ChildSpec, Reply<Answer>),
    Terminate(Arc<str>, Reply<Answer>),
    Restart(Arc<str>, Reply<Answer>),
    Delete(Arc<str>, Reply<Answer>),
    Which(Reply<Vec<NodeView>>),
    Count(Reply<Counts>),
    Spec(Arc<str>, Reply<Option<Rules>>),
}

/// Where orders to a supervisor are left, whichever life of it takes them.
pub(crate) struct Desk {
    name: Arc<str>,
    life: Mutex<Option<UnboundedSender<Input>>>,
    places: Arc<Semaphore>,
}

impl Desk {
    pub(crate) fn new(name: &Arc<str>) -> Arc<Self> {
        Arc::new(Self {
            name: Arc::clone(name),
            life: Mutex::new(None),
            places: Arc::new(Semaphore::new(ORDERS_MAX)),
        })
    }

    fn life(&self) -> MutexGuard<'_, Option<UnboundedSender<Input>>> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A life takes orders from now on, or none does.
    pub(crate) fn serve(&self, life: Option<UnboundedSender<Input>>) {
        *self.life() = life;
    }

    fn leave(&self, order: Order) -> bool {
        let life = self.life();
        life.as_ref()
            .is_some_and(|life| life.send(Input::Order(order)).is_ok())
    }
}

/// What everybody holds of a supervisor: it stays the same through all of its lives.
///
/// Orders are carried out one after the other; a supervisor that is starting takes them when it is up. It answers at
/// once whatever its children are doing: it never waits for them itself.
#[derive(Clone)]
pub struct SupervisorRef {
    desk: Arc<Desk>,
}

impl std::fmt::Debug for SupervisorRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SupervisorRef({})", self.desk.name)
    }
}

impl SupervisorRef {
    pub(crate) fn new(desk: &Arc<Desk>) -> Self {
        Self {
            desk: Arc::clone(desk),
        }
    }

    /// Adds a child after all others and starts it; the answer comes when it is ready, or will never be.
    ///
    /// It is a child of this life of the supervisor: a supervisor that is restarted has the children of its spec again.
    pub async fn start_child(&self, spec: ChildSpec) -> Result<Standing, AdminError> {
        self.order(|reply| Order::Start(spec, reply)).await?
    }

    /// Stops a child within its shutdown; its spec is kept, unless it is temporary. To stop what is down is no error.
    pub async fn terminate_child(&self, name: &str) -> Result<(), AdminError> {
        let done = self.order(|reply| Order::Terminate(name.into(), reply));
        done.await?.map(|_| ())
    }

    /// Starts a child that is down.
    pub async fn restart_child(&self, name: &str) -> Result<Standing, AdminError> {
        self.order(|reply| Order::Restart(name.into(), reply))
            .await?
    }

    /// Forgets a child that is down.
    pub async fn delete_child(&self, name: &str) -> Result<(), AdminError> {
        let done = self.order(|reply| Order::Delete(name.into(), reply));
        done.await?.map(|_| ())
    }

    /// The children, in start order.
    pub async fn which_children(&self) -> Result<Vec<NodeView>, AdminError> {
        self.order(Order::Which).await
    }

    /// How many children there are.
    pub async fn count_children(&self) -> Result<Counts, AdminError> {
        self.order(Order::Count).await
    }

    /// The rules a child was added with.
    pub async fn child_spec(&self, name: &str) -> Result<Rules, AdminError> {
        let found = self.order(|reply| Order::Spec(name.into(), reply)).await?;
        found.ok_or(AdminError::NotFound)
    }

    async fn order<T>(&self, order: impl FnOnce(Reply<T>) -> Order) -> Result<T, AdminError> {
        let places = Arc::clone(&self.desk.places);
        let (to, answer) = oneshot::channel();
        let reply = Reply {
            to,
            // Nobody closes the semaphore.
            _place: places.acquire_owned().await.ok(),
        };
        if !self.desk.leave(order(reply)) {
            return Err(AdminError::NotRunning);
        }
        answer.await.map_err(|_| AdminError::NotRunning)
    }
}
