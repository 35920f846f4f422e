//! Going down and coming up, in order.

use tokio::time::Instant;

use super::{Ending, Machine, Moment, Phase};
use crate::supervision::exit_reason::{Causes, ExitReason};
use crate::supervision::life::{Timer, TimerKind};
use crate::supervision::rules::{Sequel, Startup, Status};
use crate::supervision::strategy::{Shutdown, Strategy};
use crate::supervision::supervisor::effect::Effect;

impl Machine {
    /// Everything goes down, in reverse order; nothing rises any more.
    pub(super) fn stop(&mut self, ending: Ending, sequel: Sequel) {
        if matches!(self.phase, Phase::Stopping(..) | Phase::Done) {
            return;
        }
        self.phase = Phase::Stopping(ending, sequel);
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
    pub(super) fn advance(&mut self, now: Instant, out: &mut Vec<Effect>) {
        while let Some(&last) = self.falling.last() {
            if !self.fall(last, now, out) {
                return;
            }
        }
        match std::mem::replace(&mut self.phase, Phase::Done) {
            Phase::Stopping(Ending::Because(reason), _) => out.push(Effect::Exit(reason)),
            Phase::Stopping(Ending::NotStarted, _) => {
                let causes = Causes::new(std::mem::take(&mut self.causes));
                out.push(Effect::Exit(ExitReason::ChildrenFailed(causes)));
            }
            Phase::Booting if self.rising.is_empty() => {
                self.phase = Phase::Serving;
                out.push(Effect::Ready);
            }
            Phase::Booting => {
                self.phase = Phase::Booting;
                self.rise(self.startup == Startup::InOrder, now, out);
            }
            Phase::Serving => {
                self.phase = Phase::Serving;
                self.rise(self.flags.strategy != Strategy::OneForOne, now, out);
            }
            Phase::Done => {}
        }
    }

    /// Brings one child down; false while it has to be waited for.
    pub(super) fn fall(&mut self, child: usize, now: Instant, out: &mut Vec<Effect>) -> bool {
        let Some(row) = self.rows.get(&child) else {
            return self.falling.remove(&child);
        };
        let (generation, shutdown) = (row.generation, row.rules.shutdown);
        match row.status {
            Status::Stopping => return false,
            Status::Down | Status::Backoff | Status::Ended => return self.falling.remove(&child),
            Status::Starting | Status::Running => {}
        }
        let sequel = self.sequel(child);
        self.set(child, Status::Stopping, now);
        match shutdown {
            Shutdown::Brutal => {
                let moment = Moment { now, random: 0.0 };
                self.kill(child, &ExitReason::Killed, moment, out);
                return true;
            }
            Shutdown::Timeout(after) => {
                out.push(Effect::Stop { child, sequel });
                let kind = TimerKind::Shutdown;
                let timer = Timer {
                    kind,
                    child,
                    generation,
                };
                out.push(Effect::Arm { timer, after });
            }
            Shutdown::Infinity => out.push(Effect::Stop { child, sequel }),
        }
        false
    }

    /// What follows the stop of a child.
    fn sequel(&self, child: usize) -> Sequel {
        match self.phase {
            Phase::Stopping(_, sequel) => sequel,
            Phase::Booting | Phase::Serving if self.rising.contains(&child) => Sequel::NextLife,
            Phase::Booting | Phase::Serving | Phase::Done => Sequel::End,
        }
    }

    /// Starts what may start: the first of `rising`, or all of it.
    fn rise(&mut self, one_by_one: bool, now: Instant, out: &mut Vec<Effect>) {
        let range = if one_by_one { 1 } else { usize::MAX };
        let rising: Vec<_> = self.rising.iter().copied().take(range).collect();
        for child in rising {
            if self.status(child).is_some_and(|(s, _)| s == Status::Down) {
                self.start(child, now, out);
            }
        }
    }

    /// Begins the next life of a child.
    pub(super) fn start(&mut self, child: usize, now: Instant, out: &mut Vec<Effect>) {
        self.set(child, Status::Starting, now);
        let Some(row) = self.rows.get_mut(&child) else {
            return;
        };
        row.generation += 1;
        let generation = row.generation;
        out.push(Effect::Start { child, generation });
        // A supervisor takes the time its children take; their starts are timed.
        if !row.rules.supervisor {
            let kind = TimerKind::Start;
            let timer = Timer {
                kind,
                child,
                generation,
            };
            let after = row.rules.start_timeout;
            out.push(Effect::Arm { timer, after });
        }
    }
}
