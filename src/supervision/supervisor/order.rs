//! Orders to a running supervisor: start, terminate, restart and delete a child, with OTP's meanings and errors.

use std::sync::Arc;

use actix::prelude::Recipient;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use super::order_outcome::{OrderError, OrderResult, Started};
use crate::supervision::life::ChildSpec;
use crate::supervision::tree::{Node, NodeView};

/// How many orders to one supervisor may be under way. Further ones wait until one of them is answered.
const ORDERS_MAX: usize = 64;

/// One order to a supervisor.
pub(crate) struct Order {
    pub(crate) command: OrderCommand,
    pub(crate) reply: OrderReply,
}

/// An order to a supervisor.
pub(crate) enum OrderCommand {
    Start(ChildSpec),
    Terminate(Arc<str>),
    Restart(Arc<str>),
    Delete(Arc<str>),
}

impl actix::Message for Order {
    type Result = ();
}

/// Where the answer to an order goes. The order counts as under way until then.
pub(crate) struct OrderReply {
    to: oneshot::Sender<OrderResult>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl OrderReply {
    pub(crate) fn send(self, result: OrderResult) {
        // The order is carried out even if its sender has gone.
        drop(self.to.send(result));
    }
}

/// The queue of orders to a supervisor; it outlives restarts of the supervisor.
pub(crate) struct OrderQueue {
    /// The actor that takes orders now.
    actor: Mutex<Option<Recipient<Order>>>,
    permits: Arc<Semaphore>,
}

impl OrderQueue {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            actor: Mutex::new(None),
            permits: Arc::new(Semaphore::new(ORDERS_MAX)),
        })
    }

    /// From now on this actor takes the orders, or none does.
    pub(crate) fn serve(&self, actor: Option<Recipient<Order>>) {
        *self.actor.lock() = actor;
    }

    async fn order(&self, command: OrderCommand) -> OrderResult {
        let (to, answer) = oneshot::channel();
        let reply = OrderReply {
            to,
            // The semaphore is never closed.
            _permit: Arc::clone(&self.permits).acquire_owned().await.ok(),
        };
        match &*self.actor.lock() {
            // A full mailbox does not refuse it, since the permits bound it. An actor that has ended drops the order and
            // its reply.
            Some(actor) => actor.do_send(Order { command, reply }),
            None => return Err(OrderError::NotRunning),
        }
        answer.await.unwrap_or(Err(OrderError::NotRunning))
    }
}

/// A supervisor's address: it orders changes of its children, and stays valid across restarts of the supervisor.
///
/// Orders are carried out one after the other. A supervisor that is starting carries them out when it is up. It never waits
/// for its children, so it answers at once unless an order takes time itself.
#[derive(Clone)]
pub struct SupervisorRef {
    node: Node,
    orders: Arc<OrderQueue>,
}

impl SupervisorRef {
    pub(crate) fn new(node: &Node, orders: &Arc<OrderQueue>) -> Self {
        Self {
            node: node.clone(),
            orders: Arc::clone(orders),
        }
    }

    /// Adds a child behind all others and starts it. Returns when it is ready, or when its start has failed.
    ///
    /// The child belongs to this run of the supervisor: after a restart the supervisor has the children of its spec again.
    pub async fn start_child(&self, spec: ChildSpec) -> Result<Started, OrderError> {
        self.orders.order(OrderCommand::Start(spec)).await
    }

    /// Stops a child within its shutdown timeout. Its spec is kept, unless it is temporary. A child that is down already is
    /// no error.
    pub async fn terminate_child(&self, name: &str) -> Result<(), OrderError> {
        let done = self.orders.order(OrderCommand::Terminate(name.into()));
        done.await.map(drop)
    }

    /// Starts a child that is down.
    pub async fn restart_child(&self, name: &str) -> Result<Started, OrderError> {
        self.orders.order(OrderCommand::Restart(name.into())).await
    }

    /// Removes a child that is down.
    pub async fn delete_child(&self, name: &str) -> Result<(), OrderError> {
        let done = self.orders.order(OrderCommand::Delete(name.into()));
        done.await.map(drop)
    }

    /// A snapshot of the children, in start order. Does not ask the supervisor.
    pub fn children(&self) -> Vec<NodeView> {
        self.node.children(Instant::now())
    }
}
