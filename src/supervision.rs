#![doc = include_str!("supervision/LIFECYCLE.md")]

#[cfg(not(panic = "unwind"))]
compile_error!("supervision needs unwinding: remove `panic = \"abort\"` from the profile");

mod backoff;
mod boundary;
mod clock;
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
pub use clock::Clock;
pub use exit_reason::{Cause, Causes, ExitReason, Panic};
pub use faults::Faults;
pub use intensity::Intensity;
pub use life::{
    BlockingChild, BoxError, Child, ChildSpec, Cx, LocalBoxFuture, Placement, Placer,
    SHUTDOWN_TIMEOUT, START_TIMEOUT, StartError,
};
pub use rules::{Flags, Rules};
pub use slot::{
    AskError, BatchLimits, ChildRef, DELIVERIES_MAX, Delivery, Fence, Life, Message, MessageId,
    QueueLimits, RETRY_AFTER, Refusal, ReplyTo, Slot, SlotView, TellError,
};
pub use spec_fault::{SpecFault, SpecFaults};
pub use strategy::{Restart, Shutdown, Strategy};
pub use supervisor::{
    AdminError, BEAT, Counts, OnBeat, Pulse, Root, Seed, Sentinel, Standing, Stopper,
    SupervisorRef, SupervisorSpec,
};
pub use tree::{NodeView, Tree};
