//! The slot: a child's durable identity.
//!
//! The queue and what is in flight live here, outside of every incarnation, so a death loses neither. An incarnation
//! *pulls*; what it has pulled stays in flight until its [`Delivery`] is dropped, or until the fence takes it back.
//!
//! The order at a death is: fence (the generation that may act becomes none) - settle what is in flight (back to the
//! front of the queue once, else a typed error) - report - restart.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::prelude::Recipient;
use tokio::time::Instant;

use super::child_ref::{ChildRef, Refusal, TellError};
use super::clock::Clock;
use super::delivery::Delivery;
use super::exit_reason::ExitReason;
use super::life::{Life, Vitals};
use super::message::{Message, MessageId};
use super::reply::{Failure, Settle};

/// How often one message is handed out at most.
pub const DELIVERIES_MAX: u32 = 2;

/// The bounds of a slot's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// Messages that may wait.
    pub messages: usize,
    /// Bytes that may wait, as told by [`Message::size_bytes`].
    pub bytes: usize,
}

/// What the mailbox of an incarnation carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// There is something in the slot.
    Pull,
    /// Stop in order.
    Stop,
    /// Pass the idle fault point.
    Probe,
}

impl actix::Message for Signal {
    type Result = ();
}

/// How a slot wakes the incarnation that serves it.
#[derive(Clone)]
pub(crate) enum Wake {
    Actor(Recipient<Signal>),
    Thread,
}

/// An accepted message.
pub(crate) struct Envelope<M> {
    pub(crate) id: MessageId,
    pub(crate) enqueued: Instant,
    pub(crate) attempts: AtomicU32,
    pub(crate) reply: Option<Arc<dyn Settle>>,
    pub(crate) size_bytes: usize,
    pub(crate) message: M,
}

impl<M> Envelope<M> {
    pub(crate) fn closed(&self) -> bool {
        self.reply.as_ref().is_some_and(|reply| reply.closed())
    }

    fn attempted(&self) -> bool {
        self.attempts.load(Ordering::Relaxed) > 0
    }
}

enum Consumer {
    None,
    Idle(Wake),
    Busy(Wake),
}

struct State<M> {
    queue: VecDeque<Arc<Envelope<M>>>,
    queued_bytes: usize,
    in_flight: VecDeque<Arc<Envelope<M>>>,
    oldest_begun: Option<Instant>,
    generation: u64,
    /// The last generation that has been fenced.
    ended: u64,
    consumer: Consumer,
    /// Signals for an incarnation that is a thread.
    stop: bool,
    probe: bool,
    /// Stopped for good: nothing is accepted.
    closed: bool,
}

/// What became of messages, since the slot was made.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) accepted: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) redelivered: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) lost: Arc<AtomicU64>,
}

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

/// The generic half of a slot.
pub(crate) struct Shared<M> {
    pub(crate) name: Arc<str>,
    pub(crate) limits: QueueLimits,
    pub(crate) clock: Clock,
    pub(crate) counters: Counters,
    pub(crate) vitals: Arc<Vitals>,
    id_base: u64,
    id_next: AtomicU64,
    state: Mutex<State<M>>,
    woken: Condvar,
}

/// A child's durable identity: what its incarnations pull from.
pub struct Slot<M> {
    pub(crate) shared: Arc<Shared<M>>,
}

impl<M> Clone for Slot<M> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<M> std::fmt::Debug for Slot<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Slot({})", self.shared.name)
    }
}

impl<M: Message> Slot<M> {
    /// A slot, and the reference everybody else holds.
    #[expect(
        clippy::new_ret_no_self,
        reason = "the slot is for the supervisor, the reference for the rest"
    )]
    pub fn new(name: &str, limits: QueueLimits, clock: Clock) -> (Self, ChildRef<M>) {
        let vitals = Vitals {
            current: AtomicU64::new(0),
            handled: AtomicU64::new(0),
        };
        let shared = Arc::new(Shared {
            name: Arc::from(name),
            limits,
            clock,
            counters: Counters::default(),
            vitals: Arc::new(vitals),
            id_base: RandomState::new().hash_one(name),
            id_next: AtomicU64::new(0),
            state: Mutex::new(State {
                queue: VecDeque::new(),
                queued_bytes: 0,
                in_flight: VecDeque::new(),
                oldest_begun: None,
                generation: 0,
                ended: 0,
                consumer: Consumer::None,
                stop: false,
                probe: false,
                closed: false,
            }),
            woken: Condvar::new(),
        });
        let child_ref = ChildRef::new(Arc::clone(&shared));
        (Self { shared }, child_ref)
    }
}

impl<M: Message> Shared<M> {
    fn lock(&self) -> MutexGuard<'_, State<M>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // === the callers' side

    /// Accepts a message or gives it back.
    pub(crate) fn push(
        &self,
        message: M,
        reply: Option<Arc<dyn Settle>>,
    ) -> Result<(), TellError<M>> {
        let size_bytes = message.size_bytes();
        let mut state = self.lock();
        let full = state.queue.len() >= self.limits.messages
            || state.queued_bytes.saturating_add(size_bytes) > self.limits.bytes;
        if state.closed || full {
            drop(state);
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            let reason = if full { Refusal::Full } else { Refusal::Closed };
            return Err(TellError { message, reason });
        }
        let low = self.id_next.fetch_add(1, Ordering::Relaxed);
        state.queue.push_back(Arc::new(Envelope {
            id: MessageId(u128::from(self.id_base) << 64 | u128::from(low)),
            enqueued: self.clock.now(),
            attempts: AtomicU32::new(0),
            reply,
            size_bytes,
            message,
        }));
        state.queued_bytes += size_bytes;
        self.counters.accepted.fetch_add(1, Ordering::Relaxed);
        self.wake(&mut state);
        Ok(())
    }

    /// The idle -> busy edge sends one `Pull`; a consumer that is busy looks again by itself.
    fn wake(&self, state: &mut State<M>) {
        match std::mem::replace(&mut state.consumer, Consumer::None) {
            Consumer::Idle(wake) => {
                match &wake {
                    // A refusal means the incarnation is dying: its successor pulls at its start.
                    Wake::Actor(recipient) => drop(recipient.try_send(Signal::Pull)),
                    Wake::Thread => self.woken.notify_one(),
                }
                state.consumer = Consumer::Busy(wake);
            }
            other => state.consumer = other,
        }
    }

    pub(crate) fn running(&self) -> bool {
        self.vitals.current.load(Ordering::Relaxed) != 0
    }

    pub(crate) fn queue_messages(&self) -> usize {
        self.lock().queue.len()
    }

    // === the incarnation's side

    /// An incarnation is ready: it may act, and is woken if something waits. False if it has been given up meanwhile.
    pub(crate) fn open(&self, generation: u64, wake: Wake) -> bool {
        let mut state = self.lock();
        if state.generation != generation || state.ended == generation || state.closed {
            return false;
        }
        self.vitals.handled.store(0, Ordering::Relaxed);
        self.vitals.current.store(generation, Ordering::SeqCst);
        state.consumer = Consumer::Idle(wake);
        if !state.queue.is_empty() {
            self.wake(&mut state);
        }
        true
    }

    /// Takes the next message nobody has given up on. `None`: nothing waits (the consumer is idle from now on), or the
    /// incarnation has been fenced.
    pub(crate) fn pull(self: &Arc<Self>, generation: u64) -> Option<Delivery<M>> {
        let mut state = self.lock();
        if self.vitals.current.load(Ordering::SeqCst) != generation {
            return None;
        }
        let next = self.next(&mut state);
        if next.is_none()
            && let Consumer::Busy(wake) = std::mem::replace(&mut state.consumer, Consumer::None)
        {
            state.consumer = Consumer::Idle(wake);
        }
        drop(state);
        next.map(|envelope| Delivery::new(Arc::clone(self), envelope, generation))
    }

    fn next(&self, state: &mut State<M>) -> Option<Arc<Envelope<M>>> {
        while let Some(envelope) = state.queue.pop_front() {
            state.queued_bytes = state.queued_bytes.saturating_sub(envelope.size_bytes);
            if envelope.closed() {
                continue;
            }
            state.in_flight.push_back(Arc::clone(&envelope));
            if state.in_flight.len() == 1 {
                state.oldest_begun = Some(self.clock.now());
            }
            return Some(envelope);
        }
        None
    }

    /// Waits, on a thread of its own, for a batch or a signal.
    pub(crate) fn pull_batch(self: &Arc<Self>, generation: u64, limits: BatchLimits) -> Pulled<M> {
        let mut state = self.lock();
        loop {
            if self.vitals.current.load(Ordering::SeqCst) != generation {
                return Pulled::Fenced;
            }
            if state.stop {
                return Pulled::Stop;
            }
            if std::mem::take(&mut state.probe) {
                return Pulled::Probe;
            }
            let mut batch = Vec::new();
            let mut bytes = 0_usize;
            while batch.len() < limits.messages && bytes < limits.bytes {
                let Some(envelope) = self.next(&mut state) else {
                    break;
                };
                bytes = bytes.saturating_add(envelope.size_bytes);
                batch.push(Delivery::new(Arc::clone(self), envelope, generation));
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

    /// A lease is over. Does nothing for an incarnation that has been fenced: the fence has settled its leases.
    pub(crate) fn finish(&self, envelope: &Arc<Envelope<M>>, generation: u64) {
        let mut state = self.lock();
        if self.vitals.current.load(Ordering::SeqCst) != generation {
            return;
        }
        if let Some(at) = state
            .in_flight
            .iter()
            .position(|e| Arc::ptr_eq(e, envelope))
        {
            state.in_flight.remove(at);
            self.vitals.handled.fetch_add(1, Ordering::Relaxed);
            state.oldest_begun = (!state.in_flight.is_empty()).then(|| self.clock.now());
        }
    }
}

/// How much one pull of a [`BlockingChild`](super::BlockingChild) takes at most.
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

/// What a supervisor does to a slot, whatever its messages are.
pub(crate) trait Control: Send + Sync {
    /// Begins a generation: nothing may act until it is ready.
    fn begin(&self, generation: u64) -> Life;
    /// Ends a generation: nothing of it has an effect any more, and what it had in flight is settled. False if it had
    /// been ended before.
    fn fence(&self, generation: u64, reason: &ExitReason) -> bool;
    /// Signals the running incarnation.
    fn signal(&self, signal: Signal);
    /// Stops for good: what waits is answered.
    fn close(&self);
    fn handled(&self) -> u64;
    fn view(&self) -> SlotView;
}

impl<M: Message> Control for Shared<M> {
    fn begin(&self, generation: u64) -> Life {
        let mut state = self.lock();
        state.generation = generation;
        state.stop = false;
        state.closed = false;
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
        state.consumer = Consumer::None;
        let in_flight = std::mem::take(&mut state.in_flight);
        state.oldest_begun = None;
        let mut failed = Vec::new();
        for envelope in in_flight.into_iter().rev() {
            let attempts = envelope.attempts.load(Ordering::Relaxed);
            if envelope.closed() {
                continue;
            }
            if attempts < DELIVERIES_MAX && envelope.message.redeliverable() {
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
        drop(state);
        for (envelope, attempts) in failed {
            self.counters.failed.fetch_add(1, Ordering::Relaxed);
            if let Some(reply) = &envelope.reply {
                reply.fail(match reason {
                    ExitReason::Hung { age } => Failure::Hung { age: *age },
                    reason => Failure::Crashed {
                        attempts,
                        reason: reason.clone(),
                    },
                });
            }
        }
        true
    }

    fn signal(&self, signal: Signal) {
        let mut state = self.lock();
        match &state.consumer {
            Consumer::None => {}
            Consumer::Idle(Wake::Actor(recipient)) | Consumer::Busy(Wake::Actor(recipient)) => {
                // A refusal means it is dying already, which is what a signal is for.
                drop(recipient.try_send(signal));
            }
            Consumer::Idle(Wake::Thread) | Consumer::Busy(Wake::Thread) => {
                match signal {
                    Signal::Stop => state.stop = true,
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
