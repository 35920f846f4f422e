//! The supervisor's actor: it carries out what the [machine](super::machine) decides, and never waits.

mod orders;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use actix::prelude::*;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::action::{Action, Turn, Verdict};
use super::machine::Machine;
use super::sentinel::Pulse;
use super::state::SupervisorState;
use crate::supervision::boundary::contain;
use crate::supervision::exit_reason::ExitReason;
use crate::supervision::life::{
    ChildSpec, Env, IncarnationId, Lasting, Order, Reporter, StartError, SupervisorEvent, Timer,
    chain,
};
use crate::supervision::rules::{AfterStop, Status};

/// The receiver of a supervisor's reports.
pub(crate) enum Parent {
    /// The supervisor above it.
    Supervisor(Reporter),
    /// The program, if it is the root of a tree.
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
    /// Passed at each event.
    fault_point: String,
    /// By the child that each of them is for.
    timers: HashMap<usize, JoinHandle<()>>,
    /// Orders that wait until the supervisor is up. The permits of the order queue bound them.
    deferred: Vec<Order>,
}

/// The turn of a machine that decides now.
fn turn() -> Turn {
    Turn::new(Instant::now(), fastrand::f64())
}

/// Starts a term of a supervisor on the current arbiter. Returns where its events go.
pub(crate) fn start(
    state: Arc<SupervisorState>,
    parent: Parent,
    env: Env,
) -> UnboundedSender<SupervisorEvent> {
    let (events, inbox) = unbounded_channel();
    let term = state.begin_term();
    let after_giving_up = match parent {
        Parent::Supervisor(_) => AfterStop::Restart,
        Parent::Program { .. } => AfterStop::StayDown,
    };
    let machine = Machine::new(*state.spec.flags.lock(), after_giving_up, state.rows());
    let fault_point = format!("{}.event", state.spec.node.name);
    env.faults.register(&fault_point);
    let supervisor = Supervisor {
        state,
        term,
        machine,
        events: events.clone(),
        parent,
        env,
        fault_point,
        timers: HashMap::new(),
        deferred: Vec::new(),
    };
    Supervisor::create(|ctx| {
        // The supervisor holds a sender itself, so the stream does not end before the supervisor does.
        let inbox = futures_util::stream::unfold(inbox, |mut inbox| async {
            inbox.recv().await.map(|event| (event, inbox))
        });
        ctx.add_stream(inbox);
        let orders = ctx.address().recipient();
        supervisor.state.spec.orders.serve(Some(orders));
        supervisor
    });
    events
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let init = self.state.spec.init.as_ref();
        let first = contain(|| init.map_or(Ok(()), |init| init()));
        let reason = match first {
            Ok(Ok(())) => {
                let actions = self.machine.boot(turn());
                return self.carry_out(actions, ctx);
            }
            Ok(Err(StartError::Ignore)) => return self.ignored(ctx),
            Ok(Err(StartError::Failed(error))) => {
                ExitReason::StartFailed(chain(&*error, ": ").into())
            }
            Err(panic) => panic.during(Some("init")),
        };
        self.exit(reason, ctx);
    }
}

impl StreamHandler<SupervisorEvent> for Supervisor {
    fn handle(&mut self, event: SupervisorEvent, ctx: &mut Self::Context) {
        if !self.state.in_term(self.term) {
            // It was killed, and whoever killed it has reported that.
            return ctx.stop();
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
        match self.decide(event) {
            Ok(actions) => self.carry_out(actions, ctx),
            Err(reason) => self.exit(reason, ctx),
        }
    }
}

impl Supervisor {
    /// Asks the machine. If it panics while all children are up, a new machine is made from what the children are doing
    /// and asked once more. So a bug in the supervisor itself restarts no child.
    fn decide(&mut self, event: SupervisorEvent) -> Result<Vec<Action>, ExitReason> {
        self.machine.flags = *self.state.spec.flags.lock();
        let serving = self.machine.serving();
        let again = event.clone();
        let taken = contain(|| {
            self.env.faults.hit(&self.fault_point);
            self.machine.take(event, turn())
        });
        match taken {
            Err(reason) if serving => {
                let supervisor = &*self.state.spec.node.name;
                tracing::error!(supervisor, %reason, "supervisor panicked, adopting its children");
                // The old machine is dropped with the replies of open orders: their senders are told that the supervisor
                // is not running.
                self.machine = self.machine.adopt(self.state.rows());
                contain(|| self.machine.take(again, turn()))
            }
            taken => taken,
        }
    }

    fn carry_out(&mut self, actions: Vec<Action>, ctx: &mut Context<Self>) {
        let fill = self.machine.window_fill(Instant::now());
        self.state.spec.node.set_window_fill(fill);
        for action in actions {
            self.carry_out_one(action, ctx);
        }
    }

    fn carry_out_one(&mut self, action: Action, ctx: &mut Context<Self>) {
        match action {
            Action::Show(IncarnationId { child, generation }, status) => {
                self.with(child, |child| {
                    child.node.set_status(status, generation, Instant::now());
                });
            }
            Action::Start(incarnation) => self.start_incarnation(incarnation),
            Action::Stop(child, after) => self.with(child, |child| child.runtime.stop(after)),
            Action::Kill(IncarnationId { child, generation }, reason) => {
                self.with(child, |child| child.runtime.kill(generation, &reason));
            }
            Action::Arm(timer, after) => self.arm(timer, after),
            Action::Record(IncarnationId { child, generation }, reason, verdict) => {
                self.with(child, |child| {
                    self.record(child, generation, &reason, verdict);
                });
            }
            Action::Close(child) => self.with(child, |child| child.node.close()),
            Action::Expel(child) => self.state.expel(child),
            Action::Forget(child, lasting) => {
                match lasting {
                    Lasting::OneTerm => self.state.forget(child),
                    Lasting::ForGood => self.state.remove(child),
                }
                if let Some(armed) = self.timers.remove(&child) {
                    armed.abort();
                }
            }
            Action::Answer(reply, result) => reply.send(result),
            Action::Ready => self.ready(ctx),
            Action::Exit(reason) => self.exit(reason, ctx),
        }
    }

    fn with(&self, child: usize, act: impl FnOnce(&ChildSpec)) {
        if let Some(child) = self.state.member(child) {
            act(&child);
        }
    }

    fn start_incarnation(&self, incarnation: IncarnationId) {
        self.with(incarnation.child, |child| {
            let events = self.events.clone();
            let reporter = Reporter {
                incarnation,
                events,
            };
            // actix panics if the system has no thread left.
            let begun = contain(|| child.runtime.start(reporter.clone(), &self.env));
            if let Err(reason) = begun.and_then(|begun| begun) {
                child.runtime.kill(incarnation.generation, &reason);
                reporter.exited(reason, false);
            }
        });
    }

    fn ready(&mut self, ctx: &mut Context<Self>) {
        match &mut self.parent {
            Parent::Supervisor(reporter) => reporter.ready(),
            Parent::Program { ready, .. } => {
                let now = Instant::now();
                self.state.spec.node.set_status(Status::Running, 1, now);
                if let Some(ready) = ready.take() {
                    let _nobody_waits = ready.send(());
                }
            }
        }
        for order in std::mem::take(&mut self.deferred) {
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
        if let Some(before) = self.timers.insert(timer.incarnation.child, armed) {
            before.abort();
        }
    }

    /// Shows in the tree, and logs in one line, that an incarnation has ended, why, and what was decided.
    fn record(&self, spec: &ChildSpec, generation: u64, reason: &ExitReason, verdict: Verdict) {
        let (supervisor, child) = (&*self.state.spec.node.name, &*spec.node.name);
        let restart_in = match verdict {
            Verdict::Restart(delay) => Some(delay),
            Verdict::Stay | Verdict::Escalate => None,
        };
        let (now, at) = (Instant::now(), SystemTime::now());
        spec.node.exited(generation, reason, restart_in, now, at);
        match verdict {
            // Whoever gave the order logs it.
            _ if *reason == ExitReason::Ordered => {
                tracing::debug!(supervisor, child, generation, %reason, "child stopped");
            }
            Verdict::Restart(delay) => {
                tracing::warn!(supervisor, child, generation, %reason, ?delay, "child died, restarting");
            }
            Verdict::Escalate => {
                tracing::error!(supervisor, child, generation, %reason, intensity = ?self.machine.flags.intensity,
                    "child died too often, the supervisor gives up");
            }
            Verdict::Stay if reason.is_normal() => {
                tracing::debug!(supervisor, child, generation, %reason, "child stopped");
            }
            Verdict::Stay => {
                let restart = spec.rules.restart.as_str();
                tracing::warn!(supervisor, child, generation, %reason, restart, "child ended");
            }
        }
    }

    /// Ends without an error: `init` chose not to run the supervisor.
    fn ignored(&mut self, ctx: &mut Context<Self>) {
        let Parent::Supervisor(reporter) = &self.parent else {
            return self.exit(ExitReason::Normal, ctx);
        };
        self.state.end_term();
        reporter.ignored();
        ctx.stop();
    }

    fn exit(&mut self, reason: ExitReason, ctx: &mut Context<Self>) {
        self.end(reason);
        ctx.stop();
    }

    /// Ends the term and reports it, unless it has ended before.
    fn end(&mut self, reason: ExitReason) {
        if !self.state.in_term(self.term) {
            return;
        }
        match &self.parent {
            Parent::Supervisor(reporter) => {
                self.state.end_term();
                reporter.exited(reason, false);
            }
            Parent::Program { exit, .. } => {
                let now = Instant::now();
                self.state.spec.node.set_status(Status::Ended, 1, now);
                self.state.give_up();
                exit.send_replace(Some(reason));
            }
        }
    }
}

impl Drop for Supervisor {
    /// Reports a supervisor that ended in any other way, such as by a panic.
    fn drop(&mut self) {
        self.timers.values().for_each(JoinHandle::abort);
        self.end(ExitReason::Lost);
    }
}
