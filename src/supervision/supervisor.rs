//! Supervisors: what they decide, how they carry it out, and how a tree of them is started, changed and watched.

mod action;
mod actor;
mod machine;
mod nested;
mod sentinel;
mod spec;
mod state;
mod whole_tree;

pub use sentinel::{BEAT, OnBeat, Pulse, Sentinel};
pub use spec::SupervisorSpec;
pub use whole_tree::{PreparedTree, RunningTree, Stopper, TreeError, run};
