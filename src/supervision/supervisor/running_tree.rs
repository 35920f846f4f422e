//! A tree that has been started.

use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{oneshot, watch};

use super::order::SupervisorRef;
use crate::supervision::exit_reason::ExitReason;
use crate::supervision::life::{IncarnationId, SupervisorEvent};
use crate::supervision::rules::AfterStop;

/// A tree that has been started.
pub struct RunningTree {
    pub(crate) events: UnboundedSender<SupervisorEvent>,
    /// The address of the root supervisor, for orders.
    pub supervisor: SupervisorRef,
    /// Completes when all children are ready for the first time. Fails if the tree ends before.
    pub ready: oneshot::Receiver<()>,
    /// The reason why the tree has ended; `None` while it runs.
    pub exit: watch::Receiver<Option<ExitReason>>,
}

impl RunningTree {
    /// A handle that can stop the tree from any thread.
    pub fn stopper(&self) -> Stopper {
        Stopper {
            events: self.events.clone(),
        }
    }

    /// Stops the tree in order, waits for its end, and returns why it ended.
    pub async fn stop(mut self) -> ExitReason {
        self.stopper().stop();
        self.ended().await
    }

    /// Waits for the end of the tree, and returns why it ended.
    pub async fn ended(&mut self) -> ExitReason {
        let exit = self.exit.wait_for(Option::is_some).await;
        exit.ok()
            .and_then(|exit| exit.clone())
            .unwrap_or(ExitReason::Lost)
    }

    /// Tells the root supervisor that an incarnation of its child at position `child` hangs: it is replaced, and its thread
    /// is left behind.
    pub fn hung(&self, child: usize, generation: u64, age: Duration) {
        // A tree that has ended has no children.
        let incarnation = IncarnationId { child, generation };
        drop(self.events.send(SupervisorEvent::Hung { incarnation, age }));
    }
}

/// Stops a tree, from any thread.
#[derive(Debug, Clone)]
pub struct Stopper {
    events: UnboundedSender<SupervisorEvent>,
}

impl Stopper {
    /// Asks the tree to stop: its children stop in reverse order, each within its shutdown timeout. Does not wait.
    pub fn stop(&self) {
        // A tree that has ended need not be stopped.
        drop(self.events.send(SupervisorEvent::Stop(AfterStop::StayDown)));
    }

    /// Asks the root supervisor whether it is alive. Returns false if the tree has ended.
    pub(crate) fn tick(&self) -> bool {
        self.events.send(SupervisorEvent::Tick).is_ok()
    }
}
