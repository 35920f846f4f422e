//! The interface through which a supervisor controls any kind of child, and what all children of a tree take from outside.

use super::event::Reporter;
use crate::supervision::exit_reason::ExitReason;
use crate::supervision::faults::Faults;
use crate::supervision::rules::AfterStop;

/// Starts and ends the incarnations of one child.
pub(crate) trait Runtime: Send + Sync {
    /// Begins an incarnation, which reports to its supervisor by itself. The error is why it could not even begin.
    fn start(&self, reporter: Reporter, env: &Env) -> Result<(), ExitReason>;
    /// Asks the incarnation to stop.
    fn stop(&self, after: AfterStop);
    /// Fences the incarnation, so that it ends. If it does not, the thread it runs on is left behind.
    fn kill(&self, generation: u64, reason: &ExitReason);
    /// Gives back the child's thread. The child will not be started again.
    fn release(&self) {}
}

/// The environment of a running tree. The default is a thread for each child and no fault points.
#[derive(Debug, Clone, Default)]
pub struct Env {
    /// Whether all actors run on the thread that starts the tree: for tests, which pause the clock of that thread.
    pub inline: bool,
    /// The fault points: each child passes `<name>.idle` when it is [probed](crate::supervision::Tree::probe), each
    /// supervisor passes `<name>.event` at each event.
    pub faults: Faults,
}
