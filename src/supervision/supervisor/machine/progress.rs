//! Bringing children down and up, in order.

use tokio::time::Instant;

use super::{Ending, Machine, Mode, Moment};
use crate::supervision::exit_reason::{Causes, ExitReason};
use crate::supervision::life::{Timer, TimerKind};
use crate::supervision::rules::{AfterStop, Startup, Status};
use crate::supervision::strategy::{Shutdown, Strategy};
use crate::supervision::supervisor::action::Action;

impl Machine {
    /// Lets all children go down, in reverse order, and none come up any more.
    pub(super) fn stop(&mut self, ending: Ending, after: AfterStop) {
        if matches!(self.mode, Mode::Stopping(..) | Mode::Done) {
            return;
        }
        self.mode = Mode::Stopping(ending, after);
        self.rising.clear();
        for (&child, row) in &mut self.rows {
            if row.status.alive() {
                self.falling.insert(child);
            } else {
                row.status = Status::Ended;
                self.touched.insert(child);
            }
        }
    }

    /// Takes every step that can be taken now.
    pub(super) fn advance(&mut self, now: Instant, out: &mut Vec<Action>) {
        while let Some(&last) = self.falling.last() {
            if !self.fall(last, now, out) {
                return;
            }
        }
        match std::mem::replace(&mut self.mode, Mode::Done) {
            Mode::Stopping(Ending::Because(reason), _) => out.push(Action::Exit(reason)),
            Mode::Stopping(Ending::NotStarted, _) => {
                let causes = Causes::new(std::mem::take(&mut self.causes));
                out.push(Action::Exit(ExitReason::ChildrenFailed(causes)));
            }
            Mode::Booting if self.rising.is_empty() => {
                self.mode = Mode::Serving;
                out.push(Action::Ready);
            }
            Mode::Booting => {
                self.mode = Mode::Booting;
                self.rise(self.flags.startup == Startup::InOrder, now, out);
            }
            Mode::Serving => {
                self.mode = Mode::Serving;
                self.rise(self.flags.strategy != Strategy::OneForOne, now, out);
            }
            Mode::Done => {}
        }
    }

    /// Brings one child down. Returns false while it has to be waited for.
    pub(super) fn fall(&mut self, child: usize, now: Instant, out: &mut Vec<Action>) -> bool {
        let Some(row) = self.rows.get(&child) else {
            return self.falling.remove(&child);
        };
        let (generation, shutdown) = (row.generation, row.rules.shutdown);
        match row.status {
            Status::Stopping => return false,
            Status::Down | Status::Backoff | Status::Ended => return self.falling.remove(&child),
            Status::Starting | Status::Running => {}
        }
        let after = self.after_stop(child);
        self.set(child, Status::Stopping, now);
        let limit = match shutdown {
            Shutdown::Brutal => {
                let moment = Moment { now, random: 0.0 };
                self.kill(child, &ExitReason::Killed, moment, out);
                return true;
            }
            Shutdown::Timeout(limit) => Some(limit),
            Shutdown::Infinity => None,
        };
        out.push(Action::Stop { child, after });
        if let Some(after) = limit {
            let kind = TimerKind::Shutdown;
            let timer = Timer {
                kind,
                child,
                generation,
            };
            out.push(Action::Arm { timer, after });
        }
        false
    }

    /// The next step when a child has stopped.
    fn after_stop(&self, child: usize) -> AfterStop {
        match self.mode {
            Mode::Stopping(_, after) => after,
            Mode::Booting | Mode::Serving if self.rising.contains(&child) => AfterStop::Restart,
            Mode::Booting | Mode::Serving | Mode::Done => AfterStop::StayDown,
        }
    }

    /// Starts what may start: the first of `rising`, or all of it.
    fn rise(&mut self, one_by_one: bool, now: Instant, out: &mut Vec<Action>) {
        let range = if one_by_one { 1 } else { usize::MAX };
        let rising: Vec<_> = self.rising.iter().copied().take(range).collect();
        for child in rising {
            if self.status(child).is_some_and(|(s, _)| s == Status::Down) {
                self.start(child, now, out);
            }
        }
    }

    /// Starts the next incarnation of a child.
    pub(super) fn start(&mut self, child: usize, now: Instant, out: &mut Vec<Action>) {
        self.set(child, Status::Starting, now);
        let Some(row) = self.rows.get_mut(&child) else {
            return;
        };
        row.generation += 1;
        let generation = row.generation;
        out.push(Action::Start { child, generation });
        // The start of a supervisor is not timed, because the starts of its children are.
        if !row.rules.supervisor {
            let kind = TimerKind::Start;
            let timer = Timer {
                kind,
                child,
                generation,
            };
            let after = row.rules.start_timeout;
            out.push(Action::Arm { timer, after });
        }
    }
}
