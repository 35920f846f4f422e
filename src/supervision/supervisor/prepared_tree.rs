//! A tree that is checked and prepared, and not started yet.

use std::sync::Arc;

use tokio::sync::{oneshot, watch};

use super::actor::{self, Parent};
use super::pulse::Pulse;
use super::running_tree::RunningTree;
use super::spec::SupervisorSpec;
use super::state::SupervisorState;
use crate::supervision::life::Env;
use crate::supervision::spec_fault::{self, SpecFaults};
use crate::supervision::tree::Tree;

/// A tree whose specs have been checked, and which has not been started yet.
pub struct PreparedTree {
    state: Arc<SupervisorState>,
    pulse: Option<Arc<Pulse>>,
}

impl PreparedTree {
    /// Checks and prepares the tree of this root supervisor. The error names every fault of its specs.
    pub fn new(spec: SupervisorSpec) -> Result<Self, SpecFaults> {
        let faults = spec.faults();
        let state = SupervisorState::new(spec);
        spec_fault::none_of(faults, state.spec.node.names())?;
        Ok(Self { state, pulse: None })
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
