//! A thread with an event loop, for one child or for several that work together.

// Decision: A thread is left behind only if it does not answer.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use actix::Arbiter;
use parking_lot::Mutex;

use crate::supervision::boundary::contain;

/// A thread with an event loop. Children whose specs share it run on one thread, so that they can hand each other things
/// without waking another one. It begins with the first incarnation, and ends when no child will be started on it again.
#[derive(Debug, Clone, Default)]
pub struct EventLoop {
    state: Arc<Mutex<EventLoopState>>,
}

#[derive(Debug, Default)]
struct EventLoopState {
    arbiter: Option<Arbiter>,
    /// The number of the present thread: how many there were before.
    thread: ThreadNumber,
    /// A fenced incarnation is still on the present thread. Nothing is started until it is known whether the thread answers.
    doubted: bool,
    /// The children that will be started on it again.
    users: BTreeMap<u64, LastStart>,
    users_so_far: u64,
}

/// One of the threads that an event loop has had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ThreadNumber(u64);

/// The last start of a child.
enum LastStart {
    /// It was started on this thread.
    On(ThreadNumber),
    /// Its start waits until it is known whether the thread answers.
    Waiting(StartJob),
    /// It was fenced while it waited.
    Nowhere,
}

/// Starts an incarnation, on its thread.
type StartJob = Box<dyn FnOnce() + Send>;

// Written by hand, because a function can't be shown.
impl fmt::Debug for LastStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::On(thread) => write!(f, "On({thread:?})"),
            Self::Waiting(_) => f.write_str("Waiting"),
            Self::Nowhere => f.write_str("Nowhere"),
        }
    }
}

impl EventLoop {
    /// Notes whether a thread that was doubted answers. If it does not, it is left behind, and what waits to be started gets
    /// another one.
    pub(super) fn answered(&self, thread: ThreadNumber, answers: bool) {
        let mut state = self.state.lock();
        if thread != state.thread {
            return;
        }
        state.doubted = false;
        if !answers {
            state.leave_thread();
        }
        let users: Vec<_> = state.users.keys().copied().collect();
        for user in users {
            if let Some(start) = state.take_waiting(user) {
                // actix panics if the system has no thread left. The start timeout of the child notices a start that is lost.
                drop(contain(|| state.start(user, start)));
            }
        }
    }
}

impl EventLoopState {
    /// Starts an incarnation on the present thread. Returns false if the thread has stopped.
    fn start(&mut self, user: u64, start: StartJob) -> bool {
        self.users.insert(user, LastStart::On(self.thread));
        self.arbiter
            .get_or_insert_with(Arbiter::new)
            .spawn_fn(start)
    }

    fn take_waiting(&mut self, user: u64) -> Option<StartJob> {
        let last = self.users.get_mut(&user)?;
        match std::mem::replace(last, LastStart::Nowhere) {
            LastStart::Waiting(start) => Some(start),
            other @ (LastStart::On(_) | LastStart::Nowhere) => {
                *last = other;
                None
            }
        }
    }

    /// Stops the present thread as soon as it is free. The next incarnation gets another one.
    fn leave_thread(&mut self) {
        self.thread.0 += 1;
        self.doubted = false;
        if let Some(arbiter) = self.arbiter.take() {
            arbiter.stop();
        }
    }
}

/// The part of one child in an event loop.
#[derive(Debug)]
pub(super) struct EventLoopUse {
    pub(super) event_loop: EventLoop,
    user: u64,
}

impl EventLoopUse {
    pub(super) fn new(event_loop: &EventLoop) -> Self {
        let mut state = event_loop.state.lock();
        state.users_so_far += 1;
        Self {
            event_loop: event_loop.clone(),
            user: state.users_so_far,
        }
    }

    /// Starts the next incarnation on the thread, or as soon as it is known that the thread answers. Returns false if the
    /// thread has stopped.
    pub(super) fn enter(&self, start: impl FnOnce() + Send + 'static) -> bool {
        let mut state = self.event_loop.state.lock();
        if state.doubted {
            state
                .users
                .insert(self.user, LastStart::Waiting(Box::new(start)));
            return true;
        }
        state.start(self.user, Box::new(start))
    }

    /// Notes that the present incarnation was fenced. Returns the thread that is doubted until [`EventLoop::answered`], if the
    /// incarnation is on the present one. A start that waits is dropped.
    pub(super) fn doubt(&self) -> Option<ThreadNumber> {
        let mut state = self.event_loop.state.lock();
        let waiting = state.take_waiting(self.user);
        let here =
            matches!(state.users.get(&self.user), Some(LastStart::On(on)) if *on == state.thread);
        state.doubted |= here;
        let doubted = here.then_some(state.thread);
        drop(state);
        drop(waiting);
        doubted
    }

    /// Notes that the child will not be started again. The thread ends with its last user.
    pub(super) fn leave(&self) {
        let mut state = self.event_loop.state.lock();
        if state.users.remove(&self.user).is_some() && state.users.is_empty() {
            state.leave_thread();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An event loop with so many users.
    fn users<const N: usize>() -> (EventLoop, [EventLoopUse; N]) {
        let event_loop = EventLoop::default();
        let users = [(); N].map(|()| EventLoopUse::new(&event_loop));
        (event_loop, users)
    }

    fn has_thread(event_loop: &EventLoop) -> bool {
        event_loop.state.lock().arbiter.is_some()
    }

    #[test]
    fn a_shared_thread_ends_with_its_last_user() {
        actix_rt::System::new().block_on(async {
            let (event_loop, [first, second]) = users();
            first.enter(|| {});
            second.enter(|| {});
            first.enter(|| {});
            first.leave();
            first.leave();
            assert!(has_thread(&event_loop));
            second.leave();
            assert!(!has_thread(&event_loop));
        });
    }

    #[test]
    fn a_thread_that_answers_is_kept_and_starts_what_has_waited() {
        actix_rt::System::new().block_on(async {
            let (event_loop, [first, second]) = users();
            first.enter(|| {});
            let doubted = first.doubt().unwrap();
            let (told, started) = std::sync::mpsc::channel();
            for user in [&first, &second] {
                let told = told.clone();
                user.enter(move || told.send(()).unwrap());
            }
            // One of them is not wanted any more before it was started.
            assert_eq!(second.doubt(), None);
            drop(told);
            event_loop.answered(doubted, true);
            assert_eq!(started.iter().count(), 1);
            assert_eq!(first.doubt(), Some(doubted), "it runs on the same thread");
        });
    }

    #[test]
    fn a_thread_that_does_not_answer_is_left_behind_once() {
        actix_rt::System::new().block_on(async {
            let (event_loop, [first, second]) = users();
            first.enter(|| {});
            second.enter(|| {});
            let (one, two) = (first.doubt().unwrap(), second.doubt().unwrap());
            let (told, started) = std::sync::mpsc::channel();
            first.enter(move || told.send(()).unwrap());
            event_loop.answered(one, false);
            started.recv().unwrap();
            // The second child is still on the old thread.
            event_loop.answered(two, false);
            assert_eq!(second.doubt(), None);
            assert!(has_thread(&event_loop));
            let next = first.doubt().unwrap();
            assert_ne!(next, one);
            event_loop.answered(next, false);
            assert!(!has_thread(&event_loop));
        });
    }

    #[test]
    fn an_answer_that_comes_after_the_last_user_has_left_changes_nothing() {
        actix_rt::System::new().block_on(async {
            let (event_loop, [only]) = users();
            only.enter(|| {});
            let doubted = only.doubt().unwrap();
            only.leave();
            assert!(only.enter(|| {}), "at once");
            event_loop.answered(doubted, false);
            assert!(has_thread(&event_loop));
        });
    }
}
