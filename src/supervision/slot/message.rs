//! What a child can be sent.

use std::fmt;

/// A child's message: one closed enum per child.
///
/// A message is shared between the queue, the lease and whoever settles it, so it is read through `&self`; parts that
/// can be used only once (a socket) are taken out of a cell of their own, and then
/// [`redeliverable`](Message::redeliverable) says no.
pub trait Message: Send + Sync + 'static {
    /// The kind, for logs and incidents, such as `"create"`.
    fn kind(&self) -> &'static str;

    /// What it counts for in the queue's bound of bytes.
    fn size_bytes(&self) -> usize {
        size_of_val(self)
    }

    /// Whether it can be handed out a second time, after a death of the child that had it.
    fn redeliverable(&self) -> bool {
        true
    }
}

/// A message's identity: unique over restarts of the process, equal for both deliveries of one message.
///
/// A child whose effects outlive it commits the id together with the effect, and so knows at a second delivery whether
/// the first was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(pub u128);

impl MessageId {
    /// Sixteen bytes, as they are stored.
    pub fn to_be_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
