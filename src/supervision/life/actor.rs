//! One life of a [`Child`]: an actix actor that pulls from the slot, behind the panic boundary.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use actix::prelude::*;
use futures_util::future::{Either, select};

use super::child::{Child, Cx, LocalBoxFuture, StartError, chain};
use super::child_spec::ChildSpec;
use super::event::Reporter;
use super::placement::{Place, Placement, Placer};
use super::runtime::Runtime;
use crate::supervision::boundary::{contain, contain_future};
use crate::supervision::clock::Clock;
use crate::supervision::exit_reason::ExitReason;
use crate::supervision::faults::Faults;
use crate::supervision::rules::Sequel;
use crate::supervision::slot::{Control, Delivery, Life, Message as _, Shared, Signal, Slot, Wake};
use crate::supervision::tree::Node;

/// Messages handled before the arbiter's other tasks get their turn; a mailbox poll has no budget of its own.
const MESSAGES_PER_TURN: usize = 64;

/// Makes one incarnation, given its facts.
pub(crate) type Factory<C> =
    dyn Fn(Life) -> LocalBoxFuture<'static, Result<C, StartError>> + Send + Sync;

/// The actor that is one incarnation.
pub(crate) struct Incarnation<C: Child> {
    child: Option<C>,
    shared: Arc<Shared<C::Message>>,
    life: Life,
    reporter: Reporter,
    faults: Faults,
    idle_point: String,
    reported: bool,
}

/// Begins a life on the current arbiter: makes the child, and reports.
pub(crate) async fn begin<C: Child>(
    factory: Arc<Factory<C>>,
    shared: Arc<Shared<C::Message>>,
    life: Life,
    reporter: Reporter,
    faults: Faults,
) {
    let generation = life.generation;
    let reason = match make(&*factory, &shared, &life).await {
        Ok(Ok(child)) => {
            let idle_point = format!("{}.idle", shared.name);
            let incarnation = Incarnation {
                child: Some(child),
                shared,
                life,
                reporter,
                faults,
                idle_point,
                reported: false,
            };
            incarnation.start();
            return;
        }
        Ok(Err(StartError::Ignore)) => {
            shared.fence(generation, &ExitReason::Normal);
            reporter.ignored(generation);
            return;
        }
        Ok(Err(StartError::Failed(error))) => ExitReason::StartFailed(chain(&*error)),
        Err(reason) => reason,
    };
    shared.fence(generation, &reason);
    reporter.exited(generation, reason, false);
}

/// Runs the factory, until it is done or its supervisor wants the child no more: then it is dropped where it stands.
async fn make<C: Child>(
    factory: &Factory<C>,
    shared: &Shared<C::Message>,
    life: &Life,
) -> Result<Result<C, StartError>, ExitReason> {
    let mut made = Box::pin(contain_future(contain(|| factory(life.clone()))?));
    let cancelled = pin!(shared.start_cancelled(life.generation));
    match select(&mut made, cancelled).await {
        Either::Left((made, _)) => made,
        Either::Right(_) => {
            contain(|| drop(made)).map_err(|panic| panic.during(Some("start")))?;
            Err(ExitReason::Shutdown)
        }
    }
}

impl<C: Child> Incarnation<C> {
    /// Runs a part of the child. A panic in it is the end.
    fn run_part(
        &mut self,
        ctx: &mut Context<Self>,
        during: Option<&'static str>,
        part: impl FnOnce(&mut C, &mut Cx),
    ) -> bool {
        let Some(child) = self.child.as_mut() else {
            return false;
        };
        let mut cx = Cx::new(self.life.clone());
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

    /// Runs a task of the child; `Some` is an end of the incarnation, and so is a panic.
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

    /// The end: fence, settle, report, and only then let actix know.
    fn die(&mut self, ctx: &mut Context<Self>, reason: ExitReason) {
        self.report(reason);
        ctx.terminate();
    }

    fn report(&mut self, reason: ExitReason) {
        if std::mem::replace(&mut self.reported, true) {
            return;
        }
        let generation = self.life.generation;
        let handled = self.shared.handled() > 0;
        // A fenced generation was reported by whoever fenced it.
        if self.shared.fence(generation, &reason) {
            self.reporter.exited(generation, reason, handled);
        }
        if let Err(second) = contain(|| drop(self.child.take())) {
            tracing::error!(child = %self.shared.name, reason = %second, "dropping a dead child panicked too");
        }
    }
}

impl<C: Child> Actor for Incarnation<C> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let generation = self.life.generation;
        if !self
            .shared
            .open(generation, Wake::Actor(ctx.address().recipient()))
        {
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

impl<C: Child> Handler<Signal> for Incarnation<C> {
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
            Signal::Stop(sequel) => {
                let Some(child) = self.child.as_mut() else {
                    return;
                };
                let stop = contain(|| match sequel {
                    Sequel::NextLife => child.step_aside(),
                    Sequel::End => child.stop(),
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

impl<C: Child> Incarnation<C> {
    fn pull(&mut self, ctx: &mut Context<Self>) {
        for _ in 0..MESSAGES_PER_TURN {
            let Some(delivery) = Delivery::pull(&self.shared, self.life.generation) else {
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

impl<C: Child> Drop for Incarnation<C> {
    /// The backstop: whatever ends the actor without a word is still a death.
    fn drop(&mut self) {
        self.report(ExitReason::Lost);
    }
}

impl ChildSpec {
    /// A child that is an actor. `factory` is called for every incarnation, on the child's own thread.
    pub fn actor<C: Child>(
        slot: &Slot<C::Message>,
        placement: Placement,
        faults: Faults,
        factory: impl Fn(Life) -> LocalBoxFuture<'static, Result<C, StartError>> + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::clone(&slot.shared);
        let node = Node::child(&shared.name, Some(shared.control()));
        let factory: Arc<Factory<C>> = Arc::new(factory);
        let runtime = ActorRuntime {
            shared,
            placement,
            faults,
            factory,
            place: Mutex::new(None),
        };
        Self::new(node, Arc::new(runtime), false)
    }
}

struct ActorRuntime<C: Child> {
    shared: Arc<Shared<C::Message>>,
    placement: Placement,
    faults: Faults,
    factory: Arc<Factory<C>>,
    place: Mutex<Option<Place>>,
}

impl<C: Child> Runtime for ActorRuntime<C> {
    fn start(&self, generation: u64, reporter: Reporter, placer: &Placer, _: Clock) {
        let life = self.shared.begin(generation);
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let on = place.get_or_insert_with(|| placer.place(&self.placement));
        let (factory, shared, faults) = (
            Arc::clone(&self.factory),
            Arc::clone(&self.shared),
            self.faults.clone(),
        );
        let report = reporter.clone();
        let spawned = on.spawn(move || begin(factory, shared, life, report, faults));
        if !spawned {
            // The arbiter is gone; the next try makes a new one.
            *place = None;
            let reason = ExitReason::StartFailed(Arc::from("its arbiter has stopped"));
            self.shared.fence(generation, &reason);
            reporter.exited(generation, reason, false);
        }
    }

    fn stop(&self, sequel: Sequel) {
        self.shared.signal(Signal::Stop(sequel));
    }

    fn kill(&self, generation: u64, reason: &ExitReason) {
        self.shared.fence(generation, reason);
        // Its thread may never come back: what it runs on is left behind with it.
        if self.placement == Placement::Own {
            self.release();
        }
    }

    fn release(&self) {
        if let Some(place) = self
            .place
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            place.stop();
        }
    }
}
