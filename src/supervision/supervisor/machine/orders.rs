//! Orders for single children, and when they are refused (the table is OTP's).

use tokio::time::Instant;

use super::{Machine, Mode, Newcomer, StartOrder};
use crate::supervision::rules::Status;
use crate::supervision::supervisor::action::{Action, OrderId};
use crate::supervision::supervisor::order_outcome::{OrderError, Started};

impl Machine {
    fn find(&self, name: &str) -> Result<usize, OrderError> {
        match self.mode {
            Mode::Booting | Mode::Serving => self
                .positions
                .get(name)
                .copied()
                .ok_or(OrderError::NotFound),
            Mode::Stopping(..) | Mode::Done => Err(OrderError::NotRunning),
        }
    }

    /// The position that a new child of this name gets. The error is why it can't be added.
    pub(crate) fn position_for(&self, name: &str) -> Result<usize, OrderError> {
        match self.find(name).map(|child| self.status(child)) {
            Err(OrderError::NotFound) => Ok(self.next_position),
            Err(error) => Err(error),
            Ok(Some((status, _))) if status.alive() => Err(OrderError::AlreadyStarted),
            Ok(_) => Err(OrderError::AlreadyPresent),
        }
    }

    /// Adds a child, for which there is a [position](Self::position_for), and starts it.
    pub(crate) fn add(&mut self, child: Newcomer, order: OrderId, now: Instant) -> Vec<Action> {
        let mut out = Vec::new();
        let child = self.append(child, Some(StartOrder { order, new: true }), now);
        self.start(child, now, &mut out);
        out
    }

    /// Starts a child that is down.
    pub(crate) fn restart(&mut self, name: &str, order: OrderId, now: Instant) -> Vec<Action> {
        let child = match self.find_down(name) {
            Ok(child) => child,
            Err(error) => return vec![Action::answer(order, Err(error))],
        };
        if let Some(row) = self.rows.get_mut(&child) {
            row.start = Some(StartOrder { order, new: false });
        }
        let mut out = Vec::new();
        self.start(child, now, &mut out);
        out
    }

    /// Stops a child, at once and whatever the others do.
    pub(crate) fn terminate(&mut self, name: &str, order: OrderId, now: Instant) -> Vec<Action> {
        let child = match self.find(name) {
            Ok(child) => child,
            Err(error) => return vec![Action::answer(order, Err(error))],
        };
        let mut out = Vec::new();
        self.rising.remove(&child);
        match self.rows.get_mut(&child) {
            Some(row) if row.status.alive() => {
                row.ends.push(order);
                self.fall(child, now, &mut out);
            }
            Some(_) | None => {
                self.retire(child, now, &mut out);
                out.push(Action::answer(order, Ok(Started::Down)));
            }
        }
        // Others may have waited for it to rise.
        self.advance(now, &mut out);
        out
    }

    /// Removes a child that is down.
    pub(crate) fn delete(&mut self, name: &str, order: OrderId) -> Vec<Action> {
        let mut out = Vec::new();
        let result = self.find_down(name).map(|child| {
            self.forget(child, &mut out);
            Started::Down
        });
        out.push(Action::answer(order, result));
        out
    }

    /// A child that is down, and that nothing is about to start.
    fn find_down(&self, name: &str) -> Result<usize, OrderError> {
        let child = self.find(name)?;
        let row = self.rows.get(&child).ok_or(OrderError::NotFound)?;
        match row.status {
            Status::Ended => Ok(child),
            Status::Running | Status::Stopping => Err(OrderError::Running),
            Status::Starting if row.start.is_some() => Err(OrderError::Running),
            Status::Starting | Status::Down | Status::Backoff => Err(OrderError::Restarting),
        }
    }
}
