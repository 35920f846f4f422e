//! The supervisor: an actor that carries out what the [machine](super::machine) decides, and never waits.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::effect::{Effect, Verdict};
use super::jitter::Dice;
use super::machine::{Machine, Moment};
use super::order::{Order, Reply};
use super::order_error::Answer;
use super::pending_orders::Clerk;
use super::pulse::Pulse;
use super::state::{Bed, Member};
use crate::supervision::boundary::contain;
use crate::supervision::clock::Clock;
use crate::supervision::exit_reason::ExitReason;
use crate::supervision::life::{
    ChildSpec, Event, Input, Placer, Reporter, StartError, Timer, chain,
};
use crate::supervision::rules::{Sequel, Status};
use crate::supervision::spec_fault::{self, SpecFaults};

/// How a life of a supervisor ends and begins for the one above it.
pub(crate) enum Above {
    Supervisor {
        reporter: Reporter,
        generation: u64,
    },
    App {
        ready: Option<oneshot::Sender<()>>,
        exit: watch::Sender<Option<ExitReason>>,
    },
}

struct Supervisor {
    bed: Arc<Bed>,
    term: u64,
    machine: Machine,
    input: UnboundedSender<Input>,
    above: Above,
    clock: Clock,
    placer: Placer,
    dice: Dice,
    pulse: Option<Arc<Pulse>>,
    timers: HashMap<usize, JoinHandle<()>>,
    clerk: Clerk,
    done: bool,
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let first = contain(|| self.bed.init.as_ref().map_or(Ok(()), |init| init()));
        let reason = match first {
            Ok(Ok(())) => {
                let effects = self.machine.boot(self.clock.now());
                self.carry_out(effects, ctx);
                return;
            }
            Ok(Err(StartError::Ignore)) => return self.ignored(ctx),
            Ok(Err(StartError::Failed(error))) => ExitReason::StartFailed(chain(&*error)),
            Err(panic) => panic.during(Some("init")),
        };
        self.exit(reason, ctx);
    }
}

impl StreamHandler<Input> for Supervisor {
    fn handle(&mut self, input: Input, ctx: &mut Self::Context) {
        if !self.bed.holds(self.term) {
            // It was killed: what it had is in other hands.
            self.done = true;
            ctx.stop();
            return;
        }
        match input {
            Input::Tick => {
                if let Some(pulse) = &self.pulse {
                    pulse.supervisor_ticked();
                }
            }
            Input::Event(event) => {
                let moment = Moment {
                    now: self.clock.now(),
                    random: self.dice.roll(),
                };
                match self.decide(event, moment) {
                    Ok(effects) => self.carry_out(effects, ctx),
                    Err(reason) => self.exit(reason, ctx),
                }
            }
        }
    }
}

impl Handler<Order> for Supervisor {
    type Result = ();

    fn handle(&mut self, order: Order, ctx: &mut Self::Context) {
        if self.bed.holds(self.term) {
            self.take_order(order, ctx);
        }
    }
}

impl Supervisor {
    /// What the machine says. One that panics while its children serve is made anew from what they are doing, and asked
    /// once more: a fault of the supervisor's own restarts no child.
    fn decide(&mut self, event: Event, moment: Moment) -> Result<Vec<Effect>, ExitReason> {
        let serving = self.machine.serving();
        let again = event.clone();
        let taken = contain(|| {
            if self.bed.faults.enabled() {
                self.bed.faults.hit(&format!("{}.event", self.bed.name));
            }
            self.machine.take(event, moment)
        });
        match taken {
            Err(reason) if serving => {
                let supervisor = &*self.bed.name;
                tracing::error!(supervisor, %reason, "supervisor panicked, adopting its children");
                self.machine = self.machine.adopt(self.bed.found(), moment.now);
                self.clerk.abandon();
                contain(|| self.machine.take(again, moment))
            }
            taken => taken,
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>, ctx: &mut Context<Self>) {
        let now = self.clock.now();
        for child in self.machine.touched() {
            if let Some((status, generation)) = self.machine.status(child)
                && let Some(member) = self.bed.member(child)
            {
                member.node.set_status(status, generation, now);
            }
        }
        let fill = self.machine.window_fill(now);
        self.bed.node.set_window_fill(fill);
        for effect in effects {
            self.carry_out_one(effect, ctx);
        }
    }

    fn carry_out_one(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        match effect {
            Effect::Start { child, generation } => self.begin_life(child, generation),
            Effect::Stop { child, sequel } => {
                self.with(child, |member| member.runtime.stop(sequel));
            }
            Effect::Kill {
                child,
                generation,
                reason,
            } => self.with(child, |member| member.runtime.kill(generation, &reason)),
            Effect::Arm { timer, after } => self.arm(timer, after),
            Effect::Died {
                child,
                generation,
                reason,
                verdict,
            } => self.with(child, |member| {
                self.record(member, generation, &reason, verdict);
            }),
            Effect::Close { child } => self.with(child, |member| member.node.close()),
            Effect::Forget { child } => {
                self.bed.forget(child);
                if let Some(armed) = self.timers.remove(&child) {
                    armed.abort();
                }
            }
            Effect::Answer { ticket, answer } => self.clerk.answer(ticket, answer),
            Effect::Ready => self.ready(ctx),
            Effect::Exit(reason) => self.exit(reason, ctx),
        }
    }

    fn with(&self, child: usize, act: impl FnOnce(&Member)) {
        if let Some(member) = self.bed.member(child) {
            act(&member);
        }
    }

    fn begin_life(&self, child: usize, generation: u64) {
        self.with(child, |member| {
            let now = self.clock.now();
            member.node.set_status(Status::Starting, generation, now);
            let reporter = Reporter {
                child,
                input: self.input.clone(),
            };
            let (runtime, report) = (&member.runtime, reporter.clone());
            // The system may have no thread left, which actix answers with a panic.
            let begun = contain(|| runtime.start(generation, report, &self.placer, self.clock));
            if let Err(reason) = begun {
                runtime.kill(generation, &reason);
                reporter.exited(generation, reason, false);
            }
        });
    }

    fn ready(&mut self, ctx: &mut Context<Self>) {
        match &mut self.above {
            Above::Supervisor {
                reporter,
                generation,
            } => reporter.ready(*generation),
            Above::App { ready, .. } => {
                let now = self.clock.now();
                self.bed.node.set_status(Status::Running, 1, now);
                if let Some(ready) = ready.take() {
                    let _nobody_waits = ready.send(());
                }
            }
        }
        for order in self.clerk.deferred() {
            self.take_order(order, ctx);
        }
    }

    /// Sets a child's timer. A child waits for one thing at a time, so the timer before is void.
    fn arm(&mut self, timer: Timer, after: Duration) {
        let input = self.input.clone();
        let armed = actix_rt::spawn(async move {
            tokio::time::sleep(after).await;
            // Without a supervisor there is nothing to wake.
            drop(input.send(Input::Event(Event::Fired(timer))));
        });
        if let Some(before) = self.timers.insert(timer.child, armed) {
            before.abort();
        }
    }

    /// One line that explains what happened and what was decided.
    fn record(&self, member: &Member, generation: u64, reason: &ExitReason, verdict: Verdict) {
        let (supervisor, name) = (&*self.bed.name, &**member.node.name());
        let restart_in = match verdict {
            Verdict::Restart(delay) => Some(delay),
            Verdict::Stay | Verdict::Escalate => None,
        };
        member.node.died(reason, restart_in, self.clock.now());
        match verdict {
            Verdict::Restart(delay) => {
                tracing::warn!(supervisor, child = name, generation, %reason, ?delay, "child died, restarting");
            }
            Verdict::Escalate => {
                tracing::error!(supervisor, child = name, generation, %reason, intensity = ?self.bed.flags.intensity,
                    "child died once too often, giving up");
            }
            Verdict::Stay if reason.is_normal() => {
                tracing::debug!(supervisor, child = name, generation, %reason, "child stopped");
            }
            Verdict::Stay => {
                let restart = member.rules.restart.as_str();
                tracing::warn!(supervisor, child = name, generation, %reason, restart, "child ended");
            }
        }
    }

    /// It is not wanted now: no supervisor, and no error.
    fn ignored(&mut self, ctx: &mut Context<Self>) {
        if let Above::Supervisor {
            reporter,
            generation,
        } = &self.above
        {
            reporter.ignored(*generation);
            self.done = true;
            self.bed.end_term();
            ctx.stop();
        } else {
            self.exit(ExitReason::Normal, ctx);
        }
    }

    fn exit(&mut self, reason: ExitReason, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.done, true) {
            return;
        }
        match &mut self.above {
            Above::Supervisor {
                reporter,
                generation,
            } => {
                self.bed.end_term();
                reporter.exited(*generation, reason, false);
            }
            Above::App { exit, .. } => {
                let now = self.clock.now();
                self.bed.node.set_status(Status::Ended, 1, now);
                self.bed.give_up();
                exit.send_replace(Some(reason));
            }
        }
        ctx.stop();
    }
}

impl Supervisor {
    fn take_order(&mut self, order: Order, ctx: &mut Context<Self>) {
        let now = self.clock.now();
        let effects = match order {
            Order::Which(reply) => {
                let children = self.bed.all();
                return reply.send(children.iter().map(|c| c.node.view(now)).collect());
            }
            Order::Count(reply) => return reply.send(self.machine.counts()),
            Order::Spec(name, reply) => return reply.send(self.machine.rules(&name)),
            order if self.machine.booting() => return self.clerk.defer(order),
            Order::Start(spec, reply) => return self.start_child(spec, reply, ctx),
            Order::Terminate(name, reply) => {
                let ticket = self.clerk.open(reply);
                self.machine.terminate(&name, ticket, now)
            }
            Order::Restart(name, reply) => {
                let ticket = self.clerk.open(reply);
                self.machine.restart(&name, ticket, now)
            }
            Order::Delete(name, reply) => {
                let ticket = self.clerk.open(reply);
                self.machine.delete(&name, ticket)
            }
        };
        self.carry_out(effects, ctx);
    }

    fn start_child(&mut self, spec: ChildSpec, reply: Reply<Answer>, ctx: &mut Context<Self>) {
        let mut faults = spec.faults(&self.bed.name);
        faults.extend(spec_fault::of_names(spec.node.names()));
        if let Err(faults) = SpecFaults::none_of(faults) {
            return reply.send(Err(faults.into()));
        }
        match self.machine.place_for(spec.node.name()) {
            Ok(place) => {
                let (member, now) = (Member::new(spec), self.clock.now());
                let newcomer = member.newcomer();
                self.bed.add(place, member);
                let ticket = self.clerk.open(reply);
                let effects = self.machine.add(newcomer, ticket, now);
                self.carry_out(effects, ctx);
            }
            Err(error) => reply.send(Err(error)),
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.timers.values().for_each(JoinHandle::abort);
        if std::mem::replace(&mut self.done, true) {
            return;
        }
        match &mut self.above {
            Above::Supervisor {
                reporter,
                generation,
            } => {
                reporter.exited(*generation, ExitReason::Lost, false);
            }
            Above::App { exit, .. } => drop(exit.send_replace(Some(ExitReason::Lost))),
        }
    }
}

/// Everything a life of a supervisor needs besides its bed.
pub(crate) struct Surroundings {
    pub(crate) above: Above,
    pub(crate) clock: Clock,
    pub(crate) placer: Placer,
    pub(crate) pulse: Option<Arc<Pulse>>,
}

/// Begins a life on the current arbiter.
pub(crate) fn begin(
    bed: Arc<Bed>,
    around: Surroundings,
    input: (UnboundedSender<Input>, UnboundedReceiver<Input>),
) {
    let Surroundings {
        above,
        clock,
        placer,
        pulse,
    } = around;
    let (input, inbox) = input;
    let term = bed.renew();
    let children = bed.all();
    let newcomers = children.iter().map(Member::newcomer);
    let given_up = match above {
        Above::Supervisor { .. } => Sequel::NextLife,
        Above::App { .. } => Sequel::End,
    };
    let machine = Machine::new(bed.flags, bed.startup, given_up, newcomers, clock.now());
    let dice = Dice::new(&bed.name);
    let supervisor = Supervisor {
        bed,
        term,
        machine,
        input,
        above,
        clock,
        placer,
        dice,
        pulse,
        timers: HashMap::new(),
        clerk: Clerk::default(),
        done: false,
    };
    Supervisor::create(|ctx| {
        supervisor.bed.desk.serve(Some(ctx.address().recipient()));
        // The supervisor holds a sender itself, so the stream ends with it and not before.
        let inbox = futures_util::stream::unfold(inbox, |mut inbox| async {
            inbox.recv().await.map(|input| (input, inbox))
        });
        ctx.add_stream(inbox);
        supervisor
    });
}
