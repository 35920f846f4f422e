//! Making a new machine from what the children are doing, because the state of the old one can't be trusted.

// Decision: A supervisor that panics keeps its children.

use super::{Machine, Mode, Row};
use crate::supervision::rules::Status;
use crate::supervision::strategy::Restart;

impl Machine {
    /// Whether all children have been up, and the supervisor is not stopping.
    pub(crate) fn serving(&self) -> bool {
        matches!(self.mode, Mode::Serving)
    }

    /// The machine that replaces this one, which panicked while it was serving. Children that run go on running, unless
    /// their group is going down; the others rise. How far the backoffs had grown, and open orders, are lost.
    pub(crate) fn adopt(&mut self, children: impl IntoIterator<Item = Row>) -> Self {
        let mut machine = Self::new(self.flags, self.after_giving_up, []);
        machine.mode = Mode::Serving;
        machine.window = std::mem::take(&mut self.window);
        for row in children {
            let (child, status) = (row.incarnation.child, row.status);
            let temporary = row.rules.restart == Restart::Temporary;
            machine.append(row);
            match status {
                Status::Running | Status::Ended => {}
                Status::Stopping => {
                    machine.falling.insert(child);
                    if !temporary {
                        machine.rising.insert(child);
                    }
                }
                Status::Down | Status::Starting | Status::Backoff => {
                    machine.rising.insert(child);
                }
            }
        }
        // A group that was going down or coming up goes on.
        let known = |child: &usize| machine.rows.contains_key(child);
        machine.falling.extend(&self.falling);
        machine.falling.retain(known);
        machine.rising.extend(&self.rising);
        machine.rising.retain(known);
        machine.next_position = machine.next_position.max(self.next_position);
        machine
    }
}
