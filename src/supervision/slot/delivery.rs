//! A delivery: a lease on an accepted message.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::message::{Message, MessageId};
use super::queue::{QueuedMessage, Shared};

/// A message that an incarnation is handling. It dereferences to the message.
///
/// The slot keeps the message as well. If the incarnation dies, the message goes back to the front of the queue, once.
/// Dropping the delivery ends the lease; by then its reply should be settled.
pub struct Delivery<M: Message> {
    pub(super) shared: Arc<Shared<M>>,
    pub(super) queued: Arc<QueuedMessage<M>>,
    pub(super) generation: u64,
}

impl<M: Message> Delivery<M> {
    /// The message's id, the same for both deliveries of one message.
    pub fn id(&self) -> MessageId {
        self.queued.id
    }

    /// 1 at the first delivery, more when the message is handed out again.
    pub fn attempt(&self) -> u32 {
        self.queued.attempts.load(Ordering::Relaxed)
    }

    /// Whether the caller has given up. Then nothing needs to be done.
    pub fn expired(&self) -> bool {
        self.queued.closed()
    }

    /// Tells, once the incarnation that handles the message has died, whether the next one gets it again. Otherwise nobody
    /// waits for it any more, or it was given up.
    pub fn comes_again(&self) -> impl Fn() -> bool + Send + 'static + use<M> {
        let queued = Arc::clone(&self.queued);
        move || queued.comes_again()
    }

    /// Passes the point of no return: from now on the caller waits for the outcome for up to `limit`, whatever its
    /// deadline was. Returns false if the caller gave up before; then nothing must be done.
    pub fn commit_to(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let reply = self.queued.reply.as_ref();
        reply.is_none_or(|reply| reply.stage(until))
    }
}

impl<M: Message> Deref for Delivery<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.queued.message
    }
}

impl<M: Message> Drop for Delivery<M> {
    fn drop(&mut self) {
        // While a panic unwinds the lease does not end: the message stays in flight until the incarnation is fenced.
        if !std::thread::panicking() {
            self.shared.finish(&self.queued, self.generation);
        }
    }
}
