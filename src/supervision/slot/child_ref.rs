//! A child's address, for everybody who sends to it.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use super::message::Message;
use super::queue::{NotAccepted, QueueLimits, Shared, TellError};
use super::reply::{AskError, ReplyCell, ReplyTo, Settle};

/// The time after which a caller whose message was not accepted should try again.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A child's address; it stays valid across restarts.
pub struct ChildRef<M> {
    pub(super) shared: Arc<Shared<M>>,
}

impl<M> Clone for ChildRef<M> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

// Written by hand, so that it needs no `Debug` of the messages.
impl<M> std::fmt::Debug for ChildRef<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ChildRef({})", self.shared.name)
    }
}

impl<M: Message> ChildRef<M> {
    /// Sends a message that has no answer. An accepted message is handled, even if the child dies and is restarted first.
    pub fn tell(&self, message: M) -> Result<(), TellError<M>> {
        self.shared.push(message, None)
    }

    /// Sends a message at once and waits for its answer for up to `deadline`, even if the child dies and is restarted
    /// meanwhile. It waits longer only for a message past its
    /// [point of no return](crate::supervision::Delivery::commit_to).
    ///
    /// Await the future inside a tokio runtime. Dropping it before the child handles the message cancels the message.
    pub fn ask<T, E, F>(
        &self,
        message: F,
        deadline: Duration,
    ) -> impl Future<Output = Result<T, AskError<E>>> + use<M, T, E, F>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: FnOnce(ReplyTo<T, E>) -> M,
    {
        let cell = ReplyCell::new(Arc::clone(&self.shared.counters.lost));
        let message = message(ReplyTo {
            cell: Arc::clone(&cell),
        });
        let reply: Arc<dyn Settle> = Arc::<ReplyCell<T, E>>::clone(&cell);
        let accepted = self.shared.push(message, Some(reply)).map_err(|refused| {
            // The message is dropped with its reply unsettled, which must not count as lost.
            cell.abandon();
            match refused.reason {
                NotAccepted::Full => AskError::Overloaded {
                    retry_after: RETRY_AFTER,
                },
                NotAccepted::Closed => AskError::ShuttingDown,
            }
        });
        let wait = Wait { cell };
        async move {
            accepted?;
            let mut timer = pin!(tokio::time::sleep(deadline));
            std::future::poll_fn(|cx| {
                if let Poll::Ready(answer) = wait.cell.poll(cx) {
                    return Poll::Ready(answer);
                }
                while timer.as_mut().poll(cx).is_ready() {
                    match wait.cell.expire(Instant::now()) {
                        Ok(answer) => return Poll::Ready(answer),
                        Err(until) => timer.as_mut().reset(until),
                    }
                }
                Poll::Pending
            })
            .await
        }
    }

    /// Changes the limits of the queue. What waits in it stays, even if it is more.
    pub fn set_limits(&self, limits: QueueLimits) {
        self.shared.state.lock().limits = limits;
    }

    /// The child's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Whether the child is ready: an incarnation runs and has not been fenced.
    pub fn running(&self) -> bool {
        self.shared.vitals.current.load(Ordering::Relaxed) != 0
    }

    /// Whether the child takes no messages: it was stopped by order, or will not be started again.
    pub fn closed(&self) -> bool {
        self.shared.state.lock().closed
    }

    /// The number of messages in the queue.
    pub fn queue_messages(&self) -> usize {
        self.shared.state.lock().queue.len()
    }
}

/// A caller that waits. When it is dropped, the message is cancelled.
struct Wait<T, E> {
    cell: Arc<ReplyCell<T, E>>,
}

impl<T, E> Drop for Wait<T, E> {
    fn drop(&mut self) {
        self.cell.abandon();
    }
}
