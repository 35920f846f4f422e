//! The decisions of a supervisor, as a pure state machine: events and the time go in, actions come out.
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

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::action::{Action, Turn};
use super::state::STRIDE;
use crate::supervision::backoff::BackoffState;
use crate::supervision::exit_reason::{Cause, ExitReason};
use crate::supervision::intensity::Window;
use crate::supervision::life::{
    ChildSpec, IncarnationId, OrderReply, Started, SupervisorEvent, Timer, TimerKind,
};
use crate::supervision::rules::{AfterStop, Flags, Rules, Status};
use crate::supervision::strategy::Restart;

/// The state of the supervisor as a whole.
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
enum Ending {
    Because(ExitReason),
    /// A first start failed. All causes are known when all children are down.
    NotStarted,
}

/// A child, as the machine keeps it.
pub(crate) struct Row {
    name: Arc<str>,
    rules: Rules,
    status: Status,
    /// The present or last incarnation.
    incarnation: IncarnationId,
    /// The time since which it has this status.
    since: Instant,
    backoff: BackoffState,
    /// It has been ready in this term of the supervisor, so further starts are restarts.
    proven: bool,
    /// The order that started it, until it is answered.
    start: Option<StartOrder>,
    /// The orders that terminated it, until they are answered.
    ends: Vec<OrderReply>,
    /// The step that those orders want to follow.
    after_end: AfterStop,
    /// The orders that renew it, until it is ready again.
    renewals: Vec<OrderReply>,
}

impl Row {
    /// A child as the tree shows it: with its status, and the number of its last incarnation.
    pub(crate) fn new(child: usize, spec: &ChildSpec, now: Instant) -> Self {
        let (status, generation) = spec.node.status();
        let mut rules = spec.rules;
        if spec.node.is_leaving() {
            rules.restart = Restart::Temporary;
        }
        Self {
            name: Arc::clone(&spec.node.name),
            rules,
            status,
            incarnation: IncarnationId { child, generation },
            since: now,
            backoff: BackoffState::default(),
            proven: status == Status::Running,
            start: None,
            ends: Vec::new(),
            after_end: AfterStop::StayDownAlone,
            renewals: Vec::new(),
        }
    }

    /// Whether it goes down by an order for it alone.
    fn ordered(&self) -> bool {
        self.status == Status::Stopping && !(self.ends.is_empty() && self.renewals.is_empty())
    }

    fn set(&mut self, status: Status, turn: &mut Turn) {
        self.status = status;
        self.since = turn.now;
        turn.decide(Action::Show(self.incarnation, status));
    }

    /// Sets the timer of the present incarnation.
    fn arm(&self, kind: TimerKind, after: Duration, turn: &mut Turn) {
        let incarnation = self.incarnation;
        turn.decide(Action::Arm(Timer { kind, incarnation }, after));
    }
}

struct StartOrder {
    reply: OrderReply,
    /// The order added the child. If it fails to start, it is removed again.
    new: bool,
}

/// The state of one supervisor.
pub(crate) struct Machine {
    /// They may change from one turn to the next.
    pub(crate) flags: Flags,
    /// The next step when it gives up: its parent starts it again, or it stays down.
    after_giving_up: AfterStop,
    /// By position in the start order.
    rows: BTreeMap<usize, Row>,
    next_position: usize,
    mode: Mode,
    falling: BTreeSet<usize>,
    rising: BTreeSet<usize>,
    window: Window,
    /// The failures of the first start, in order.
    causes: Vec<Cause>,
}

impl Machine {
    /// A supervisor that has not started anything yet.
    pub(crate) fn new(
        flags: Flags,
        after_giving_up: AfterStop,
        children: impl IntoIterator<Item = Row>,
    ) -> Self {
        let mut machine = Self {
            flags,
            after_giving_up,
            rows: BTreeMap::new(),
            next_position: STRIDE,
            mode: Mode::Booting,
            falling: BTreeSet::new(),
            rising: BTreeSet::new(),
            window: Window::default(),
            causes: Vec::new(),
        };
        for child in children {
            machine.rising.insert(child.incarnation.child);
            machine.append_down(child);
        }
        machine
    }

    /// Adds a child that is down.
    fn append_down(&mut self, child: Row) {
        let (status, proven) = (Status::Down, false);
        self.append(Row {
            status,
            proven,
            ..child
        });
    }

    /// Adds a child.
    fn append(&mut self, child: Row) {
        let position = child.incarnation.child;
        self.next_position = self.next_position.max(position + STRIDE);
        self.rows.insert(position, child);
    }

    /// The row of a child, if this is its present incarnation.
    fn row(&mut self, incarnation: IncarnationId) -> Option<&mut Row> {
        let row = self.rows.get_mut(&incarnation.child)?;
        (row.incarnation == incarnation).then_some(row)
    }

    /// The number of restarts within the window.
    pub(crate) fn window_fill(&self, now: Instant) -> usize {
        self.window.fill(self.flags.intensity, now)
    }

    /// Whether its children are still being started for the first time.
    pub(crate) fn booting(&self) -> bool {
        matches!(self.mode, Mode::Booting)
    }

    /// Starts the first child.
    pub(crate) fn boot(&mut self, mut turn: Turn) -> Vec<Action> {
        self.advance(&mut turn);
        turn.actions
    }

    /// Handles one event.
    pub(crate) fn take(&mut self, event: SupervisorEvent, mut turn: Turn) -> Vec<Action> {
        match event {
            SupervisorEvent::Ready(incarnation) => self.ready(incarnation, &mut turn),
            SupervisorEvent::Ignored(incarnation) => self.ignored(incarnation, &mut turn),
            SupervisorEvent::Exited {
                incarnation,
                reason,
                handled,
            } => self.exited(incarnation, reason, handled, &mut turn),
            SupervisorEvent::Fired(timer) => self.fired(timer, &mut turn),
            SupervisorEvent::Hung { incarnation, age } => {
                let status = self.row(incarnation).map(|row| row.status);
                if matches!(status, Some(Status::Running | Status::Stopping)) {
                    self.kill(incarnation, ExitReason::Hung { age }, &mut turn);
                }
            }
            SupervisorEvent::Stop(after) => {
                let ending = Ending::Because(ExitReason::Shutdown);
                self.stop(ending, after, &mut turn);
            }
            SupervisorEvent::Tick => {}
        }
        self.advance(&mut turn);
        turn.actions
    }

    fn set(&mut self, child: usize, status: Status, turn: &mut Turn) {
        if let Some(row) = self.rows.get_mut(&child) {
            row.set(status, turn);
        }
    }

    fn ready(&mut self, incarnation: IncarnationId, turn: &mut Turn) {
        let row = self.row(incarnation);
        let Some(row) = row.filter(|row| row.status == Status::Starting) else {
            return;
        };
        row.set(Status::Running, turn);
        row.proven = true;
        let start = row.start.take().map(|start| start.reply);
        let generation = incarnation.generation;
        for reply in start.into_iter().chain(row.renewals.drain(..)) {
            turn.answer(reply, Ok(Started::Running { generation }));
        }
        self.rising.remove(&incarnation.child);
    }

    fn fired(&mut self, timer: Timer, turn: &mut Turn) {
        let Timer { kind, incarnation } = timer;
        let start_timeout = self.flags.start_timeout;
        let Some(row) = self.row(incarnation) else {
            return;
        };
        match (kind, row.status) {
            (TimerKind::Backoff, Status::Backoff) => row.set(Status::Down, turn),
            (TimerKind::Start, Status::Starting) => {
                let limit = start_timeout.unwrap_or(row.rules.start_timeout);
                self.kill(incarnation, ExitReason::StartTimeout { limit }, turn);
            }
            (TimerKind::Shutdown, Status::Stopping) => {
                self.kill(incarnation, ExitReason::Killed, turn);
            }
            // The child no longer does what the timer was set for.
            _ => {}
        }
    }
}
