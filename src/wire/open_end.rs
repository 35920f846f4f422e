//! The mark of an answer whose body goes on for as long as its client listens, such as a feed.
//!
//! Such a body has to end by itself when the daemon drains or the client closes its side, so that it can say what its format
//! says at the end.

use std::cell::Cell;
use std::rc::Rc;
use std::task::Context;

use super::drain::DrainWatch;

/// Shared by the body of an answer and the connection that sends it. The connection finds it in the answer's extensions.
#[derive(Debug, Clone, Default)]
pub(crate) struct OpenEnd(Rc<Cell<bool>>);

impl OpenEnd {
    /// Whether the body has to end. It is polled again when that is so.
    pub(crate) fn is_asked(&self) -> bool {
        self.0.get()
    }

    /// Asks for the end. False if that was done before.
    fn ask(&self) -> bool {
        !self.0.replace(true)
    }
}

/// The same for the connection, while it sends the body.
pub(super) struct OpenEnded {
    end: OpenEnd,
    drain: DrainWatch,
}

impl OpenEnded {
    pub(super) fn new(end: OpenEnd, drain: DrainWatch) -> Self {
        Self { end, drain }
    }

    /// Called when the body has nothing to send. True if it has to be polled again, because it has been asked to end.
    pub(super) fn ends(&mut self, client_left: bool, cx: &Context<'_>) -> bool {
        (client_left || self.drain.begun(cx)) && self.end.ask()
    }
}
