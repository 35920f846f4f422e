//! A supervisor as somebody's child.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::child_spec::Runtime;
use super::clock::Clock;
use super::event::{Event, Reporter};
use super::exit_reason::ExitReason;
use super::placement::Placer;
use super::supervisor::{Above, Bed, SupervisorSpec, Surroundings, begin};
use super::tree::Node;

/// A supervisor as somebody's child: its bed outlives its lives.
pub(crate) struct Nested {
    bed: Arc<Bed>,
    node: Node,
    life: Mutex<Option<UnboundedSender<Event>>>,
}

impl Nested {
    pub(crate) fn new(spec: SupervisorSpec) -> Self {
        let node = spec.node();
        Self {
            bed: Bed::new(spec),
            node,
            life: Mutex::new(None),
        }
    }

    fn life(&self) -> MutexGuard<'_, Option<UnboundedSender<Event>>> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Runtime for Nested {
    fn start(&self, generation: u64, reporter: Reporter, placer: &Placer, clock: Clock) {
        let events = unbounded_channel();
        *self.life() = Some(events.0.clone());
        let around = Surroundings {
            node: self.node.clone(),
            above: Above::Supervisor {
                reporter,
                generation,
            },
            clock,
            placer: placer.clone(),
            pulse: None,
        };
        begin(Arc::clone(&self.bed), around, events);
    }

    fn stop(&self) {
        if let Some(events) = &*self.life() {
            // A supervisor that is gone has reported itself.
            drop(events.send(Event::Stop));
        }
    }

    fn kill(&self, _: u64, _: &ExitReason) {
        self.stop();
    }

    fn release(&self) {
        for (_, _, runtime) in &self.bed.children {
            runtime.release();
        }
    }
}
