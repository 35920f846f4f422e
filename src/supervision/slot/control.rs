//! What a supervisor does to a slot, and what the tree shows of it, whatever the type of its messages.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::fence::Incarnation;
use super::message::Message;
use super::queue::{Consumer, DELIVERIES_MAX, Shared, Signal, Wake};
use super::reply::Failure;
use crate::supervision::exit_reason::ExitReason;

/// A snapshot of a slot.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct SlotView {
    /// Messages that wait in the queue.
    pub queue_messages: usize,
    /// Bytes that wait in the queue.
    pub queue_bytes: usize,
    /// The age of the oldest waiting message.
    #[serde(rename = "oldest_message_seconds", serialize_with = "seconds")]
    pub oldest_message: Duration,
    /// Messages that are being handled.
    pub in_flight: usize,
    /// The time for which something has been in flight without a pause.
    #[serde(rename = "in_flight_seconds", serialize_with = "seconds")]
    pub in_flight_age: Duration,
    /// Messages accepted so far.
    pub accepted_total: u64,
    /// Messages not accepted so far: the queue was full, or the child had stopped.
    pub refused_total: u64,
    /// Messages handed out a second time.
    pub redelivered_total: u64,
    /// Messages answered with an error because the child died.
    pub failed_total: u64,
    /// Messages that the child dropped without an answer. Anything but 0 is a bug in the child.
    pub lost_total: u64,
}

fn seconds<S: serde::Serializer>(age: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(age.as_secs_f64())
}

/// A slot without the type of its messages.
pub(crate) trait Control: Send + Sync {
    /// Begins a generation. It may not act before it is ready.
    fn begin(&self, generation: u64) -> Incarnation;
    /// Ends a generation: nothing it does has an effect any more, and what it had in flight is settled. Returns false if it
    /// had ended before.
    fn fence(&self, generation: u64, reason: &ExitReason) -> bool;
    /// Signals the incarnation. One that is still starting receives only a stop.
    fn signal(&self, signal: Signal);
    /// Accepts no more messages, and answers those that wait with an error.
    fn close(&self);
    /// The number of messages that the present incarnation has handled.
    fn handled(&self) -> u64;
    fn view(&self) -> SlotView;
}

impl<M: Message> Shared<M> {
    /// The same slot without the type of its messages.
    pub(crate) fn control(self: &Arc<Self>) -> Arc<dyn Control> {
        Arc::<Self>::clone(self)
    }
}

impl<M: Message> Control for Shared<M> {
    fn begin(&self, generation: u64) -> Incarnation {
        // If the supervisor was lost, the incarnation before may still be there: it ends here.
        let before = self.lock().generation;
        self.fence(before, &ExitReason::Lost);
        let mut state = self.lock();
        state.generation = generation;
        state.stop = None;
        state.closed = false;
        self.vitals.wanted.store(generation, Ordering::SeqCst);
        // A start that fails has handled nothing, whatever the incarnation before it handled.
        self.vitals.handled.store(0, Ordering::Relaxed);
        Incarnation {
            generation,
            vitals: Arc::clone(&self.vitals),
        }
    }

    fn fence(&self, generation: u64, reason: &ExitReason) -> bool {
        let mut state = self.lock();
        if state.generation != generation || state.ended == generation {
            return false;
        }
        // No generation is current until the next one is ready.
        state.ended = generation;
        self.vitals.current.store(0, Ordering::SeqCst);
        self.vitals.wanted.store(0, Ordering::SeqCst);
        state.consumer = Consumer::None;
        let in_flight = std::mem::take(&mut state.in_flight);
        state.oldest_begun = None;
        let mut failed = Vec::new();
        for queued in in_flight.into_iter().rev() {
            let attempts = queued.attempts.load(Ordering::Relaxed);
            if queued.closed() {
                continue;
            }
            if attempts > 0 && !reason.is_normal() {
                queued.deaths.fetch_add(1, Ordering::Relaxed);
            }
            let deaths = queued.deaths.load(Ordering::Relaxed);
            if deaths < DELIVERIES_MAX && queued.message.redeliverable() {
                if attempts > 0 {
                    self.counters.redelivered.fetch_add(1, Ordering::Relaxed);
                }
                state.queued_bytes += queued.size_bytes;
                state.queue.push_front(queued);
            } else {
                failed.push((queued, attempts));
            }
        }
        self.woken.notify_all();
        self.asked.notify_waiters();
        drop(state);
        for (queued, attempts) in failed {
            self.counters.failed.fetch_add(1, Ordering::Relaxed);
            if let Some(reply) = &queued.reply {
                reply.fail(Failure::by(reason, attempts));
            }
        }
        true
    }

    fn signal(&self, signal: Signal) {
        let mut state = self.lock();
        if matches!(signal, Signal::Stop(_)) {
            self.vitals.wanted.store(0, Ordering::SeqCst);
        }
        match &state.consumer {
            Consumer::None => {
                if let Signal::Stop(after) = signal {
                    state.stop = Some(after);
                    self.asked.notify_waiters();
                }
            }
            Consumer::Idle(Wake::Actor(recipient)) | Consumer::Busy(Wake::Actor(recipient)) => {
                // This fails only if the incarnation is ending, and then no signal is needed.
                drop(recipient.try_send(signal));
            }
            Consumer::Idle(Wake::Thread) | Consumer::Busy(Wake::Thread) => {
                match signal {
                    Signal::Stop(after) => state.stop = Some(after),
                    Signal::Probe => state.probe = true,
                    Signal::Pull => {}
                }
                self.woken.notify_all();
            }
        }
    }

    fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.queued_bytes = 0;
        let queue = std::mem::take(&mut state.queue);
        drop(state);
        for queued in queue {
            if let Some(reply) = &queued.reply {
                reply.fail(Failure::ShuttingDown);
            }
        }
    }

    fn handled(&self) -> u64 {
        self.vitals.handled.load(Ordering::Relaxed)
    }

    fn view(&self) -> SlotView {
        let state = self.lock();
        let now = Instant::now();
        let age = |since: Instant| now.saturating_duration_since(since);
        let oldest = state.queue.front().map(|queued| age(queued.enqueued));
        SlotView {
            queue_messages: state.queue.len(),
            queue_bytes: state.queued_bytes,
            oldest_message: oldest.unwrap_or_default(),
            in_flight: state.in_flight.len(),
            in_flight_age: state.oldest_begun.map(age).unwrap_or_default(),
            accepted_total: self.counters.accepted.load(Ordering::Relaxed),
            refused_total: self.counters.refused.load(Ordering::Relaxed),
            redelivered_total: self.counters.redelivered.load(Ordering::Relaxed),
            failed_total: self.counters.failed.load(Ordering::Relaxed),
            lost_total: self.counters.lost.load(Ordering::Relaxed),
        }
    }
}
