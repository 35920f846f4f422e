//! A [`Child`] at work: each incarnation is an actix actor that pulls messages from the slot, inside the panic boundary.

use std::pin::pin;
use std::sync::Arc;

use actix::prelude::*;
use futures_util::future::{Either, select};

use super::begun::Begun;
use super::child::{Child, ChildContext, LocalBoxFuture, StartError, chain};
use super::child_spec::ChildSpec;
use super::event::Reporter;
use super::event_loop::{EventLoop, EventLoopUse};
use super::presence::Present;
use super::runtime::{Env, Runtime};
use crate::supervision::boundary::{contain, contain_future};
use crate::supervision::exit_reason::ExitReason;
use crate::supervision::rules::AfterStop;
use crate::supervision::slot::{
    Control as _, Incarnation, Message as _, Shared, Signal, Slot, Wake,
};
use crate::supervision::tree::Node;

/// The number of messages that are handled before other tasks of the thread get their turn. actix itself has no such limit.
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
        Self::actor_on(&EventLoop::default(), slot, factory)
    }

    /// The spec of a child that is an actor on `event_loop`, which other children may share.
    pub fn actor_on<C, F>(
        event_loop: &EventLoop,
        slot: &Slot<C::Message>,
        factory: impl Fn(Incarnation) -> F + Send + Sync + 'static,
    ) -> Self
    where
        C: Child,
        F: Future<Output = Result<C, StartError>> + 'static,
    {
        let shared = Arc::clone(&slot.shared);
        let node = Node::new(Arc::clone(&shared.name), Some(slot.control()));
        let runtime = ActorRuntime::<C> {
            shared,
            factory: Arc::new(move |incarnation| Box::pin(factory(incarnation))),
            event_loop: EventLoopUse::new(event_loop),
            present: Present::new(&node),
        };
        Self::worker(node, runtime)
    }
}

struct ActorRuntime<C: Child> {
    shared: Arc<Shared<C::Message>>,
    factory: Arc<Factory<C>>,
    event_loop: EventLoopUse,
    present: Present,
}

impl<C: Child> Runtime for ActorRuntime<C> {
    fn start(&self, reporter: Reporter, env: &Env) -> Result<(), ExitReason> {
        let (begun, gone) = Begun::new(&self.shared, reporter, env);
        self.present.begun(gone);
        let factory = Arc::clone(&self.factory);
        let job = move || drop(actix_rt::spawn(start(begun, factory)));
        let spawned = if env.inline {
            Arbiter::current().spawn_fn(job)
        } else {
            self.event_loop.enter(job)
        };
        let failed = || ExitReason::StartFailed(Arc::from("its arbiter has stopped"));
        spawned.then_some(()).ok_or_else(failed)
    }

    fn stop(&self, after: AfterStop) {
        self.shared.signal(Signal::Stop(after));
    }

    fn kill(&self, generation: u64, reason: &ExitReason) {
        self.shared.fence(generation, reason);
        let Some(going) = self.present.going() else {
            return;
        };
        let (event_loop, doubted) = (self.event_loop.event_loop.clone(), self.event_loop.doubt());
        drop(actix_rt::spawn(async move {
            let answers = going.await;
            if let Some(thread) = doubted {
                event_loop.answered(thread, answers);
            }
        }));
    }

    fn release(&self) {
        self.event_loop.leave();
    }
}

/// Makes the child and its actor on the current arbiter.
async fn start<C: Child>(begun: Begun<C::Message>, factory: Arc<Factory<C>>) {
    let made = make(&begun, &*factory).await;
    if let Some(child) = begun.made(made) {
        let child = Some(child);
        ChildActor { child, begun }.start();
    }
}

/// Runs the factory. If the supervisor asks the child to stop meanwhile, the factory's future is dropped.
async fn make<C: Child>(
    begun: &Begun<C::Message>,
    factory: &Factory<C>,
) -> Result<Result<C, StartError>, ExitReason> {
    let future = contain(|| factory(begun.incarnation.clone()))?;
    let mut made = Box::pin(contain_future(future));
    let generation = begun.incarnation.generation;
    let cancelled = pin!(begun.shared.start_cancelled(generation));
    match select(&mut made, cancelled).await {
        Either::Left((made, _)) => made,
        Either::Right(_) => {
            contain(|| drop(made)).map_err(|panic| panic.during(Some("start")))?;
            Err(ExitReason::Shutdown)
        }
    }
}

/// The actor of one incarnation.
struct ChildActor<C: Child> {
    /// `None` once the incarnation has ended.
    child: Option<C>,
    begun: Begun<C::Message>,
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
        let Some(child) = &mut self.child else {
            return false;
        };
        let mut cx = ChildContext {
            incarnation: self.begun.incarnation.clone(),
            spawned: Vec::new(),
            exit: None,
        };
        let ran = contain(|| part(child, &mut cx)).map_err(|panic| panic.during(during));
        if let Some(reason) = ran.err().or(cx.exit) {
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
        if let Some(child) = self.child.take() {
            self.begun.end(reason, child);
        }
    }

    fn pull(&mut self, ctx: &mut Context<Self>) {
        for _ in 0..MESSAGES_PER_TURN {
            let generation = self.begun.incarnation.generation;
            let Some(delivery) = self.begun.shared.pull(generation) else {
                return;
            };
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
        if !self.begun.open(Wake::Actor(ctx.address().recipient())) {
            return self.die(ctx, ExitReason::Killed);
        }
        let mut work = None;
        if self.run_part(ctx, Some("run"), |child, cx| work = child.run(cx))
            && let Some(work) = work
        {
            self.supervise(ctx, async move {
                Some(match work.await {
                    Ok(()) => ExitReason::Normal,
                    Err(error) => ExitReason::Error(chain(&*error, ": ").into()),
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
            // Whoever fenced it has reported its end.
            Signal::End => self.die(ctx, ExitReason::Killed),
            Signal::Probe => {
                if let Err(reason) = contain(|| self.begun.pass_idle_point()) {
                    self.die(ctx, reason);
                }
            }
            Signal::Stop(after) => {
                let Some(child) = &mut self.child else { return };
                let stop = contain(|| match after {
                    AfterStop::Restart => child.step_aside(),
                    AfterStop::StayDown => child.stop(),
                    AfterStop::StayDownAlone => child.stop_alone(),
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
