//! Orders to a running supervisor: start, terminate, restart and delete a child, with OTP's meanings and errors; and renew one,
//! which OTP does not have.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::Recipient;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use super::child_spec::ChildSpec;
use crate::supervision::backoff::Backoff;
use crate::supervision::exit_reason::ExitReason;
use crate::supervision::intensity::Intensity;
use crate::supervision::rules::{AfterStop, Flags, Status};
use crate::supervision::spec_fault::{self, SpecFaults};
use crate::supervision::strategy::Strategy;
use crate::supervision::tree::{Node, NodeView};

/// The most orders to one supervisor that may be under way. Further ones wait until one of them is answered.
const ORDERS_MAX: usize = 64;

/// The error of an order that a supervisor did not carry out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// There is a child of this name, and it runs.
    #[error("a child of this name is running: terminate and delete it first")]
    AlreadyStarted,
    /// There is a child of this name, and it is down.
    #[error("there is a child of this name, and it is down: restart or delete it")]
    AlreadyPresent,
    /// The child runs.
    #[error("the child is running: terminate it first")]
    Running,
    /// The child has died and is being restarted.
    #[error("the child is being restarted: terminate it first, or wait")]
    Restarting,
    /// There is no child of this name.
    #[error("there is no child of this name")]
    NotFound,
    /// Too many children were added at the same place.
    #[error("there is no room for one more child before that one: add it behind all others")]
    NoRoom,
    /// The spec has faults. The child was not added.
    #[error(transparent)]
    Faulty(#[from] SpecFaults),
    /// The child could not start. A new child was not added; an old one stays, and is down.
    #[error("the child could not start: {0}")]
    StartFailed(ExitReason),
    /// The child was terminated before it was ready.
    #[error("the child was terminated before it was ready: start it again")]
    Terminated,
    /// The supervisor is not running, or ended before it carried out the order.
    #[error("the supervisor is not running")]
    NotRunning,
}

/// The result of an order to start a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Started {
    /// The child is ready.
    Running {
        /// The number of its incarnation.
        generation: u64,
    },
    /// The child chose not to run (OTP: `{ok, undefined}`).
    Down,
}

/// The answer to an order. An order to stop or delete a child is answered with [`Started::Down`].
pub(crate) type OrderResult = Result<Started, OrderError>;

/// One order to a supervisor, and where its answer goes.
pub(crate) struct Order {
    pub(crate) command: OrderCommand,
    pub(crate) reply: OrderReply,
}

/// An order to a supervisor. A `str` is a child's name.
pub(crate) enum OrderCommand {
    Start {
        spec: ChildSpec,
        /// The child before which it has its place; behind all others if there is none.
        before: Option<Arc<str>>,
        lasting: Lasting,
    },
    Terminate(Arc<str>, AfterStop),
    Restart(Arc<str>),
    Renew(Arc<str>),
    Delete(Arc<str>),
    Remove(Arc<str>, AfterStop),
}

/// The time for which a change of the list of children lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lasting {
    /// Until the supervisor is restarted: then it has the children again that it had before.
    OneTerm,
    ForGood,
}

/// The limits of a supervisor that can be changed while it runs. They apply from the next death or start of a child on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SupervisorLimits {
    /// The strategy.
    pub strategy: Strategy,
    /// The number of restarts that are allowed. Those within the new period count.
    pub intensity: Intensity,
    /// The delays of a child that gets nothing done. One that waits already waits to its end.
    pub backoff: Backoff,
    /// The limit for each start of a child; `None` for those of the specs.
    pub start_timeout: Option<Duration>,
    /// The limit for each stop of a child that has one; `None` for those of the specs.
    pub stop_timeout: Option<Duration>,
}

impl actix::Message for Order {
    type Result = ();
}

/// The channel for the answer to an order. The order counts as under way until it is answered.
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
        let answer = self.send(command).await?;
        answer.await.unwrap_or(Err(OrderError::NotRunning))
    }

    /// Gives the order to the actor. Returns what will have its answer.
    async fn send(
        &self,
        command: OrderCommand,
    ) -> Result<oneshot::Receiver<OrderResult>, OrderError> {
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
        Ok(answer)
    }
}

/// A supervisor's address: it orders changes of its children, and stays valid across restarts of the supervisor.
///
/// Orders are carried out one after the other. A supervisor that is starting carries them out when it is up. It never waits
/// for its children, so it answers at once unless an order takes time itself.
#[derive(Clone)]
pub struct SupervisorRef {
    pub(crate) node: Arc<Node>,
    pub(crate) flags: Arc<Mutex<Flags>>,
    pub(crate) orders: Arc<OrderQueue>,
}

impl SupervisorRef {
    /// Adds a child behind all others and starts it. Returns when it is ready, or when its start has failed.
    ///
    /// The child belongs to this run of the supervisor: after a restart the supervisor has the children of its spec again.
    pub async fn start_child(&self, spec: ChildSpec) -> Result<Started, OrderError> {
        let (before, lasting) = (None, Lasting::OneTerm);
        let command = OrderCommand::Start {
            spec,
            before,
            lasting,
        };
        self.orders.order(command).await
    }

    /// Adds a child for good, before the child of that name or else behind all others, and starts it. Returns when it is ready,
    /// or when its start has failed; then it was not added. It is a child of the spec from then on, also after a restart of the
    /// supervisor.
    ///
    /// If the supervisor ends meanwhile, the error is [`NotRunning`](OrderError::NotRunning), and the child may have been added:
    /// [`remove_child`](Self::remove_child) undoes that.
    pub async fn add_child(
        &self,
        spec: ChildSpec,
        before: Option<&str>,
    ) -> Result<Started, OrderError> {
        let (before, lasting) = (before.map(Arc::from), Lasting::ForGood);
        let command = OrderCommand::Start {
            spec,
            before,
            lasting,
        };
        self.orders.order(command).await
    }

    /// Stops a child as [`terminate_child`](Self::terminate_child) does, so a request handler drains first, and removes it for
    /// good. It is never restarted from then on, whatever happens meanwhile. A child that is not there is an error.
    pub async fn remove_child(&self, name: &str) -> Result<(), OrderError> {
        self.begin_removal(name, false).await?.done().await
    }

    /// Orders a removal and does not wait for its end: a request handler may drain for long. If it `closes`, what the child
    /// shares with others ends, too, as with [`close_child`](Self::close_child).
    pub async fn begin_removal(&self, name: &str, closes: bool) -> Result<Removal, OrderError> {
        let after = if closes {
            AfterStop::StayDown
        } else {
            AfterStop::StayDownAlone
        };
        let command = OrderCommand::Remove(name.into(), after);
        self.orders.send(command).await.map(Removal)
    }

    /// Changes the limits of the supervisor, also for its restarts. The error says what is wrong with them; then nothing has
    /// changed.
    pub fn set_limits(&self, limits: SupervisorLimits) -> Result<(), SpecFaults> {
        let mut flags = self.flags.lock();
        let changed = flags.with(limits);
        spec_fault::none_of(spec_fault::of_flags(&self.node.name, &changed), [])?;
        *flags = changed;
        Ok(())
    }

    /// Stops a child within its shutdown timeout. Its spec is kept, unless it is temporary. A child that is down already is
    /// no error.
    ///
    /// It accepts no message from then on. What it shares with other children goes on: another listener of its socket accepts
    /// from it, and clients of a socket without a listener wait in its backlog.
    pub async fn terminate_child(&self, name: &str) -> Result<(), OrderError> {
        self.stop_child(name, AfterStop::StayDownAlone).await
    }

    /// The same, and what it shares with other children ends, too, as at the end of the tree: the socket of a listener refuses
    /// clients from then on, and all request handlers drain.
    pub async fn close_child(&self, name: &str) -> Result<(), OrderError> {
        self.stop_child(name, AfterStop::StayDown).await
    }

    async fn stop_child(&self, name: &str, after: AfterStop) -> Result<(), OrderError> {
        let command = OrderCommand::Terminate(name.into(), after);
        self.orders.order(command).await.map(drop)
    }

    /// Restarts a child that runs, together with its group, as after a death: its callers wait meanwhile. A child that is down
    /// is started. Returns when it is ready again, however many starts that takes; no restart is counted for the order itself.
    pub async fn renew_child(&self, name: &str) -> Result<Started, OrderError> {
        self.orders.order(OrderCommand::Renew(name.into())).await
    }

    /// Starts a child that is down.
    pub async fn restart_child(&self, name: &str) -> Result<Started, OrderError> {
        self.orders.order(OrderCommand::Restart(name.into())).await
    }

    /// Removes a child that is down, from this run of the supervisor.
    pub async fn delete_child(&self, name: &str) -> Result<(), OrderError> {
        self.orders
            .order(OrderCommand::Delete(name.into()))
            .await
            .map(drop)
    }

    /// The supervisor's name.
    pub fn name(&self) -> &str {
        &self.node.name
    }

    /// Whether it is up, so that it takes orders.
    pub(crate) fn is_running(&self) -> bool {
        self.node.status().0 == Status::Running
    }

    /// A snapshot of the children, in start order. Does not ask the supervisor.
    pub fn children(&self) -> Vec<NodeView> {
        self.node.views(Instant::now())
    }
}

/// A removal that was ordered. It is carried out even if this is dropped.
#[derive(Debug)]
pub struct Removal(oneshot::Receiver<OrderResult>);

impl Removal {
    /// Waits until the child is gone.
    pub async fn done(self) -> Result<(), OrderError> {
        self.0
            .await
            .unwrap_or(Err(OrderError::NotRunning))
            .map(drop)
    }
}

/// The supervisors of a tree, for orders to any child by its name.
#[derive(Clone)]
pub struct Supervisors(Arc<[SupervisorRef]>);

impl Supervisors {
    pub(crate) fn new(all: Vec<SupervisorRef>) -> Self {
        Self(all.into())
    }

    /// All of them.
    pub(crate) fn all(&self) -> &[SupervisorRef] {
        &self.0
    }

    /// The supervisor of this name.
    pub fn named(&self, name: &str) -> Option<&SupervisorRef> {
        self.0.iter().find(|supervisor| supervisor.name() == name)
    }

    /// The supervisor of the child of this name.
    pub fn above(&self, child: &str) -> Option<&SupervisorRef> {
        let named = |supervisor: &&SupervisorRef| {
            let children = supervisor.node.children.lock();
            children.values().any(|node| *node.name == *child)
        };
        self.0.iter().find(named)
    }
}
