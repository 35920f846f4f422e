//! What follows when a child ends: the heart of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Ending, Machine, Moment, Phase};
use crate::supervision::exit_reason::{Cause, ExitReason};
use crate::supervision::life::{Timer, TimerKind};
use crate::supervision::rules::{Sequel, Status};
use crate::supervision::strategy::{Restart, Shutdown};
use crate::supervision::supervisor::effect::{Effect, Verdict};
use crate::supervision::supervisor::order_error::{AdminError, Standing};

/// How a life ended.
#[derive(Clone, Copy)]
struct End<'a> {
    reason: &'a ExitReason,
    /// Whether it got anything done.
    handled: bool,
    /// What it was doing.
    was: Status,
    /// Whether it has been ready before.
    proven: bool,
    lived: Duration,
}

impl Machine {
    /// Fences a child and takes it for dead.
    pub(super) fn kill(
        &mut self,
        child: usize,
        reason: &ExitReason,
        moment: Moment,
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
        self.exited(child, generation, reason, false, moment, out);
    }

    /// A child is not wanted now.
    pub(super) fn ignored(
        &mut self,
        child: usize,
        generation: u64,
        moment: Moment,
        out: &mut Vec<Effect>,
    ) {
        if self.is(child, generation, &[Status::Starting]) {
            let order = self.rows.get_mut(&child).and_then(|row| row.start.take());
            self.retire(child, moment.now, out);
            if let Some(order) = order {
                out.push(Effect::answer(order.ticket, Ok(Standing::Down)));
            }
        } else {
            self.exited(child, generation, &ExitReason::Normal, false, moment, out);
        }
    }

    /// A child has ended.
    pub(super) fn exited(
        &mut self,
        child: usize,
        generation: u64,
        reason: &ExitReason,
        handled: bool,
        moment: Moment,
        out: &mut Vec<Effect>,
    ) {
        let Some(row) = self.rows.get(&child) else {
            return;
        };
        if row.generation != generation || !row.status.alive() {
            return;
        }
        let end = End {
            reason,
            handled,
            was: row.status,
            proven: row.proven,
            lived: moment.now.saturating_duration_since(row.since),
        };
        self.set(child, Status::Down, moment.now);
        self.falling.remove(&child);
        let mut follow_up = Vec::new();
        let verdict = self.judge(child, end, moment, &mut follow_up);
        out.push(Effect::Died {
            child,
            generation,
            reason: reason.clone(),
            verdict,
        });
        out.append(&mut follow_up);
    }

    fn judge(
        &mut self,
        child: usize,
        end: End<'_>,
        moment: Moment,
        out: &mut Vec<Effect>,
    ) -> Verdict {
        match (&self.phase, end.was) {
            // OTP: a child that fails its first start takes the supervisor's start with it.
            (Phase::Booting, Status::Starting) if !end.proven => {
                self.set(child, Status::Ended, moment.now);
                self.note_cause(child, end.reason);
                self.stop(Ending::NotStarted, Sequel::End);
                Verdict::Stay
            }
            (Phase::Stopping(ending, _), _) => {
                if matches!(ending, Ending::NotStarted) {
                    self.note_cause(child, end.reason);
                }
                self.set(child, Status::Ended, moment.now);
                self.answer_ends(child, out);
                Verdict::Stay
            }
            (Phase::Done, _) => Verdict::Stay,
            (_, Status::Stopping) => {
                self.felled(child, moment.now, out);
                Verdict::Stay
            }
            (Phase::Booting | Phase::Serving, _) => self.died(child, end, moment, out),
        }
    }

    /// What ends abnormally while a start fails is a cause of it, unless it was to be ended so.
    fn note_cause(&mut self, child: usize, reason: &ExitReason) {
        let Some(row) = self.rows.get(&child) else {
            return;
        };
        let brutal = row.rules.shutdown == Shutdown::Brutal && *reason == ExitReason::Killed;
        let first = self.causes.is_empty();
        if first || !(reason.is_normal() || brutal) {
            self.causes.push(Cause {
                child: Arc::clone(&row.name),
                reason: reason.clone(),
            });
        }
    }

    /// A child that was asked to stop while the others serve.
    fn felled(&mut self, child: usize, now: Instant, out: &mut Vec<Effect>) {
        let Some(row) = self.rows.get(&child) else {
            return;
        };
        if row.ends.is_empty() && self.rising.contains(&child) {
            // Stopped for its group: it rises again with it.
            return;
        }
        if !row.ends.is_empty()
            && let Some(order) = self.rows.get_mut(&child).and_then(|row| row.start.take())
        {
            out.push(Effect::answer(order.ticket, Err(AdminError::Terminated)));
        }
        self.answer_ends(child, out);
        self.retire(child, now, out);
    }

    /// A start that was ordered has failed: whoever ordered it decides what to do. False if nobody did.
    fn start_failed(
        &mut self,
        child: usize,
        reason: &ExitReason,
        now: Instant,
        out: &mut Vec<Effect>,
    ) -> bool {
        let order = self.rows.get_mut(&child).and_then(|row| row.start.take());
        let Some(order) = order else { return false };
        let failed = AdminError::StartFailed(reason.clone());
        out.push(Effect::answer(order.ticket, Err(failed)));
        if order.new {
            self.forget(child, out);
        } else {
            self.retire(child, now, out);
        }
        true
    }

    /// A death that nobody ordered.
    fn died(
        &mut self,
        child: usize,
        end: End<'_>,
        moment: Moment,
        out: &mut Vec<Effect>,
    ) -> Verdict {
        if self.start_failed(child, end.reason, moment.now, out) {
            return Verdict::Stay;
        }
        let Some(row) = self.rows.get_mut(&child) else {
            return Verdict::Stay;
        };
        if !row.rules.restart.wants(end.reason) {
            self.retire(child, moment.now, out);
            return Verdict::Stay;
        }
        if !self.window.allows(self.flags.intensity, moment.now) {
            let reason = ExitReason::Escalated {
                child: Arc::clone(&row.name),
                cause: end.reason.to_string().into(),
            };
            self.stop(Ending::Because(reason), self.given_up);
            return Verdict::Escalate;
        }
        let shape = self.flags.backoff;
        let delay = row
            .backoff
            .next(shape, end.handled, end.lived, moment.random);
        if !delay.is_zero() {
            row.status = Status::Backoff;
            let timer = Timer {
                kind: TimerKind::Backoff,
                child,
                generation: row.generation,
            };
            out.push(Effect::Arm {
                timer,
                after: delay,
            });
        }
        self.rising.insert(child);
        self.take_down_group(child);
        Verdict::Restart(delay)
    }

    /// The siblings that share the fate of `dead` fall, and rise again after it; a temporary one does not rise.
    fn take_down_group(&mut self, dead: usize) {
        for (&sibling, row) in self.rows.range_mut(self.flags.strategy.group(dead)) {
            if sibling == dead {
                continue;
            }
            if row.status.alive() {
                self.falling.insert(sibling);
            } else if row.status == Status::Ended {
                row.status = Status::Down;
                self.touched.insert(sibling);
            }
            if row.rules.restart != Restart::Temporary {
                self.rising.insert(sibling);
            }
        }
    }

    /// It stays down. A temporary child is not kept either.
    pub(super) fn retire(&mut self, child: usize, now: Instant, out: &mut Vec<Effect>) {
        self.rising.remove(&child);
        let row = self.rows.get(&child);
        if row.is_some_and(|row| row.rules.restart == Restart::Temporary) {
            self.forget(child, out);
        } else {
            self.set(child, Status::Ended, now);
            out.push(Effect::Close { child });
        }
    }

    pub(super) fn forget(&mut self, child: usize, out: &mut Vec<Effect>) {
        if let Some(row) = self.rows.remove(&child) {
            self.places.remove(&row.name);
            self.rising.remove(&child);
            self.touched.remove(&child);
            out.push(Effect::Forget { child });
        }
    }

    fn answer_ends(&mut self, child: usize, out: &mut Vec<Effect>) {
        if let Some(row) = self.rows.get_mut(&child) {
            let ends = std::mem::take(&mut row.ends);
            out.extend(
                ends.into_iter()
                    .map(|t| Effect::answer(t, Ok(Standing::Down))),
            );
        }
    }
}
