//! The steps by which a supervisor begins, stops and ends the incarnations of a slot, and the snapshot that the tree shows.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::fence::Incarnation;
use super::message::Message;
use super::queue::{Shared, Signal, Wake};
use crate::supervision::exit_reason::ExitReason;
use crate::supervision::rules::AfterStop;

/// A snapshot of a slot.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct SlotView {
    /// Messages that wait in the queue.
    pub queue_messages: usize,
    /// Bytes that wait in the queue.
    pub queue_bytes: usize,
    /// The age of the oldest waiting message.
    pub oldest_message_seconds: f64,
    /// Messages that are being handled.
    pub in_flight: usize,
    /// The time for which something has been in flight without a pause.
    pub in_flight_seconds: f64,
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

/// A slot without the type of its messages.
pub(crate) trait Control: Send + Sync {
    /// Signals the incarnation. One that is still starting receives only a stop.
    fn signal(&self, signal: Signal);
    /// Accepts no more messages, and answers those that wait with an error.
    fn close(&self);
    fn view(&self) -> SlotView;
}

impl<M: Message> Shared<M> {
    /// Begins a generation. It may not act before it is ready.
    pub(crate) fn begin(&self, generation: u64) -> Incarnation {
        // If the supervisor was lost, the incarnation before may still be there: it ends here.
        let before = self.state.lock().generation;
        self.fence(before, &ExitReason::Lost);
        let mut state = self.state.lock();
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

    /// Ends a generation: nothing it does has an effect any more, and what it had in flight is settled. Returns false if it
    /// had ended before.
    pub(crate) fn fence(&self, generation: u64, reason: &ExitReason) -> bool {
        let mut state = self.state.lock();
        if state.is_over(generation) {
            return false;
        }
        // No generation is current until the next one is ready.
        state.ended = generation;
        self.vitals.current.store(0, Ordering::SeqCst);
        self.vitals.wanted.store(0, Ordering::SeqCst);
        if let Some(Wake::Actor(recipient)) = state.wake.take() {
            // This fails only if the incarnation is ending.
            drop(recipient.try_send(Signal::End));
        }
        state.oldest_begun = None;
        let died = u32::from(!reason.is_normal());
        let mut failed = Vec::new();
        for queued in std::mem::take(&mut state.in_flight).into_iter().rev() {
            if queued.closed() {
                continue;
            }
            queued.deaths.fetch_add(died, Ordering::Relaxed);
            if queued.comes_again() {
                self.counters.redelivered.fetch_add(1, Ordering::Relaxed);
                state.queued_bytes += queued.size_bytes;
                state.queue.push_front(queued);
            } else {
                failed.push(queued);
            }
        }
        self.woken.notify_all();
        self.asked.notify_waiters();
        drop(state);
        for queued in failed {
            self.counters.failed.fetch_add(1, Ordering::Relaxed);
            if let Some(reply) = &queued.reply {
                reply.died(reason, queued.attempts.load(Ordering::Relaxed));
            }
        }
        true
    }

    /// Whether the present incarnation has handled something.
    pub(crate) fn handled(&self) -> bool {
        self.vitals.handled.load(Ordering::Relaxed) > 0
    }
}

impl<M: Message> Control for Shared<M> {
    fn signal(&self, signal: Signal) {
        let mut state = self.state.lock();
        if matches!(signal, Signal::Stop(_)) {
            self.vitals.wanted.store(0, Ordering::SeqCst);
        }
        // No message may arrive behind the last look at the queue.
        state.closed |= signal == Signal::Stop(AfterStop::StayDownAlone) && state.wake.is_some();
        if let Some(Wake::Actor(recipient)) = &state.wake {
            // This fails only if the incarnation is ending, and then no signal is needed.
            return drop(recipient.try_send(signal));
        }
        match signal {
            Signal::Stop(after) => state.stop = Some(after),
            Signal::Probe => state.probe = state.wake.is_some(),
            Signal::Pull | Signal::End => {}
        }
        self.woken.notify_all();
        self.asked.notify_waiters();
    }

    fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.queued_bytes = 0;
        let queue = std::mem::take(&mut state.queue);
        drop(state);
        for queued in queue {
            if let Some(reply) = &queued.reply {
                reply.shut_down();
            }
        }
    }

    fn view(&self) -> SlotView {
        let state = self.state.lock();
        let now = Instant::now();
        let age = |since: Instant| now.saturating_duration_since(since).as_secs_f64();
        let oldest = state.queue.front().map(|queued| age(queued.enqueued));
        SlotView {
            queue_messages: state.queue.len(),
            queue_bytes: state.queued_bytes,
            oldest_message_seconds: oldest.unwrap_or_default(),
            in_flight: state.in_flight.len(),
            in_flight_seconds: state.oldest_begun.map(age).unwrap_or_default(),
            accepted_total: self.counters.accepted.load(Ordering::Relaxed),
            refused_total: self.counters.refused.load(Ordering::Relaxed),
            redelivered_total: self.counters.redelivered.load(Ordering::Relaxed),
            failed_total: self.counters.failed.load(Ordering::Relaxed),
            lost_total: self.counters.lost.load(Ordering::Relaxed),
        }
    }
}
