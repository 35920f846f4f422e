//! A supervisor as somebody's child.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::actor::{Above, Surroundings, begin};
use super::spec::SupervisorSpec;
use super::state::Bed;
use crate::supervision::clock::Clock;
use crate::supervision::exit_reason::ExitReason;
use crate::supervision::life::{ChildSpec, Event, Input, Placer, Reporter, Runtime};
use crate::supervision::rules::Sequel;

/// A supervisor as somebody's child: its bed outlives its lives.
pub(crate) struct Nested {
    bed: Arc<Bed>,
    life: Mutex<Option<UnboundedSender<Input>>>,
}

impl Nested {
    pub(crate) fn new(bed: Arc<Bed>) -> Self {
        Self {
            bed,
            life: Mutex::new(None),
        }
    }

    fn life(&self) -> MutexGuard<'_, Option<UnboundedSender<Input>>> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, input: Input) {
        if let Some(life) = &*self.life() {
            // A supervisor that is gone has reported itself.
            drop(life.send(input));
        }
    }
}

impl Runtime for Nested {
    fn start(&self, generation: u64, reporter: Reporter, placer: &Placer, clock: Clock) {
        let input = unbounded_channel();
        *self.life() = Some(input.0.clone());
        let around = Surroundings {
            above: Above::Supervisor {
                reporter,
                generation,
            },
            clock,
            placer: placer.clone(),
            pulse: None,
        };
        begin(Arc::clone(&self.bed), around, input);
    }

    fn stop(&self, sequel: Sequel) {
        self.tell(Input::Event(Event::Stop(sequel)));
    }

    fn kill(&self, _: u64, reason: &ExitReason) {
        self.bed.kill(reason);
        // Its term is over; anything wakes it up to see that.
        self.tell(Input::Tick);
    }

    fn release(&self) {
        self.bed.give_up();
    }
}

impl ChildSpec {
    /// A child that is a supervisor.
    pub fn supervisor(spec: SupervisorSpec) -> Self {
        let faults = spec.faults();
        let bed = Bed::new(spec);
        let spec = Self::new(bed.node.clone(), Arc::new(Nested::new(bed)), true);
        Self { faults, ..spec }
    }
}
