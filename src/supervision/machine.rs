//! The supervisor's decisions, pure: events and the time in, effects out.
//!
//! Two ordered sets drive it. `falling` holds the children that must go down, the last one first, one at a time;
//! `rising` those that must come up, the first one first. While anything falls nothing rises. Restarts of `one_for_one` rise
//! side by side; everything else rises one by one.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::backoff::BackoffState;
use super::effect::{Effect, Verdict};
use super::event::{Event, Timer, TimerKind};
use super::exit_reason::ExitReason;
use super::intensity::Window;
use super::rules::{Flags, Rules, Status};
use super::strategy::{Restart, Shutdown, Strategy};

#[derive(Debug)]
enum Phase {
    Booting,
    Serving,
    Stopping(ExitReason),
    Done,
}

#[derive(Debug)]
struct Row {
    rules: Rules,
    status: Status,
    generation: u64,
    since: Instant,
    backoff: BackoffState,
}

/// The state of one supervisor.
#[derive(Debug)]
pub(crate) struct Machine {
    flags: Flags,
    rows: Vec<Row>,
    names: Vec<std::sync::Arc<str>>,
    phase: Phase,
    falling: BTreeSet<usize>,
    rising: BTreeSet<usize>,
    window: Window,
    /// What went wrong while booting, in order.
    causes: Vec<String>,
}

impl Machine {
    /// A supervisor that has started nothing yet. `first_generation` is what its children's lives are counted from.
    pub(crate) fn new(
        flags: Flags,
        children: impl IntoIterator<Item = (std::sync::Arc<str>, Rules, u64)>,
        now: Instant,
    ) -> Self {
        let mut names = Vec::new();
        let mut rows = Vec::new();
        for (name, rules, generation) in children {
            names.push(name);
            rows.push(Row {
                rules,
                status: Status::Down,
                generation,
                since: now,
                backoff: BackoffState::default(),
            });
        }
        let rising = (0..rows.len()).collect();
        Self {
            flags,
            rows,
            names,
            phase: Phase::Booting,
            falling: BTreeSet::new(),
            rising,
            window: Window::default(),
            causes: Vec::new(),
        }
    }

    /// What `child` is doing, and which life that is.
    pub(crate) fn status(&self, child: usize) -> Option<(Status, u64)> {
        self.rows.get(child).map(|row| (row.status, row.generation))
    }

    /// Restarts inside the window.
    pub(crate) fn window_fill(&self, now: Instant) -> usize {
        self.window.fill(self.flags.intensity, now)
    }

    /// Begins: the first child starts.
    pub(crate) fn boot(&mut self, now: Instant) -> Vec<Effect> {
        let mut out = Vec::new();
        self.advance(now, &mut out);
        out
    }

    /// Takes one event; `random` is in 0.0..1.0.
    pub(crate) fn take(&mut self, event: Event, now: Instant, random: f64) -> Vec<Effect> {
        let mut out = Vec::new();
        match event {
            Event::Ready { child, generation } => {
                if self.is(child, generation, &[Status::Starting]) {
                    self.set(child, Status::Running, now);
                    self.rising.remove(&child);
                }
            }
            Event::Ignored { child, generation } => {
                if self.is(child, generation, &[Status::Starting]) {
                    self.set(child, Status::Ended, now);
                    self.rising.remove(&child);
                }
            }
            Event::Exited {
                child,
                generation,
                reason,
                handled,
            } => {
                self.exited(child, generation, reason, handled, now, random, &mut out);
            }
            Event::Fired(timer) => self.fired(timer, now, random, &mut out),
            Event::Hung {
                child,
                generation,
                age,
            } => {
                if self.is(child, generation, &[Status::Running, Status::Stopping]) {
                    let reason = ExitReason::Hung { age };
                    self.kill(child, reason, now, random, &mut out);
                }
            }
            Event::Stop => self.stop(ExitReason::Shutdown),
            Event::Tick => {}
        }
        self.advance(now, &mut out);
        out
    }

    fn is(&self, child: usize, generation: u64, wanted: &[Status]) -> bool {
        self.status(child)
            .is_some_and(|(s, g)| g == generation && wanted.contains(&s))
    }

    fn set(&mut self, child: usize, status: Status, now: Instant) {
        if let Some(row) = self.rows.get_mut(child) {
            row.status = status;
            row.since = now;
        }
    }

    fn fired(&mut self, timer: Timer, now: Instant, random: f64, out: &mut Vec<Effect>) {
        let Timer {
            kind,
            child,
            generation,
        } = timer;
        match kind {
            TimerKind::Backoff => {
                if self.is(child, generation, &[Status::Backoff]) {
                    self.set(child, Status::Down, now);
                }
            }
            TimerKind::Start => {
                if self.is(child, generation, &[Status::Starting]) {
                    let limit = self
                        .rows
                        .get(child)
                        .map_or(Duration::ZERO, |r| r.rules.start_timeout);
                    self.kill(child, ExitReason::StartTimeout { limit }, now, random, out);
                }
            }
            TimerKind::Shutdown => {
                if self.is(child, generation, &[Status::Stopping]) {
                    self.kill(child, ExitReason::Killed, now, random, out);
                }
            }
        }
    }

    /// Fences a child and takes it for dead.
    fn kill(
        &mut self,
        child: usize,
        reason: ExitReason,
        now: Instant,
        random: f64,
        out: &mut Vec<Effect>,
    ) {
        let Some((_, generation)) = self.status(child) else {
            return;
        };
        out.push(Effect::Kill {
            child,
            generation,
            reason: reason.clone(),
        });
        self.exited(child, generation, reason, false, now, random, out);
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "an event's parts, the time and the dice"
    )]
    fn exited(
        &mut self,
        child: usize,
        generation: u64,
        reason: ExitReason,
        handled: bool,
        now: Instant,
        random: f64,
        out: &mut Vec<Effect>,
    ) {
        let Some(row) = self.rows.get(child) else {
            return;
        };
        if row.generation != generation || !row.status.alive() {
            return;
        }
        let (was, lived) = (row.status, now.saturating_duration_since(row.since));
        self.set(child, Status::Down, now);
        self.falling.remove(&child);
        let verdict = match (&self.phase, was) {
            (Phase::Booting, _) => {
                self.note_cause(child, &reason);
                let text = self.causes.join("; ");
                self.stop(ExitReason::StartFailed(text.into()));
                Verdict::Stay
            }
            (Phase::Stopping(_) | Phase::Done, _) => {
                if !reason.is_normal() && !self.causes.is_empty() {
                    self.note_cause(child, &reason);
                }
                self.set(child, Status::Ended, now);
                Verdict::Stay
            }
            // Stopped for its group: it rises again with it.
            (Phase::Serving, Status::Stopping) => Verdict::Stay,
            (Phase::Serving, _) => self.death(child, &reason, handled, lived, now, random, out),
        };
        out.push(Effect::Died {
            child,
            generation,
            reason,
            verdict,
        });
    }

    fn note_cause(&mut self, child: usize, reason: &ExitReason) {
        let name = self.names.get(child).map_or("?", |name| &**name);
        self.causes.push(format!("{name}: {reason}"));
    }

    /// A death while serving: the heart of it.
    #[expect(
        clippy::too_many_arguments,
        reason = "an event's parts, the time and the dice"
    )]
    fn death(
        &mut self,
        child: usize,
        reason: &ExitReason,
        handled: bool,
        lived: Duration,
        now: Instant,
        random: f64,
        out: &mut Vec<Effect>,
    ) -> Verdict {
        let Some(row) = self.rows.get_mut(child) else {
            return Verdict::Stay;
        };
        if !row.rules.restart.wants(reason) {
            row.status = Status::Ended;
            self.rising.remove(&child);
            return Verdict::Stay;
        }
        if !self.window.allows(self.flags.intensity, now) {
            let child = self.names.get(child).cloned().unwrap_or_else(|| "?".into());
            self.stop(ExitReason::Escalated {
                child,
                cause: reason.to_string().into(),
            });
            return Verdict::Escalate;
        }
        let delay = row.backoff.next(self.flags.backoff, handled, lived, random);
        let generation = row.generation;
        if !delay.is_zero() {
            row.status = Status::Backoff;
            let timer = Timer {
                kind: TimerKind::Backoff,
                child,
                generation,
            };
            out.push(Effect::Arm {
                timer,
                after: delay,
            });
        }
        self.rising.insert(child);
        for sibling in self.flags.strategy.group(child, self.rows.len()) {
            let Some(row) = self.rows.get_mut(sibling) else {
                continue;
            };
            let temporary = row.rules.restart == Restart::Temporary;
            if sibling != child {
                if row.status.alive() {
                    self.falling.insert(sibling);
                } else if row.status == Status::Ended && !temporary {
                    row.status = Status::Down;
                }
                if !temporary {
                    self.rising.insert(sibling);
                }
            }
        }
        Verdict::Restart(delay)
    }

    /// Everything goes down, in reverse order; nothing rises any more.
    fn stop(&mut self, reason: ExitReason) {
        if matches!(self.phase, Phase::Stopping(_) | Phase::Done) {
            return;
        }
        self.phase = Phase::Stopping(reason);
        self.rising.clear();
        for (child, row) in self.rows.iter_mut().enumerate() {
            if row.status.alive() {
                self.falling.insert(child);
            } else if row.status == Status::Backoff {
                row.status = Status::Ended;
            }
        }
    }

    /// Takes every step that can be taken now.
    fn advance(&mut self, now: Instant, out: &mut Vec<Effect>) {
        while let Some(&last) = self.falling.last() {
            if !self.fall(last, now, out) {
                return;
            }
        }
        match std::mem::replace(&mut self.phase, Phase::Done) {
            Phase::Stopping(reason) => out.push(Effect::Exit(reason)),
            Phase::Booting if self.rising.is_empty() => {
                self.phase = Phase::Serving;
                out.push(Effect::Ready);
            }
            Phase::Booting => {
                self.phase = Phase::Booting;
                self.rise(true, now, out);
            }
            Phase::Serving => {
                self.phase = Phase::Serving;
                self.rise(self.flags.strategy != Strategy::OneForOne, now, out);
            }
            Phase::Done => {}
        }
    }

    /// Brings one child down; false while it has to be waited for.
    fn fall(&mut self, child: usize, now: Instant, out: &mut Vec<Effect>) -> bool {
        let Some(row) = self.rows.get_mut(child) else {
            return self.falling.remove(&child);
        };
        let (generation, rules) = (row.generation, row.rules);
        let brutal = match row.status {
            Status::Stopping => return false,
            Status::Down | Status::Backoff | Status::Ended => return self.falling.remove(&child),
            Status::Starting => !rules.supervisor,
            Status::Running => rules.shutdown == Shutdown::Brutal,
        };
        row.status = Status::Stopping;
        row.since = now;
        if brutal {
            self.kill(child, ExitReason::Killed, now, 0.0, out);
            return true;
        }
        out.push(Effect::Stop { child });
        if let Shutdown::Timeout(after) = rules.shutdown {
            let timer = Timer {
                kind: TimerKind::Shutdown,
                child,
                generation,
            };
            out.push(Effect::Arm { timer, after });
        }
        false
    }

    /// Starts what may start: the first of `rising`, or all of it.
    fn rise(&mut self, one_by_one: bool, now: Instant, out: &mut Vec<Effect>) {
        for &child in &self.rising {
            let Some(row) = self.rows.get_mut(child) else {
                continue;
            };
            if row.status == Status::Down {
                row.status = Status::Starting;
                row.since = now;
                row.generation += 1;
                let generation = row.generation;
                out.push(Effect::Start { child, generation });
                // A supervisor takes the time its children take; their starts are timed.
                if !row.rules.supervisor {
                    let timer = Timer {
                        kind: TimerKind::Start,
                        child,
                        generation,
                    };
                    out.push(Effect::Arm {
                        timer,
                        after: row.rules.start_timeout,
                    });
                }
            }
            if one_by_one {
                return;
            }
        }
    }
}
