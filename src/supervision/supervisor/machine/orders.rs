//! What is ordered of single children, and when it is refused: OTP's table.

use tokio::time::Instant;

use super::{Machine, Newcomer, Phase, StartOrder};
use crate::supervision::rules::{Rules, Status};
use crate::supervision::supervisor::effect::{Effect, Ticket};
use crate::supervision::supervisor::order_error::{AdminError, Counts, Standing};

impl Machine {
    fn find(&self, name: &str) -> Result<usize, AdminError> {
        match self.phase {
            Phase::Booting | Phase::Serving => {
                self.places.get(name).copied().ok_or(AdminError::NotFound)
            }
            Phase::Stopping(..) | Phase::Done => Err(AdminError::NotRunning),
        }
    }

    /// Where a new child of that name would stand; the error is why it may not come.
    pub(crate) fn place_for(&self, name: &str) -> Result<usize, AdminError> {
        match self.find(name).map(|place| self.status(place)) {
            Err(AdminError::NotFound) => Ok(self.next_place),
            Err(error) => Err(error),
            Ok(Some((status, _))) if status.alive() => Err(AdminError::AlreadyStarted),
            Ok(_) => Err(AdminError::AlreadyPresent),
        }
    }

    /// Adds a child, for which there is a [place](Self::place_for), and starts it.
    pub(crate) fn add(&mut self, child: Newcomer, ticket: Ticket, now: Instant) -> Vec<Effect> {
        let mut out = Vec::new();
        let place = self.seat(child, Some(StartOrder { ticket, new: true }), now);
        self.start(place, now, &mut out);
        out
    }

    /// Starts a child that is down.
    pub(crate) fn restart(&mut self, name: &str, ticket: Ticket, now: Instant) -> Vec<Effect> {
        let place = match self.find_down(name) {
            Ok(place) => place,
            Err(error) => return vec![Effect::answer(ticket, Err(error))],
        };
        if let Some(row) = self.rows.get_mut(&place) {
            row.start = Some(StartOrder { ticket, new: false });
        }
        let mut out = Vec::new();
        self.start(place, now, &mut out);
        out
    }

    /// Stops a child, at once and whatever the others do.
    pub(crate) fn terminate(&mut self, name: &str, ticket: Ticket, now: Instant) -> Vec<Effect> {
        let place = match self.find(name) {
            Ok(place) => place,
            Err(error) => return vec![Effect::answer(ticket, Err(error))],
        };
        let mut out = Vec::new();
        self.rising.remove(&place);
        match self.rows.get_mut(&place) {
            Some(row) if row.status.alive() => {
                row.ends.push(ticket);
                self.fall(place, now, &mut out);
            }
            Some(_) | None => {
                self.retire(place, now, &mut out);
                out.push(Effect::answer(ticket, Ok(Standing::Down)));
            }
        }
        // What waited for it to rise need not wait any more.
        self.advance(now, &mut out);
        out
    }

    /// Forgets a child that is down.
    pub(crate) fn delete(&mut self, name: &str, ticket: Ticket) -> Vec<Effect> {
        let mut out = Vec::new();
        let answer = self.find_down(name).map(|place| {
            self.forget(place, &mut out);
            Standing::Down
        });
        out.push(Effect::answer(ticket, answer));
        out
    }

    /// A child that is down, and that nothing is about to start.
    fn find_down(&self, name: &str) -> Result<usize, AdminError> {
        let place = self.find(name)?;
        let row = self.rows.get(&place).ok_or(AdminError::NotFound)?;
        match row.status {
            Status::Ended => Ok(place),
            Status::Running | Status::Stopping => Err(AdminError::Running),
            Status::Starting if row.start.is_some() => Err(AdminError::Running),
            Status::Starting | Status::Down | Status::Backoff => Err(AdminError::Restarting),
        }
    }

    /// The rules of a child.
    pub(crate) fn rules(&self, name: &str) -> Option<Rules> {
        let row = self.places.get(name).and_then(|place| self.rows.get(place));
        row.map(|row| row.rules)
    }

    /// How many children there are.
    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for row in self.rows.values() {
            counts.specs += 1;
            counts.active += usize::from(matches!(row.status, Status::Running | Status::Stopping));
            counts.supervisors += usize::from(row.rules.supervisor);
            counts.workers += usize::from(!row.rules.supervisor);
        }
        counts
    }
}
