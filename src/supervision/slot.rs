//! The slot: what stays of a child when an incarnation of it dies.
//!
//! The queue and the messages in flight are kept here, outside every incarnation, so a death loses neither. An incarnation
//! pulls a message; the message stays in flight until its [`Delivery`] is dropped, or until the incarnation is fenced.
//!
//! At a death these steps follow in this order: fence (no generation may act any more); settle what is in flight (each
//! message goes back to the front of the queue once, after that it is answered with a typed error); report; restart.

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
pub use fence::{Fence, Incarnation};
pub use message::{Message, MessageId};
pub use queue::{DELIVERIES_MAX, NotAccepted, QueueLimits, TellError};
pub(crate) use queue::{Shared, Signal, Wake};
pub use reply::{AskError, ReplyTo};

/// A child's durable identity: its name, its queue and what is in flight. A [`ChildSpec`](crate::supervision::ChildSpec)
/// is made from it.
pub struct Slot<M> {
    pub(crate) shared: Arc<Shared<M>>,
}

impl<M: Message> Slot<M> {
    /// A slot whose queue has the default limits, and the address for everybody who sends to the child.
    pub fn new(name: &str) -> (Self, ChildRef<M>) {
        Self::with_limits(name, QueueLimits::default())
    }

    /// A slot whose queue has these limits, and the address for everybody who sends to the child.
    pub fn with_limits(name: &str, limits: QueueLimits) -> (Self, ChildRef<M>) {
        let shared = Arc::new(Shared::new(name, limits));
        let slot = Self {
            shared: Arc::clone(&shared),
        };
        (slot, ChildRef { shared })
    }

    /// The slot without the type of its messages.
    pub(crate) fn control(&self) -> Arc<dyn Control> {
        Arc::<Shared<M>>::clone(&self.shared)
    }
}
