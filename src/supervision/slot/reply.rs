//! The answer to one message: whoever settles it first decides it.
//!
//! A reply is `Waiting` until the child answers it or the caller gives up. A child can stage it before
//! ([`Delivery::commit_to`](crate::supervision::Delivery::commit_to)): then the effect can't be taken back any more, and the
//! caller waits for the outcome.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::supervision::exit_reason::ExitReason;

/// The error of an [`ask`](crate::supervision::ChildRef::ask).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError<E> {
    /// The child handled the message and answered with its own, typed error.
    #[error(transparent)]
    Rejected(E),
    /// The queue is full; the message was not accepted.
    #[error("the queue is full: try again in {retry_after:?}")]
    Overloaded {
        /// The time after which it makes sense to try again.
        retry_after: Duration,
    },
    /// The deadline passed before the child answered, and before it did anything lasting.
    #[error("the deadline passed and nothing was done: try again, or wait longer")]
    Expired,
    /// The child died each time it handled the message.
    #[error(
        "the child died {attempts} times while handling the message, the last time of {reason}"
    )]
    Crashed {
        /// The number of times that a child began to handle it.
        attempts: u32,
        /// The reason for the last failure of the child.
        reason: ExitReason,
    },
    /// The child hung while handling the message.
    #[error("the child hung for {age:?} while handling the message")]
    Hung {
        /// For how long.
        age: Duration,
    },
    /// The child had passed the point of no return and gave no answer. The message may or may not have been carried out.
    #[error("the message may or may not have been carried out: look before you try again")]
    OutcomeUnknown,
    /// The child has stopped and will not be started again.
    #[error("the child has stopped and will not be started again")]
    ShuttingDown,
    /// The child dropped the message without an answer, which is a bug in the child.
    #[error("the child dropped the message without an answer, which is a bug in the child")]
    Lost,
}

enum ReplyState<T, E> {
    Waiting,
    Staged {
        until: Instant,
    },
    Settled(Result<T, AskError<E>>),
    /// The caller has its answer, or has given up.
    Closed,
}

struct Inside<T, E> {
    state: ReplyState<T, E>,
    waker: Option<Waker>,
}

/// The cell in which the caller of one message waits for its answer.
pub(crate) struct ReplyCell<T, E> {
    inside: Mutex<Inside<T, E>>,
    lost: Arc<AtomicU64>,
}

/// A reply without the types of its answer, as a slot uses it.
pub(crate) trait Settle: Send + Sync {
    /// Settles with the error for a child that ended for `reason`, after `attempts` attempts to handle the message.
    fn died(&self, reason: &ExitReason, attempts: u32);
    /// Settles with the error for a child that will not be started again.
    fn shut_down(&self);
    /// Whether nobody waits any more: it is settled, or the caller has given up.
    fn closed(&self) -> bool;
    /// Passes the point of no return. Returns false if the caller has given up.
    fn stage(&self, until: Instant) -> bool;
}

impl<T, E> ReplyCell<T, E> {
    pub(crate) fn new(lost: Arc<AtomicU64>) -> Arc<Self> {
        let inside = Inside {
            state: ReplyState::Waiting,
            waker: None,
        };
        Arc::new(Self {
            inside: Mutex::new(inside),
            lost,
        })
    }

    /// Settles with what `answer` returns; it is told whether the reply was staged.
    fn settle(&self, answer: impl FnOnce(bool) -> Result<T, AskError<E>>) -> bool {
        let mut inside = self.inside.lock();
        let staged = match inside.state {
            ReplyState::Waiting => false,
            ReplyState::Staged { .. } => true,
            ReplyState::Settled(_) | ReplyState::Closed => return false,
        };
        inside.state = ReplyState::Settled(answer(staged));
        let waker = inside.waker.take();
        drop(inside);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// Settles with an error, which is another one if the reply was staged.
    fn fail(&self, error: AskError<E>) {
        self.settle(|staged| {
            Err(if staged {
                AskError::OutcomeUnknown
            } else {
                error
            })
        });
    }

    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<T, AskError<E>>> {
        let mut inside = self.inside.lock();
        match std::mem::replace(&mut inside.state, ReplyState::Closed) {
            ReplyState::Settled(answer) => Poll::Ready(answer),
            state @ (ReplyState::Waiting | ReplyState::Staged { .. } | ReplyState::Closed) => {
                inside.state = state;
                match &mut inside.waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    none => *none = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
        }
    }

    /// The caller's deadline has passed. Returns its answer, or until when it has to wait for the outcome.
    pub(crate) fn expire(&self, now: Instant) -> Result<Result<T, AskError<E>>, Instant> {
        let mut inside = self.inside.lock();
        match std::mem::replace(&mut inside.state, ReplyState::Closed) {
            ReplyState::Settled(answer) => Ok(answer),
            ReplyState::Waiting | ReplyState::Closed => Ok(Err(AskError::Expired)),
            ReplyState::Staged { until } if until > now => {
                inside.state = ReplyState::Staged { until };
                Err(until)
            }
            ReplyState::Staged { .. } => Ok(Err(AskError::OutcomeUnknown)),
        }
    }

    /// The caller has given up.
    pub(crate) fn abandon(&self) {
        self.inside.lock().state = ReplyState::Closed;
    }
}

impl<T: Send, E: Send> Settle for ReplyCell<T, E> {
    fn died(&self, reason: &ExitReason, attempts: u32) {
        self.fail(if let ExitReason::Hung { age } = reason {
            AskError::Hung { age: *age }
        } else {
            let reason = reason.clone();
            AskError::Crashed { attempts, reason }
        });
    }

    fn shut_down(&self) {
        self.fail(AskError::ShuttingDown);
    }

    fn closed(&self) -> bool {
        let state = &self.inside.lock().state;
        matches!(state, ReplyState::Settled(_) | ReplyState::Closed)
    }

    fn stage(&self, until: Instant) -> bool {
        let mut inside = self.inside.lock();
        match inside.state {
            ReplyState::Waiting | ReplyState::Staged { .. } => {
                inside.state = ReplyState::Staged { until };
                true
            }
            ReplyState::Settled(_) | ReplyState::Closed => false,
        }
    }
}

/// The reply channel of a message, through which a child sends its answer; only the first answer counts.
///
/// If a message is dropped with its reply unsettled, its caller gets [`AskError::Lost`], and that is counted.
pub struct ReplyTo<T, E = std::convert::Infallible> {
    pub(super) cell: Arc<ReplyCell<T, E>>,
}

// Written by hand, so that messages can derive `Debug` whatever their answers are.
impl<T, E> std::fmt::Debug for ReplyTo<T, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ReplyTo")
    }
}

impl<T, E> ReplyTo<T, E> {
    /// Answers. Returns false if there was an answer before, or nobody waits any more.
    pub fn settle(&self, answer: Result<T, E>) -> bool {
        self.cell.settle(|_| answer.map_err(AskError::Rejected))
    }
}

impl<T, E> Drop for ReplyTo<T, E> {
    fn drop(&mut self) {
        if self.cell.settle(|_| Err(AskError::Lost)) {
            self.cell.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}
