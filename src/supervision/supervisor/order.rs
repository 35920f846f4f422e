//! Administering the children of a running supervisor: start, terminate, restart, delete, look and count, with OTP's
//! meanings and OTP's errors.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::prelude::Recipient;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::order_error::{AdminError, Answer, Counts, Standing};
use crate::supervision::life::ChildSpec;
use crate::supervision::rules::Rules;
use crate::supervision::tree::NodeView;

/// Orders to one supervisor that may be on their way; whoever has one more waits.
const ORDERS_MAX: usize = 64;

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

impl actix::Message for Order {
    type Result = ();
}

/// Where orders to a supervisor are left, whichever life of it takes them.
pub(crate) struct Desk {
    name: Arc<str>,
    life: Mutex<Option<Recipient<Order>>>,
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

    fn life(&self) -> MutexGuard<'_, Option<Recipient<Order>>> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A life takes orders from now on, or none does.
    pub(crate) fn serve(&self, life: Option<Recipient<Order>>) {
        *self.life() = life;
    }

    fn leave(&self, order: Order) {
        if let Some(life) = &*self.life() {
            // The queue is bounded by its places; a life that has ended drops the order, and its reply with it.
            life.do_send(order);
        }
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
        self.desk.leave(order(reply));
        answer.await.map_err(|_| AdminError::NotRunning)
    }
}
