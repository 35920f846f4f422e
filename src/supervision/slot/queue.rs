//! The queue of a slot: accepting, handing out and finishing messages, under one lock.

// Decision: A queue belongs to its slot.
// Decision: A fatal message affects no other.
// Decision: An orderly stop does not count as a delivery.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use actix::prelude::Recipient;
use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::delivery::Delivery;
use super::fence::Vitals;
use super::message::{Message, MessageId};
use super::reply::Settle;
use crate::supervision::rules::AfterStop;

/// The most deaths of its child that one message can take part in. At the last of them it is answered with an error.
pub const DELIVERIES_MAX: u32 = 2;

/// The limits of a slot's queue. A message that would pass one of them is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// The most messages that may wait.
    pub messages: usize,
    /// The most bytes that may wait, counted by [`Message::size_bytes`].
    pub bytes: usize,
}

impl Default for QueueLimits {
    /// 1,024 messages and 64 MiB.
    fn default() -> Self {
        Self {
            messages: 1024,
            bytes: 64 << 20,
        }
    }
}

/// The reason for not accepting a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAccepted {
    /// The queue is full.
    #[error("the queue is full: try again later")]
    Full,
    /// The child has stopped and will not be started again.
    #[error("the child has stopped and will not be started again")]
    Closed,
}

/// A message that was not accepted, given back to its sender.
#[derive(thiserror::Error)]
#[error("{reason}")]
pub struct TellError<M> {
    /// The message.
    pub message: M,
    /// The reason.
    pub reason: NotAccepted,
}

// Written by hand, so that it needs no `Debug` of the message.
impl<M> fmt::Debug for TellError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TellError({:?})", self.reason)
    }
}

/// A signal in the mailbox of an incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// The queue is no longer empty.
    Pull,
    /// End: the incarnation was fenced.
    End,
    /// Stop in order.
    Stop(AfterStop),
    /// Pass the idle fault point.
    Probe,
}

impl actix::Message for Signal {
    type Result = ();
}

/// Wakes the incarnation that pulls from a slot.
pub(crate) enum Wake {
    Actor(Recipient<Signal>),
    Thread,
}

/// An accepted message.
pub(crate) struct QueuedMessage<M> {
    pub(crate) id: MessageId,
    pub(crate) enqueued: Instant,
    /// The number of times that it was handed out.
    pub(crate) attempts: AtomicU32,
    /// The number of times that a child died while handling it. An orderly stop is not counted: it says nothing about the
    /// message.
    pub(crate) deaths: AtomicU32,
    pub(crate) reply: Option<Arc<dyn Settle>>,
    pub(crate) size_bytes: usize,
    pub(crate) message: M,
}

impl<M> QueuedMessage<M> {
    pub(crate) fn closed(&self) -> bool {
        self.reply.as_ref().is_some_and(|reply| reply.closed())
    }

    pub(crate) fn attempted(&self) -> bool {
        self.attempts.load(Ordering::Relaxed) > 0
    }
}

impl<M: Message> QueuedMessage<M> {
    /// Whether it is handed out again, after the deaths that were counted.
    pub(crate) fn comes_again(&self) -> bool {
        let deaths = self.deaths.load(Ordering::Relaxed);
        !self.closed() && deaths < DELIVERIES_MAX && self.message.redeliverable()
    }
}

/// The queue of a slot and the state of its incarnation, under one lock.
pub(crate) struct SlotState<M> {
    pub(crate) limits: QueueLimits,
    pub(crate) queue: VecDeque<Arc<QueuedMessage<M>>>,
    pub(crate) queued_bytes: usize,
    pub(crate) in_flight: VecDeque<Arc<QueuedMessage<M>>>,
    pub(crate) oldest_begun: Option<Instant>,
    pub(crate) generation: u64,
    /// The last generation that has been fenced.
    pub(crate) ended: u64,
    /// Wakes the current incarnation, if there is one.
    pub(crate) wake: Option<Wake>,
    /// The current incarnation found nothing to do: it looks at the queue again only when it is woken.
    pub(crate) idle: bool,
    /// The incarnation should stop. Only set for one that is a thread or is still starting.
    pub(crate) stop: Option<AfterStop>,
    /// A thread should pass its idle fault point.
    pub(crate) probe: bool,
    /// The child has stopped and will not be started again: no message is accepted.
    pub(crate) closed: bool,
}

impl<M> SlotState<M> {
    /// Whether there is no room for a message of this size.
    fn full(&self, size_bytes: usize) -> bool {
        self.queue.len() >= self.limits.messages
            || self.queued_bytes.saturating_add(size_bytes) > self.limits.bytes
    }

    /// Whether this generation has been replaced or fenced.
    pub(crate) fn is_over(&self, generation: u64) -> bool {
        self.generation != generation || self.ended == generation
    }
}

/// The numbers of messages that were accepted, refused, and so on, since the slot was made.
#[derive(Debug, Default)]
pub(crate) struct SlotCounters {
    pub(crate) accepted: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) redelivered: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) lost: Arc<AtomicU64>,
}

/// The inside of a slot, shared by the child's address, its incarnations and its supervisor.
pub(crate) struct Shared<M> {
    pub(crate) name: Arc<str>,
    pub(crate) counters: SlotCounters,
    pub(crate) vitals: Arc<Vitals>,
    id_base: u64,
    id_next: AtomicU64,
    pub(crate) state: Mutex<SlotState<M>>,
    /// Wakes the thread of a blocking child.
    pub(crate) woken: Condvar,
    /// Tells an incarnation that is starting that it should stop.
    pub(crate) asked: Notify,
}

impl<M: Message> Shared<M> {
    pub(crate) fn new(name: &str, limits: QueueLimits) -> Self {
        Self {
            name: Arc::from(name),
            counters: SlotCounters::default(),
            vitals: Arc::default(),
            // From the random keys of the system, not from `fastrand`: an id must not come again after a restart.
            id_base: RandomState::new().hash_one(name),
            id_next: AtomicU64::new(0),
            state: Mutex::new(SlotState {
                limits,
                queue: VecDeque::new(),
                queued_bytes: 0,
                in_flight: VecDeque::new(),
                oldest_begun: None,
                generation: 0,
                ended: 0,
                wake: None,
                idle: false,
                stop: None,
                probe: false,
                closed: false,
            }),
            woken: Condvar::new(),
            asked: Notify::new(),
        }
    }

    // === used by callers

    /// Accepts a message or gives it back.
    pub(crate) fn push(
        &self,
        message: M,
        reply: Option<Arc<dyn Settle>>,
    ) -> Result<(), TellError<M>> {
        let size_bytes = message.size_bytes();
        let mut state = self.state.lock();
        if state.full(size_bytes) {
            // Makes room: drops messages whose callers have given up.
            state.queue.retain(|queued| !queued.closed());
            state.queued_bytes = state.queue.iter().map(|queued| queued.size_bytes).sum();
        }
        let full = state.full(size_bytes);
        if full || state.closed {
            drop(state);
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            let reason = if full {
                NotAccepted::Full
            } else {
                NotAccepted::Closed
            };
            return Err(TellError { message, reason });
        }
        let low = self.id_next.fetch_add(1, Ordering::Relaxed);
        state.queue.push_back(Arc::new(QueuedMessage {
            id: MessageId(u128::from(self.id_base) << 64 | u128::from(low)),
            enqueued: Instant::now(),
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

    /// Sends one `Pull` to an incarnation that is idle. A busy one looks at the queue again by itself.
    fn wake(&self, state: &mut SlotState<M>) {
        if !std::mem::take(&mut state.idle) {
            return;
        }
        match &state.wake {
            // This fails only if the incarnation is ending; the next one pulls when it is ready.
            Some(Wake::Actor(recipient)) => drop(recipient.try_send(Signal::Pull)),
            Some(Wake::Thread) => drop(self.woken.notify_one()),
            None => {}
        }
    }

    // === used by incarnations

    /// Makes an incarnation the current one: it may act, and is woken if a message waits. Returns false if it has been
    /// fenced meanwhile.
    pub(crate) fn open(&self, generation: u64, wake: Wake) -> bool {
        let mut state = self.state.lock();
        if state.is_over(generation) || state.closed {
            return false;
        }
        self.vitals.current.store(generation, Ordering::SeqCst);
        if let (Some(after), Wake::Actor(recipient)) = (state.stop, &wake) {
            // It was asked to stop while it was starting. This fails only if it is ending already.
            drop(recipient.try_send(Signal::Stop(after)));
        }
        state.wake = Some(wake);
        state.idle = true;
        if !state.queue.is_empty() {
            self.wake(&mut state);
        }
        true
    }

    /// Completes when this incarnation, which is starting, should stop.
    pub(crate) async fn start_cancelled(&self, generation: u64) {
        loop {
            let asked = self.asked.notified();
            {
                let state = self.state.lock();
                if state.stop.is_some() || state.is_over(generation) {
                    return;
                }
            }
            asked.await;
        }
    }

    /// Hands out the next message whose caller still waits. `None`: the queue is empty and the incarnation is idle now, or
    /// it has been fenced.
    pub(crate) fn pull(self: &Arc<Self>, generation: u64) -> Option<Delivery<M>> {
        let mut state = self.state.lock();
        if self.vitals.current.load(Ordering::SeqCst) != generation {
            return None;
        }
        let next = self.next(&mut state, generation);
        state.idle = next.is_none();
        next
    }

    /// Moves the next message from the queue to what is in flight. From now on a death of the child counts against it.
    pub(super) fn next(
        self: &Arc<Self>,
        state: &mut SlotState<M>,
        generation: u64,
    ) -> Option<Delivery<M>> {
        while let Some(queued) = state.queue.pop_front() {
            state.queued_bytes = state.queued_bytes.saturating_sub(queued.size_bytes);
            if queued.closed() {
                continue;
            }
            state.in_flight.push_back(Arc::clone(&queued));
            if state.in_flight.len() == 1 {
                state.oldest_begun = Some(Instant::now());
            }
            queued.attempts.fetch_add(1, Ordering::Relaxed);
            return Some(Delivery {
                shared: Arc::clone(self),
                queued,
                generation,
            });
        }
        None
    }

    /// Ends a lease. Does nothing for an incarnation that has been fenced: its leases ended with that.
    pub(crate) fn finish(&self, queued: &Arc<QueuedMessage<M>>, generation: u64) {
        let mut state = self.state.lock();
        if self.vitals.current.load(Ordering::SeqCst) != generation {
            return;
        }
        if let Some(at) = state.in_flight.iter().position(|q| Arc::ptr_eq(q, queued)) {
            state.in_flight.remove(at);
            self.vitals.handled.fetch_add(1, Ordering::Relaxed);
            state.oldest_begun = (!state.in_flight.is_empty()).then(Instant::now);
        }
    }
}
