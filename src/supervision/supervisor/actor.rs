//! The supervisor's actor: it carries out what the [machine](super::machine) decides, and never waits.

mod orders;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use actix::prelude::*;
use fastrand::Rng;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::action::{Action, Verdict};
use super::machine::{Machine, Moment};
use super::pending_orders::PendingOrders;
use super::pulse::Pulse;
use super::state::{Member, SupervisorState};
use crate::supervision::boundary::contain;
use crate::supervision::exit_reason::ExitReason;
use crate::supervision::life::{Env, Reporter, StartError, SupervisorEvent, Timer, chain};
use crate::supervision::rules::{AfterStop, Status};

/// Whom a supervisor reports to.
pub(crate) enum Parent {
    Supervisor {
        reporter: Reporter,
        generation: u64,
    },
    /// None: it is the root of a tree.
    Program {
        ready: Option<oneshot::Sender<()>>,
        exit: watch::Sender<Option<ExitReason>>,
        pulse: Option<Arc<Pulse>>,
    },
}

/// The actor of one term of a supervisor.
struct Supervisor {
    state: Arc<SupervisorState>,
    term: u64,
    machine: Machine,
    events: UnboundedSender<SupervisorEvent>,
    parent: Parent,
    env: Env,
    random: Rng,
    timers: HashMap<usize, JoinHandle<()>>,
    orders: PendingOrders,
    done: bool,
}

/// Starts a term of a supervisor on the current arbiter. Returns where its events go.
pub(crate) fn start(
    state: Arc<SupervisorState>,
    parent: Parent,
    env: Env,
) -> UnboundedSender<SupervisorEvent> {
    let (events, inbox) = unbounded_channel();
    let term = state.begin_term();
    let children = state.all();
    let after_giving_up = match parent {
        Parent::Supervisor { .. } => AfterStop::Restart,
        Parent::Program { .. } => AfterStop::StayDown,
    };
    let machine = Machine::new(
        state.flags,
        after_giving_up,
        children.iter().map(Member::newcomer),
        Instant::now(),
    );
    let supervisor = Supervisor {
        state,
        term,
        machine,
        events: events.clone(),
        parent,
        env,
        random: Rng::new(),
        timers: HashMap::new(),
        orders: PendingOrders::default(),
        done: false,
    };
    Supervisor::create(|ctx| {
        // The supervisor holds a sender itself, so the stream does not end before the supervisor does.
        let inbox = futures_util::stream::unfold(inbox, |mut inbox| async {
            inbox.recv().await.map(|event| (event, inbox))
        });
        ctx.add_stream(inbox);
        let orders = ctx.address().recipient();
        supervisor.state.orders.serve(Some(orders));
        supervisor
    });
    events
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let first = contain(|| self.state.init.as_ref().map_or(Ok(()), |init| init()));
        let reason = match first {
            Ok(Ok(())) => {
                let actions = self.machine.boot(Instant::now());
                return self.carry_out(actions, ctx);
            }
            Ok(Err(StartError::Ignore)) => return self.ignored(ctx),
            Ok(Err(StartError::Failed(error))) => ExitReason::StartFailed(chain(&*error)),
            Err(panic) => panic.during(Some("init")),
        };
        self.exit(reason, ctx);
    }
}

impl StreamHandler<SupervisorEvent> for Supervisor {
    fn handle(&mut self, event: SupervisorEvent, ctx: &mut Self::Context) {
        if !self.state.in_term(self.term) {
            // It was killed, and whoever killed it has reported that.
            self.done = true;
            ctx.stop();
            return;
        }
        if let SupervisorEvent::Tick = event {
            if let Parent::Program {
                pulse: Some(pulse), ..
            } = &self.parent
            {
                pulse.supervisor_ticked();
            }
            return;
        }
        let moment = Moment {
            now: Instant::now(),
            random: self.random.f64(),
        };
        match self.decide(event, moment) {
            Ok(actions) => self.carry_out(actions, ctx),
            Err(reason) => self.exit(reason, ctx),
        }
    }
}

impl Supervisor {
    /// Asks the machine. If it panics while all children are up, a new machine is made from what the children are doing
    /// and asked once more. So a bug in the supervisor itself restarts no child.
    fn decide(
        &mut self,
        event: SupervisorEvent,
        moment: Moment,
    ) -> Result<Vec<Action>, ExitReason> {
        let serving = self.machine.serving();
        let again = event.clone();
        let taken = contain(|| {
            if self.env.faults.enabled() {
                let point = format!("{}.event", self.state.name);
                self.env.faults.register(&point);
                self.env.faults.hit(&point);
            }
            self.machine.take(event, moment)
        });
        match taken {
            Err(reason) if serving => {
                let supervisor = &*self.state.name;
                tracing::error!(supervisor, %reason, "supervisor panicked, adopting its children");
                self.machine = self.machine.adopt(self.state.found(), moment.now);
                self.orders.abandon();
                contain(|| self.machine.take(again, moment))
            }
            taken => taken,
        }
    }

    fn carry_out(&mut self, actions: Vec<Action>, ctx: &mut Context<Self>) {
        let now = Instant::now();
        for child in self.machine.touched() {
            if let Some((status, generation)) = self.machine.status(child)
                && let Some(member) = self.state.member(child)
            {
                member.node.set_status(status, generation, now);
            }
        }
        let fill = self.machine.window_fill(now);
        self.state.node.set_window_fill(fill);
        for action in actions {
            self.carry_out_one(action, ctx);
        }
    }

    fn carry_out_one(&mut self, action: Action, ctx: &mut Context<Self>) {
        match action {
            Action::Start { child, generation } => self.start_incarnation(child, generation),
            Action::Stop { child, after } => {
                self.with(child, |member| member.runtime.stop(after));
            }
            Action::Kill {
                child,
                generation,
                reason,
            } => self.with(child, |member| member.runtime.kill(generation, &reason)),
            Action::Arm { timer, after } => self.arm(timer, after),
            Action::Record {
                child,
                generation,
                reason,
                verdict,
            } => self.with(child, |member| {
                self.record(member, generation, &reason, verdict);
            }),
            Action::Close { child } => self.with(child, |member| member.node.close()),
            Action::Forget { child } => {
                self.state.forget(child);
                if let Some(armed) = self.timers.remove(&child) {
                    armed.abort();
                }
            }
            Action::Answer { order, result } => self.orders.answer(order, result),
            Action::Ready => self.ready(ctx),
            Action::Exit(reason) => self.exit(reason, ctx),
        }
    }

    fn with(&self, child: usize, act: impl FnOnce(&Member)) {
        if let Some(member) = self.state.member(child) {
            act(&member);
        }
    }

    fn start_incarnation(&self, child: usize, generation: u64) {
        self.with(child, |member| {
            let reporter = Reporter {
                child,
                events: self.events.clone(),
            };
            let (runtime, report) = (&member.runtime, reporter.clone());
            // actix panics if the system has no thread left.
            let begun = contain(|| runtime.start(generation, report, &self.env));
            if let Err(reason) = begun {
                runtime.kill(generation, &reason);
                reporter.exited(generation, reason, false);
            }
        });
    }

    fn ready(&mut self, ctx: &mut Context<Self>) {
        match &mut self.parent {
            Parent::Supervisor {
                reporter,
                generation,
            } => reporter.ready(*generation),
            Parent::Program { ready, .. } => {
                let now = Instant::now();
                self.state.node.set_status(Status::Running, 1, now);
                if let Some(ready) = ready.take() {
                    let _nobody_waits = ready.send(());
                }
            }
        }
        for order in self.orders.deferred() {
            self.take_order(order, ctx);
        }
    }

    /// Sets a child's timer. It replaces the one before, because a child waits for one thing at a time.
    fn arm(&mut self, timer: Timer, after: Duration) {
        let events = self.events.clone();
        let armed = actix_rt::spawn(async move {
            tokio::time::sleep(after).await;
            // A supervisor that has ended waits for no timer.
            drop(events.send(SupervisorEvent::Fired(timer)));
        });
        if let Some(before) = self.timers.insert(timer.child, armed) {
            before.abort();
        }
    }

    /// Shows in the tree, and logs in one line, that an incarnation has ended, why, and what was decided.
    fn record(&self, member: &Member, generation: u64, reason: &ExitReason, verdict: Verdict) {
        let (supervisor, child) = (&*self.state.name, &**member.node.name());
        let restart_in = match verdict {
            Verdict::Restart(delay) => Some(delay),
            Verdict::Stay | Verdict::Escalate => None,
        };
        let (now, at) = (Instant::now(), SystemTime::now());
        member.node.exited(generation, reason, restart_in, now, at);
        match verdict {
            Verdict::Restart(delay) => {
                tracing::warn!(supervisor, child, generation, %reason, ?delay, "child died, restarting");
            }
            Verdict::Escalate => {
                tracing::error!(supervisor, child, generation, %reason, intensity = ?self.state.flags.intensity,
                    "child died too often, the supervisor gives up");
            }
            Verdict::Stay if reason.is_normal() => {
                tracing::debug!(supervisor, child, generation, %reason, "child stopped");
            }
            Verdict::Stay => {
                let restart = member.rules.restart.as_str();
                tracing::warn!(supervisor, child, generation, %reason, restart, "child ended");
            }
        }
    }

    /// Ends without an error: `init` chose not to run the supervisor.
    fn ignored(&mut self, ctx: &mut Context<Self>) {
        if let Parent::Supervisor {
            reporter,
            generation,
        } = &self.parent
        {
            reporter.ignored(*generation);
            self.done = true;
            self.state.end_term();
            ctx.stop();
        } else {
            self.exit(ExitReason::Normal, ctx);
        }
    }

    fn exit(&mut self, reason: ExitReason, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.done, true) {
            return;
        }
        match &mut self.parent {
            Parent::Supervisor {
                reporter,
                generation,
            } => {
                self.state.end_term();
                reporter.exited(*generation, reason, false);
            }
            Parent::Program { exit, .. } => {
                let now = Instant::now();
                self.state.node.set_status(Status::Ended, 1, now);
                self.state.give_up();
                exit.send_replace(Some(reason));
            }
        }
        ctx.stop();
    }
}

impl Drop for Supervisor {
    /// Reports a supervisor that ended in any other way, such as by a panic.
    fn drop(&mut self) {
        self.timers.values().for_each(JoinHandle::abort);
        if std::mem::replace(&mut self.done, true) {
            return;
        }
        match &mut self.parent {
            Parent::Supervisor {
                reporter,
                generation,
            } => reporter.exited(*generation, ExitReason::Lost, false),
            Parent::Program { exit, .. } => drop(exit.send_replace(Some(ExitReason::Lost))),
        }
    }
}
