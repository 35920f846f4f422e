//! The panic boundary: a panic inside a child becomes an [`ExitReason`] and unwinds no further.
//!
//! actix calls an actor's `stopping` and `stopped` while a panic unwinds, and a second panic there aborts the process. So
//! the panic is caught here, before it reaches actix.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures_util::{FutureExt as _, TryFutureExt as _};

use crate::supervision::exit_reason::{ExitReason, Panic};

thread_local! {
    /// The location of the last panic of this thread: the hook writes it, the boundary takes it.
    static LOCATION: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
}

tokio::task_local! {
    /// Set while code runs inside the boundary, so that the hook knows it.
    static INSIDE: ();
}

/// Installs a panic hook that records where a panic inside a child was raised (`file:line`) and prints nothing for it,
/// because the supervisor logs each exit.
///
/// Panics outside children still go to the hook that was installed before. Call it once, early in `main`. Without it
/// supervision works too, but a panic's location is unknown.
pub fn install_panic_hook() {
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let location = info
            .location()
            .map(|l| format!("{}:{}", short_path(l.file()), l.line()).into());
        LOCATION.with_borrow_mut(|last| *last = location);
        if INSIDE.try_with(|()| ()).is_err() {
            previous(info);
        }
    }));
}

/// A source file without the folders of the machine that compiled it.
pub(crate) fn short_path(file: &str) -> &str {
    let after = |folder| file.split_once(folder).map(|(_, rest)| rest);
    let of_crate = after("/registry/src/").and_then(|rest| rest.split_once('/'));
    let of_std = after("/rustc/").and_then(|rest| rest.split_once('/'));
    of_crate.or(of_std).map_or(file, |(_, rest)| rest)
}

/// Runs `work`; a panic becomes an [`ExitReason::Panic`].
///
/// Unwind safety is asserted: whatever state `work` left half changed is dropped together with its incarnation.
pub fn contain<R>(work: impl FnOnce() -> R) -> Result<R, ExitReason> {
    INSIDE
        .sync_scope((), || catch_unwind(AssertUnwindSafe(work)))
        .map_err(reason_of)
}

/// Runs a future like [`contain`] runs a function: each poll is inside the boundary.
/// (Not an `async fn`, which would be twice as large as what it runs.)
pub fn contain_future<F: Future>(future: F) -> impl Future<Output = Result<F::Output, ExitReason>> {
    let caught = AssertUnwindSafe(future).catch_unwind();
    INSIDE.scope((), caught.map_err(reason_of))
}

/// The text of a panic.
pub(crate) fn payload_text(payload: &(dyn Any + Send)) -> &str {
    let formatted = payload.downcast_ref::<String>().map(String::as_str);
    let text = formatted.or_else(|| payload.downcast_ref::<&str>().copied());
    text.unwrap_or("(no text)")
}

fn reason_of(payload: Box<dyn Any + Send>) -> ExitReason {
    ExitReason::Panic(Panic {
        message: Arc::from(payload_text(&*payload)),
        location: LOCATION.with_borrow_mut(Option::take),
        during: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folders_of_the_builder_are_left_out() {
        for (file, short) in [
            ("src/a.rs", "src/a.rs"),
            (
                "/home/me/.cargo/registry/src/index.crates.io-1/h2-0.3/src/b.rs",
                "h2-0.3/src/b.rs",
            ),
            ("/rustc/0123/library/core/src/c.rs", "library/core/src/c.rs"),
        ] {
            assert_eq!(short_path(file), short);
        }
    }

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
