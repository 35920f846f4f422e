//! The supervisor: an actor that carries out what the [machine](super::machine) decides, and never waits.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::boundary::contain;
use super::child_spec::{ChildSpec, Runtime};
use super::clock::Clock;
use super::dice::Dice;
use super::effect::{Effect, Verdict};
use super::event::{Event, Reporter, Timer};
use super::exit_reason::ExitReason;
use super::machine::Machine;
use super::placement::Placer;
use super::rules::{Flags, Rules, Status};
use super::sentinel::Pulse;
use super::tree::Node;

/// The recipe of a supervisor: its flags and its children, in start order.
#[derive(Debug)]
pub struct SupervisorSpec {
    name: Arc<str>,
    flags: Flags,
    children: Vec<ChildSpec>,
}

impl SupervisorSpec {
    /// A supervisor without children.
    pub fn new(name: &str, flags: Flags) -> Self {
        Self {
            name: Arc::from(name),
            flags,
            children: Vec::new(),
        }
    }

    /// Adds a child, to be started after those before it and stopped before them.
    #[must_use]
    pub fn child(mut self, spec: ChildSpec) -> Self {
        self.children.push(spec);
        self
    }

    pub(crate) fn node(&self) -> Node {
        Node::supervisor(
            &self.name,
            self.children.iter().map(|c| c.node.clone()).collect(),
        )
    }
}

/// What outlives each life of a supervisor.
pub(crate) struct Bed {
    pub(crate) name: Arc<str>,
    flags: Flags,
    pub(crate) children: Vec<(Node, Rules, Arc<dyn Runtime>)>,
}

impl Bed {
    pub(crate) fn new(spec: SupervisorSpec) -> Arc<Self> {
        let children = spec.children.into_iter().map(|child| {
            child.node.set_restart(child.rules.restart.as_str());
            (child.node, child.rules, child.runtime)
        });
        Arc::new(Self {
            name: spec.name,
            flags: spec.flags,
            children: children.collect(),
        })
    }
}

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
    node: Node,
    machine: Machine,
    events: UnboundedSender<Event>,
    above: Above,
    clock: Clock,
    placer: Placer,
    dice: Dice,
    pulse: Option<Arc<Pulse>>,
    timers: HashMap<usize, JoinHandle<()>>,
    done: bool,
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let effects = self.machine.boot(self.clock.now());
        self.carry_out(effects, ctx);
    }
}

impl StreamHandler<Event> for Supervisor {
    fn handle(&mut self, event: Event, ctx: &mut Self::Context) {
        if matches!(event, Event::Tick) {
            if let Some(pulse) = &self.pulse {
                pulse.supervisor_ticked();
            }
            return;
        }
        let (now, random) = (self.clock.now(), self.dice.roll());
        match contain(|| self.machine.take(event, now, random)) {
            Ok(effects) => self.carry_out(effects, ctx),
            Err(reason) => self.exit(reason, ctx),
        }
    }
}

impl Supervisor {
    fn carry_out(&mut self, effects: Vec<Effect>, ctx: &mut Context<Self>) {
        let now = self.clock.now();
        for (index, (node, ..)) in self.bed.children.iter().enumerate() {
            if let Some((status, generation)) = self.machine.status(index) {
                node.set_status(status, generation, now);
            }
        }
        self.node.set_window_fill(self.machine.window_fill(now));
        for effect in effects {
            self.carry_out_one(effect, ctx);
        }
    }

    fn carry_out_one(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        let bed = Arc::clone(&self.bed);
        match effect {
            Effect::Start { child, generation } => {
                if let Some((node, _, runtime)) = bed.children.get(child) {
                    node.set_status(Status::Starting, generation, self.clock.now());
                    let reporter = Reporter {
                        child,
                        events: self.events.clone(),
                    };
                    runtime.start(generation, reporter, &self.placer, self.clock);
                }
            }
            Effect::Stop { child } => {
                if let Some((_, _, runtime)) = bed.children.get(child) {
                    runtime.stop();
                }
            }
            Effect::Kill {
                child,
                generation,
                reason,
            } => {
                if let Some((_, _, runtime)) = bed.children.get(child) {
                    runtime.kill(generation, &reason);
                }
            }
            Effect::Arm { timer, after } => self.arm(timer, after),
            Effect::Died {
                child,
                generation,
                reason,
                verdict,
            } => {
                self.record(child, generation, &reason, verdict);
            }
            Effect::Ready => {
                if let Above::App { .. } = self.above {
                    self.node.set_status(Status::Running, 1, self.clock.now());
                }
                self.ready();
            }
            Effect::Exit(reason) => self.exit(reason, ctx),
        }
    }

    fn ready(&mut self) {
        match &mut self.above {
            Above::Supervisor {
                reporter,
                generation,
            } => reporter.ready(*generation),
            Above::App { ready, .. } => {
                if let Some(ready) = ready.take() {
                    let _nobody_waits = ready.send(());
                }
            }
        }
    }

    /// Sets a child's timer. A child waits for one thing at a time, so the timer before is void.
    fn arm(&mut self, timer: Timer, after: Duration) {
        let events = self.events.clone();
        let armed = actix_rt::spawn(async move {
            tokio::time::sleep(after).await;
            // Without a supervisor there is nothing to wake.
            drop(events.send(Event::Fired(timer)));
        });
        if let Some(before) = self.timers.insert(timer.child, armed) {
            before.abort();
        }
    }

    /// One line that explains what happened and what was decided.
    fn record(&self, child: usize, generation: u64, reason: &ExitReason, verdict: Verdict) {
        let Some((node, rules, _)) = self.bed.children.get(child) else {
            return;
        };
        let (supervisor, name) = (&*self.bed.name, &**node.name());
        let restart_in = match verdict {
            Verdict::Restart(delay) => Some(delay),
            Verdict::Stay | Verdict::Escalate => None,
        };
        node.died(reason, restart_in, self.clock.now());
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
                tracing::warn!(supervisor, child = name, generation, %reason, restart = rules.restart.as_str(),
                    "child ended");
            }
        }
        if restart_in.is_none()
            && self
                .machine
                .status(child)
                .is_some_and(|(s, _)| s == Status::Ended)
        {
            // Closed only if nobody above may start it again: a nested supervisor's end is not its slots' end.
            if rules.restart != super::Restart::Permanent {
                node.close();
            }
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
                reporter.exited(*generation, reason, false);
            }
            Above::App { exit, .. } => {
                self.node.set_status(Status::Ended, 1, self.clock.now());
                for (node, _, runtime) in &self.bed.children {
                    node.close();
                    runtime.release();
                }
                exit.send_replace(Some(reason));
            }
        }
        ctx.stop();
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
    pub(crate) node: Node,
    pub(crate) above: Above,
    pub(crate) clock: Clock,
    pub(crate) placer: Placer,
    pub(crate) pulse: Option<Arc<Pulse>>,
}

/// Begins a life on the current arbiter.
pub(crate) fn begin(
    bed: Arc<Bed>,
    around: Surroundings,
    events: (UnboundedSender<Event>, UnboundedReceiver<Event>),
) {
    let Surroundings {
        node,
        above,
        clock,
        placer,
        pulse,
    } = around;
    let (events, inbox) = events;
    let children = bed.children.iter();
    let children =
        children.map(|(node, rules, _)| (Arc::clone(node.name()), *rules, node.generation()));
    let machine = Machine::new(bed.flags, children, clock.now());
    let dice = Dice::new(&bed.name);
    let supervisor = Supervisor {
        bed,
        node,
        machine,
        events,
        above,
        clock,
        placer,
        dice,
        pulse,
        timers: HashMap::new(),
        done: false,
    };
    Supervisor::create(|ctx| {
        // The supervisor holds a sender itself, so the stream ends with it and not before.
        let inbox = futures_util::stream::unfold(inbox, |mut inbox| async {
            inbox.recv().await.map(|event| (event, inbox))
        });
        ctx.add_stream(inbox);
        supervisor
    });
}
