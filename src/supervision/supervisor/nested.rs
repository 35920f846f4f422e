//! A supervisor as a child of another one.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::mpsc::UnboundedSender;

use super::actor::{self, Parent};
use super::spec::SupervisorSpec;
use super::state::SupervisorState;
use crate::supervision::exit_reason::ExitReason;
use crate::supervision::life::{ChildSpec, Env, Reporter, Runtime, SupervisorEvent};
use crate::supervision::rules::AfterStop;
use crate::supervision::strategy::Shutdown;

impl ChildSpec {
    /// The spec of a child that is a supervisor. It is given all the time its children need to stop, as in OTP.
    pub fn supervisor(spec: SupervisorSpec) -> Self {
        let (below, supervisors) = (spec.faults(), spec.supervisors());
        let state = SupervisorState::new(spec);
        let node = Arc::clone(&state.spec.node);
        let runtime = SupervisorRuntime {
            state,
            events: Mutex::new(None),
        };
        let mut child = Self::worker(node, runtime).shutdown(Shutdown::Infinity);
        child.rules.supervisor = true;
        (child.below, child.supervisors) = (below, supervisors);
        child
    }
}

impl From<SupervisorSpec> for ChildSpec {
    fn from(spec: SupervisorSpec) -> Self {
        Self::supervisor(spec)
    }
}

struct SupervisorRuntime {
    state: Arc<SupervisorState>,
    /// To the actor of the present term.
    events: Mutex<Option<UnboundedSender<SupervisorEvent>>>,
}

impl SupervisorRuntime {
    fn tell(&self, event: SupervisorEvent) {
        if let Some(events) = &*self.events.lock() {
            // A supervisor that has ended has reported that by itself.
            drop(events.send(event));
        }
    }
}

impl Runtime for SupervisorRuntime {
    fn start(&self, reporter: Reporter, env: &Env) -> Result<(), ExitReason> {
        let parent = Parent::Supervisor(reporter);
        let events = actor::start(Arc::clone(&self.state), parent, env.clone());
        *self.events.lock() = Some(events);
        Ok(())
    }

    fn stop(&self, after: AfterStop) {
        self.tell(SupervisorEvent::Stop(after));
    }

    fn kill(&self, _: u64, reason: &ExitReason) {
        self.state.kill(reason);
        // Any event makes the actor notice that its term is over.
        self.tell(SupervisorEvent::Tick);
    }

    fn release(&self) {
        self.state.give_up();
    }
}
