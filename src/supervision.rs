#![doc = include_str!("supervision/LIFECYCLE.md")]

#[cfg(not(panic = "unwind"))]
compile_error!("supervision needs unwinding: remove `panic = \"abort\"` from the profile");

mod administration;
mod backoff;
mod batch;
mod bed;
mod blocking;
mod boundary;
mod causes;
mod child;
mod child_ref;
mod child_spec;
mod clock;
mod control;
mod delivery;
mod dice;
mod effect;
mod event;
mod exit_reason;
mod faults;
mod incarnation;
mod intensity;
mod life;
mod machine;
mod message;
mod nested;
mod placement;
mod reply;
mod root;
mod rules;
mod sentinel;
mod slot;
mod spec_fault;
mod strategy;
mod supervisor;
mod supervisor_spec;
#[cfg(test)]
mod tests;
mod tree;

pub use administration::{AdminError, Counts, Standing, SupervisorRef};
pub use backoff::Backoff;
pub use batch::BatchLimits;
pub use boundary::{contain, contain_future, install_panic_hook};
pub use causes::{Cause, Causes};
pub use child::{BlockingChild, BoxError, Child, Cx, LocalBoxFuture, StartError};
pub use child_ref::{ChildRef, RETRY_AFTER, Refusal, TellError};
pub use child_spec::{ChildSpec, SHUTDOWN_TIMEOUT, START_TIMEOUT};
pub use clock::Clock;
pub use control::SlotView;
pub use delivery::Delivery;
pub use exit_reason::{ExitReason, Panic};
pub use faults::Faults;
pub use intensity::Intensity;
pub use life::{Fence, Life};
pub use message::{Message, MessageId};
pub use placement::{Placement, Placer};
pub use reply::{AskError, ReplyTo};
pub use root::{Root, Seed, Stopper};
pub use rules::{Flags, Rules};
pub use sentinel::{BEAT, OnBeat, Pulse, Sentinel};
pub use slot::{DELIVERIES_MAX, QueueLimits, Slot};
pub use spec_fault::{SpecFault, SpecFaults};
pub use strategy::{Restart, Shutdown, Strategy};
pub use supervisor_spec::SupervisorSpec;
pub use tree::{NodeView, Tree};
