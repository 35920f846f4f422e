//! The answer to one message: settled once, whoever comes first.
//!
//! A cell is `Waiting` until the child stages it ([`Delivery::commit_to`](crate::supervision::Delivery::commit_to)), answers it, or
//! the caller gives up. What is staged is past recall: its caller waits for the outcome.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use crate::supervision::exit_reason::ExitReason;

/// Why an ask has no answer of the child's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError<E> {
    /// The child's own, typed error.
    #[error(transparent)]
    Answer(E),
    /// The queue is full; the message was not accepted.
    #[error("the queue is full, try again in {retry_after:?}")]
    Overloaded {
        /// When a retry makes sense.
        retry_after: Duration,
    },
    /// The deadline passed before the child began with it: nothing was done.
    #[error("the deadline passed before the child began with it")]
    Expired,
    /// The child died of it, or with it.
    #[error("the child died {attempts} times with the message in hand, last of {reason}")]
    Crashed {
        /// How many times it was handed out.
        attempts: u32,
        /// Why the child died, the last time.
        reason: ExitReason,
    },
    /// The child hung with it.
    #[error("the child hung for {age:?} with the message in hand")]
    Hung {
        /// How long.
        age: Duration,
    },
    /// The child had begun what can't be recalled, and no answer came: it may or may not have been done.
    #[error("begun, but no answer came: look before trying again")]
    OutcomeUnknown,
    /// The child has stopped for good.
    #[error("the child has stopped")]
    ShuttingDown,
    /// The child dropped the message without an answer, which is a bug in the child.
    #[error("the child dropped the message without an answer")]
    Lost,
}

/// [`AskError`] without the child's own error: what a slot can settle a message with.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    Crashed { attempts: u32, reason: ExitReason },
    Hung { age: Duration },
    ShuttingDown,
}

impl Failure {
    /// What a death for `reason` is to a message that has been handed out `attempts` times.
    pub(crate) fn by(reason: &ExitReason, attempts: u32) -> Self {
        if let ExitReason::Hung { age } = reason {
            return Self::Hung { age: *age };
        }
        Self::Crashed {
            attempts,
            reason: reason.clone(),
        }
    }
}

enum Phase<T, E> {
    Waiting,
    Staged {
        until: Instant,
    },
    Settled(Result<T, AskError<E>>),
    /// The caller has its answer, or has gone.
    Closed,
}

struct CellState<T, E> {
    phase: Phase<T, E>,
    waker: Option<Waker>,
}

/// The meeting point of one caller and one answer.
pub(crate) struct ReplyCell<T, E> {
    state: Mutex<CellState<T, E>>,
    lost: Arc<AtomicU64>,
}

/// What a slot does to a cell without knowing what it carries.
pub(crate) trait Settle: Send + Sync {
    /// Settles with an error; false if it was settled already.
    fn fail(&self, failure: Failure) -> bool;
    /// Whether nobody waits any more: answered, or given up.
    fn closed(&self) -> bool;
    /// Marks as past recall; false if the caller has given up.
    fn stage(&self, until: Instant) -> bool;
}

impl<T, E> ReplyCell<T, E> {
    pub(crate) fn new(lost: Arc<AtomicU64>) -> Arc<Self> {
        let state = CellState {
            phase: Phase::Waiting,
            waker: None,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            lost,
        })
    }

    fn lock(&self) -> MutexGuard<'_, CellState<T, E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, answer: impl FnOnce(bool) -> Result<T, AskError<E>>) -> bool {
        let waker = {
            let mut state = self.lock();
            let staged = match state.phase {
                Phase::Waiting => false,
                Phase::Staged { .. } => true,
                Phase::Settled(_) | Phase::Closed => return false,
            };
            state.phase = Phase::Settled(answer(staged));
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<T, AskError<E>>> {
        let mut state = self.lock();
        match std::mem::replace(&mut state.phase, Phase::Closed) {
            Phase::Settled(answer) => Poll::Ready(answer),
            phase @ (Phase::Waiting | Phase::Staged { .. } | Phase::Closed) => {
                state.phase = phase;
                match &mut state.waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    none => *none = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
        }
    }

    /// The caller's deadline has passed: its answer, or how long what is staged may still take.
    pub(crate) fn expire(&self, now: Instant) -> Result<Result<T, AskError<E>>, Instant> {
        let mut state = self.lock();
        match std::mem::replace(&mut state.phase, Phase::Closed) {
            Phase::Settled(answer) => Ok(answer),
            Phase::Waiting | Phase::Closed => Ok(Err(AskError::Expired)),
            Phase::Staged { until } if until > now => {
                state.phase = Phase::Staged { until };
                Err(until)
            }
            Phase::Staged { .. } => Ok(Err(AskError::OutcomeUnknown)),
        }
    }

    /// The caller has gone.
    pub(crate) fn abandon(&self) {
        self.lock().phase = Phase::Closed;
    }
}

impl<T: Send, E: Send> Settle for ReplyCell<T, E> {
    fn fail(&self, failure: Failure) -> bool {
        self.settle(|staged| {
            Err(match failure {
                _ if staged => AskError::OutcomeUnknown,
                Failure::Crashed { attempts, reason } => AskError::Crashed { attempts, reason },
                Failure::Hung { age } => AskError::Hung { age },
                Failure::ShuttingDown => AskError::ShuttingDown,
            })
        })
    }

    fn closed(&self) -> bool {
        matches!(self.lock().phase, Phase::Settled(_) | Phase::Closed)
    }

    fn stage(&self, until: Instant) -> bool {
        let mut state = self.lock();
        match state.phase {
            Phase::Waiting | Phase::Staged { .. } => {
                state.phase = Phase::Staged { until };
                true
            }
            Phase::Settled(_) | Phase::Closed => false,
        }
    }
}

/// Where a child sends its answer: part of the message, settled through `&self`, the first answer wins.
///
/// A message that is dropped with its reply unsettled is answered [`AskError::Lost`] and counted.
pub struct ReplyTo<T, E> {
    cell: Arc<ReplyCell<T, E>>,
}

impl<T, E> std::fmt::Debug for ReplyTo<T, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ReplyTo")
    }
}

impl<T, E> ReplyTo<T, E> {
    pub(crate) fn new(cell: &Arc<ReplyCell<T, E>>) -> Self {
        Self {
            cell: Arc::clone(cell),
        }
    }

    /// Answers; false if there was an answer already, or nobody waits any more.
    pub fn settle(&self, answer: Result<T, E>) -> bool {
        self.cell.settle(|_| answer.map_err(AskError::Answer))
    }
}

impl<T, E> Drop for ReplyTo<T, E> {
    fn drop(&mut self) {
        if self.cell.settle(|_| Err(AskError::Lost)) {
            self.cell.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}
