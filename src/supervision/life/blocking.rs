//! A [`BlockingChild`] at work: each incarnation is an OS thread that takes batches from the slot, inside the panic boundary.

use std::sync::Arc;

use super::begun::Begun;
use super::child::{BlockingChild, StartError, chain};
use super::child_spec::ChildSpec;
use super::event::Reporter;
use super::presence::Present;
use super::runtime::{Env, Runtime};
use crate::supervision::boundary::contain;
use crate::supervision::exit_reason::ExitReason;
use crate::supervision::rules::AfterStop;
use crate::supervision::slot::{
    BatchLimits, Control as _, Delivery, Incarnation, Message as _, Pulled, Shared, Signal, Slot,
    Wake,
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
        let node = Node::new(Arc::clone(&shared.name), Some(slot.control()));
        let runtime = ThreadRuntime::<C> {
            shared,
            limits,
            factory: Arc::new(factory),
            present: Present::new(&node),
        };
        Self::worker(node, runtime)
    }
}

struct ThreadRuntime<C: BlockingChild> {
    shared: Arc<Shared<C::Message>>,
    limits: BatchLimits,
    factory: Arc<BlockingFactory<C>>,
    present: Present,
}

impl<C: BlockingChild> Runtime for ThreadRuntime<C> {
    fn start(&self, reporter: Reporter, env: &Env) -> Result<(), ExitReason> {
        let (begun, gone) = Begun::new(&self.shared, reporter, env);
        self.present.begun(gone);
        let (factory, limits) = (Arc::clone(&self.factory), self.limits);
        let thread = std::thread::Builder::new().name(self.shared.name.to_string());
        let spawned = thread.spawn(move || live(&begun, &*factory, limits));
        let failed = |error| ExitReason::StartFailed(format!("no thread: {error}").into());
        spawned.map(drop).map_err(failed)
    }

    fn stop(&self, after: AfterStop) {
        self.shared.signal(Signal::Stop(after));
    }

    fn kill(&self, generation: u64, reason: &ExitReason) {
        self.shared.fence(generation, reason);
        if let Some(going) = self.present.going() {
            drop(actix_rt::spawn(going));
        }
    }
}

/// Lives one incarnation. Returns when it has ended and has been reported.
fn live<C: BlockingChild>(
    begun: &Begun<C::Message>,
    factory: &BlockingFactory<C>,
    limits: BatchLimits,
) {
    let made = contain(|| factory(begun.incarnation.clone()));
    if let Some(mut child) = begun.made(made) {
        let (reason, batch) = serve(begun, &mut child, limits);
        // The fence settles what is left of the batch.
        begun.end(reason, (child, batch));
    }
}

/// Handles batches until the incarnation ends. Returns why it ended, and the last batch.
fn serve<C: BlockingChild>(
    begun: &Begun<C::Message>,
    child: &mut C,
    limits: BatchLimits,
) -> (ExitReason, Vec<Delivery<C::Message>>) {
    if !begun.open(Wake::Thread) {
        return (ExitReason::Killed, Vec::new());
    }
    let generation = begun.incarnation.generation;
    loop {
        let mut batch = Vec::new();
        let part = match begun.shared.pull_batch(generation, limits) {
            Pulled::Batch(pulled) => {
                batch = pulled;
                let during = batch.first().map(|first| first.kind());
                contain(|| child.handle(&batch)).map_err(|panic| panic.during(during))
            }
            Pulled::Probe => contain(|| begun.pass_idle_point()).map(Ok),
            Pulled::Fenced => Err(ExitReason::Killed),
            Pulled::Stop => Err(match contain(|| child.stop()) {
                Ok(()) => ExitReason::Shutdown,
                Err(reason) => reason.during(Some("stop")),
            }),
        };
        let reason = match part {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => ExitReason::Error(chain(&*error, ": ").into()),
            Err(reason) => reason,
        };
        return (reason, batch);
    }
}
