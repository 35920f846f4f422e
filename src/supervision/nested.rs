//! A supervisor as somebody's child.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::bed::Bed;
use super::child_spec::Runtime;
use super::clock::Clock;
use super::event::{Event, Input, Reporter};
use super::exit_reason::ExitReason;
use super::placement::Placer;
use super::rules::Sequel;
use super::supervisor::{Above, Surroundings, begin};

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
