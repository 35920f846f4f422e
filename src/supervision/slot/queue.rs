//! The queue of a slot: what is accepted, handed out and finished, under one lock.

// Decision: A queue belongs to its slot.
// Decision: A fatal message affects no other.
// Decision: An orderly stop does not count as a delivery.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use actix::prelude::Recipient;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::fence::Vitals;
use super::message::{Message, MessageId};
use super::reply::Settle;
use crate::supervision::clock::Clock;
use crate::supervision::rules::Sequel;

/// With how many deaths of its child one message is involved at most: the last one it is answered with.
pub const DELIVERIES_MAX: u32 = 2;

/// The bounds of a slot's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// Messages that may wait.
    pub messages: usize,
    /// Bytes that may wait, as told by [`Message::size_bytes`].
    pub bytes: usize,
}

/// Why a message was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The queue is full.
    Full,
    /// The child has stopped for good.
    Closed,
}

/// A message that was not accepted, given back.
#[derive(Debug)]
pub struct TellError<M> {
    /// The message.
    pub message: M,
    /// Why.
    pub reason: Refusal,
}

/// What the mailbox of an incarnation carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// There is something in the slot.
    Pull,
    /// Stop in order.
    Stop(Sequel),
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
    /// How often it was handed out.
    pub(crate) attempts: AtomicU32,
    /// How often its child died with it in hand. An orderly stop is no death: it speaks against nobody.
    pub(crate) deaths: AtomicU32,
    pub(crate) reply: Option<Arc<dyn Settle>>,
    pub(crate) size_bytes: usize,
    pub(crate) message: M,
}

impl<M> Envelope<M> {
    pub(crate) fn closed(&self) -> bool {
        self.reply.as_ref().is_some_and(|reply| reply.closed())
    }

    pub(crate) fn attempted(&self) -> bool {
        self.attempts.load(Ordering::Relaxed) > 0
    }
}

pub(crate) enum Consumer {
    None,
    Idle(Wake),
    Busy(Wake),
}

pub(crate) struct State<M> {
    pub(crate) queue: VecDeque<Arc<Envelope<M>>>,
    pub(crate) queued_bytes: usize,
    pub(crate) in_flight: VecDeque<Arc<Envelope<M>>>,
    pub(crate) oldest_begun: Option<Instant>,
    pub(crate) generation: u64,
    /// The last generation that has been fenced.
    pub(crate) ended: u64,
    pub(crate) consumer: Consumer,
    /// The incarnation is asked to stop, if it is a thread or still starting.
    pub(crate) stop: Option<Sequel>,
    /// A thread is to pass its idle fault point.
    pub(crate) probe: bool,
    /// Stopped for good: nothing is accepted.
    pub(crate) closed: bool,
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
    pub(crate) woken: Condvar,
    /// Tells an incarnation that is starting that it should not.
    pub(crate) asked: Notify,
}

impl<M: Message> Shared<M> {
    pub(crate) fn new(name: &str, limits: QueueLimits, clock: Clock) -> Self {
        let vitals = Vitals {
            current: AtomicU64::new(0),
            wanted: AtomicU64::new(0),
            handled: AtomicU64::new(0),
        };
        Self {
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
                stop: None,
                probe: false,
                closed: false,
            }),
            woken: Condvar::new(),
            asked: Notify::new(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State<M>> {
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
        let mut full = self.full(&state, size_bytes);
        if full {
            Self::purge(&mut state);
            full = self.full(&state, size_bytes);
        }
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
            deaths: AtomicU32::new(0),
            reply,
            size_bytes,
            message,
        }));
        state.queued_bytes += size_bytes;
        self.counters.accepted.fetch_add(1, Ordering::Relaxed);
        self.wake(&mut state);
        Ok(())
    }

    fn full(&self, state: &State<M>, more_bytes: usize) -> bool {
        state.queue.len() >= self.limits.messages
            || state.queued_bytes.saturating_add(more_bytes) > self.limits.bytes
    }

    /// Makes room: what nobody waits for any more need not wait either.
    fn purge(state: &mut State<M>) {
        state.queue.retain(|envelope| !envelope.closed());
        state.queued_bytes = state.queue.iter().map(|envelope| envelope.size_bytes).sum();
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
            other @ (Consumer::None | Consumer::Busy(_)) => state.consumer = other,
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
        if let (Some(sequel), Wake::Actor(recipient)) = (state.stop, &wake) {
            // Asked while it was starting. A refusal means that it is going already.
            drop(recipient.try_send(Signal::Stop(sequel)));
        }
        state.consumer = Consumer::Idle(wake);
        if !state.queue.is_empty() {
            self.wake(&mut state);
        }
        true
    }

    /// Completes when the start of this incarnation is not wanted any more.
    pub(crate) async fn start_cancelled(&self, generation: u64) {
        loop {
            let asked = self.asked.notified();
            {
                let state = self.lock();
                if state.stop.is_some()
                    || state.generation != generation
                    || state.ended == generation
                {
                    return;
                }
            }
            asked.await;
        }
    }

    /// Takes the next message nobody has given up on. `None`: nothing waits (the consumer is idle from now on), or the
    /// incarnation has been fenced.
    pub(crate) fn pull(&self, generation: u64) -> Option<Arc<Envelope<M>>> {
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
        next
    }

    pub(crate) fn next(&self, state: &mut State<M>) -> Option<Arc<Envelope<M>>> {
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
