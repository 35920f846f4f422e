//! The trait of children, and the context that they run in.

use std::error::Error;
use std::pin::Pin;

use crate::supervision::exit_reason::ExitReason;
use crate::supervision::slot::{Delivery, Incarnation, Message};

/// Any error that a child gives to its supervisor.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// A boxed future that stays on its thread.
pub type LocalBoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// The error of a factory that made no child.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The child could not start. Its supervisor tries again, and waits longer each time.
    #[error("{0}")]
    Failed(#[from] BoxError),
    /// The child chooses not to run now, which is no error (OTP: `ignore`).
    #[error("the child chose not to run")]
    Ignore,
}

impl StartError {
    /// A failure with this cause.
    pub fn failed(cause: impl Into<BoxError>) -> Self {
        Self::Failed(cause.into())
    }
}

/// A child that handles one message at a time, on a thread with an event loop.
///
/// A panic anywhere in it ends the incarnation, and the supervisor restarts the child. State that must survive a restart
/// does not belong in the child; keep it outside and hand it to each incarnation in the factory.
pub trait Child: Sized + Unpin + 'static {
    /// The type of its messages.
    type Message: Message;

    /// Handles one message. Move work that takes long into [`ChildContext::spawn`], together with the delivery.
    fn handle(&mut self, message: Delivery<Self::Message>, cx: &mut ChildContext);

    /// Work that runs beside the messages, such as an accept loop. It begins when the child is ready, and the incarnation
    /// ends with it.
    fn run(
        &mut self,
        cx: &mut ChildContext,
    ) -> Option<LocalBoxFuture<'static, Result<(), BoxError>>> {
        let _: &mut ChildContext = cx;
        None
    }

    /// Called when the child is asked to stop; does its last work. It is cut off when the shutdown timeout passes.
    fn stop(&mut self) -> LocalBoxFuture<'static, ()> {
        Box::pin(async {})
    }

    /// The same when the child is stopped alone, by an [order](crate::supervision::SupervisorRef::terminate_child): it leaves
    /// the others what it shares with them.
    fn stop_alone(&mut self) -> LocalBoxFuture<'static, ()> {
        self.stop()
    }

    /// The same when the child stops only because it is restarted by an order or with its group: the next incarnation follows on the same thread,
    /// and can take over what runs beside the incarnation.
    fn step_aside(&mut self) -> LocalBoxFuture<'static, ()> {
        self.stop()
    }
}

/// A child that may block: it has an OS thread of its own and handles messages in batches.
pub trait BlockingChild: Sized + 'static {
    /// The type of its messages.
    type Message: Message;

    /// Handles one batch, which is never empty. An error ends the incarnation; the messages it did not answer are settled
    /// as after any other death.
    fn handle(&mut self, batch: &[Delivery<Self::Message>]) -> Result<(), BoxError>;

    /// Finishes the work of the child when it is asked to stop.
    fn stop(&mut self) {}
}

/// The context of a child that handles a message: what it can do besides answering.
pub struct ChildContext {
    pub(super) incarnation: Incarnation,
    pub(super) spawned: Vec<LocalBoxFuture<'static, ()>>,
    pub(super) exit: Option<ExitReason>,
}

impl ChildContext {
    /// Runs `task` as a part of this incarnation: it ends with the incarnation, and a panic in it ends the incarnation.
    pub fn spawn(&mut self, task: impl Future<Output = ()> + 'static) {
        self.spawned.push(Box::pin(task));
    }

    /// Ends this incarnation when the handler returns (OTP: `{stop, Reason, State}`). Unanswered messages are settled as
    /// after any other death, and the supervisor decides whether the child is restarted.
    pub fn exit(&mut self, reason: ExitReason) {
        self.exit = Some(reason);
    }

    /// The present incarnation.
    pub fn incarnation(&self) -> &Incarnation {
        &self.incarnation
    }
}

/// The text of an error and of all its sources, with `between` between them.
pub(crate) fn chain(error: &(dyn Error + 'static), between: &str) -> String {
    let all = std::iter::successors(Some(error), |error| (**error).source());
    let texts: Vec<_> = all.map(ToString::to_string).collect();
    texts.join(between)
}
