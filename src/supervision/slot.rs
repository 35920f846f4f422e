//! The slot: a child's durable identity.
//!
//! The queue and what is in flight live here, outside of every incarnation, so a death loses neither. An incarnation
//! *pulls*; what it has pulled stays in flight until its [`Delivery`] is dropped, or until the fence takes it back.
//!
//! The order at a death is: fence (the generation that may act becomes none) - settle what is in flight (back to the
//! front of the queue once, else a typed error) - report - restart.

mod batch;
mod child_ref;
mod control;
mod delivery;
mod fence;
mod message;
mod queue;
mod reply;

use std::sync::Arc;

pub use batch::BatchLimits;
pub(crate) use batch::Pulled;
pub use child_ref::{ChildRef, RETRY_AFTER};
pub(crate) use control::Control;
pub use control::SlotView;
pub use delivery::Delivery;
pub use fence::{Fence, Life};
pub use message::{Message, MessageId};
pub use queue::{DELIVERIES_MAX, QueueLimits, Refusal, TellError};
pub(crate) use queue::{Shared, Signal, Wake};
pub use reply::{AskError, ReplyTo};

use crate::supervision::clock::Clock;

/// A child's durable identity: what its incarnations pull from.
pub struct Slot<M> {
    pub(crate) shared: Arc<Shared<M>>,
}

impl<M> Clone for Slot<M> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<M> std::fmt::Debug for Slot<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Slot({})", self.shared.name)
    }
}

impl<M: Message> Slot<M> {
    /// A slot, and the reference everybody else holds.
    pub fn new(name: &str, limits: QueueLimits, clock: Clock) -> (Self, ChildRef<M>) {
        let shared = Arc::new(Shared::new(name, limits, clock));
        let child_ref = ChildRef::new(Arc::clone(&shared));
        (Self { shared }, child_ref)
    }
}
