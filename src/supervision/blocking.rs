//! One life of a [`BlockingChild`]: an OS thread that takes batches from the slot, behind the panic boundary.

use std::sync::Arc;

use super::batch::{BatchLimits, Pulled};
use super::boundary::contain;
use super::child::{BlockingChild, StartError, chain};
use super::control::Control;
use super::delivery::Delivery;
use super::event::Reporter;
use super::exit_reason::ExitReason;
use super::faults::Faults;
use super::life::Life;
use super::message::Message as _;
use super::slot::{Shared, Wake};

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
