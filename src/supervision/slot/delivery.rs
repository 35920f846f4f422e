//! A lease on an accepted message.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::message::{Message, MessageId};
use super::queue::{Envelope, Shared};

/// A message in the hands of an incarnation, read by reference.
///
/// The slot keeps the message as well: when the incarnation dies, it goes back to the front of the queue, once. Dropping
/// a delivery ends the lease; by then its reply should be settled.
pub struct Delivery<M: Message> {
    shared: Arc<Shared<M>>,
    envelope: Arc<Envelope<M>>,
    generation: u64,
}

impl<M: Message> std::fmt::Debug for Delivery<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Delivery({} {})",
            self.envelope.message.kind(),
            self.envelope.id
        )
    }
}

impl<M: Message> Delivery<M> {
    pub(crate) fn new(shared: Arc<Shared<M>>, envelope: Arc<Envelope<M>>, generation: u64) -> Self {
        Self {
            shared,
            envelope,
            generation,
        }
    }

    /// Takes the next message that its caller still waits for. `None`: nothing waits, or the incarnation has been fenced.
    pub(crate) fn pull(shared: &Arc<Shared<M>>, generation: u64) -> Option<Self> {
        let envelope = shared.pull(generation)?;
        Some(Self::new(Arc::clone(shared), envelope, generation))
    }

    /// The incarnation begins with it: from now on a death counts against it.
    pub(crate) fn begin(&self) {
        self.envelope.attempts.fetch_add(1, Ordering::Relaxed);
    }

    /// Equal for both deliveries of one message.
    pub fn id(&self) -> MessageId {
        self.envelope.id
    }

    /// 1, or 2 for a message that is handed out again.
    pub fn attempt(&self) -> u32 {
        self.envelope.attempts.load(Ordering::Relaxed)
    }

    /// Whether the caller has given up: then nothing is to be done.
    pub fn expired(&self) -> bool {
        self.envelope.closed()
    }

    /// Passes the point of no return: from now on the caller waits up to `limit` for the outcome, whatever its deadline
    /// was. False if it has given up before; then nothing is to be done.
    pub fn commit_to(&self, limit: Duration) -> bool {
        let until = self.shared.clock.now() + limit;
        self.envelope
            .reply
            .as_ref()
            .is_none_or(|reply| reply.stage(until))
    }
}

impl<M: Message> Deref for Delivery<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.envelope.message
    }
}

impl<M: Message> Drop for Delivery<M> {
    fn drop(&mut self) {
        // While a panic unwinds, the lease stays with the slot: the fence decides about it.
        if !std::thread::panicking() {
            self.shared.finish(&self.envelope, self.generation);
        }
    }
}
