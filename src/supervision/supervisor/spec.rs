//! The supervisor spec: the flags of a supervisor and its children.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::supervision::backoff::Backoff;
use crate::supervision::intensity::Intensity;
use crate::supervision::life::{
    ChildSpec, OrderQueue, StartError, SupervisorLimits, SupervisorRef,
};
use crate::supervision::rules::Flags;
use crate::supervision::spec_fault::{self, SpecFault};
use crate::supervision::strategy::Strategy;
use crate::supervision::tree::Node;

/// Runs before a supervisor starts its first child.
type Init = dyn Fn() -> Result<(), StartError> + Send + Sync;

/// The parts that a supervisor is made of: its children in start order, its strategy, its intensity and its backoff.
pub struct SupervisorSpec {
    pub(crate) flags: Arc<Mutex<Flags>>,
    pub(crate) init: Option<Box<Init>>,
    pub(crate) children: Vec<Arc<ChildSpec>>,
    pub(crate) node: Arc<Node>,
    pub(crate) orders: Arc<OrderQueue>,
}

impl SupervisorSpec {
    /// A supervisor without children, with OTP's defaults: `one_for_one`, and one restart in five seconds.
    pub fn new(name: &str) -> Self {
        Self {
            node: Node::new(Arc::from(name), None),
            flags: Arc::default(),
            init: None,
            children: Vec::new(),
            orders: OrderQueue::new(),
        }
    }

    /// Adds a child, or a supervisor as a child. It is started after those before it and stopped before them.
    #[must_use]
    pub fn child(mut self, child: impl Into<ChildSpec>) -> Self {
        self.children.push(Arc::new(child.into()));
        self
    }

    /// Sets which children are restarted when one dies.
    #[must_use]
    pub fn strategy(self, strategy: Strategy) -> Self {
        self.flags.lock().strategy = strategy;
        self
    }

    /// Sets how many restarts are allowed within a period before the supervisor gives up.
    #[must_use]
    pub fn intensity(self, intensity: Intensity) -> Self {
        self.flags.lock().intensity = intensity;
        self
    }

    /// Sets how long a child that gets nothing done waits before it is restarted.
    #[must_use]
    pub fn backoff(self, backoff: Backoff) -> Self {
        self.flags.lock().backoff = backoff;
        self
    }

    /// Sets all limits that [`set_limits`](SupervisorRef::set_limits) can change later.
    #[must_use]
    pub fn limits(self, limits: SupervisorLimits) -> Self {
        let mut flags = self.flags.lock();
        *flags = flags.with(limits);
        drop(flags);
        self
    }

    /// Starts the children all at once, because they do not need each other. If one fails, the others are cancelled in
    /// reverse order, and all causes are reported. Restarts follow the strategy.
    #[must_use]
    pub fn start_together(self) -> Self {
        self.flags.lock().start_together = true;
        self
    }

    /// Calls `first` before the first child, whenever the supervisor starts (OTP: `init`). If it fails, the start of the
    /// supervisor fails; if it returns [`StartError::Ignore`], the supervisor does not run, which is no error. It must not
    /// block.
    #[must_use]
    pub fn init(
        mut self,
        first: impl Fn() -> Result<(), StartError> + Send + Sync + 'static,
    ) -> Self {
        self.init = Some(Box::new(first));
        self
    }

    /// The supervisor's address, for orders.
    pub fn supervisor_ref(&self) -> SupervisorRef {
        SupervisorRef {
            node: Arc::clone(&self.node),
            flags: Arc::clone(&self.flags),
            orders: Arc::clone(&self.orders),
        }
    }

    /// The addresses of this supervisor and of all below it.
    pub(crate) fn supervisors(&self) -> Vec<SupervisorRef> {
        let below = self
            .children
            .iter()
            .flat_map(|child| child.supervisors.clone());
        [self.supervisor_ref()].into_iter().chain(below).collect()
    }

    /// The faults of this spec and of all specs below it, except for names that occur twice.
    pub(crate) fn faults(&self) -> Vec<SpecFault> {
        let mut faults = spec_fault::of_flags(&self.node.name, &self.flags.lock());
        for child in &self.children {
            faults.extend(child.faults(&self.node.name));
        }
        faults
    }
}
