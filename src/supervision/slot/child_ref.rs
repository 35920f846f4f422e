//! What everybody holds of a child.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::message::Message;
use super::queue::{Refusal, Shared, TellError};
use super::reply::{AskError, ReplyCell, ReplyTo, Settle};

/// When a caller whose message was refused should try again.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A child's address: it stays the same through all of the child's lives.
pub struct ChildRef<M> {
    shared: Arc<Shared<M>>,
}

impl<M> Clone for ChildRef<M> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<M> std::fmt::Debug for ChildRef<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ChildRef({})", self.shared.name)
    }
}

impl<M: Message> ChildRef<M> {
    pub(crate) fn new(shared: Arc<Shared<M>>) -> Self {
        Self { shared }
    }

    /// Sends a message that has no answer. Accepted means it will be handled, through deaths of the child.
    pub fn tell(&self, message: M) -> Result<(), TellError<M>> {
        self.shared.push(message, None)
    }

    /// Sends a message at once and waits for its answer, through deaths of the child, for `deadline` at most (and
    /// longer only for what has been [staged](crate::supervision::Delivery::commit_to)).
    ///
    /// The future must be awaited inside a tokio runtime. Dropping it before the child has begun cancels the message.
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
        let message = message(ReplyTo::new(&cell));
        let reply: Arc<dyn Settle> = Arc::<ReplyCell<T, E>>::clone(&cell);
        let accepted = self.shared.push(message, Some(reply)).map_err(|refused| {
            // The refused message is dropped below, and nobody must take that for a loss.
            cell.abandon();
            refused.reason
        });
        let clock = self.shared.clock;
        let wait = Wait { cell };
        async move {
            match accepted {
                Ok(()) => {}
                Err(Refusal::Full) => {
                    return Err(AskError::Overloaded {
                        retry_after: RETRY_AFTER,
                    });
                }
                Err(Refusal::Closed) => return Err(AskError::ShuttingDown),
            }
            let mut patience = pin!(tokio::time::sleep(deadline));
            std::future::poll_fn(|cx| {
                if let Poll::Ready(answer) = wait.cell.poll(cx) {
                    return Poll::Ready(answer);
                }
                while patience.as_mut().poll(cx).is_ready() {
                    match wait.cell.expire(clock.now()) {
                        Ok(answer) => return Poll::Ready(answer),
                        Err(until) => patience.as_mut().reset(until),
                    }
                }
                Poll::Pending
            })
            .await
        }
    }

    /// The child's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Whether an incarnation runs that has not been fenced.
    pub fn running(&self) -> bool {
        self.shared.running()
    }

    /// Messages that wait.
    pub fn queue_messages(&self) -> usize {
        self.shared.queue_messages()
    }
}

/// A caller's end of a cell: gone is gone.
struct Wait<T, E> {
    cell: Arc<ReplyCell<T, E>>,
}

impl<T, E> Drop for Wait<T, E> {
    fn drop(&mut self) {
        self.cell.abandon();
    }
}
