//! What a supervisor does to a slot, and what the tree sees of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::fence::Life;
use super::message::Message;
use super::queue::{Consumer, DELIVERIES_MAX, Shared, Signal, Wake};
use super::reply::Failure;
use crate::supervision::exit_reason::ExitReason;

/// A moment of a slot, as the tree shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct SlotView {
    /// Messages waiting.
    pub queue_messages: usize,
    /// Bytes waiting.
    pub queue_bytes: usize,
    /// Age of the oldest waiting message.
    #[serde(rename = "oldest_message_seconds", serialize_with = "seconds")]
    pub oldest_message: Duration,
    /// Messages handed out and not finished.
    pub in_flight: usize,
    /// For how long something has been in flight without a pause.
    #[serde(rename = "in_flight_seconds", serialize_with = "seconds")]
    pub in_flight_age: Duration,
    /// Messages ever accepted.
    pub accepted_total: u64,
    /// Messages ever refused because the queue was full or closed.
    pub refused_total: u64,
    /// Messages handed out a second time.
    pub redelivered_total: u64,
    /// Messages answered with an error because their child died.
    pub failed_total: u64,
    /// Messages a child dropped without an answer: always 0, or there is a bug.
    pub lost_total: u64,
}

fn seconds<S: serde::Serializer>(age: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(age.as_secs_f64())
}

/// What a supervisor does to a slot, whatever its messages are.
pub(crate) trait Control: Send + Sync {
    /// Begins a generation: nothing may act until it is ready.
    fn begin(&self, generation: u64) -> Life;
    /// Ends a generation: nothing of it has an effect any more, and what it had in flight is settled. False if it had
    /// been ended before.
    fn fence(&self, generation: u64, reason: &ExitReason) -> bool;
    /// Signals the incarnation. One that is starting hears only a stop.
    fn signal(&self, signal: Signal);
    /// Stops for good: what waits is answered.
    fn close(&self);
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
    fn begin(&self, generation: u64) -> Life {
        // A life whose supervisor was lost is still there: it ends here.
        let before = self.lock().generation;
        self.fence(before, &ExitReason::Lost);
        let mut state = self.lock();
        state.generation = generation;
        state.stop = None;
        state.closed = false;
        self.vitals.wanted.store(generation, Ordering::SeqCst);
        Life {
            generation,
            vitals: Arc::clone(&self.vitals),
        }
    }

    fn fence(&self, generation: u64, reason: &ExitReason) -> bool {
        let mut state = self.lock();
        if state.generation != generation || state.ended == generation {
            return false;
        }
        // The next `begin` makes the number of the next life; until then none is current.
        state.ended = generation;
        self.vitals.current.store(0, Ordering::SeqCst);
        self.vitals.wanted.store(0, Ordering::SeqCst);
        state.consumer = Consumer::None;
        let in_flight = std::mem::take(&mut state.in_flight);
        state.oldest_begun = None;
        let mut failed = Vec::new();
        for envelope in in_flight.into_iter().rev() {
            let attempts = envelope.attempts.load(Ordering::Relaxed);
            if envelope.closed() {
                continue;
            }
            if attempts > 0 && !reason.is_normal() {
                envelope.deaths.fetch_add(1, Ordering::Relaxed);
            }
            let deaths = envelope.deaths.load(Ordering::Relaxed);
            if deaths < DELIVERIES_MAX && envelope.message.redeliverable() {
                if attempts > 0 {
                    self.counters.redelivered.fetch_add(1, Ordering::Relaxed);
                }
                state.queued_bytes += envelope.size_bytes;
                state.queue.push_front(envelope);
            } else {
                failed.push((envelope, attempts));
            }
        }
        self.woken.notify_all();
        self.asked.notify_waiters();
        drop(state);
        for (envelope, attempts) in failed {
            self.counters.failed.fetch_add(1, Ordering::Relaxed);
            if let Some(reply) = &envelope.reply {
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
                if let Signal::Stop(sequel) = signal {
                    state.stop = Some(sequel);
                    self.asked.notify_waiters();
                }
            }
            Consumer::Idle(Wake::Actor(recipient)) | Consumer::Busy(Wake::Actor(recipient)) => {
                // A refusal means it is dying already, which is what a signal is for.
                drop(recipient.try_send(signal));
            }
            Consumer::Idle(Wake::Thread) | Consumer::Busy(Wake::Thread) => {
                match signal {
                    Signal::Stop(sequel) => state.stop = Some(sequel),
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
        for envelope in queue {
            if let Some(reply) = &envelope.reply {
                reply.fail(Failure::ShuttingDown);
            }
        }
    }

    fn handled(&self) -> u64 {
        self.vitals.handled.load(Ordering::Relaxed)
    }

    fn view(&self) -> SlotView {
        let state = self.lock();
        let now = self.clock.now();
        let age = |since: Instant| now.saturating_duration_since(since);
        SlotView {
            queue_messages: state.queue.len(),
            queue_bytes: state.queued_bytes,
            oldest_message: state
                .queue
                .front()
                .map(|e| age(e.enqueued))
                .unwrap_or_default(),
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
