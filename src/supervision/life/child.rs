//! What a supervised child has to be.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;

use crate::supervision::exit_reason::ExitReason;
use crate::supervision::slot::{Delivery, Life, Message};

/// Any error, as a child gives it to its supervisor.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// A boxed future that stays on its thread.
pub type LocalBoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Why an incarnation did not come to be.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It could not start; the supervisor tries again, later and later.
    #[error("{0}")]
    Failed(#[from] BoxError),
    /// It is not wanted now: no error, and no incarnation (OTP: `ignore`).
    #[error("ignored")]
    Ignore,
}

impl StartError {
    /// A failure with this text.
    pub fn failed(cause: impl Into<BoxError>) -> Self {
        Self::Failed(cause.into())
    }
}

/// A child whose messages an actix actor handles, on an arbiter.
///
/// Everything it runs stands behind the panic boundary; state it wants to keep over a death does not belong into it.
pub trait Child: Sized + Unpin + 'static {
    /// Its messages.
    type Message: Message;

    /// Handles one message. What takes long goes to [`Cx::spawn`], delivery and all.
    fn handle(&mut self, message: Delivery<Self::Message>, cx: &mut Cx);

    /// Work of its own, such as an accept loop; begun when the child is ready. Its end is the incarnation's.
    fn run(&mut self, cx: &mut Cx) -> Option<LocalBoxFuture<'static, Result<(), BoxError>>> {
        let _: &mut Cx = cx;
        None
    }

    /// What still has to happen when it is asked to stop. Cut off at the shutdown deadline.
    fn stop(&mut self) -> LocalBoxFuture<'static, ()> {
        Box::pin(async {})
    }

    /// The same when it goes down with its siblings, and its next life follows on the same thread: what runs beside the
    /// incarnation may be left to that.
    fn step_aside(&mut self) -> LocalBoxFuture<'static, ()> {
        self.stop()
    }
}

/// A child on an OS thread of its own which takes its messages in batches.
pub trait BlockingChild: Sized + 'static {
    /// Its messages.
    type Message: Message;

    /// Handles one batch, which is never empty. An error is the incarnation's end; what it left unanswered of the batch
    /// is settled as after any death.
    fn handle(&mut self, batch: &[Delivery<Self::Message>]) -> Result<(), BoxError>;

    /// What still has to happen when it is asked to stop.
    fn stop(&mut self) {}
}

/// What a child can do beyond answering.
pub struct Cx {
    pub(crate) life: Life,
    pub(crate) spawned: Vec<LocalBoxFuture<'static, ()>>,
    pub(crate) exit: Option<ExitReason>,
}

impl std::fmt::Debug for Cx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cx")
            .field("life", &self.life)
            .finish_non_exhaustive()
    }
}

impl Cx {
    pub(crate) fn new(life: Life) -> Self {
        Self {
            life,
            spawned: Vec::new(),
            exit: None,
        }
    }

    /// Runs `task` as a part of this incarnation: its panic is the incarnation's death, and it ends with it.
    pub fn spawn(&mut self, task: impl Future<Output = ()> + 'static) {
        self.spawned.push(Box::pin(task));
    }

    /// Ends this incarnation when the handler returns (OTP: `{stop, Reason, State}`). What it has in hand and did not
    /// answer is settled as after any death; whether it is started again is its supervisor's business.
    pub fn exit(&mut self, reason: ExitReason) {
        self.exit = Some(reason);
    }

    /// The incarnation's facts.
    pub fn life(&self) -> &Life {
        &self.life
    }
}

/// The text of an error with its causes, as an exit reason keeps it.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> Arc<str> {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    Arc::from(text)
}
