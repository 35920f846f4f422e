//! A [`Child`] at work: each incarnation is an actix actor that pulls messages from the slot, inside the panic boundary.

use std::pin::pin;
use std::sync::Arc;

use actix::prelude::*;
use futures_util::future::{Either, select};
use parking_lot::Mutex;

use super::child::{Child, ChildContext, LocalBoxFuture, StartError, chain};
use super::child_spec::ChildSpec;
use super::env::{ChildArbiter, Env};
use super::event::Reporter;
use super::runtime::Runtime;
use crate::supervision::boundary::{contain, contain_future};
use crate::supervision::exit_reason::ExitReason;
use crate::supervision::faults::Faults;
use crate::supervision::rules::AfterStop;
use crate::supervision::slot::{
    Control, Delivery, Incarnation, Message as _, Shared, Signal, Slot, Wake,
};
use crate::supervision::tree::Node;

/// How many messages are handled before other tasks of the thread get their turn. actix itself has no such limit.
const MESSAGES_PER_TURN: usize = 64;

/// Makes the child of one incarnation.
type Factory<C> =
    dyn Fn(Incarnation) -> LocalBoxFuture<'static, Result<C, StartError>> + Send + Sync;

impl ChildSpec {
    /// The spec of a child that is an actor on a thread of its own. `factory` is called on that thread, once for each
    /// incarnation.
    pub fn actor<C, F>(
        slot: &Slot<C::Message>,
        factory: impl Fn(Incarnation) -> F + Send + Sync + 'static,
    ) -> Self
    where
        C: Child,
        F: Future<Output = Result<C, StartError>> + 'static,
    {
        let shared = Arc::clone(&slot.shared);
        let node = Node::child(&shared.name, shared.control());
        let runtime = ActorRuntime::<C> {
            shared,
            factory: Arc::new(move |incarnation| Box::pin(factory(incarnation))),
            arbiter: Mutex::new(None),
        };
        Self::worker(node, runtime)
    }
}

struct ActorRuntime<C: Child> {
    shared: Arc<Shared<C::Message>>,
    factory: Arc<Factory<C>>,
    /// Kept from one incarnation to the next, until one has to be killed.
    arbiter: Mutex<Option<ChildArbiter>>,
}

impl<C: Child> Runtime for ActorRuntime<C> {
    fn start(&self, generation: u64, reporter: Reporter, env: &Env) {
        let begin = Begin {
            factory: Arc::clone(&self.factory),
            shared: Arc::clone(&self.shared),
            incarnation: self.shared.begin(generation),
            reporter: reporter.clone(),
            faults: env.faults.clone(),
        };
        let mut arbiter = self.arbiter.lock();
        let on = arbiter.get_or_insert_with(|| env.arbiter());
        if !on.spawn(move || begin.run()) {
            // The next start makes a new arbiter.
            *arbiter = None;
            let reason = ExitReason::StartFailed(Arc::from("its arbiter has stopped"));
            self.shared.fence(generation, &reason);
            reporter.exited(generation, reason, false);
        }
    }

    fn stop(&self, after: AfterStop) {
        self.shared.signal(Signal::Stop(after));
    }

    fn kill(&self, generation: u64, reason: &ExitReason) {
        self.shared.fence(generation, reason);
        // The thread may hang for ever, so the next incarnation gets another one.
        self.release();
    }

    fn release(&self) {
        if let Some(arbiter) = self.arbiter.lock().take() {
            arbiter.stop();
        }
    }
}

/// The inputs of the start of one incarnation.
struct Begin<C: Child> {
    factory: Arc<Factory<C>>,
    shared: Arc<Shared<C::Message>>,
    incarnation: Incarnation,
    reporter: Reporter,
    faults: Faults,
}

impl<C: Child> Begin<C> {
    /// Makes the child and its actor on the current arbiter, and reports.
    async fn run(self) {
        let generation = self.incarnation.generation;
        let reason = match self.make().await {
            Ok(Ok(child)) => {
                let idle_point = format!("{}.idle", self.shared.name);
                self.faults.register(&idle_point);
                let actor = ChildActor {
                    child: Some(child),
                    shared: self.shared,
                    incarnation: self.incarnation,
                    reporter: self.reporter,
                    faults: self.faults,
                    idle_point,
                    reported: false,
                };
                actor.start();
                return;
            }
            Ok(Err(StartError::Ignore)) => {
                self.shared.fence(generation, &ExitReason::Normal);
                return self.reporter.ignored(generation);
            }
            Ok(Err(StartError::Failed(error))) => ExitReason::StartFailed(chain(&*error)),
            Err(reason) => reason,
        };
        self.shared.fence(generation, &reason);
        self.reporter.exited(generation, reason, false);
    }

    /// Runs the factory. If the supervisor asks the child to stop meanwhile, the factory's future is dropped.
    async fn make(&self) -> Result<Result<C, StartError>, ExitReason> {
        let future = contain(|| (self.factory)(self.incarnation.clone()))?;
        let mut made = Box::pin(contain_future(future));
        let cancelled = pin!(self.shared.start_cancelled(self.incarnation.generation));
        match select(&mut made, cancelled).await {
            Either::Left((made, _)) => made,
            Either::Right(_) => {
                contain(|| drop(made)).map_err(|panic| panic.during(Some("start")))?;
                Err(ExitReason::Shutdown)
            }
        }
    }
}

/// The actor of one incarnation.
struct ChildActor<C: Child> {
    child: Option<C>,
    shared: Arc<Shared<C::Message>>,
    incarnation: Incarnation,
    reporter: Reporter,
    faults: Faults,
    idle_point: String,
    reported: bool,
}

impl<C: Child> ChildActor<C> {
    /// Runs a part of the child. A panic in it, or an exit that it asked for, ends the incarnation; then this returns
    /// false.
    fn run_part(
        &mut self,
        ctx: &mut Context<Self>,
        during: Option<&'static str>,
        part: impl FnOnce(&mut C, &mut ChildContext),
    ) -> bool {
        let Some(child) = self.child.as_mut() else {
            return false;
        };
        let mut cx = ChildContext::new(self.incarnation.clone());
        match contain(|| part(child, &mut cx)) {
            Ok(()) => {
                if let Some(reason) = cx.exit {
                    self.die(ctx, reason);
                    return false;
                }
                for task in cx.spawned {
                    self.supervise(ctx, async move {
                        task.await;
                        None
                    });
                }
                true
            }
            Err(reason) => {
                self.die(ctx, reason.during(during));
                false
            }
        }
    }

    /// Runs a task of the child. If the task returns a reason, or panics, the incarnation ends.
    fn supervise(
        &self,
        ctx: &mut Context<Self>,
        task: impl Future<Output = Option<ExitReason>> + 'static,
    ) {
        let task = contain_future(task).into_actor(self);
        ctx.spawn(task.map(|end, this: &mut Self, ctx| match end {
            Ok(None) => {}
            Ok(Some(reason)) | Err(reason) => this.die(ctx, reason),
        }));
    }

    /// Ends the incarnation. actix learns of it last, after the slot has been fenced and the end reported.
    fn die(&mut self, ctx: &mut Context<Self>, reason: ExitReason) {
        self.report(reason);
        ctx.terminate();
    }

    fn report(&mut self, reason: ExitReason) {
        if std::mem::replace(&mut self.reported, true) {
            return;
        }
        let generation = self.incarnation.generation;
        let handled = self.shared.handled() > 0;
        // Whoever fenced it before has reported it as well.
        if self.shared.fence(generation, &reason) {
            self.reporter.exited(generation, reason, handled);
        }
        if let Err(second) = contain(|| drop(self.child.take())) {
            tracing::error!(child = %self.shared.name, reason = %second, "the child panicked again while it was dropped");
        }
    }

    fn pull(&mut self, ctx: &mut Context<Self>) {
        for _ in 0..MESSAGES_PER_TURN {
            let Some(delivery) = Delivery::pull(&self.shared, self.incarnation.generation) else {
                return;
            };
            delivery.begin();
            let kind = delivery.kind();
            if !self.run_part(ctx, Some(kind), |child, cx| child.handle(delivery, cx)) {
                return;
            }
        }
        ctx.notify(Signal::Pull);
    }
}

impl<C: Child> Actor for ChildActor<C> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let generation = self.incarnation.generation;
        let wake = Wake::Actor(ctx.address().recipient());
        if !self.shared.open(generation, wake) {
            self.die(ctx, ExitReason::Killed);
            return;
        }
        self.reporter.ready(generation);
        let mut work = None;
        if self.run_part(ctx, Some("run"), |child, cx| work = child.run(cx))
            && let Some(work) = work
        {
            self.supervise(ctx, async move {
                Some(match work.await {
                    Ok(()) => ExitReason::Normal,
                    Err(error) => ExitReason::Error(chain(&*error)),
                })
            });
        }
    }
}

impl<C: Child> Handler<Signal> for ChildActor<C> {
    type Result = ();

    fn handle(&mut self, signal: Signal, ctx: &mut Self::Context) {
        match signal {
            Signal::Pull => self.pull(ctx),
            Signal::Probe => {
                let faults = self.faults.clone();
                let point = std::mem::take(&mut self.idle_point);
                self.run_part(ctx, None, |_, _| faults.hit(&point));
                self.idle_point = point;
            }
            Signal::Stop(after) => {
                let Some(child) = self.child.as_mut() else {
                    return;
                };
                let stop = contain(|| match after {
                    AfterStop::Restart => child.step_aside(),
                    AfterStop::StayDown => child.stop(),
                });
                match stop {
                    Ok(stop) => self.supervise(ctx, async move {
                        stop.await;
                        Some(ExitReason::Shutdown)
                    }),
                    Err(reason) => self.die(ctx, reason.during(Some("stop"))),
                }
            }
        }
    }
}

impl<C: Child> Drop for ChildActor<C> {
    /// Reports an actor that ended in any other way, such as with its arbiter.
    fn drop(&mut self) {
        self.report(ExitReason::Lost);
    }
}
