//! One life of a [`BlockingChild`]: an OS thread that takes batches from the slot, behind the panic boundary.

use std::sync::Arc;

use super::child::{BlockingChild, StartError, chain};
use super::child_spec::ChildSpec;
use super::event::Reporter;
use super::placement::Placer;
use super::runtime::Runtime;
use crate::supervision::boundary::contain;
use crate::supervision::clock::Clock;
use crate::supervision::exit_reason::ExitReason;
use crate::supervision::faults::Faults;
use crate::supervision::rules::Sequel;
use crate::supervision::slot::{
    BatchLimits, Control, Delivery, Life, Message as _, Pulled, Shared, Signal, Slot, Wake,
};
use crate::supervision::tree::Node;

/// Makes one incarnation, given its facts.
pub(crate) type Factory<C> = dyn Fn(Life) -> Result<C, StartError> + Send + Sync;

/// Everything one life needs.
pub(crate) struct Thread<C: BlockingChild> {
    pub(crate) factory: Arc<Factory<C>>,
    pub(crate) shared: Arc<Shared<C::Message>>,
    pub(crate) limits: BatchLimits,
    pub(crate) life: Life,
    pub(crate) reporter: Reporter,
    pub(crate) faults: Faults,
}

/// How a life ended, and what of it is still to be dropped.
struct End<C: BlockingChild> {
    reason: ExitReason,
    left: Option<(C, Vec<Delivery<C::Message>>)>,
}

impl<C: BlockingChild> Thread<C> {
    /// Lives: returns when the incarnation has ended and has been reported.
    pub(crate) fn live(self) {
        let generation = self.life.generation;
        let end = match contain(|| (self.factory)(self.life.clone())) {
            Ok(Ok(child)) => self.serve(child),
            Ok(Err(StartError::Ignore)) => {
                self.shared.fence(generation, &ExitReason::Normal);
                self.reporter.ignored(generation);
                return;
            }
            Ok(Err(StartError::Failed(error))) => End {
                reason: ExitReason::StartFailed(chain(&*error)),
                left: None,
            },
            Err(panic) => End {
                reason: panic,
                left: None,
            },
        };
        let handled = self.shared.handled() > 0;
        if self.shared.fence(generation, &end.reason) {
            self.reporter.exited(generation, end.reason, handled);
        }
        // After the fence: it has settled what was left of the batch.
        if let Err(second) = contain(|| drop(end.left)) {
            tracing::error!(child = %self.shared.name, reason = %second, "dropping a dead child panicked too");
        }
    }

    fn serve(&self, mut child: C) -> End<C> {
        let generation = self.life.generation;
        if !self.shared.open(generation, Wake::Thread) {
            return End {
                reason: ExitReason::Killed,
                left: Some((child, Vec::new())),
            };
        }
        self.reporter.ready(generation);
        let idle_point = format!("{}.idle", self.shared.name);
        loop {
            let mut batch = Vec::new();
            let part = match self.shared.pull_batch(generation, self.limits) {
                Pulled::Batch(pulled) => {
                    batch = pulled;
                    batch.iter().for_each(Delivery::begin);
                    contain(|| child.handle(&batch))
                }
                Pulled::Probe => contain(|| {
                    self.faults.hit(&idle_point);
                    Ok(())
                }),
                Pulled::Fenced => Err(ExitReason::Killed),
                Pulled::Stop => Err(match contain(|| child.stop()) {
                    Ok(()) => ExitReason::Shutdown,
                    Err(reason) => reason.during(Some("stop")),
                }),
            };
            let reason = match part {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => ExitReason::Error(chain(&*error)),
                Err(reason) => reason.during(batch.first().map(|first| first.kind())),
            };
            return End {
                reason,
                left: Some((child, batch)),
            };
        }
    }
}

impl ChildSpec {
    /// A child that is an OS thread and takes batches. `factory` is called for every incarnation, on that thread.
    pub fn blocking<C: BlockingChild>(
        slot: &Slot<C::Message>,
        limits: BatchLimits,
        faults: Faults,
        factory: impl Fn(Life) -> Result<C, StartError> + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::clone(&slot.shared);
        let node = Node::child(&shared.name, Some(shared.control()));
        let factory: Arc<Factory<C>> = Arc::new(factory);
        let runtime = ThreadRuntime {
            shared,
            limits,
            faults,
            factory,
        };
        Self::new(node, Arc::new(runtime), false)
    }
}

struct ThreadRuntime<C: BlockingChild> {
    shared: Arc<Shared<C::Message>>,
    limits: BatchLimits,
    faults: Faults,
    factory: Arc<Factory<C>>,
}

impl<C: BlockingChild> Runtime for ThreadRuntime<C> {
    fn start(&self, generation: u64, reporter: Reporter, _: &Placer, _: Clock) {
        let thread = Thread {
            factory: Arc::clone(&self.factory),
            shared: Arc::clone(&self.shared),
            limits: self.limits,
            life: self.shared.begin(generation),
            reporter: reporter.clone(),
            faults: self.faults.clone(),
        };
        let spawned = std::thread::Builder::new()
            .name(self.shared.name.to_string())
            .spawn(move || thread.live());
        if let Err(error) = spawned {
            let reason = ExitReason::StartFailed(format!("no thread: {error}").into());
            self.shared.fence(generation, &reason);
            reporter.exited(generation, reason, false);
        }
    }

    fn stop(&self, sequel: Sequel) {
        self.shared.signal(Signal::Stop(sequel));
    }

    fn kill(&self, generation: u64, reason: &ExitReason) {
        self.shared.fence(generation, reason);
    }

    fn release(&self) {}
}
