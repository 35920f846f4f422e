//! What a running tree takes from outside: where its actors run, and its fault points.

use crate::supervision::faults::Faults;

/// What a running tree takes from outside. The default is a thread for each child and no fault points.
#[derive(Debug, Clone, Default)]
pub struct Env {
    /// Whether all actors run on the thread that starts the tree: for tests, which pause the clock of that thread.
    pub inline: bool,
    /// The fault points: each child passes `<name>.idle` when it is [probed](crate::supervision::Tree::probe), each
    /// supervisor passes `<name>.event` at each event.
    pub faults: Faults,
}
