//! A [`BlockingChild`] at work: each incarnation is an OS thread that takes batches from the slot, inside the panic boundary.

use std::sync::Arc;

use super::child::{BlockingChild, StartError, chain};
use super::child_spec::ChildSpec;
use super::env::Env;
use super::event::Reporter;
use super::runtime::Runtime;
use crate::supervision::boundary::contain;
use crate::supervision::exit_reason::ExitReason;
use crate::supervision::faults::Faults;
use crate::supervision::rules::AfterStop;
use crate::supervision::slot::{
    BatchLimits, Control, Delivery, Incarnation, Message as _, Pulled, Shared, Signal, Slot, Wake,
};
use crate::supervision::tree::Node;

/// Makes the child of one incarnation.
type BlockingFactory<C> = dyn Fn(Incarnation) -> Result<C, StartError> + Send + Sync;

impl ChildSpec {
    /// The spec of a child that may block: an OS thread that takes batches. `factory` is called on that thread, once for
    /// each incarnation.
    pub fn blocking<C: BlockingChild>(
        slot: &Slot<C::Message>,
        limits: BatchLimits,
        factory: impl Fn(Incarnation) -> Result<C, StartError> + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::clone(&slot.shared);
        let node = Node::child(&shared.name, shared.control());
        let runtime = ThreadRuntime::<C> {
            shared,
            limits,
            factory: Arc::new(factory),
        };
        Self::worker(node, runtime)
    }
}

struct ThreadRuntime<C: BlockingChild> {
    shared: Arc<Shared<C::Message>>,
    limits: BatchLimits,
    factory: Arc<BlockingFactory<C>>,
}

impl<C: BlockingChild> Runtime for ThreadRuntime<C> {
    fn start(&self, generation: u64, reporter: Reporter, env: &Env) {
        let thread = ChildThread {
            factory: Arc::clone(&self.factory),
            shared: Arc::clone(&self.shared),
            limits: self.limits,
            incarnation: self.shared.begin(generation),
            reporter: reporter.clone(),
            faults: env.faults.clone(),
        };
        let spawned = std::thread::Builder::new()
            .name(self.shared.name.to_string())
            .spawn(move || thread.run());
        if let Err(error) = spawned {
            let reason = ExitReason::StartFailed(format!("no thread: {error}").into());
            self.shared.fence(generation, &reason);
            reporter.exited(generation, reason, false);
        }
    }

    fn stop(&self, after: AfterStop) {
        self.shared.signal(Signal::Stop(after));
    }

    fn kill(&self, generation: u64, reason: &ExitReason) {
        self.shared.fence(generation, reason);
    }
}

/// The thread of one incarnation.
struct ChildThread<C: BlockingChild> {
    factory: Arc<BlockingFactory<C>>,
    shared: Arc<Shared<C::Message>>,
    limits: BatchLimits,
    incarnation: Incarnation,
    reporter: Reporter,
    faults: Faults,
}

/// The end of an incarnation, and the values that have to be dropped.
struct ThreadEnd<C: BlockingChild> {
    reason: ExitReason,
    left: Option<(C, Vec<Delivery<C::Message>>)>,
}

impl<C: BlockingChild> ChildThread<C> {
    /// Returns when the incarnation has ended and has been reported.
    fn run(self) {
        let generation = self.incarnation.generation;
        let failed = |reason| ThreadEnd { reason, left: None };
        let end = match contain(|| (self.factory)(self.incarnation.clone())) {
            Ok(Ok(child)) => self.serve(child),
            Ok(Err(StartError::Ignore)) => {
                self.shared.fence(generation, &ExitReason::Normal);
                return self.reporter.ignored(generation);
            }
            Ok(Err(StartError::Failed(error))) => failed(ExitReason::StartFailed(chain(&*error))),
            Err(panic) => failed(panic),
        };
        let handled = self.shared.handled() > 0;
        if self.shared.fence(generation, &end.reason) {
            self.reporter.exited(generation, end.reason, handled);
        }
        // Dropped after the fence, which has settled what was left of the batch.
        if let Err(second) = contain(|| drop(end.left)) {
            tracing::error!(child = %self.shared.name, reason = %second, "the child panicked again while it was dropped");
        }
    }

    fn serve(&self, mut child: C) -> ThreadEnd<C> {
        let generation = self.incarnation.generation;
        if !self.shared.open(generation, Wake::Thread) {
            return ThreadEnd {
                reason: ExitReason::Killed,
                left: Some((child, Vec::new())),
            };
        }
        let idle_point = format!("{}.idle", self.shared.name);
        self.faults.register(&idle_point);
        self.reporter.ready(generation);
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
            return ThreadEnd {
                reason,
                left: Some((child, batch)),
            };
        }
    }
}
