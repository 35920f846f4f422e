//! A thread with an event loop, for one child or for several that work together.

use std::sync::Arc;

use actix::{Arbiter, ArbiterHandle};
use parking_lot::Mutex;

/// A thread with an event loop. Children whose specs share it run on one thread, so that they can hand each other things
/// without waking another one. It begins with the first incarnation, and ends when no child will be started on it again.
#[derive(Debug, Clone, Default)]
pub struct EventLoop {
    state: Arc<Mutex<EventLoopState>>,
}

#[derive(Debug, Default)]
struct EventLoopState {
    arbiter: Option<Arbiter>,
    /// The number of arbiters that were left behind.
    abandoned: u64,
    /// The number of children that use it.
    users: usize,
}

/// The part of one child in an event loop.
#[derive(Debug, Default)]
pub(super) struct EventLoopUse {
    event_loop: EventLoop,
    /// Which of its arbiters the child runs on, by how many had been left behind; `None` unless it is counted as a user.
    runs_on: Mutex<Option<u64>>,
}

impl EventLoopUse {
    pub(super) fn new(event_loop: &EventLoop) -> Self {
        Self {
            event_loop: event_loop.clone(),
            runs_on: Mutex::new(None),
        }
    }

    /// The arbiter for the next incarnation.
    pub(super) fn enter(&self) -> ArbiterHandle {
        let mut state = self.event_loop.state.lock();
        if self.runs_on.lock().replace(state.abandoned).is_none() {
            state.users += 1;
        }
        state.arbiter.get_or_insert_with(Arbiter::new).handle()
    }

    /// Leaves behind the thread that the child runs on, which may hang for ever: the next incarnation gets another one.
    pub(super) fn abandon(&self) {
        let mut state = self.event_loop.state.lock();
        if *self.runs_on.lock() == Some(state.abandoned) {
            state.abandoned += 1;
            stop(state.arbiter.take());
        }
    }

    /// Notes that the child will not be started again. The thread ends with its last user.
    pub(super) fn leave(&self) {
        let mut state = self.event_loop.state.lock();
        if self.runs_on.lock().take().is_some() {
            state.users -= 1;
            if state.users == 0 {
                stop(state.arbiter.take());
            }
        }
    }
}

/// Stops an arbiter as soon as its thread is free.
fn stop(arbiter: Option<Arbiter>) {
    if let Some(arbiter) = arbiter {
        arbiter.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_thread_ends_with_its_last_user() {
        actix_rt::System::new().block_on(async {
            let event_loop = EventLoop::default();
            let [first, second] = [(); 2].map(|()| EventLoopUse::new(&event_loop));
            first.enter();
            second.enter();
            first.enter();
            first.leave();
            first.leave();
            assert!(event_loop.state.lock().arbiter.is_some());
            second.leave();
            assert!(event_loop.state.lock().arbiter.is_none());
        });
    }

    #[test]
    fn a_thread_is_left_behind_once() {
        actix_rt::System::new().block_on(async {
            let event_loop = EventLoop::default();
            let [first, second] = [(); 2].map(|()| EventLoopUse::new(&event_loop));
            first.enter();
            second.enter();
            first.abandon();
            assert!(event_loop.state.lock().arbiter.is_none());
            first.enter();
            // The second child still runs on the old thread.
            second.abandon();
            assert!(event_loop.state.lock().arbiter.is_some());
            second.enter();
            second.abandon();
            assert!(event_loop.state.lock().arbiter.is_none());
        });
    }
}
