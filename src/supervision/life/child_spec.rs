//! The recipe of a child: how it is made, restarted and stopped.

use std::sync::Arc;
use std::time::Duration;

use super::runtime::Runtime;
use crate::supervision::rules::Rules;
use crate::supervision::spec_fault::{self, SpecFault};
use crate::supervision::strategy::{Restart, Shutdown};
use crate::supervision::tree::Node;

/// How long a child is given to become ready, unless its spec says otherwise.
pub const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a child is given to stop, unless its spec says otherwise (OTP: 5 000 ms).
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// The recipe of a child.
pub struct ChildSpec {
    pub(crate) rules: Rules,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) node: Node,
    /// What is wrong below it.
    pub(crate) faults: Vec<SpecFault>,
}

impl std::fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChildSpec")
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

impl ChildSpec {
    pub(crate) fn new(node: Node, runtime: Arc<dyn Runtime>, supervisor: bool) -> Self {
        // OTP: a supervisor is given all the time its children need.
        let shutdown = if supervisor {
            Shutdown::Infinity
        } else {
            Shutdown::Timeout(SHUTDOWN_TIMEOUT)
        };
        let rules = Rules {
            restart: Restart::Permanent,
            shutdown,
            start_timeout: START_TIMEOUT,
            supervisor,
        };
        Self {
            rules,
            runtime,
            node,
            faults: Vec::new(),
        }
    }

    /// What is wrong with it as a child of `supervisor`, and with everything below.
    pub(crate) fn faults(&self, supervisor: &Arc<str>) -> Vec<SpecFault> {
        let mut faults = spec_fault::of_rules(supervisor, self.node.name(), &self.rules);
        faults.extend(self.faults.iter().cloned());
        faults
    }

    /// When it is started again.
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.rules.restart = restart;
        self
    }

    /// How it is stopped.
    #[must_use]
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.rules.shutdown = shutdown;
        self
    }

    /// How long it is given to become ready.
    #[must_use]
    pub fn start_timeout(mut self, limit: Duration) -> Self {
        self.rules.start_timeout = limit;
        self
    }
}
