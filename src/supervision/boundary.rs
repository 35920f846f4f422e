//! The panic boundary: nothing a child runs unwinds past it.
//!
//! actix runs an actor's `stopping` and `stopped` *while a panic unwinds*, and a second panic there aborts the process;
//! so the unwinding ends here, before actix sees it.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::supervision::exit_reason::{ExitReason, Panic};

thread_local! {
    /// Where this thread's last panic was raised: written by the hook, taken by the boundary.
    static LOCATION: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
}

/// Makes panics inside children known by `file:line` and keeps them off stderr, where the supervisor logs them once.
///
/// Panics elsewhere go to the hook that was installed before. A program calls it once, early; the library works without
/// it, and then a panic's location is `None`.
pub fn install_panic_hook() {
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let location = info
            .location()
            .map(|l| format!("{}:{}", l.file(), l.line()).into());
        LOCATION.with_borrow_mut(|last| *last = location);
        if !INSIDE.get() {
            previous(info);
        }
    }));
}

thread_local! {
    static INSIDE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Runs `work`; a panic becomes an [`ExitReason::Panic`].
///
/// Unwind safety is asserted because the state that `work` touched is thrown away with its incarnation.
pub fn contain<R>(work: impl FnOnce() -> R) -> Result<R, ExitReason> {
    let outer = INSIDE.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    INSIDE.set(outer);
    result.map_err(reason_of)
}

/// [`contain`] around every poll of a future.
pub async fn contain_future<F: Future>(future: F) -> Result<F::Output, ExitReason> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(move |cx| match contain(|| future.as_mut().poll(cx)) {
        Ok(poll) => poll.map(Ok),
        Err(reason) => std::task::Poll::Ready(Err(reason)),
    })
    .await
}

fn reason_of(payload: Box<dyn Any + Send>) -> ExitReason {
    let message: Arc<str> = match payload.downcast::<String>() {
        Ok(text) => Arc::from(*text),
        Err(payload) => Arc::from(
            payload
                .downcast_ref::<&str>()
                .copied()
                .unwrap_or("(no text)"),
        ),
    };
    let location = LOCATION.with_borrow_mut(Option::take);
    ExitReason::Panic(Panic {
        message,
        location,
        during: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_reason_with_its_text() {
        let reason = contain(|| panic!("no {}", "luck")).unwrap_err();
        assert!(matches!(reason, ExitReason::Panic(p) if &*p.message == "no luck"));
    }

    #[tokio::test]
    async fn a_panic_after_an_await_becomes_a_reason_too() {
        let reason = contain_future(async {
            tokio::task::yield_now().await;
            panic!("late");
        })
        .await
        .unwrap_err();
        assert_eq!(reason.cause(), "panic");
    }
}
