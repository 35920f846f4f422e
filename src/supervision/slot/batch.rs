//! Pulling messages in batches, for a child on a thread of its own. The thread sleeps until there is something to do.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::delivery::Delivery;
use super::message::Message;
use super::queue::Shared;

/// The most that a [`BlockingChild`](crate::supervision::BlockingChild) gets in one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// The most messages.
    pub messages: usize,
    /// The bytes after which the batch is full. The message that reaches the limit is still part of it.
    pub bytes: usize,
}

/// The next task of a thread.
pub(crate) enum Pulled<M: Message> {
    Batch(Vec<Delivery<M>>),
    Stop,
    /// Pass the idle fault point.
    Probe,
    /// Nothing: the incarnation has been replaced.
    Fenced,
}

impl<M: Message> Shared<M> {
    /// Waits for a batch or a signal. Blocks the thread.
    pub(crate) fn pull_batch(self: &Arc<Self>, generation: u64, limits: BatchLimits) -> Pulled<M> {
        let mut state = self.state.lock();
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
                // A message that was in flight at a death is handed out again alone, so that a fatal message takes no
                // other with it.
                let again = state.queue.front().is_some_and(|front| front.attempted());
                if again && !batch.is_empty() {
                    break;
                }
                let Some(next) = self.next(&mut state, generation) else {
                    break;
                };
                bytes = bytes.saturating_add(next.queued.size_bytes);
                batch.push(next);
                if again {
                    break;
                }
            }
            if !batch.is_empty() {
                return Pulled::Batch(batch);
            }
            state.idle = true;
            self.woken.wait(&mut state);
        }
    }
}
