//! A whole tree: checked and prepared, started, and run to its end.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{oneshot, watch};

use super::actor::{self, Parent};
use super::sentinel::Pulse;
use super::spec::SupervisorSpec;
use super::state::{STRIDE, SupervisorState};
use crate::supervision::exit_reason::ExitReason;
use crate::supervision::life::{Env, IncarnationId, SupervisorEvent, SupervisorRef, Supervisors};
use crate::supervision::rules::AfterStop;
use crate::supervision::spec_fault::{self, SpecFaults};
use crate::supervision::tree::Tree;

/// A tree whose specs have been checked, and which has not been started yet.
pub struct PreparedTree {
    state: Arc<SupervisorState>,
    supervisors: Supervisors,
    pulse: Option<Arc<Pulse>>,
}

impl PreparedTree {
    /// Checks and prepares the tree of this root supervisor. The error names every fault of its specs.
    pub fn new(spec: SupervisorSpec) -> Result<Self, SpecFaults> {
        let faults = spec.faults();
        let supervisors = Supervisors::new(spec.supervisors());
        let state = SupervisorState::new(spec);
        spec_fault::none_of(faults, state.spec.node.names())?;
        Ok(Self {
            state,
            supervisors,
            pulse: None,
        })
    }

    /// Makes the root supervisor answer a [`Sentinel`](crate::supervision::Sentinel) through this pulse.
    #[must_use]
    pub fn with_pulse(mut self, pulse: Arc<Pulse>) -> Self {
        self.pulse = Some(pulse);
        self
    }

    /// The tree, for everybody who wants to look at it.
    pub fn tree(&self) -> Tree {
        Tree {
            root: Arc::clone(&self.state.spec.node),
        }
    }

    /// The supervisors of the tree, for orders. Those that are added later are reached by the address of their own spec.
    pub fn supervisors(&self) -> Supervisors {
        self.supervisors.clone()
    }

    /// Starts the tree. Must be called inside an actix system; [`run`](crate::supervision::run) starts one.
    pub fn start(self, env: Env) -> RunningTree {
        let (ready_tx, ready) = oneshot::channel();
        let (exit_tx, exit) = watch::channel(None);
        let supervisor = self.state.spec.supervisor_ref();
        let parent = Parent::Program {
            ready: Some(ready_tx),
            exit: exit_tx,
            pulse: self.pulse,
        };
        let events = actor::start(self.state, parent, env);
        RunningTree {
            events,
            supervisor,
            ready,
            exit,
        }
    }
}

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

    /// Tells the root supervisor that an incarnation of the child that is at `child` in its spec, from 0, hangs: it is replaced, and its thread
    /// is left behind unless it answers.
    pub fn hung(&self, child: usize, generation: u64, age: Duration) {
        // A tree that has ended has no children.
        let child = (child + 1) * STRIDE;
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

/// The error of [`run`], if it did not reach the end of its function.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The specs have faults; nothing was started.
    #[error(transparent)]
    Spec(#[from] SpecFaults),
    /// The tree ended before all of its children were ready, or before the function returned.
    #[error("the tree ended: {0}")]
    Ended(ExitReason),
}

/// Runs a tree on the calling thread: starts a runtime and the tree, waits until all children are ready, runs `work` beside
/// them, stops the tree in order, and returns what `work` returned.
///
/// `work` gets the root supervisor's [address](crate::supervision::SupervisorRef). It is dropped if the tree ends before it.
///
/// Must not be called inside a runtime; there, use [`PreparedTree::start`].
pub fn run<T>(
    spec: SupervisorSpec,
    work: impl AsyncFnOnce(SupervisorRef) -> T,
) -> Result<T, TreeError> {
    let prepared = PreparedTree::new(spec)?;
    actix_rt::System::new().block_on(async {
        let mut tree = prepared.start(Env::default());
        if (&mut tree.ready).await.is_err() {
            return Err(TreeError::Ended(tree.stop().await));
        }
        let supervisor = tree.supervisor.clone();
        let result = match select(pin!(work(supervisor)), pin!(tree.ended())).await {
            Either::Left((result, _)) => Ok(result),
            Either::Right((reason, _)) => Err(TreeError::Ended(reason)),
        };
        tree.stop().await;
        result
    })
}
