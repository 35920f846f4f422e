//! Pulling in batches, as a child on a thread of its own does it: it sleeps until there is something for it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::delivery::Delivery;
use super::message::Message;
use super::queue::{Consumer, Shared, Wake};

/// How much one pull of a [`BlockingChild`](crate::supervision::BlockingChild) takes at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Messages.
    pub messages: usize,
    /// Bytes; the message that crosses the bound is still taken.
    pub bytes: usize,
}

pub(crate) enum Pulled<M: Message> {
    Batch(Vec<Delivery<M>>),
    Stop,
    Probe,
    /// Somebody else has taken its place.
    Fenced,
}

impl<M: Message> Shared<M> {
    /// Waits, on a thread of its own, for a batch or a signal.
    pub(crate) fn pull_batch(self: &Arc<Self>, generation: u64, limits: BatchLimits) -> Pulled<M> {
        let mut state = self.lock();
        loop {
            if self.vitals.current.load(Ordering::SeqCst) != generation {
                return Pulled::Fenced;
            }
            if state.stop.is_some() {
                return Pulled::Stop;
            }
            if std::mem::take(&mut state.probe) {
                return Pulled::Probe;
            }
            let mut batch = Vec::new();
            let mut bytes = 0_usize;
            while batch.len() < limits.messages && bytes < limits.bytes {
                // What was in hand at a death comes again alone, so that a fatal message takes no other with it.
                let again = state.queue.front().is_some_and(|front| front.attempted());
                if again && !batch.is_empty() {
                    break;
                }
                let Some(envelope) = self.next(&mut state) else {
                    break;
                };
                bytes = bytes.saturating_add(envelope.size_bytes);
                batch.push(Delivery::new(Arc::clone(self), envelope, generation));
                if again {
                    break;
                }
            }
            if !batch.is_empty() {
                return Pulled::Batch(batch);
            }
            state.consumer = Consumer::Idle(Wake::Thread);
            state = self
                .woken
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}
