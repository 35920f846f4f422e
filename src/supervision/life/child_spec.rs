//! The child spec: how a child is made, restarted and stopped.

use std::sync::Arc;
use std::time::Duration;

use super::order::SupervisorRef;
use super::runtime::Runtime;
use crate::supervision::rules::Rules;
use crate::supervision::spec_fault::{self, SpecFault};
use crate::supervision::strategy::{Restart, Shutdown};
use crate::supervision::tree::Node;

/// The longest time that a child may take to become ready, unless its spec says otherwise.
pub const START_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest time that a child may take to stop, unless its spec says otherwise (5 s, as in OTP).
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// The rules by which a child is made, restarted and stopped. Made by [`actor`](Self::actor), [`blocking`](Self::blocking) or
/// [`supervisor`](Self::supervisor).
pub struct ChildSpec {
    pub(crate) rules: Rules,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) node: Arc<Node>,
    /// The faults of the specs below it, if it is a supervisor.
    pub(crate) below: Vec<SpecFault>,
    /// The addresses of itself and of all below it that are supervisors.
    pub(crate) supervisors: Vec<SupervisorRef>,
}

impl ChildSpec {
    /// A permanent child that is no supervisor, with the default timeouts.
    pub(crate) fn worker(node: Arc<Node>, runtime: impl Runtime + 'static) -> Self {
        let rules = Rules {
            restart: Restart::Permanent,
            shutdown: Shutdown::Timeout(SHUTDOWN_TIMEOUT),
            start_timeout: START_TIMEOUT,
            supervisor: false,
        };
        Self {
            rules,
            runtime: Arc::new(runtime),
            node,
            below: Vec::new(),
            supervisors: Vec::new(),
        }
    }

    /// The faults of this spec as a child of `supervisor`, and of all specs below it.
    pub(crate) fn faults(&self, supervisor: &Arc<str>) -> Vec<SpecFault> {
        let mut faults = spec_fault::of_rules(supervisor, &self.node.name, &self.rules);
        faults.extend(self.below.iter().cloned());
        faults
    }

    /// Closes its slot and gives back its threads: it will not be started again.
    pub(crate) fn give_up(&self) {
        self.node.close();
        self.runtime.release();
    }

    /// Sets when the child is restarted; always by default.
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.rules.restart = restart;
        self.node.set_restart(restart);
        self
    }

    /// Sets how the child is stopped; [`SHUTDOWN_TIMEOUT`] by default, and no limit for a supervisor.
    #[must_use]
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.rules.shutdown = shutdown;
        self
    }

    /// Sets how long the child may take to become ready; [`START_TIMEOUT`] by default. A supervisor ignores it, because
    /// the starts of its children are timed.
    #[must_use]
    pub fn start_timeout(mut self, limit: Duration) -> Self {
        self.rules.start_timeout = limit;
        self
    }
}
