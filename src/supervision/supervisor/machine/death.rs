//! Decides the next step when an incarnation ends.

use std::sync::Arc;
use std::time::Duration;

use super::{Ending, Machine, Mode};
use crate::supervision::exit_reason::{Cause, ExitReason};
use crate::supervision::life::{IncarnationId, Lasting, OrderError, Started, TimerKind};
use crate::supervision::rules::{AfterStop, Status};
use crate::supervision::strategy::{Restart, Shutdown};
use crate::supervision::supervisor::action::{Action, Turn, Verdict};

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
    /// Fences an incarnation and treats it as dead.
    pub(super) fn kill(&mut self, dead: IncarnationId, reason: ExitReason, turn: &mut Turn) {
        turn.decide(Action::Kill(dead, reason.clone()));
        self.exited(dead, reason, false, turn);
    }

    /// A child chose not to run.
    pub(super) fn ignored(&mut self, incarnation: IncarnationId, turn: &mut Turn) {
        let row = self.row(incarnation);
        let Some(row) = row.filter(|row| row.status == Status::Starting) else {
            return self.exited(incarnation, ExitReason::Normal, false, turn);
        };
        let start = row.start.take().map(|start| start.reply);
        let renewals = std::mem::take(&mut row.renewals);
        self.retire(incarnation.child, turn);
        for reply in start.into_iter().chain(renewals) {
            turn.answer(reply, Ok(Started::Down));
        }
    }

    /// An incarnation has ended.
    pub(super) fn exited(
        &mut self,
        dead: IncarnationId,
        reason: ExitReason,
        handled: bool,
        turn: &mut Turn,
    ) {
        let row = self.row(dead);
        let Some(row) = row.filter(|row| row.status.alive()) else {
            return;
        };
        let reason = if row.ordered() && reason.is_normal() {
            ExitReason::Ordered
        } else {
            reason
        };
        let mut end = IncarnationEnd {
            reason: &reason,
            handled,
            was: row.status,
            falling: false,
            proven: row.proven,
            lived: turn.now.saturating_duration_since(row.since),
        };
        row.set(Status::Down, turn);
        end.falling = self.falling.remove(&dead.child);
        let follow_up = turn.actions.len();
        let verdict = self.judge(dead.child, end, turn);
        let record = Action::Record(dead, reason, verdict);
        turn.actions.insert(follow_up, record);
    }

    fn judge(&mut self, child: usize, end: IncarnationEnd<'_>, turn: &mut Turn) -> Verdict {
        match (&self.mode, end.was) {
            // OTP: if a first start fails, the start of the supervisor fails.
            (Mode::Booting, Status::Starting) if !end.proven => {
                self.set(child, Status::Ended, turn);
                self.note_cause(child, end.reason);
                self.stop(Ending::NotStarted, AfterStop::StayDown, turn);
                Verdict::Stay
            }
            (Mode::Stopping(ending, _), _) => {
                if matches!(ending, Ending::NotStarted) {
                    self.note_cause(child, end.reason);
                }
                self.set(child, Status::Ended, turn);
                self.answer_ends(child, turn);
                Verdict::Stay
            }
            (Mode::Done, _) => Verdict::Stay,
            (_, Status::Stopping) => self.stopped(child, turn),
            // OTP: a sibling that dies while its group goes down is no restart of its own.
            (_, Status::Starting | Status::Running) if end.falling => {
                if self.start_failed(child, end.reason, turn) {
                    return Verdict::Stay;
                }
                self.stopped(child, turn)
            }
            (Mode::Booting | Mode::Serving, _) => self.died(child, end, turn),
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
    fn stopped(&mut self, child: usize, turn: &mut Turn) -> Verdict {
        let Some(row) = self.rows.get_mut(&child) else {
            return Verdict::Stay;
        };
        if row.ends.is_empty() {
            if self.rising.contains(&child) {
                // It went down by an order or with its group, and rises again.
                let renewed = !row.renewals.is_empty();
                return if renewed {
                    Verdict::Restart(Duration::ZERO)
                } else {
                    Verdict::Stay
                };
            }
        } else if let Some(start) = row.start.take() {
            turn.answer(start.reply, Err(OrderError::Terminated));
        }
        let ends = std::mem::take(&mut row.ends);
        self.retire(child, turn);
        for reply in ends {
            turn.answer(reply, Ok(Started::Down));
        }
        Verdict::Stay
    }

    /// If the child was being started by an order, the order fails, and no restart follows: whoever gave the order decides
    /// what to do. Returns false if there was no order.
    fn start_failed(&mut self, child: usize, reason: &ExitReason, turn: &mut Turn) -> bool {
        let start = self.rows.get_mut(&child).and_then(|row| row.start.take());
        let Some(start) = start else { return false };
        let failed = OrderError::StartFailed(reason.clone());
        self.refuse_renewals(child, &failed, turn);
        turn.answer(start.reply, Err(failed));
        if start.new {
            self.forget(child, Lasting::ForGood, turn);
        } else {
            self.retire(child, turn);
        }
        true
    }

    /// A child has died that was not to go down.
    fn died(&mut self, child: usize, end: IncarnationEnd<'_>, turn: &mut Turn) -> Verdict {
        if self.start_failed(child, end.reason, turn) {
            return Verdict::Stay;
        }
        let Some(row) = self.rows.get_mut(&child) else {
            return Verdict::Stay;
        };
        if !row.rules.restart.wants(end.reason) {
            self.retire(child, turn);
            return Verdict::Stay;
        }
        if !self.window.allows(self.flags.intensity, turn.now) {
            let reason = ExitReason::Escalated {
                child: Arc::clone(&row.name),
                cause: end.reason.to_string().into(),
            };
            self.stop(Ending::Because(reason), self.after_giving_up, turn);
            return Verdict::Escalate;
        }
        let shape = self.flags.backoff;
        let backoff = &mut row.backoff;
        let delay = backoff.next(shape, end.handled, end.lived, turn.random);
        if !delay.is_zero() {
            row.set(Status::Backoff, turn);
            row.arm(TimerKind::Backoff, delay, turn);
        }
        self.rising.insert(child);
        self.take_down_group(child, turn);
        Verdict::Restart(delay)
    }

    /// Lets the siblings that are restarted with `dead` go down. All but temporary ones rise again after it.
    pub(super) fn take_down_group(&mut self, dead: usize, turn: &mut Turn) {
        for (&sibling, row) in self.rows.range_mut(self.flags.strategy.group(dead)) {
            if sibling == dead {
                continue;
            }
            if row.status.alive() {
                self.falling.insert(sibling);
            } else if row.status == Status::Ended {
                row.set(Status::Down, turn);
            }
            if row.rules.restart != Restart::Temporary {
                self.rising.insert(sibling);
            }
        }
    }

    /// Lets a child stay down. A temporary child is forgotten.
    pub(super) fn retire(&mut self, child: usize, turn: &mut Turn) {
        self.rising.remove(&child);
        self.refuse_renewals(child, &OrderError::Terminated, turn);
        let row = self.rows.get(&child);
        if row.is_some_and(|row| row.rules.restart == Restart::Temporary) {
            self.forget(child, Lasting::OneTerm, turn);
        } else {
            self.set(child, Status::Ended, turn);
            turn.decide(Action::Close(child));
        }
    }

    pub(super) fn forget(&mut self, child: usize, lasting: Lasting, turn: &mut Turn) {
        if self.rows.remove(&child).is_some() {
            self.rising.remove(&child);
            turn.decide(Action::Forget(child, lasting));
        }
    }

    fn refuse_renewals(&mut self, child: usize, error: &OrderError, turn: &mut Turn) {
        if let Some(row) = self.rows.get_mut(&child) {
            for reply in row.renewals.drain(..) {
                turn.answer(reply, Err(error.clone()));
            }
        }
    }

    fn answer_ends(&mut self, child: usize, turn: &mut Turn) {
        if let Some(row) = self.rows.get_mut(&child) {
            for reply in row.ends.drain(..) {
                turn.answer(reply, Ok(Started::Down));
            }
        }
    }
}
