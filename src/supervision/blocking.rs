//! One life of a [`BlockingChild`]: an OS thread that takes batches from the slot, behind the panic boundary.

use std::sync::Arc;

use super::boundary::contain;
use super::child::{BlockingChild, StartError, chain};
use super::control::Control;
use super::event::Reporter;
use super::exit_reason::ExitReason;
use super::faults::Faults;
use super::life::Life;
use super::message::Message as _;
use super::slot::{BatchLimits, Pulled, Shared, Wake};

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

impl<C: BlockingChild> Thread<C> {
    /// Lives: returns when the incarnation has ended and has been reported.
    pub(crate) fn live(self) {
        let generation = self.life.generation;
        let reason = match contain(|| (self.factory)(self.life.clone())) {
            Ok(Ok(child)) => self.serve(child),
            Ok(Err(StartError::Ignore)) => {
                self.shared.fence(generation, &ExitReason::Normal);
                self.reporter.ignored(generation);
                return;
            }
            Ok(Err(StartError::Failed(error))) => ExitReason::StartFailed(chain(&*error)),
            Err(panic) => panic,
        };
        let handled = self.shared.handled() > 0;
        if self.shared.fence(generation, &reason) {
            self.reporter.exited(generation, reason, handled);
        }
    }

    fn serve(&self, mut child: C) -> ExitReason {
        let generation = self.life.generation;
        if !self.shared.open(generation, Wake::Thread) {
            return ExitReason::Killed;
        }
        self.reporter.ready(generation);
        let idle_point = format!("{}.idle", self.shared.name);
        let end = loop {
            let mut during = None;
            let part = match self.shared.pull_batch(generation, self.limits) {
                Pulled::Batch(batch) => {
                    during = batch.first().map(|first| first.kind());
                    contain(|| {
                        batch.iter().for_each(super::Delivery::begin);
                        child.handle(batch);
                    })
                }
                Pulled::Probe => contain(|| self.faults.hit(&idle_point)),
                Pulled::Fenced => break ExitReason::Killed,
                Pulled::Stop => {
                    break match contain(|| child.stop()) {
                        Ok(()) => ExitReason::Shutdown,
                        Err(reason) => reason.during(Some("stop")),
                    };
                }
            };
            if let Err(reason) = part {
                break reason.during(during);
            }
        };
        // A child that is slow to drop must not keep its callers waiting: the successor waits for what it needs itself.
        match contain(|| drop(child)) {
            Ok(()) => end,
            Err(second) => {
                tracing::error!(child = %self.shared.name, reason = %second, "dropping a dead child panicked too");
                end
            }
        }
    }
}
