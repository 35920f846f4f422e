//! What a supervisor does to a child, whatever kind of child it is.

use super::event::Reporter;
use super::placement::Placer;
use crate::supervision::clock::Clock;
use crate::supervision::exit_reason::ExitReason;
use crate::supervision::rules::Sequel;

/// What a supervisor can do to a child, whatever it is.
pub(crate) trait Runtime: Send + Sync {
    /// Begins a life; it reports itself.
    fn start(&self, generation: u64, reporter: Reporter, placer: &Placer, clock: Clock);
    /// Asks it to stop.
    fn stop(&self, sequel: Sequel);
    /// Fences it and leaves it behind.
    fn kill(&self, generation: u64, reason: &ExitReason);
    /// Gives back its threads; it will not be started again.
    fn release(&self);
}
