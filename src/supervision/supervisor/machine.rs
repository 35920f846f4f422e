//! The supervisor's decisions, pure: events and the time in, effects out.
//!
//! Two ordered sets drive it. `falling` holds the children that must go down, the last one first, one at a time;
//! `rising` those that must come up, the first one first. While anything falls nothing rises. Restarts of `one_for_one`,
//! and a first start together, rise side by side; everything else rises one by one. What is ordered of a single child is
//! done at once, beside both sets.

// Decision: The supervisor is a pure machine in an actor.

mod adopt;
mod death;
mod orders;
mod progress;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tokio::time::Instant;

use super::effect::{Effect, Ticket};
use super::order_error::Standing;
use crate::supervision::backoff::BackoffState;
use crate::supervision::exit_reason::{Cause, ExitReason};
use crate::supervision::intensity::Window;
use crate::supervision::life::{Event, Timer, TimerKind};
use crate::supervision::rules::{Flags, Rules, Sequel, Startup, Status};

#[derive(Debug)]
enum Phase {
    Booting,
    Serving,
    Stopping(Ending, Sequel),
    Done,
}

/// Why everything goes down.
#[derive(Debug)]
enum Ending {
    Because(ExitReason),
    /// A first start failed. The causes are complete when all children are down.
    NotStarted,
}

#[derive(Debug)]
struct Row {
    name: Arc<str>,
    rules: Rules,
    status: Status,
    generation: u64,
    since: Instant,
    backoff: BackoffState,
    /// It has been ready in this term of the supervisor: it has started, and what follows are restarts.
    proven: bool,
    /// Somebody ordered its start, and hears of it.
    start: Option<StartOrder>,
    /// Those who ordered its end, and hear of it.
    ends: Vec<Ticket>,
}

#[derive(Debug, Clone, Copy)]
struct StartOrder {
    ticket: Ticket,
    /// It is not a child before it has started.
    new: bool,
}

/// A child as it comes to its supervisor.
#[derive(Debug, Clone)]
pub(crate) struct Newcomer {
    pub(crate) name: Arc<str>,
    pub(crate) rules: Rules,
    /// What its lives are counted from.
    pub(crate) generation: u64,
}

/// A child as it was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) place: usize,
    pub(crate) child: Newcomer,
    pub(crate) status: Status,
}

/// The state of one supervisor.
#[derive(Debug)]
pub(crate) struct Machine {
    flags: Flags,
    startup: Startup,
    /// What follows when it gives up: there is somebody above who starts it again, or there is not.
    given_up: Sequel,
    /// By place: the start order.
    rows: BTreeMap<usize, Row>,
    places: HashMap<Arc<str>, usize>,
    next_place: usize,
    phase: Phase,
    falling: BTreeSet<usize>,
    rising: BTreeSet<usize>,
    window: Window,
    /// What went wrong while booting, in order.
    causes: Vec<Cause>,
    /// Children whose status may have changed since it was last asked.
    touched: BTreeSet<usize>,
}

/// When an event is taken, and the dice for it, in 0.0..1.0.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) now: Instant,
    pub(crate) random: f64,
}

impl Machine {
    /// A supervisor that has started nothing yet.
    pub(crate) fn new(
        flags: Flags,
        startup: Startup,
        given_up: Sequel,
        children: impl IntoIterator<Item = Newcomer>,
        now: Instant,
    ) -> Self {
        let mut machine = Self {
            flags,
            startup,
            given_up,
            rows: BTreeMap::new(),
            places: HashMap::new(),
            next_place: 0,
            phase: Phase::Booting,
            falling: BTreeSet::new(),
            rising: BTreeSet::new(),
            window: Window::default(),
            causes: Vec::new(),
            touched: BTreeSet::new(),
        };
        for child in children {
            let place = machine.seat(child, None, now);
            machine.rising.insert(place);
        }
        machine
    }

    /// Gives a child the next place.
    fn seat(&mut self, child: Newcomer, start: Option<StartOrder>, now: Instant) -> usize {
        let place = self.next_place;
        self.next_place += 1;
        self.places.insert(Arc::clone(&child.name), place);
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
        self.rows.insert(place, row);
        place
    }

    /// What `child` is doing, and which life that is.
    pub(crate) fn status(&self, child: usize) -> Option<(Status, u64)> {
        self.rows
            .get(&child)
            .map(|row| (row.status, row.generation))
    }

    /// Restarts inside the window.
    pub(crate) fn window_fill(&self, now: Instant) -> usize {
        self.window.fill(self.flags.intensity, now)
    }

    /// The children whose status may have changed since the last call.
    pub(crate) fn touched(&mut self) -> BTreeSet<usize> {
        std::mem::take(&mut self.touched)
    }

    /// Whether its children are still being started for the first time.
    pub(crate) fn booting(&self) -> bool {
        matches!(self.phase, Phase::Booting)
    }

    /// Begins: the first child starts.
    pub(crate) fn boot(&mut self, now: Instant) -> Vec<Effect> {
        let mut out = Vec::new();
        self.advance(now, &mut out);
        out
    }

    /// Takes one event.
    pub(crate) fn take(&mut self, event: Event, moment: Moment) -> Vec<Effect> {
        let mut out = Vec::new();
        match event {
            Event::Ready { child, generation } => {
                self.ready(child, generation, moment.now, &mut out);
            }
            Event::Ignored { child, generation } => {
                self.ignored(child, generation, moment, &mut out);
            }
            Event::Exited {
                child,
                generation,
                reason,
                handled,
            } => {
                self.exited(child, generation, &reason, handled, moment, &mut out);
            }
            Event::Fired(timer) => self.fired(timer, moment, &mut out),
            Event::Hung {
                child,
                generation,
                age,
            } => {
                if self.is(child, generation, &[Status::Running, Status::Stopping]) {
                    self.kill(child, &ExitReason::Hung { age }, moment, &mut out);
                }
            }
            Event::Stop(sequel) => self.stop(Ending::Because(ExitReason::Shutdown), sequel),
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

    fn ready(&mut self, child: usize, generation: u64, now: Instant, out: &mut Vec<Effect>) {
        if !self.is(child, generation, &[Status::Starting]) {
            return;
        }
        self.set(child, Status::Running, now);
        self.rising.remove(&child);
        if let Some(row) = self.rows.get_mut(&child) {
            row.proven = true;
            if let Some(order) = row.start.take() {
                out.push(Effect::answer(
                    order.ticket,
                    Ok(Standing::Running { generation }),
                ));
            }
        }
    }

    fn fired(&mut self, timer: Timer, moment: Moment, out: &mut Vec<Effect>) {
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
