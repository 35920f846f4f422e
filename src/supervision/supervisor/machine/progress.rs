//! Bringing children down and up, in order.

use super::{Ending, Machine, Mode};
use crate::supervision::exit_reason::{Causes, ExitReason};
use crate::supervision::life::TimerKind;
use crate::supervision::rules::{AfterStop, Status};
use crate::supervision::strategy::{Shutdown, Strategy};
use crate::supervision::supervisor::action::{Action, Turn};

impl Machine {
    /// Lets all children go down, in reverse order, and none come up any more.
    pub(super) fn stop(&mut self, ending: Ending, after: AfterStop, turn: &mut Turn) {
        if matches!(self.mode, Mode::Stopping(..) | Mode::Done) {
            return;
        }
        self.mode = Mode::Stopping(ending, after);
        self.rising.clear();
        for (&child, row) in &mut self.rows {
            if row.status.alive() {
                self.falling.insert(child);
            } else {
                row.set(Status::Ended, turn);
            }
        }
    }

    /// Takes every step that can be taken now.
    pub(super) fn advance(&mut self, turn: &mut Turn) {
        while let Some(&last) = self.falling.last() {
            if !self.fall(last, turn) {
                return;
            }
        }
        match std::mem::replace(&mut self.mode, Mode::Done) {
            Mode::Stopping(Ending::Because(reason), _) => turn.decide(Action::Exit(reason)),
            Mode::Stopping(Ending::NotStarted, _) => {
                let causes = Causes(std::mem::take(&mut self.causes).into());
                turn.decide(Action::Exit(ExitReason::ChildrenFailed(causes)));
            }
            Mode::Booting if self.rising.is_empty() => {
                self.mode = Mode::Serving;
                turn.decide(Action::Ready);
            }
            Mode::Booting => {
                self.mode = Mode::Booting;
                self.rise(!self.flags.start_together, turn);
            }
            Mode::Serving => {
                self.mode = Mode::Serving;
                self.rise(self.flags.strategy != Strategy::OneForOne, turn);
            }
            Mode::Done => {}
        }
    }

    /// Brings one child down. Returns false while it has to be waited for.
    pub(super) fn fall(&mut self, child: usize, turn: &mut Turn) -> bool {
        let after = self.after_stop(child);
        let stop_timeout = self.flags.stop_timeout;
        let Some(row) = self.rows.get_mut(&child) else {
            return self.falling.remove(&child);
        };
        match row.status {
            Status::Stopping => return false,
            Status::Down | Status::Backoff | Status::Ended => return self.falling.remove(&child),
            Status::Starting | Status::Running => row.set(Status::Stopping, turn),
        }
        match row.rules.shutdown {
            Shutdown::Brutal => {
                let incarnation = row.incarnation;
                self.kill(incarnation, ExitReason::Killed, turn);
                return true;
            }
            Shutdown::Timeout(limit) => {
                row.arm(TimerKind::Shutdown, stop_timeout.unwrap_or(limit), turn);
            }
            Shutdown::Infinity => {}
        }
        turn.decide(Action::Stop(child, after));
        false
    }

    /// The next step when a child has stopped.
    fn after_stop(&self, child: usize) -> AfterStop {
        match self.mode {
            Mode::Stopping(_, after) => after,
            Mode::Booting | Mode::Serving if self.rising.contains(&child) => AfterStop::Restart,
            Mode::Booting | Mode::Serving => {
                let row = self.rows.get(&child);
                row.map_or(AfterStop::StayDownAlone, |row| row.after_end)
            }
            Mode::Done => AfterStop::StayDown,
        }
    }

    /// Starts what may start: the first of `rising`, or all of it.
    fn rise(&mut self, one_by_one: bool, turn: &mut Turn) {
        let range = if one_by_one { 1 } else { usize::MAX };
        let rising: Vec<_> = self.rising.iter().copied().take(range).collect();
        for child in rising {
            let row = self.rows.get(&child);
            if row.is_some_and(|row| row.status == Status::Down) {
                self.start(child, turn);
            }
        }
    }

    /// Starts the next incarnation of a child.
    pub(super) fn start(&mut self, child: usize, turn: &mut Turn) {
        let limit = self.flags.start_timeout;
        let Some(row) = self.rows.get_mut(&child) else {
            return;
        };
        row.incarnation.generation += 1;
        row.set(Status::Starting, turn);
        turn.decide(Action::Start(row.incarnation));
        // The start of a supervisor is not timed, because the starts of its children are.
        if !row.rules.supervisor {
            let limit = limit.unwrap_or(row.rules.start_timeout);
            row.arm(TimerKind::Start, limit, turn);
        }
    }
}
