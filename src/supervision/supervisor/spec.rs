//! The recipe of a supervisor.

use std::sync::Arc;

use super::order::{Desk, SupervisorRef};
use crate::supervision::faults::Faults;
use crate::supervision::life::{ChildSpec, StartError};
use crate::supervision::rules::{Flags, Startup};
use crate::supervision::spec_fault::{self, SpecFault};

/// What is done before the first child of a supervisor starts.
pub(crate) type Init = dyn Fn() -> Result<(), StartError> + Send + Sync;

/// The recipe of a supervisor: its flags and its children, in start order.
pub struct SupervisorSpec {
    pub(crate) name: Arc<str>,
    pub(crate) flags: Flags,
    pub(crate) startup: Startup,
    pub(crate) init: Option<Box<Init>>,
    pub(crate) faults: Faults,
    pub(crate) children: Vec<ChildSpec>,
    pub(crate) desk: Arc<Desk>,
}

impl std::fmt::Debug for SupervisorSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SupervisorSpec")
            .field("name", &self.name)
            .field("flags", &self.flags)
            .field("children", &self.children)
            .finish_non_exhaustive()
    }
}

impl SupervisorSpec {
    /// A supervisor without children.
    pub fn new(name: &str, flags: Flags) -> Self {
        let name = Arc::from(name);
        Self {
            desk: Desk::new(&name),
            name,
            flags,
            startup: Startup::InOrder,
            init: None,
            faults: Faults::none(),
            children: Vec::new(),
        }
    }

    /// Adds a child, to be started after those before it and stopped before them.
    #[must_use]
    pub fn child(mut self, spec: ChildSpec) -> Self {
        self.children.push(spec);
        self
    }

    /// Starts its children all at once, since they do not need each other. If one fails, the others are cancelled in
    /// reverse order, and all causes are told. (Restarts go by the strategy.)
    #[must_use]
    pub fn start_together(mut self) -> Self {
        self.startup = Startup::Together;
        self
    }

    /// Something that must be done first, whenever the supervisor starts (OTP: its `init`). If it fails there is no
    /// supervisor, and neither if it says [`StartError::Ignore`], which is no failure. It must not block.
    #[must_use]
    pub fn init(
        mut self,
        first: impl Fn() -> Result<(), StartError> + Send + Sync + 'static,
    ) -> Self {
        self.init = Some(Box::new(first));
        self
    }

    /// Lets it pass the fault point `<name>.event` at each event.
    #[must_use]
    pub fn with_faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// What everybody may hold of it.
    pub fn supervisor_ref(&self) -> SupervisorRef {
        SupervisorRef::new(&self.desk)
    }

    /// What is wrong with it and with everything below, names that are there twice apart.
    pub(crate) fn faults(&self) -> Vec<SpecFault> {
        let mut faults = spec_fault::of_flags(&self.name, &self.flags);
        for child in &self.children {
            faults.extend(child.faults(&self.name));
        }
        faults
    }
}
