//! Decides the next step when an incarnation ends.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Ending, Machine, Mode, Moment};
use crate::supervision::exit_reason::{Cause, ExitReason};
use crate::supervision::life::{Timer, TimerKind};
use crate::supervision::rules::{AfterStop, Status};
use crate::supervision::strategy::{Restart, Shutdown};
use crate::supervision::supervisor::action::{Action, Verdict};
use crate::supervision::supervisor::order_outcome::{OrderError, Started};

/// The end of an incarnation.
#[derive(Clone, Copy)]
struct IncarnationEnd<'a> {
    reason: &'a ExitReason,
    /// Whether it handled something.
    handled: bool,
    /// The status it had.
    was: Status,
    /// Whether its group was going down, and this child would have been stopped next or soon.
    falling: bool,
    /// Whether the child has been ready before.
    proven: bool,
    lived: Duration,
}

impl Machine {
    /// Fences a child and treats it as dead.
    pub(super) fn kill(
        &mut self,
        child: usize,
        reason: &ExitReason,
        moment: Moment,
        out: &mut Vec<Action>,
    ) {
        let Some((_, generation)) = self.status(child) else {
            return;
        };
        out.push(Action::Kill {
            child,
            generation,
            reason: reason.clone(),
        });
        self.exited(child, generation, reason, false, moment, out);
    }

    /// A child chose not to run.
    pub(super) fn ignored(
        &mut self,
        child: usize,
        generation: u64,
        moment: Moment,
        out: &mut Vec<Action>,
    ) {
        if self.is(child, generation, &[Status::Starting]) {
            let start = self.rows.get_mut(&child).and_then(|row| row.start.take());
            self.retire(child, moment.now, out);
            if let Some(start) = start {
                out.push(Action::answer(start.order, Ok(Started::Down)));
            }
        } else {
            self.exited(child, generation, &ExitReason::Normal, false, moment, out);
        }
    }

    /// An incarnation has ended.
    pub(super) fn exited(
        &mut self,
        child: usize,
        generation: u64,
        reason: &ExitReason,
        handled: bool,
        moment: Moment,
        out: &mut Vec<Action>,
    ) {
        let Some(row) = self.rows.get(&child) else {
            return;
        };
        if row.generation != generation || !row.status.alive() {
            return;
        }
        let end = IncarnationEnd {
            reason,
            handled,
            was: row.status,
            falling: self.falling.remove(&child),
            proven: row.proven,
            lived: moment.now.saturating_duration_since(row.since),
        };
        self.set(child, Status::Down, moment.now);
        let mut follow_up = Vec::new();
        let verdict = self.judge(child, end, moment, &mut follow_up);
        out.push(Action::Record {
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
        end: IncarnationEnd<'_>,
        moment: Moment,
        out: &mut Vec<Action>,
    ) -> Verdict {
        match (&self.mode, end.was) {
            // OTP: if a first start fails, the start of the supervisor fails.
            (Mode::Booting, Status::Starting) if !end.proven => {
                self.set(child, Status::Ended, moment.now);
                self.note_cause(child, end.reason);
                self.stop(Ending::NotStarted, AfterStop::StayDown);
                Verdict::Stay
            }
            (Mode::Stopping(ending, _), _) => {
                if matches!(ending, Ending::NotStarted) {
                    self.note_cause(child, end.reason);
                }
                self.set(child, Status::Ended, moment.now);
                self.answer_ends(child, out);
                Verdict::Stay
            }
            (Mode::Done, _) => Verdict::Stay,
            (_, Status::Stopping) => {
                self.stopped(child, moment.now, out);
                Verdict::Stay
            }
            // OTP: a sibling that dies while its group goes down is no restart of its own.
            (_, Status::Starting | Status::Running) if end.falling => {
                if !self.start_failed(child, end.reason, moment.now, out) {
                    self.stopped(child, moment.now, out);
                }
                Verdict::Stay
            }
            (Mode::Booting | Mode::Serving, _) => self.died(child, end, moment, out),
        }
    }

    /// Notes a cause of a failed start: what ended abnormally meanwhile, unless it was to be killed.
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

    /// A child has gone down that was to go down, while the supervisor goes on.
    fn stopped(&mut self, child: usize, now: Instant, out: &mut Vec<Action>) {
        let Some(row) = self.rows.get_mut(&child) else {
            return;
        };
        if row.ends.is_empty() && self.rising.contains(&child) {
            // It went down with its group and rises again with it.
            return;
        }
        if !row.ends.is_empty()
            && let Some(start) = row.start.take()
        {
            out.push(Action::answer(start.order, Err(OrderError::Terminated)));
        }
        self.answer_ends(child, out);
        self.retire(child, now, out);
    }

    /// If the child was being started by an order, the order fails, and no restart follows: whoever gave the order decides
    /// what to do. Returns false if there was no order.
    fn start_failed(
        &mut self,
        child: usize,
        reason: &ExitReason,
        now: Instant,
        out: &mut Vec<Action>,
    ) -> bool {
        let start = self.rows.get_mut(&child).and_then(|row| row.start.take());
        let Some(start) = start else { return false };
        let failed = OrderError::StartFailed(reason.clone());
        out.push(Action::answer(start.order, Err(failed)));
        if start.new {
            self.forget(child, out);
        } else {
            self.retire(child, now, out);
        }
        true
    }

    /// A child has died that was not to go down.
    fn died(
        &mut self,
        child: usize,
        end: IncarnationEnd<'_>,
        moment: Moment,
        out: &mut Vec<Action>,
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
            self.stop(Ending::Because(reason), self.after_giving_up);
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
            out.push(Action::Arm {
                timer,
                after: delay,
            });
        }
        self.rising.insert(child);
        self.take_down_group(child);
        Verdict::Restart(delay)
    }

    /// Lets the siblings that are restarted with `dead` go down. All but temporary ones rise again after it.
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

    /// Lets a child stay down. A temporary child is forgotten.
    pub(super) fn retire(&mut self, child: usize, now: Instant, out: &mut Vec<Action>) {
        self.rising.remove(&child);
        let row = self.rows.get(&child);
        if row.is_some_and(|row| row.rules.restart == Restart::Temporary) {
            self.forget(child, out);
        } else {
            self.set(child, Status::Ended, now);
            out.push(Action::Close { child });
        }
    }

    pub(super) fn forget(&mut self, child: usize, out: &mut Vec<Action>) {
        if let Some(row) = self.rows.remove(&child) {
            self.positions.remove(&row.name);
            self.rising.remove(&child);
            self.touched.remove(&child);
            out.push(Action::Forget { child });
        }
    }

    fn answer_ends(&mut self, child: usize, out: &mut Vec<Action>) {
        if let Some(row) = self.rows.get_mut(&child) {
            let ends = std::mem::take(&mut row.ends);
            let answers = ends.into_iter();
            out.extend(answers.map(|order| Action::answer(order, Ok(Started::Down))));
        }
    }
}
