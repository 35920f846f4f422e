//! Messages to a child.

use std::fmt;

/// A child's message; usually an enum with one variant for each kind.
///
/// The queue, the delivery and whoever settles the message share it, so it is read through `&self`. A part that can be used
/// only once, such as a socket, is taken out of a cell, and then [`redeliverable`](Message::redeliverable) returns false.
pub trait Message: Send + Sync + 'static {
    /// The kind of this message, for logs and exit reasons, such as `"create"`.
    fn kind(&self) -> &'static str {
        "message"
    }

    /// The number of bytes of the queue's limit that it takes.
    fn size_bytes(&self) -> usize {
        size_of_val(self)
    }

    /// Whether it can be handed out a second time, after the child died while handling it.
    fn redeliverable(&self) -> bool {
        true
    }
}

/// A message's id: unique across restarts of the process, and the same for both deliveries of one message.
///
/// A child with lasting effects commits the id together with the effect. At a second delivery it then knows whether the
/// first one was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(pub u128);

impl MessageId {
    /// The id as sixteen bytes, as it is stored.
    pub fn to_be_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
