//! Supervisors: what they decide, how they carry it out, and how a tree of them is started, changed and watched.

mod action;
mod actor;
mod machine;
mod nested;
mod order;
mod prepared_tree;
mod pulse;
mod run;
mod running_tree;
mod sentinel;
mod spec;
mod state;

pub use order::{OrderError, Started, SupervisorRef};
pub use prepared_tree::PreparedTree;
pub use pulse::Pulse;
pub use run::{TreeError, run};
pub use running_tree::{RunningTree, Stopper};
pub use sentinel::{BEAT, OnBeat, Sentinel};
pub use spec::SupervisorSpec;
