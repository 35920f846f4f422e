//! One timer for a connection, whose deadline moves without the timer being touched.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// A timer that is moved only when it has fired too early, or would fire too late.
///
/// All its calls must come from one task: the waker of the last arming is the one that is woken.
#[derive(Debug, Default)]
pub(crate) struct LazyTimer {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl LazyTimer {
    /// Whether a wait has been longer than `limit`. It began at `since`, or begins now.
    pub(crate) fn exceeded(
        &mut self,
        since: &mut Option<Instant>,
        limit: Duration,
        cx: &mut Context<'_>,
    ) -> bool {
        let since = *since.get_or_insert_with(Instant::now);
        self.passed(since + limit, cx)
    }

    /// Whether `deadline` has passed. If not, the task will be woken when it does, or earlier.
    pub(crate) fn passed(&mut self, deadline: Instant, cx: &mut Context<'_>) -> bool {
        match &mut self.sleep {
            None => self.sleep = Some(Box::pin(tokio::time::sleep_until(deadline))),
            Some(sleep) if sleep.is_elapsed() => {
                if Instant::now() >= deadline {
                    return true;
                }
                sleep.as_mut().reset(deadline);
            }
            Some(sleep) if sleep.deadline() > deadline => sleep.as_mut().reset(deadline),
            // It will fire, in time or too early.
            Some(_) => return false,
        }
        // Unconstrained: when a task has used up tokio's budget, a poll returns "pending" without registering the waker.
        self.sleep.as_mut().is_some_and(|sleep| {
            let mut armed = tokio::task::unconstrained(sleep.as_mut());
            Pin::new(&mut armed).poll(cx).is_ready()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_moves_on_is_met_where_it_ends() {
        let start = Instant::now();
        let mut timer = LazyTimer::default();
        let mut looks = 0;
        poll_fn(|cx| {
            looks += 1;
            // Moved on after the first look, without the timer being told.
            let seconds = if looks == 1 { 10 } else { 15 };
            if timer.passed(start + Duration::from_secs(seconds), cx) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        assert_eq!((Instant::now() - start).as_secs(), 15);
        assert_eq!(looks, 3, "the first look, the early one, the last");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_without_budget_is_woken_all_the_same() {
        let start = Instant::now();
        let mut timer = LazyTimer::default();
        poll_fn(|cx| {
            // What else this turn did.
            while tokio::task::coop::has_budget_remaining() {
                let mut spent = std::pin::pin!(tokio::task::coop::consume_budget());
                if spent.as_mut().poll(cx).is_pending() {
                    break;
                }
            }
            if timer.passed(start + Duration::from_secs(9), cx) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        assert_eq!((Instant::now() - start).as_secs(), 9);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_comes_nearer_is_met() {
        let start = Instant::now();
        let mut timer = LazyTimer::default();
        let mut looks = 0;
        poll_fn(|cx| {
            looks += 1;
            let seconds = if looks == 1 { 60 } else { 2 };
            if looks == 1 {
                cx.waker().wake_by_ref();
            }
            if timer.passed(start + Duration::from_secs(seconds), cx) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        assert_eq!((Instant::now() - start).as_secs(), 2);
    }
}
