#![doc = include_str!("supervision/LIFECYCLE.md")]
//!
//! # Order of reading
//!
//! 1. `slot.rs`, then `slot/queue.rs` (a message is accepted and handed out), `slot/control.rs` (what a death does to it)
//!    and `slot/reply.rs` (its one answer);
//! 2. `life/child.rs` (what a child implements), `life/actor.rs` and `life/begun.rs` (one incarnation from its start to its
//!    report);
//! 3. `supervisor/machine.rs` with `machine/death.rs` (what is decided when a child dies) and `machine/progress.rs` (the order
//!    in which children go down and up);
//! 4. `supervisor/actor.rs`, which carries the decisions out;
//! 5. `tree.rs` (what is shown of it all) and `supervisor/whole_tree.rs` (how a tree is checked, started and run).
//!
//! Folders use only what stands before them here: the files on top (`rules.rs`, `exit_reason.rs`, ...), `slot/`, `tree/`,
//! `life/`, `supervisor/`. A comment `Decision: TITLE` in a file names the entry of `DECISIONS.md` that says why.

#[cfg(not(panic = "unwind"))]
compile_error!("supervision needs unwinding: remove `panic = \"abort\"` from the profile");

mod backoff;
mod boundary;
mod exit_reason;
mod faults;
mod intensity;
mod life;
mod rules;
mod slot;
mod spec_fault;
mod strategy;
mod supervisor;
#[cfg(test)]
mod tests;
mod tree;

pub use backoff::Backoff;
pub use boundary::{contain, contain_future, install_panic_hook};
pub(crate) use boundary::{payload_text, short_path};
pub use exit_reason::{Cause, Causes, ExitReason, Panic};
pub use faults::Faults;
pub use intensity::Intensity;
pub(crate) use life::chain;
pub use life::{
    BlockingChild, BoxError, Child, ChildContext, ChildSpec, Env, EventLoop, LocalBoxFuture,
    OrderError, Removal, SHUTDOWN_TIMEOUT, START_TIMEOUT, StartError, Started, SupervisorLimits,
    SupervisorRef, Supervisors,
};
pub use slot::{
    AskError, BatchLimits, ChildRef, DELIVERIES_MAX, Delivery, Fence, Incarnation, Message,
    MessageId, NotAccepted, QueueLimits, RETRY_AFTER, ReplyTo, Slot, SlotView, TellError,
};
pub use spec_fault::{SpecFault, SpecFaults};
pub use strategy::{Restart, Shutdown, Strategy};
pub use supervisor::{
    BEAT, OnBeat, PreparedTree, Pulse, RunningTree, Sentinel, Stopper, SupervisorSpec, TreeError,
    run,
};
pub use tree::{ExitView, NodeView, RestartTimes, Tree, TreeChange};
