//! The beginning, the readiness and the end of an incarnation: the same for actors and threads.

use std::sync::Arc;

use super::child::{StartError, chain};
use super::event::Reporter;
use super::presence::{Gone, Presence};
use super::runtime::Env;
use crate::supervision::boundary::contain;
use crate::supervision::exit_reason::ExitReason;
use crate::supervision::faults::Faults;
use crate::supervision::slot::{Incarnation, Message, Shared, Wake};

/// An incarnation that has begun, and reports its end.
pub(super) struct Begun<M> {
    pub(super) shared: Arc<Shared<M>>,
    pub(super) incarnation: Incarnation,
    reporter: Reporter,
    faults: Faults,
    idle_point: String,
    _presence: Presence,
}

impl<M: Message> Begun<M> {
    /// Begins an incarnation. Also returns what tells when it is gone.
    pub(super) fn new(shared: &Arc<Shared<M>>, reporter: Reporter, env: &Env) -> (Self, Gone) {
        let (presence, gone) = Presence::new();
        let begun = Self {
            incarnation: shared.begin(reporter.incarnation.generation),
            idle_point: format!("{}.idle", shared.name),
            shared: Arc::clone(shared),
            reporter,
            faults: env.faults.clone(),
            _presence: presence,
        };
        (begun, gone)
    }

    /// The child that the factory made. If it made none, the incarnation ends here, and this returns `None`.
    pub(super) fn made<C>(&self, made: Result<Result<C, StartError>, ExitReason>) -> Option<C> {
        match made {
            Ok(Ok(child)) => return Some(child),
            Ok(Err(StartError::Ignore)) => {
                let generation = self.incarnation.generation;
                self.shared.fence(generation, &ExitReason::Normal);
                self.reporter.ignored();
            }
            Ok(Err(StartError::Failed(error))) => {
                self.end(ExitReason::StartFailed(chain(&*error, ": ").into()), ());
            }
            Err(reason) => self.end(reason, ()),
        }
        None
    }

    /// Makes the incarnation the current one and reports that it is ready. Returns false if it has been fenced meanwhile.
    pub(super) fn open(&self, wake: Wake) -> bool {
        self.faults.register(&self.idle_point);
        let open = self.shared.open(self.incarnation.generation, wake);
        if open {
            self.reporter.ready();
        }
        open
    }

    /// Passes the fault point of a child that has nothing to do.
    pub(super) fn pass_idle_point(&self) {
        self.faults.hit(&self.idle_point);
    }

    /// Ends the incarnation. What is `left` of the child is dropped after the slot has been fenced.
    pub(super) fn end<L>(&self, reason: ExitReason, left: L) {
        let handled = self.shared.handled();
        // Whoever fenced it before has reported it as well.
        if self.shared.fence(self.incarnation.generation, &reason) {
            self.reporter.exited(reason, handled);
        }
        if let Err(second) = contain(|| drop(left)) {
            tracing::error!(child = %self.shared.name, reason = %second, "the child panicked again while it was dropped");
        }
    }
}
