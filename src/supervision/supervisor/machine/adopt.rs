//! A machine whose own state can't be trusted any more is made anew from what its children are doing.

// Decision: A supervisor that panics keeps its children.

use tokio::time::Instant;

use super::{Found, Machine, Phase};
use crate::supervision::rules::Status;

impl Machine {
    /// Whether all children have been up, and none of them is to go down for good.
    pub(crate) fn serving(&self) -> bool {
        matches!(self.phase, Phase::Serving)
    }

    /// One that takes the place of this one, which panicked while it was serving: who runs, runs on, unless its group is going
    /// down, and who does not is to rise. How far the backoffs had grown, and what was ordered of single children, is lost.
    pub(crate) fn adopt(
        &mut self,
        children: impl IntoIterator<Item = Found>,
        now: Instant,
    ) -> Self {
        let mut machine = Self::new(self.flags, self.startup, self.given_up, [], now);
        machine.phase = Phase::Serving;
        machine.window = std::mem::take(&mut self.window);
        for found in children {
            machine.next_place = found.place;
            let place = machine.seat(found.child, None, now);
            if let Some(row) = machine.rows.get_mut(&place) {
                row.status = found.status;
                row.proven = found.status == Status::Running;
            }
            match found.status {
                Status::Running | Status::Ended => {}
                Status::Stopping => {
                    machine.falling.insert(place);
                    machine.rising.insert(place);
                }
                Status::Down | Status::Starting | Status::Backoff => {
                    machine.rising.insert(place);
                }
            }
        }
        // A round that was under way goes on.
        let known = |place: &usize| machine.rows.contains_key(place);
        let falling: Vec<_> = self.falling.iter().copied().filter(known).collect();
        let rising: Vec<_> = self.rising.iter().copied().filter(known).collect();
        machine.falling.extend(falling);
        machine.rising.extend(rising);
        machine.next_place = machine.next_place.max(self.next_place);
        machine
    }
}
