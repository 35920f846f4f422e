//! The interface through which a supervisor controls any kind of child.

use super::env::Env;
use super::event::Reporter;
use crate::supervision::exit_reason::ExitReason;
use crate::supervision::rules::AfterStop;

/// Starts and ends the incarnations of one child.
pub(crate) trait Runtime: Send + Sync {
    /// Begins an incarnation, which reports to its supervisor by itself. The error is why it could not even begin.
    fn start(&self, reporter: Reporter, env: &Env) -> Result<(), ExitReason>;
    /// Asks the incarnation to stop.
    fn stop(&self, after: AfterStop);
    /// Fences the incarnation, and leaves behind the thread it runs on.
    fn kill(&self, generation: u64, reason: &ExitReason);
    /// Gives back the child's thread. The child will not be started again.
    fn release(&self) {}
}
