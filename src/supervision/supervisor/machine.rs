//! What a supervisor decides, as a pure state machine: events and the time go in, actions come out.
//!
//! Two ordered sets drive it. `falling` holds the children that have to go down: the last one first, one at a time.
//! `rising` holds the children that have to come up, the first one first. While anything falls, nothing rises. Restarts under
//! `one_for_one`, and a first start together, rise side by side; all others rise one after the other. Orders for a single
//! child are carried out at once, beside both sets.

// Decision: The supervisor is a pure machine in an actor.

mod adopt;
mod death;
mod orders;
mod progress;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tokio::time::Instant;

use super::action::{Action, OrderId};
use super::order_outcome::Started;
use crate::supervision::backoff::BackoffState;
use crate::supervision::exit_reason::{Cause, ExitReason};
use crate::supervision::intensity::Window;
use crate::supervision::life::{SupervisorEvent, Timer, TimerKind};
use crate::supervision::rules::{AfterStop, Flags, Rules, Status};

/// The state of the supervisor as a whole.
#[derive(Debug)]
enum Mode {
    /// Starting its children for the first time.
    Booting,
    /// Keeping its children up.
    Serving,
    /// Stopping all of its children.
    Stopping(Ending, AfterStop),
    /// All children are down.
    Done,
}

/// The reason for stopping all children.
#[derive(Debug)]
enum Ending {
    Because(ExitReason),
    /// A first start failed. All causes are known when all children are down.
    NotStarted,
}

#[derive(Debug)]
struct Row {
    name: Arc<str>,
    rules: Rules,
    status: Status,
    generation: u64,
    /// The time since which it has this status.
    since: Instant,
    backoff: BackoffState,
    /// It has been ready in this term of the supervisor, so further starts are restarts.
    proven: bool,
    /// The order that started it, until it is answered.
    start: Option<StartOrder>,
    /// The orders that terminated it, until they are answered.
    ends: Vec<OrderId>,
}

#[derive(Debug, Clone, Copy)]
struct StartOrder {
    order: OrderId,
    /// The order added the child. If it fails to start, it is removed again.
    new: bool,
}

/// A child as a machine gets it.
#[derive(Debug, Clone)]
pub(crate) struct Newcomer {
    pub(crate) name: Arc<str>,
    pub(crate) rules: Rules,
    /// The number of its last incarnation.
    pub(crate) generation: u64,
}

/// A child as the supervisor finds it when its machine has panicked.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) position: usize,
    pub(crate) child: Newcomer,
    pub(crate) status: Status,
}

/// The state of one supervisor.
#[derive(Debug)]
pub(crate) struct Machine {
    flags: Flags,
    /// What follows when it gives up: its parent starts it again, or nobody does.
    after_giving_up: AfterStop,
    /// By position in the start order.
    rows: BTreeMap<usize, Row>,
    positions: HashMap<Arc<str>, usize>,
    next_position: usize,
    mode: Mode,
    falling: BTreeSet<usize>,
    rising: BTreeSet<usize>,
    window: Window,
    /// The failures of the first start, in order.
    causes: Vec<Cause>,
    /// The children whose status may have changed since [`touched`](Self::touched) was called.
    touched: BTreeSet<usize>,
}

/// When an event is handled, and a random number in 0.0..1.0 for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) now: Instant,
    pub(crate) random: f64,
}

impl Machine {
    /// A supervisor that has not started anything yet.
    pub(crate) fn new(
        flags: Flags,
        after_giving_up: AfterStop,
        children: impl IntoIterator<Item = Newcomer>,
        now: Instant,
    ) -> Self {
        let mut machine = Self {
            flags,
            after_giving_up,
            rows: BTreeMap::new(),
            positions: HashMap::new(),
            next_position: 0,
            mode: Mode::Booting,
            falling: BTreeSet::new(),
            rising: BTreeSet::new(),
            window: Window::default(),
            causes: Vec::new(),
            touched: BTreeSet::new(),
        };
        for child in children {
            let position = machine.append(child, None, now);
            machine.rising.insert(position);
        }
        machine
    }

    /// Adds a child at the next position.
    fn append(&mut self, child: Newcomer, start: Option<StartOrder>, now: Instant) -> usize {
        let position = self.next_position;
        self.next_position += 1;
        self.positions.insert(Arc::clone(&child.name), position);
        let row = Row {
            name: child.name,
            rules: child.rules,
            status: Status::Down,
            generation: child.generation,
            since: now,
            backoff: BackoffState::default(),
            proven: false,
            start,
            ends: Vec::new(),
        };
        self.rows.insert(position, row);
        position
    }

    /// The status of a child, and the number of its incarnation.
    pub(crate) fn status(&self, child: usize) -> Option<(Status, u64)> {
        self.rows
            .get(&child)
            .map(|row| (row.status, row.generation))
    }

    /// The number of restarts within the window.
    pub(crate) fn window_fill(&self, now: Instant) -> usize {
        self.window.fill(self.flags.intensity, now)
    }

    /// The children whose status may have changed since the last call.
    pub(crate) fn touched(&mut self) -> BTreeSet<usize> {
        std::mem::take(&mut self.touched)
    }

    /// Whether its children are still being started for the first time.
    pub(crate) fn booting(&self) -> bool {
        matches!(self.mode, Mode::Booting)
    }

    /// Starts the first child.
    pub(crate) fn boot(&mut self, now: Instant) -> Vec<Action> {
        let mut out = Vec::new();
        self.advance(now, &mut out);
        out
    }

    /// Handles one event.
    pub(crate) fn take(&mut self, event: SupervisorEvent, moment: Moment) -> Vec<Action> {
        let mut out = Vec::new();
        match event {
            SupervisorEvent::Ready { child, generation } => {
                self.ready(child, generation, moment.now, &mut out);
            }
            SupervisorEvent::Ignored { child, generation } => {
                self.ignored(child, generation, moment, &mut out);
            }
            SupervisorEvent::Exited {
                child,
                generation,
                reason,
                handled,
            } => {
                self.exited(child, generation, &reason, handled, moment, &mut out);
            }
            SupervisorEvent::Fired(timer) => self.fired(timer, moment, &mut out),
            SupervisorEvent::Hung {
                child,
                generation,
                age,
            } => {
                if self.is(child, generation, &[Status::Running, Status::Stopping]) {
                    self.kill(child, &ExitReason::Hung { age }, moment, &mut out);
                }
            }
            SupervisorEvent::Stop(after) => self.stop(Ending::Because(ExitReason::Shutdown), after),
            SupervisorEvent::Tick => {}
        }
        self.advance(moment.now, &mut out);
        out
    }

    fn is(&self, child: usize, generation: u64, wanted: &[Status]) -> bool {
        self.status(child)
            .is_some_and(|(s, g)| g == generation && wanted.contains(&s))
    }

    fn set(&mut self, child: usize, status: Status, now: Instant) {
        if let Some(row) = self.rows.get_mut(&child) {
            row.status = status;
            row.since = now;
            self.touched.insert(child);
        }
    }

    fn ready(&mut self, child: usize, generation: u64, now: Instant, out: &mut Vec<Action>) {
        if !self.is(child, generation, &[Status::Starting]) {
            return;
        }
        self.set(child, Status::Running, now);
        self.rising.remove(&child);
        if let Some(row) = self.rows.get_mut(&child) {
            row.proven = true;
            if let Some(start) = row.start.take() {
                let result = Ok(Started::Running { generation });
                out.push(Action::answer(start.order, result));
            }
        }
    }

    fn fired(&mut self, timer: Timer, moment: Moment, out: &mut Vec<Action>) {
        let Timer {
            kind,
            child,
            generation,
        } = timer;
        match kind {
            TimerKind::Backoff => {
                if self.is(child, generation, &[Status::Backoff]) {
                    self.set(child, Status::Down, moment.now);
                }
            }
            TimerKind::Start => {
                if self.is(child, generation, &[Status::Starting]) {
                    let row = self.rows.get(&child);
                    let limit = row.map_or_else(Default::default, |row| row.rules.start_timeout);
                    self.kill(child, &ExitReason::StartTimeout { limit }, moment, out);
                }
            }
            TimerKind::Shutdown => {
                if self.is(child, generation, &[Status::Stopping]) {
                    self.kill(child, &ExitReason::Killed, moment, out);
                }
            }
        }
    }
}
