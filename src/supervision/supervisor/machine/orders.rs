//! Orders for single children, and when they are refused (the table is OTP's, save for the renewal).

use super::{Machine, Mode, Row, StartOrder};
use crate::supervision::life::{Lasting, OrderError, OrderReply, Started};
use crate::supervision::rules::{AfterStop, Status};
use crate::supervision::strategy::Restart;
use crate::supervision::supervisor::action::{Action, Turn};

/// The distance of a child that is added to the one before it, where there is room for that. It is small: children that are
/// added before the same one follow each other, so there is room for tens of thousands, even if none is removed.
const STEP: usize = 1 << 16;

impl Machine {
    fn find(&self, name: &str) -> Result<&Row, OrderError> {
        match self.mode {
            Mode::Booting | Mode::Serving => {
                let row = self.rows.values().find(|row| *row.name == *name);
                row.ok_or(OrderError::NotFound)
            }
            Mode::Stopping(..) | Mode::Done => Err(OrderError::NotRunning),
        }
    }

    /// The position that a new child of this name gets. The error is why it can't be added.
    pub(crate) fn position_for(
        &self,
        name: &str,
        before: Option<&str>,
    ) -> Result<usize, OrderError> {
        match self.find(name) {
            Err(OrderError::NotFound) => self.place(before),
            Err(error) => Err(error),
            Ok(row) if row.status.alive() => Err(OrderError::AlreadyStarted),
            Ok(_) => Err(OrderError::AlreadyPresent),
        }
    }

    /// A free position, right before that child or else behind all. Positions are never changed: a child that runs reports with
    /// its own.
    fn place(&self, before: Option<&str>) -> Result<usize, OrderError> {
        let Some(next) = before else {
            return Ok(self.next_position);
        };
        let next = self.find(next)?.incarnation.child;
        let previous = self.rows.range(..next).next_back();
        let previous = previous.map_or(0, |(position, _)| *position);
        let step = (next.saturating_sub(previous) / 2).min(STEP);
        (step > 0)
            .then_some(previous.saturating_add(step))
            .ok_or(OrderError::NoRoom)
    }

    /// Adds a child at the [position](Self::position_for) that there is for it, and starts it.
    pub(crate) fn add(&mut self, child: Row, reply: OrderReply, mut turn: Turn) -> Vec<Action> {
        let position = child.incarnation.child;
        self.append_down(child);
        self.start_by_order(position, StartOrder { reply, new: true }, &mut turn);
        turn.actions
    }

    /// Starts a child that is down.
    pub(crate) fn restart(&mut self, name: &str, reply: OrderReply, mut turn: Turn) -> Vec<Action> {
        match self.find_down(name) {
            Ok(child) => {
                self.start_by_order(child, StartOrder { reply, new: false }, &mut turn);
            }
            Err(error) => turn.answer(reply, Err(error)),
        }
        turn.actions
    }

    fn start_by_order(&mut self, child: usize, order: StartOrder, turn: &mut Turn) {
        if let Some(row) = self.rows.get_mut(&child) {
            row.start = Some(order);
        }
        self.start(child, turn);
    }

    /// Stops a child, at once and whatever the others do.
    pub(crate) fn terminate(
        &mut self,
        name: &str,
        after: AfterStop,
        reply: OrderReply,
        mut turn: Turn,
    ) -> Vec<Action> {
        let child = match self.find(name) {
            Ok(row) => row.incarnation.child,
            Err(error) => {
                turn.answer(reply, Err(error));
                return turn.actions;
            }
        };
        self.rising.remove(&child);
        match self.rows.get_mut(&child) {
            Some(row) if row.status.alive() => {
                row.ends.push(reply);
                row.after_end = after;
                self.fall(child, &mut turn);
            }
            Some(_) | None => {
                self.retire(child, &mut turn);
                turn.answer(reply, Ok(Started::Down));
            }
        }
        // Others may have waited for it to rise.
        self.advance(&mut turn);
        turn.actions
    }

    /// Restarts a child that runs, with its group, and starts one that is down.
    pub(crate) fn renew(&mut self, name: &str, reply: OrderReply, mut turn: Turn) -> Vec<Action> {
        let (child, status) = match self.find(name) {
            Ok(row) => (row.incarnation.child, row.status),
            Err(error) => {
                turn.answer(reply, Err(error));
                return turn.actions;
            }
        };
        let Some(row) = self.rows.get_mut(&child) else {
            return turn.actions;
        };
        match status {
            Status::Ended => {
                self.start_by_order(child, StartOrder { reply, new: false }, &mut turn);
                return turn.actions;
            }
            Status::Stopping if !row.ends.is_empty() => {
                turn.answer(reply, Err(OrderError::Terminated));
                return turn.actions;
            }
            Status::Running => {
                self.falling.insert(child);
                self.rising.insert(child);
            }
            Status::Backoff => row.set(Status::Down, &mut turn),
            // It is on its way up.
            Status::Down | Status::Starting | Status::Stopping => {}
        }
        row.renewals.push(reply);
        if status == Status::Running {
            self.take_down_group(child, &mut turn);
        }
        self.advance(&mut turn);
        turn.actions
    }

    /// Removes a child for good, as soon as it has stopped. From now on it is like a temporary one.
    pub(crate) fn remove(
        &mut self,
        name: &str,
        after: AfterStop,
        reply: OrderReply,
        mut turn: Turn,
    ) -> Vec<Action> {
        if let Ok(row) = self.find(name) {
            let child = row.incarnation.child;
            if let Some(row) = self.rows.get_mut(&child) {
                row.rules.restart = Restart::Temporary;
            }
            turn.decide(Action::Expel(child));
        }
        self.terminate(name, after, reply, turn)
    }

    /// Removes a child that is down.
    pub(crate) fn delete(&mut self, name: &str, reply: OrderReply, mut turn: Turn) -> Vec<Action> {
        let result = self.find_down(name).map(|child| {
            self.forget(child, Lasting::OneTerm, &mut turn);
            Started::Down
        });
        turn.answer(reply, result);
        turn.actions
    }

    /// A child that is down, and that nothing is about to start.
    fn find_down(&self, name: &str) -> Result<usize, OrderError> {
        let row = self.find(name)?;
        match row.status {
            Status::Ended => Ok(row.incarnation.child),
            Status::Running | Status::Stopping => Err(OrderError::Running),
            Status::Starting if row.start.is_some() => Err(OrderError::Running),
            Status::Starting | Status::Down | Status::Backoff => Err(OrderError::Restarting),
        }
    }
}
