//! Supervisors: what they decide, what they carry out, and how they are started, administered and watched.

mod actor;
mod effect;
mod jitter;
mod machine;
mod nested;
mod order;
mod order_error;
mod pending_orders;
mod pulse;
mod root;
mod sentinel;
mod spec;
mod state;

pub use order::SupervisorRef;
pub use order_error::{AdminError, Counts, Standing};
pub use pulse::Pulse;
pub use root::{Root, Seed, Stopper};
pub use sentinel::{BEAT, OnBeat, Sentinel};
pub use spec::SupervisorSpec;
